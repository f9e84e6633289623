//! One request and one response over one connection, both bodies flowing at once.
//!
//! It is polled inline by the task of the client's connection, so it costs no task and no channel. It reports what
//! happened and how far things had got; whether to try again is decided by `forward`.

use std::{
    io,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::StatusCode;

use super::{
    Connection,
    download::Download,
    failure::{Failure, Progress},
    upload::{Upload, UploadError},
};
use crate::{
    client::Client,
    config::Timeouts,
    headers::{self, BodyLength},
    http1::{RequestHead, ResponseHead, response::HEAD_BYTES_MAX},
    request::listed,
};

/// Interim responses of one exchange that are taken before the app is thought to be broken.
const INTERIM_MAX: u32 = 16;
/// Interim responses wait for a client that doesn't read, up to this; more are dropped.
const INTERIM_BYTES_MAX: usize = 64 * 1024;
/// After this a client that waits for 100 Continue may send: apps of HTTP/1.0 never say so (RFC 9110 §10.1.1).
const CONTINUE_WAIT: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Exchange {
    connection: Connection,
    upload: Option<Upload>,
    /// Whether any of the request's body was taken from the client; then it can't be taken again.
    pulled: bool,
    timeouts: Timeouts,
    /// The response's, once it is there.
    pub(crate) head: Box<ResponseHead>,
    /// Whether a byte of an answer has been seen.
    answered: bool,
    interim: u32,
    /// How much of the input has been looked at for a head, in vain.
    seen: usize,
    /// Whether the client has been told to send its body.
    continued: bool,
    /// The response's body, once its head has been seen.
    download: Option<Download>,
    /// Whether the app has taken the whole request before it answered. One that hasn't may take what is left of a body for
    /// another request.
    taken: bool,
    /// Whether it has stopped reading.
    broken: bool,
    client_first: bool,
}

impl Exchange {
    /// Over a connection whose output holds the request's head. In a box, since it is handed on.
    pub(crate) fn new(
        mut connection: Connection,
        mut upload: Option<Upload>,
        timeouts: Timeouts,
        client: &Client,
    ) -> Box<Self> {
        if let Some(upload) = &mut upload {
            upload.restart(connection.wire.output());
        }
        let exchange = Box::new(Self {
            pulled: upload.as_ref().is_some_and(Upload::is_pulled),
            continued: upload.as_ref().is_some_and(Upload::was_told),
            connection,
            upload,
            timeouts,
            head: client.session().worker().spares().response(),
            answered: false,
            interim: 0,
            seen: 0,
            download: None,
            taken: true,
            broken: false,
            client_first: false,
        });
        client.session().deadline().set(exchange.patience());
        exchange
    }

    /// Ready once the final response's head stands in `head`; the body follows by [`Self::poll_relay`].
    pub(crate) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client,
        request: &RequestHead,
        upgrade: Option<&[u8]>,
    ) -> Poll<Result<(), Failure>> {
        loop {
            let uploads = self.upload.is_some();
            if uploads {
                self.poll_client(cx, client)?;
            }
            // Interim responses; that the client doesn't take them yet is no reason not to go on.
            if let Poll::Ready(Err(_)) = client.poll_flush(cx) {
                return Poll::Ready(Err(Failure::ClientGone));
            }
            if let Some(status) = self.parse(request)? {
                match status {
                    StatusCode::SWITCHING_PROTOCOLS => {
                        // Not before it has been asked to the end.
                        let asked = self.switches_to(upgrade) && self.connection.wire.is_flushed();
                        return Poll::Ready(asked.then_some(()).ok_or(Failure::UnaskedUpgrade));
                    }
                    status if status.is_informational() => self.interim(request, client)?,
                    _ => {
                        self.answered_early();
                        return Poll::Ready(Ok(()));
                    }
                }
                continue;
            }
            match self.connection.poll_fill_head(cx, !self.answered) {
                Poll::Ready(Ok(0)) => {
                    return Poll::Ready(Err(Failure::Closed(io::ErrorKind::UnexpectedEof.into())));
                }
                Poll::Ready(Ok(_)) => self.answered = true,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Failure::Closed(error))),
                Poll::Pending => {
                    if !uploads {
                        self.poll_client(cx, client)?;
                    }
                    if !client.session().deadline().passed() {
                        return Poll::Pending;
                    }
                    // Perhaps the client may send its body now, without having been told to by the app.
                    self.time_out(client)?;
                }
            }
        }
    }

    /// Whether a 101 is to one of the protocols that were asked for (RFC 9110 §7.8).
    fn switches_to(&self, asked: Option<&[u8]>) -> bool {
        let mut asked = asked.into_iter().flat_map(listed);
        let taken = self.head.upgrade();
        taken.is_some_and(|taken| asked.any(|asked| asked.eq_ignore_ascii_case(taken)))
    }

    /// The status of the next head, if it is there.
    fn parse(&mut self, request: &RequestHead) -> Result<Option<StatusCode>, Failure> {
        let input = &mut self.connection.wire.input;
        let new = input.bytes().get(self.seen..).unwrap_or_default();
        // Whoever sends byte by byte doesn't have all of it read for each.
        let has_line = self.seen == 0 || memchr::memchr(b'\n', new).is_some();
        if new.is_empty() || !has_line && input.len() < HEAD_BYTES_MAX {
            return Ok(None);
        }
        let parsed = self.head.parse(input.bytes(), &request.method);
        let Some(length) = parsed.map_err(Failure::InvalidHead)? else {
            self.seen = input.len();
            return Ok(None);
        };
        input.consume(length);
        self.seen = 0;
        Ok(Some(self.head.status))
    }

    /// The final head is here. If the request isn't over, what is left of it may still be sent on, but not if its client
    /// was to wait for a word that hasn't come: an app that has answered instead expects another request.
    fn answered_early(&mut self) {
        if let Some(upload) = &mut self.upload {
            self.taken = false;
            if upload.waits() {
                upload.abandon();
            }
        }
    }

    /// The client is told where its response's body ends by `body`; its head stands in the client's output.
    pub(crate) fn begin_relay(&mut self, body: BodyLength) {
        let chunked = body == BodyLength::Chunked;
        let mut download = Download::new(self.head.body.clone(), chunked);
        if self.broken {
            download.is_broken();
        }
        self.download = Some(download);
    }

    /// Ready once the app has nothing more to do with the response: what is left of it waits for the client to take it.
    pub(crate) fn poll_relay(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client,
    ) -> Poll<Result<(), Failure>> {
        // Where both bodies have to wait for their turn, each comes first as often as the other.
        self.client_first = self.upload.is_some() && !self.client_first;
        if self.client_first {
            self.poll_client(cx, client)?;
        }
        if let Some(download) = &mut self.download
            && let Poll::Ready(ended) = download.poll(cx, &mut self.connection, client)
        {
            return Poll::Ready(ended.map_err(Failure::from));
        }
        if !self.client_first {
            self.poll_client(cx, client)?;
        }
        if client.session().deadline().passed() {
            return Poll::Ready(Err(self.stalled(client)));
        }
        Poll::Pending
    }

    /// How far things have got.
    pub(crate) fn progress(&self) -> Progress {
        Progress {
            sent: self.connection.written() > 0,
            pulled: self.pulled,
            answered: self.answered,
        }
    }

    /// The connection was closed without a word of an answer.
    pub(crate) fn was_dead(&self) {
        if !self.answered {
            self.connection.was_dead();
        }
    }

    /// The connection, which this exchange has given up or upgraded.
    pub(crate) fn into_connection(mut self: Box<Self>) -> Connection {
        self.connection.wire.rest();
        self.connection
    }

    /// What wasn't sent of the body. The connection is closed.
    pub(crate) fn into_upload(self: Box<Self>) -> Option<Upload> {
        self.upload
    }

    /// The connection, if both messages ended exactly where they should have, so that another request may follow.
    pub(crate) fn finish(self: Box<Self>, client: &Client) -> Option<Connection> {
        let download = self.download.as_ref();
        let exact = download.is_some_and(Download::ended_exactly)
            && self.head.keep_alive
            && self.taken
            && self.upload.is_none()
            && self.connection.wire.input.is_empty()
            && self.connection.wire.is_flushed();
        client.session().worker().spares().keep_response(self.head);
        let mut connection = self.connection;
        connection.wire.rest();
        exact.then_some(connection)
    }

    /// Whether the client still has a part of its body to send.
    pub(crate) fn upload_is_open(&self) -> bool {
        self.upload.is_some()
    }

    /// Whether the client waits to be told to send its body.
    pub(crate) fn upload_waits(&self) -> bool {
        self.upload.as_ref().is_some_and(Upload::waits)
    }

    /// Minds the client: sends on what it sends, and notices if it has left. Where there is no body to send on, that is
    /// left for when the app has nothing to say: mostly it has all, and the client need not be looked after.
    fn poll_client(&mut self, cx: &mut Context<'_>, client: &mut Client) -> Result<(), Failure> {
        let sends = self.upload.as_ref().is_some_and(Upload::reads);
        if !sends && client.poll_gone(cx).is_ready() {
            return Err(Failure::ClientGone);
        }
        self.poll_upload(cx, client)
    }

    /// Sends what can be sent of the request now. That it can't all be sent is not a failure, and neither is an app
    /// that has stopped reading: it may have answered already.
    fn poll_upload(&mut self, cx: &mut Context<'_>, client: &mut Client) -> Result<(), Failure> {
        let before = self.connection.written();
        let sent = match &mut self.upload {
            Some(upload) => {
                let sent = upload.poll(cx, &mut self.connection, client);
                self.pulled |= upload.is_pulled();
                sent
            }
            None => self.poll_rest(cx),
        };
        let deadline = client.session().deadline();
        match sent {
            Poll::Ready(Ok(())) if self.upload.take().is_some() => deadline.set(self.patience()),
            Poll::Ready(Ok(())) => {}
            Poll::Pending => {
                if self.connection.written() > before {
                    deadline.set(self.patience());
                }
                let blocked = self
                    .upload
                    .as_ref()
                    .is_some_and(|upload| upload.is_blocked(&self.connection));
                if blocked && client.has_left() {
                    return Err(Failure::ClientGone);
                }
            }
            Poll::Ready(Err(UploadError::Client(error))) => return Err(Failure::ClientBody(error)),
            Poll::Ready(Err(UploadError::TooLarge)) => return Err(Failure::BodyTooLarge),
            Poll::Ready(Err(UploadError::ClientGone)) => return Err(Failure::ClientGone),
            Poll::Ready(Err(UploadError::Upstream(error))) if self.connection.written() == 0 => {
                return Err(Failure::Closed(error));
            }
            Poll::Ready(Err(UploadError::Upstream(_))) => {
                self.taken = false;
                self.broken = true;
                self.connection.wire.forget_output();
                if let Some(download) = &mut self.download {
                    download.is_broken();
                }
                if let Some(upload) = &mut self.upload {
                    upload.abandon();
                }
            }
        }
        Ok(())
    }

    /// Sends the rest of a head that no body follows.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UploadError>> {
        while !self.connection.wire.is_flushed() {
            ready!(self.connection.poll_send(cx, &[], &[])).map_err(UploadError::Upstream)?;
        }
        Poll::Ready(Ok(()))
    }

    /// Takes an interim response: 100 if the client waits for it, any other for whoever knows what it is
    /// (RFC 9110 §15.2).
    fn interim(&mut self, request: &RequestHead, client: &mut Client) -> Result<(), Failure> {
        self.interim += 1;
        if self.interim > INTERIM_MAX {
            return Err(Failure::TooManyInterim);
        }
        let wanted = match self.head.status {
            StatusCode::CONTINUE => request.expects_continue() && !self.continued,
            _ => request.http11,
        };
        if wanted && client.wire.waiting() < INTERIM_BYTES_MAX {
            headers::write_interim(client.wire.output(), &self.head);
        }
        if self.head.status == StatusCode::CONTINUE {
            self.go_on(client);
        }
        Ok(())
    }

    /// The client has been told that it may send its body.
    fn go_on(&mut self, client: &Client) {
        self.continued = true;
        if let Some(upload) = self.upload.as_mut().filter(|upload| upload.waits()) {
            upload.go_on();
            client.session().deadline().set(self.patience());
        }
    }

    /// The deadline has passed while no head has come.
    fn time_out(&mut self, client: &mut Client) -> Result<(), Failure> {
        if !self.upload_waits() {
            return Err(self.stalled(client));
        }
        let output = client.wire.output();
        output.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        self.go_on(client);
        Ok(())
    }

    /// How long the next sign of life may take, as things stand.
    fn patience(&self) -> Duration {
        match &self.upload {
            Some(upload) if upload.waits() => CONTINUE_WAIT,
            None if self.download.is_none() => self.timeouts.response,
            Some(_) | None => self.timeouts.idle,
        }
    }

    /// Who is to blame when nothing moves: the client, if it is its bytes that are missing or if it doesn't take ours.
    fn stalled(&self, client: &Client) -> Failure {
        let sends_nothing = self
            .upload
            .as_ref()
            .is_some_and(|upload| upload.starves(&self.connection));
        let takes_nothing = self
            .download
            .as_ref()
            .is_some_and(|download| download.waits_for(client));
        if sends_nothing || takes_nothing {
            Failure::ClientTimeout
        } else {
            Failure::UpstreamTimeout
        }
    }
}
