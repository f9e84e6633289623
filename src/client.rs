//! The client's side of a connection: its requests' heads one after the other, and whether it is still there. What a
//! request asks for is not its business.

use std::{
    future::{Future, poll_fn},
    io,
    pin::pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::io::AsyncWrite as _;

use crate::{
    error::ProxyError,
    handle::Next,
    headers::BodyLength,
    http1::{Buffer, RequestHead, buffer::SMALL_BYTES},
    proxy_header,
    session::{Phase, Session},
    stream::Stream,
    wire::{Sent, Wire},
};

/// How long a draining edge waits for one more request of a client that is connected and silent.
const LAST_CALL: Duration = Duration::from_secs(1);

/// How much a client may send ahead of what it has been answered. Beyond it nothing is read.
const AHEAD_BYTES_MAX: usize = 16 * 1024;

/// The last of a body up to this is copied behind the head: writing one piece of memory costs less than two.
const COPIED_BYTES_MAX: usize = 1024;

/// How long, and how much, a connection that is to be closed waits for its client to stop sending.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: usize = 4 * 1024 * 1024;

#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) wire: Wire,
    /// The last of a response's body, which goes out behind the output.
    last: Buffer,
    session: Rc<Session>,
    headers_bytes_max: usize,
    /// Whether a PROXY header is still to come, before anything of the client's.
    expects_proxy_header: bool,
    /// How much of the input has been looked at for a head, in vain.
    seen: usize,
    /// Whether a silent client has been given its last call.
    called: bool,
    requests: usize,
    requests_max: usize,
}

/// What came instead of nothing.
#[derive(Debug)]
pub(crate) enum Heard {
    Request(Box<RequestHead>),
    /// Something that can't be answered by an app.
    Refused(ProxyError),
    /// The client has left, or is asked to: nothing came that would need an answer.
    Over,
}

/// What happened before a future was ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interrupted {
    /// The connection's deadline has passed.
    Deadline,
    ClientGone,
}

impl Client {
    pub(crate) fn new(stream: Stream, session: Rc<Session>) -> Self {
        let limits = session.worker().limits();
        let expects_proxy_header = session.worker().expects_proxy_header(session.peer().ip);
        Self {
            wire: Wire::new(stream),
            last: Buffer::default(),
            session,
            headers_bytes_max: limits.headers_bytes_max,
            expects_proxy_header,
            seen: 0,
            called: false,
            requests: 0,
            requests_max: limits.keepalive_requests,
        }
    }

    pub(crate) fn session(&self) -> &Rc<Session> {
        &self.session
    }

    /// The next request's head.
    pub(crate) async fn next(&mut self) -> Heard {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Heard> {
        loop {
            if let Some(heard) = self.take_next() {
                return Poll::Ready(heard);
            }
            self.mind_drain();
            if self.session.has_to_wait() && self.comes(cx) {
                self.session.wait_for_turn();
                return Poll::Pending;
            }
            match self.wire.poll_fill(cx, SMALL_BYTES) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Heard::Over),
                Poll::Pending if self.session.makes_room_unasked() => {
                    return Poll::Ready(Heard::Over);
                }
                Poll::Pending if !self.session.deadline().passed() => return Poll::Pending,
                Poll::Pending => return Poll::Ready(self.out_of_time()),
            }
        }
    }

    /// Whether something has come that isn't read yet.
    fn comes(&self, cx: &mut Context<'_>) -> bool {
        self.wire.stream.poll_read_ready(cx).is_ready()
    }

    /// What can be made of the bytes that are here, if it is something whole.
    fn take_next(&mut self) -> Option<Heard> {
        if self.expects_proxy_header && !self.take_proxy_header()? {
            return Some(Heard::Refused(ProxyError::BadProxyHeader));
        }
        self.skip_empty_lines();
        if !self.has_line() {
            return None;
        }
        self.session.begin_head();
        let mut head = self.session.worker().spares().request();
        match head.parse(self.wire.input.bytes(), self.headers_bytes_max) {
            Ok(Some(length)) => {
                self.wire.input.consume(length);
                self.seen = 0;
                self.requests += 1;
                return Some(Heard::Request(head));
            }
            Ok(None) => self.seen = self.wire.input.len(),
            Err(bad) => {
                let error = ProxyError::of_head(bad, self.headers_bytes_max);
                return Some(Heard::Refused(error));
            }
        }
        self.session.worker().spares().keep_request(head);
        None
    }

    /// Whether the connection begins as one from a proxy has to, once that can be told.
    fn take_proxy_header(&mut self) -> Option<bool> {
        let input = &mut self.wire.input;
        match proxy_header::parse(input.bytes()) {
            Ok(Some((length, source))) => {
                input.consume(length);
                self.expects_proxy_header = false;
                self.session.pass_on(source);
                Some(true)
            }
            Ok(None) => {
                if !input.is_empty() {
                    self.session.begin_head();
                }
                None
            }
            Err(proxy_header::Invalid) => Some(false),
        }
    }

    /// Some clients send an empty line behind a body; it is no beginning of a request (RFC 9112 §2.2).
    fn skip_empty_lines(&mut self) {
        while self.wire.input.bytes().starts_with(b"\r\n") {
            self.wire.input.consume(2);
            self.seen = 0;
        }
    }

    /// Whether it is worth while to parse: a line has ended that hasn't been seen, or there is too much already.
    fn has_line(&self) -> bool {
        let input = self.wire.input.bytes();
        let new = input.get(self.seen..).unwrap_or_default();
        memchr::memchr(b'\n', new).is_some()
            || self.seen == 0 && !input.is_empty()
            || input.len() >= self.headers_bytes_max
    }

    /// A silent client may be sending a request at this moment; one is still answered, and told to be the last.
    fn mind_drain(&mut self) {
        let silent = matches!(self.session.phase(), Phase::Fresh | Phase::Idle);
        if silent && !self.called && self.session.worker().is_draining() {
            self.called = true;
            self.session.deadline().set(LAST_CALL);
        }
    }

    fn out_of_time(&self) -> Heard {
        match self.session.phase() {
            Phase::Head => Heard::Refused(ProxyError::HeaderTimeout {
                after: self.session.worker().limits().header_read,
            }),
            Phase::Fresh | Phase::Idle | Phase::Request | Phase::Response(_) => Heard::Over,
        }
    }

    /// Waits for something else than the client, for as long as its deadline says and it is there.
    pub(crate) async fn attend<F: Future>(&mut self, future: F) -> Result<F::Output, Interrupted> {
        let mut future = pin!(future);
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            if self.poll_gone(cx).is_ready() {
                return Poll::Ready(Err(Interrupted::ClientGone));
            }
            if self.session.deadline().passed() {
                return Poll::Ready(Err(Interrupted::Deadline));
            }
            Poll::Pending
        })
        .await
    }

    /// Ready once the client has left. One that only ends its sending side counts as gone too, as it does with nginx:
    /// there is no telling it from one that has left until something is sent to it.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.wire.input.len() < AHEAD_BYTES_MAX {
            match ready!(self.wire.poll_fill(cx, SMALL_BYTES)) {
                Ok(1..) => {}
                Ok(0) | Err(_) => return Poll::Ready(()),
            }
        }
        if self.has_left() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// The same while nothing can be read of what the client sends, and so its end isn't met. Whoever finds that it is
    /// still there is woken to look again.
    pub(crate) fn has_left(&self) -> bool {
        self.session.deadline().look_again();
        self.wire.stream.has_ended()
    }

    /// See [`Wire::poll_send`].
    pub(crate) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        data: &[u8],
        tail: &[u8],
    ) -> Poll<io::Result<Sent>> {
        let sent = ready!(self.wire.poll_send(cx, data, tail))?;
        if sent.bytes > 0 {
            self.session.moved();
        }
        Poll::Ready(Ok(sent))
    }

    /// Takes the last bytes of a response over, so that the app's connection is free before the client has taken them.
    pub(crate) fn take_last(&mut self, input: &mut Buffer, data: usize) {
        if data > COPIED_BYTES_MAX && data == input.len() {
            std::mem::swap(&mut self.last, input);
        } else {
            self.wire.output().extend_from_slice(&input.bytes()[..data]);
            self.session.count_bytes_out(data);
            input.consume(data);
        }
    }

    /// Sends all that there is to send.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.wire.is_flushed() || !self.last.is_empty() {
            let sent = ready!(self.wire.poll_send(cx, self.last.bytes(), &[]))?;
            self.last.consume(sent.of_data);
            self.session.count_bytes_out(sent.of_data);
            self.session.moved();
        }
        self.last.rest();
        self.wire.rest();
        Poll::Ready(Ok(()))
    }

    /// The same, for as long as the connection's deadline allows.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|cx| match self.poll_flush(cx) {
            Poll::Pending if self.session.deadline().passed() => {
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            flushed => flushed,
        })
        .await
    }

    /// Whether the request at hand is to be this connection's last, whatever the client wishes.
    pub(crate) fn is_last_request(&self) -> bool {
        self.session.worker().is_draining()
            || self.requests >= self.requests_max
            || self.session.makes_room()
    }

    /// How a connection ends on which all was said: at once, unless there is more that nobody will read.
    pub(crate) fn closing(&self) -> Next {
        if self.wire.input.is_empty() {
            Next::Close
        } else {
            Next::Linger
        }
    }

    /// A response is about to be sent. If it can't be completed, for whichever reason, the client has to see that
    /// something is missing: where the end of the connection would be the end of the body, only a reset says that.
    pub(crate) fn begin_response(&self, body: BodyLength) {
        if body == BodyLength::UntilClose {
            self.wire.stream.reset_on_close(true);
        }
    }

    /// It is complete, and the system has all of it.
    pub(crate) fn end_response(&self, body: BodyLength) {
        if body == BodyLength::UntilClose {
            self.wire.stream.reset_on_close(false);
        }
    }

    /// The last of this connection. To close while the client still sends would reset the connection, and it might
    /// never see its answer (RFC 9112 §9.6): so it is told that there is no more, and what it sends is read for a while.
    pub(crate) async fn linger(mut self) {
        self.session.deadline().set(LINGER);
        let mut left = LINGER_BYTES_MAX;
        poll_fn(|cx| {
            if std::pin::Pin::new(&mut self.wire.stream)
                .poll_shutdown(cx)?
                .is_pending()
            {
                return Poll::Pending;
            }
            loop {
                let ahead = self.wire.input.len();
                left = left.saturating_sub(ahead);
                self.wire.input.consume(ahead);
                match self.wire.poll_fill(cx, SMALL_BYTES)? {
                    Poll::Ready(1..) if left > 0 => {}
                    Poll::Pending if !self.session.deadline().passed() => return Poll::Pending,
                    Poll::Ready(_) | Poll::Pending => return Poll::Ready(io::Result::Ok(())),
                }
            }
        })
        .await
        // Whether the client still listens is its own affair.
        .unwrap_or_default();
    }
}
