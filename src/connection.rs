//! One client connection: hyper's server on one socket, its deadlines, its part in a drain, and what becomes of the
//! socket when hyper is done with it.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use crate::{
    handle::handle,
    session::{Peer, Phase, Session},
    stream::Stream,
    telemetry::record,
    upgrade,
    worker::Worker,
};

/// How long, and how much, an early answer waits for the client to stop sending.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How long a draining edge waits for one more request of a client that is connected and silent.
const LAST_CALL: Duration = Duration::from_secs(1);

/// Whether hyper has been told to make this request the connection's last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaving {
    No,
    AfterOne,
    Asked,
}

/// Why a connection's time with hyper is over.
enum End {
    /// By the rules of HTTP, or by an error that hyper has answered as far as it could.
    Http(hyper::Result<()>),
    /// Some of a head came, and then no more for too long.
    HeadTimeout,
    /// Nothing came that would need an answer, or nobody takes the answer; or the edge is ending.
    Silent,
}

/// Serves a client until it leaves, or is asked to.
pub(crate) async fn serve(worker: Rc<Worker>, stream: Stream, peer: Peer) {
    let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
    let deadline = worker.deadlines().register(&waker);
    let headers_bytes_max = worker.limits().headers_bytes_max;
    let session = Rc::new(Session::new(worker, peer, deadline));

    let service = hyper::service::service_fn(|request| handle(Rc::clone(&session), request));
    let io = TokioIo::new(ClientIo {
        stream,
        session: Rc::clone(&session),
    });
    let mut http = http(headers_bytes_max).serve_connection(io, service);

    let mut leaving = Leaving::No;
    let end = poll_fn(|cx| {
        loop {
            if session.worker().is_draining() {
                match (session.phase(), leaving) {
                    // The client may be sending a request at this moment; one is still answered, and told to be the
                    // last.
                    (Phase::Fresh | Phase::Idle, Leaving::No) => {
                        session.deadline().set(LAST_CALL);
                        leaving = Leaving::AfterOne;
                    }
                    (Phase::Fresh | Phase::Idle | Phase::Head, _) | (_, Leaving::Asked) => {}
                    (Phase::Request | Phase::Response(_), Leaving::No | Leaving::AfterOne) => {
                        leaving = Leaving::Asked;
                        Pin::new(&mut http).graceful_shutdown();
                    }
                }
            }
            match Pin::new(&mut http).poll(cx) {
                Poll::Ready(result) => return Poll::Ready(End::Http(result)),
                Poll::Pending => session.drive_upload(cx),
            }
            match session.phase() {
                _ if !session.deadline().passed() => return Poll::Pending,
                Phase::Idle if leaving != Leaving::Asked => {
                    leaving = Leaving::Asked;
                    Pin::new(&mut http).graceful_shutdown();
                }
                Phase::Head => return Poll::Ready(End::HeadTimeout),
                Phase::Fresh | Phase::Idle | Phase::Request | Phase::Response(_) => {
                    return Poll::Ready(End::Silent);
                }
            }
        }
    })
    .await;

    if let End::Http(Err(error)) = &end {
        record::head_refused(&session, error);
    }
    let parts = http.into_parts();
    let mut stream = parts.io.into_inner().stream;
    match (end, session.take_tunnel()) {
        (End::Http(Ok(())), Some(tunnel)) => {
            upgrade::run(tunnel, stream, parts.read_buf, &session).await
        }
        (End::HeadTimeout, _) => {
            record::head_timed_out(&session);
            // Whether the client still listens is its own affair.
            let _ = stream.try_write(
                b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
            );
        }
        (End::Http(_), _) if session.answered_early() => linger(&mut stream, &session).await,
        (End::Http(_) | End::Silent, _) => {}
    }
}

/// hyper's server, as it reads what clients send.
pub(crate) fn http(headers_bytes_max: usize) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.max_header_size(headers_bytes_max)
        // Its timer is made anew for each request; the session's deadline costs nothing.
        .header_read_timeout(None);
    http
}

/// Reads what a client sends on after it was answered early. Closing at once would reset the connection, and the
/// client might never see its answer (RFC 9112 §9.6).
async fn linger(stream: &mut Stream, session: &Session) {
    session.deadline().set(LINGER);
    let mut left = LINGER_BYTES_MAX;
    let mut read = std::pin::pin!(async {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(bytes @ 1..) = stream.read(&mut buffer).await {
            left = left.saturating_sub(bytes);
            if left == 0 {
                break;
            }
        }
    });
    poll_fn(|cx| match read.as_mut().poll(cx) {
        Poll::Pending if !session.deadline().passed() => Poll::Pending,
        _ => Poll::Ready(()),
    })
    .await;
}

/// The client's socket, which tells the session when bytes move.
#[derive(Debug)]
struct ClientIo {
    stream: Stream,
    session: Rc<Session>,
}

impl AsyncRead for ClientIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let result = Pin::new(&mut this.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            this.session.has_read();
        }
        result
    }
}

impl ClientIo {
    fn wrote(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(1..)) = result {
            self.session.has_written();
        }
        result
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.wrote(result)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.wrote(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
