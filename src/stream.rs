//! A byte stream, over TCP or a unix socket, as one type. It knows nothing of what flows through it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::FutureExt as _;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready},
    net::{TcpStream, UnixStream},
};

#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Whether there is something to be read, an end or an error included. Costs no system call.
    pub(crate) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(cx),
            Self::Unix(stream) => stream.poll_read_ready(cx),
        }
    }

    /// Whether the other side has ended what it sends, even where that has not been read to its end. Known once the
    /// runtime has heard of it; costs no system call.
    pub(crate) fn has_ended(&self) -> bool {
        self.is(Interest::READABLE, Ready::is_read_closed)
    }

    /// Whether the connection was reset: nothing can be read or written any more.
    pub(crate) fn is_dead(&self) -> bool {
        self.is(Interest::WRITABLE, Ready::is_write_closed)
    }

    fn is(&self, interest: Interest, what: impl FnOnce(Ready) -> bool) -> bool {
        let ready = match self {
            Self::Tcp(stream) => stream.ready(interest).now_or_never(),
            Self::Unix(stream) => stream.ready(interest).now_or_never(),
        };
        ready.is_some_and(|ready| ready.is_ok_and(what))
    }

    /// Whether there is nothing to be read, as the system knows it at this moment.
    pub(crate) fn is_silent(&self) -> bool {
        let socket = match self {
            Self::Tcp(stream) => socket2::SockRef::from(stream),
            Self::Unix(stream) => socket2::SockRef::from(stream),
        };
        let peeked = socket.peek(&mut [std::mem::MaybeUninit::uninit()]);
        peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Whether dropping it will look like an error to the other side, and not like an end.
    pub(crate) fn reset_on_close(&self, reset: bool) {
        let linger = reset.then_some(Duration::ZERO);
        if let Self::Tcp(stream) = self
            && let Err(error) = socket2::SockRef::from(stream).set_linger(linger)
        {
            tracing::debug!(%error, "how a connection closes can't be set");
        }
    }

    /// Writes what the socket takes at once; for last words to a peer that isn't worth waiting for.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write(bytes),
            Self::Unix(stream) => stream.try_write(bytes),
        }
    }
}

/// Forwards one poll method to whichever stream there is.
macro_rules! either {
    ($self:ident, $method:ident ( $($argument:expr),* )) => {
        match $self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).$method($($argument),*),
            Stream::Unix(stream) => Pin::new(stream).$method($($argument),*),
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self, poll_read(cx, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(self, poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Sockets have no buffer of their own to flush.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, poll_shutdown(cx))
    }
}
