//! One request and its response over one connection, both bodies flowing at once.
//!
//! It is polled inline by the task of the client's connection, so it costs no task and no channel. It reports what
//! happened and how far things had got; whether to try again is decided by `forward`.

use std::{
    fmt, io,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body::Frame;

use super::{
    Connection,
    http1::{BodyDecoder, Decoded, InvalidBody, InvalidHead, ResponseHead, response},
    upload::{Upload, UploadError},
};
use crate::{config::Timeouts, session::Session};

/// Interim responses of one exchange that are taken before the app is thought to be broken.
const INTERIM_MAX: u32 = 16;
/// A client that asked for 100 Continue gets to send its body after this even if the app doesn't answer: apps of
/// HTTP/1.0 never will (RFC 9110 §10.1.1).
const CONTINUE_WAIT: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Exchange {
    connection: Connection,
    upload: Option<Upload>,
    /// Whether any of the request's body was taken from the client; then it can't be taken again.
    pulled: bool,
    timeouts: Timeouts,
    /// Whether a byte of an answer has been seen.
    answered: bool,
    /// Whether the final head has been seen.
    in_body: bool,
    interim: u32,
    /// What went wrong with the upload and hasn't been told yet.
    failed: Option<Failure>,
    /// Where in the response's body we are, once its head is known.
    download: BodyDecoder,
    reusable: bool,
}

/// What ended an exchange early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The app closed or reset the connection.
    Closed(io::Error),
    InvalidHead(InvalidHead),
    InvalidBody(InvalidBody),
    /// A 101 that nobody had asked for.
    UnaskedUpgrade,
    TooManyInterim,
    /// The app didn't answer, or sent nothing more.
    UpstreamTimeout,
    /// The client stopped sending its body.
    ClientTimeout,
    /// The client's body was cut off or was not valid.
    ClientBody(hyper::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(error) => error.fmt(f),
            Self::InvalidHead(error) => error.fmt(f),
            Self::InvalidBody(error) => error.fmt(f),
            Self::UnaskedUpgrade => f.write_str("101 without an upgrade being asked for"),
            Self::TooManyInterim => f.write_str("interim responses without end"),
            Self::UpstreamTimeout => f.write_str("the app stood still"),
            Self::ClientTimeout => f.write_str("the client stood still"),
            Self::ClientBody(error) => error.fmt(f),
        }
    }
}

impl Exchange {
    /// Over a connection whose head buffer holds the request's head.
    pub(crate) fn new(
        mut connection: Connection,
        mut upload: Option<Upload>,
        timeouts: Timeouts,
        session: &Session,
    ) -> Self {
        if let Some(upload) = &mut upload {
            upload.restart(connection.framing());
        }
        let exchange = Self {
            pulled: upload.as_ref().is_some_and(Upload::is_pulled),
            connection,
            upload,
            timeouts,
            answered: false,
            in_body: false,
            interim: 0,
            failed: None,
            download: BodyDecoder::Empty,
            reusable: false,
        };
        session.deadline().set(exchange.patience());
        exchange
    }

    /// The final response's head; the body follows by [`Self::poll_body`]. `headers` are the request's, whose map is
    /// used again: once the app has begun to answer they aren't needed any more.
    pub(crate) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        session: &Session,
        method: &Method,
        upgrade_asked: bool,
        headers: &mut HeaderMap,
    ) -> Poll<Result<ResponseHead, Failure>> {
        self.poll_upload(cx, session)?;
        loop {
            if !self.connection.input.is_empty() {
                let parsed = response::parse(&mut self.connection.input, method, headers);
                match parsed.map_err(Failure::InvalidHead)? {
                    Some(head) if head.status == StatusCode::SWITCHING_PROTOCOLS => {
                        let proper = upgrade_asked && head.upgrade.is_some();
                        return Poll::Ready(if proper {
                            Ok(head)
                        } else {
                            Err(Failure::UnaskedUpgrade)
                        });
                    }
                    Some(head) if head.status.is_informational() => {
                        self.interim(head.status, session)?;
                        *headers = head.headers;
                        headers.clear();
                        self.poll_upload(cx, session)?;
                        continue;
                    }
                    Some(head) => {
                        self.download = head.body.clone();
                        self.reusable = head.keep_alive;
                        self.in_body = true;
                        session.deadline().set(self.patience());
                        return Poll::Ready(Ok(head));
                    }
                    None => {}
                }
            }
            match self.connection.poll_read_head(cx) {
                Poll::Ready(Ok(0)) => {
                    return Poll::Ready(Err(Failure::Closed(io::ErrorKind::UnexpectedEof.into())));
                }
                Poll::Ready(Ok(_)) if !self.answered => {
                    self.answered = true;
                    headers.clear();
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Failure::Closed(error))),
                Poll::Pending if !session.deadline().passed() => return Poll::Pending,
                Poll::Pending => {
                    self.time_out(session)?;
                    // The client may send its body now, without having been told to by the app.
                    self.poll_upload(cx, session)?;
                }
            }
        }
    }

    /// Sends what can be sent of the request while nobody asks for the response; ready once nothing is left to send. What
    /// goes wrong is told to the one who asks for the response next.
    pub(crate) fn drive_upload(&mut self, cx: &mut Context<'_>, session: &Session) -> Poll<()> {
        match self.poll_upload(cx, session) {
            Ok(()) if self.upload.is_some() => Poll::Pending,
            Ok(()) => Poll::Ready(()),
            Err(failure) => {
                self.failed = Some(failure);
                Poll::Ready(())
            }
        }
    }

    /// The next piece of the response's body.
    pub(crate) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        session: &Session,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        if let Some(failure) = self.failed.take() {
            return Poll::Ready(Some(Err(failure)));
        }
        if let Err(failure) = self.poll_upload(cx, session) {
            return Poll::Ready(Some(Err(failure)));
        }
        loop {
            match self.download.decode(&mut self.connection.input) {
                Ok(Decoded::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(Decoded::Trailers(trailers)) => {
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                Ok(Decoded::End) => return Poll::Ready(None),
                Ok(Decoded::More) => {}
                Err(error) => return Poll::Ready(Some(Err(Failure::InvalidBody(error)))),
            }
            match self.connection.poll_read_body(cx) {
                Poll::Ready(Ok(0)) => {
                    self.reusable = false;
                    let end = self.download.closed();
                    return Poll::Ready(end.err().map(|error| Err(Failure::InvalidBody(error))));
                }
                Poll::Ready(Ok(_)) => session.deadline().set(self.timeouts.idle),
                Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(Failure::Closed(error)))),
                Poll::Pending if session.deadline().passed() => {
                    return Poll::Ready(Some(Err(self.stalled())));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Whether the response's body has been read to its end.
    pub(crate) fn is_end(&self) -> bool {
        self.download.is_end()
    }

    /// Bytes of the response's body that are still to come, where that is known.
    pub(crate) fn remaining(&self) -> Option<u64> {
        self.download.remaining()
    }

    /// Whether the app may have seen any of the request.
    pub(crate) fn has_sent(&self) -> bool {
        self.connection.written() > 0
    }

    /// Whether the app has said anything.
    pub(crate) fn has_answer(&self) -> bool {
        self.answered
    }

    /// The connection, of which this exchange is given up or which has been upgraded, and what wasn't sent of the body.
    pub(crate) fn into_parts(self) -> (Connection, Option<Upload>) {
        (self.connection, self.upload)
    }

    /// The connection, if both messages ended exactly where they should have, so that another request may follow.
    pub(crate) fn finish(self) -> Option<Connection> {
        let exact = self.reusable
            && self.failed.is_none()
            && self.download.is_end()
            && self.upload.is_none()
            && self.connection.input.is_empty()
            && self.connection.is_flushed();
        exact.then(|| {
            let mut connection = self.connection;
            connection.rest();
            connection
        })
    }

    /// Whether nothing of the request's body has been taken from the client.
    pub(crate) fn upload_is_untouched(&self) -> bool {
        !self.pulled
    }

    /// Whether the client still has a part of its body to send.
    pub(crate) fn upload_is_open(&self) -> bool {
        self.upload.is_some()
    }

    /// Sends what can be sent of the request now. That it can't all be sent is not a failure, and neither is an app
    /// that has stopped reading: it may have answered already.
    fn poll_upload(&mut self, cx: &mut Context<'_>, session: &Session) -> Result<(), Failure> {
        let before = self.connection.written();
        let sent = match &mut self.upload {
            Some(upload) => {
                let sent = upload.poll(cx, &mut self.connection, session);
                self.pulled |= upload.is_pulled();
                sent
            }
            None if self.connection.is_flushed() => return Ok(()),
            None => self
                .connection
                .poll_send(cx, &mut Bytes::new())
                .map_err(UploadError::Upstream),
        };
        match sent {
            Poll::Ready(Ok(())) => {
                self.upload = None;
                session.deadline().set(self.patience());
            }
            Poll::Pending if self.connection.written() > before => {
                session.deadline().set(self.patience());
            }
            Poll::Pending => {}
            Poll::Ready(Err(UploadError::Client(error))) => return Err(Failure::ClientBody(error)),
            Poll::Ready(Err(UploadError::Upstream(error))) if self.connection.written() == 0 => {
                return Err(Failure::Closed(error));
            }
            Poll::Ready(Err(UploadError::Upstream(_))) => {
                self.reusable = false;
                if let Some(upload) = &mut self.upload {
                    upload.abandon();
                }
            }
        }
        Ok(())
    }

    /// Takes an interim response. Only 100 has a meaning here; hyper can't relay the others.
    fn interim(&mut self, status: StatusCode, session: &Session) -> Result<(), Failure> {
        self.interim += 1;
        if self.interim > INTERIM_MAX {
            return Err(Failure::TooManyInterim);
        }
        if status == StatusCode::CONTINUE
            && let Some(upload) = &mut self.upload
            && upload.waits()
        {
            upload.go_on();
            session.deadline().set(self.patience());
        }
        Ok(())
    }

    /// The deadline has passed while no head has come.
    fn time_out(&mut self, session: &Session) -> Result<(), Failure> {
        match &mut self.upload {
            Some(upload) if upload.waits() => {
                upload.go_on();
                session.deadline().set(self.patience());
                Ok(())
            }
            _ => Err(self.stalled()),
        }
    }

    /// How long the next sign of life may take, as things stand.
    fn patience(&self) -> Duration {
        match &self.upload {
            Some(upload) if upload.waits() => CONTINUE_WAIT,
            None if !self.in_body => self.timeouts.response,
            Some(_) | None => self.timeouts.idle,
        }
    }

    /// Who is to blame when nothing moves: the client, if it is its bytes that are missing.
    fn stalled(&self) -> Failure {
        match &self.upload {
            Some(upload) if upload.starves(&self.connection) => Failure::ClientTimeout,
            Some(_) | None => Failure::UpstreamTimeout,
        }
    }
}
