//! Connections that have left HTTP: after a 101, bytes are carried both ways until both sides have ended. It
//! reads and writes; what the bytes mean is between client and app.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{
    client::Client, http1::Buffer, session::Session, stream::Stream, telemetry::record::Record,
    upstream::Connection,
};

/// Read at once. One buffer serves all tunnels of a worker: a silent one holds none.
pub(crate) const SCRATCH_BYTES: usize = 32 * 1024;

/// Carries bytes until both sides have ended, one fails, or nothing moves for `idle`.
pub(crate) async fn run(
    client: &mut Client,
    record: Record<'_>,
    mut connection: Connection,
    idle: Duration,
) {
    let session = Rc::clone(client.session());
    let app = &mut connection.wire;
    let client = &mut client.wire;
    // What either side has sent ahead of the switch.
    let mut up = Pipe::holding(&mut client.input);
    let mut down = Pipe::holding(&mut app.input);
    session.begin_response(idle);
    // Where both have to wait for their turn, each comes first as often as the other.
    let mut down_first = true;
    let end = poll_fn(|cx| {
        down_first = !down_first;
        let mut scratch = session.worker().scratch();
        let (ours, theirs) = (&mut client.stream, &mut app.stream);
        let early = down_first.then(|| down.poll(cx, &session, theirs, ours, &mut scratch));
        let up_end = up.poll(cx, &session, ours, theirs, &mut scratch)?;
        let down_end = match early {
            Some(end) => end?,
            None => down.poll(cx, &session, theirs, ours, &mut scratch)?,
        };
        let (sent, received) = (up.take_moved(), down.take_moved());
        session.count_bytes_in(sent);
        session.count_bytes_out(received);
        if up_end.is_ready() && down_end.is_ready() {
            return Poll::Ready(Ok(()));
        }
        for (pipe, from) in [(&up, &client.stream), (&down, &app.stream)] {
            if pipe.is_blocked() {
                // Nothing is read from there, and so neither is its end.
                session.deadline().look_again();
                if from.is_dead() {
                    return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
                }
            }
        }
        if session.deadline().passed() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    })
    .await;
    match end {
        Ok(()) => record.complete(),
        Err(error) => record.tunnel_failed(error),
    }
}

/// One direction.
#[derive(Debug)]
struct Pipe {
    /// Read, and not yet taken by the other side. Never more than one read, so that backpressure works.
    pending: BytesMut,
    state: State,
    moved: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The source has ended; the other side is to be told.
    Ended,
    Shut,
}

impl Pipe {
    fn holding(input: &mut Buffer) -> Self {
        let pending = BytesMut::from(input.bytes());
        input.consume(pending.len());
        input.rest();
        Self {
            moved: pending.len(),
            pending,
            state: State::Open,
        }
    }

    /// Whether the other side doesn't take what is there.
    fn is_blocked(&self) -> bool {
        !self.pending.is_empty()
    }

    fn take_moved(&mut self) -> usize {
        std::mem::take(&mut self.moved)
    }

    /// Ready once the source has ended and everything was passed on.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        session: &Session,
        from: &mut Stream,
        to: &mut Stream,
        scratch: &mut [u8],
    ) -> Poll<io::Result<()>> {
        loop {
            while !self.pending.is_empty() {
                let written = ready!(Pin::new(&mut *to).poll_write(cx, &self.pending))?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.pending.advance(written);
                if self.pending.is_empty() {
                    self.pending = BytesMut::new();
                }
            }
            match self.state {
                State::Open => {}
                State::Ended => {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                    self.state = State::Shut;
                    self.pending = BytesMut::new();
                }
                State::Shut => return Poll::Ready(Ok(())),
            }
            if self.state == State::Open {
                if !session.takes_turn() {
                    return Poll::Pending;
                }
                let mut buffer = ReadBuf::new(scratch);
                ready!(Pin::new(&mut *from).poll_read(cx, &mut buffer))?;
                if !buffer.filled().is_empty() {
                    session.read(buffer.filled().len());
                }
                self.pass(cx, buffer.filled(), to)?;
            }
        }
    }

    /// Writes what was just read straight through; only what the other side doesn't take at once is kept.
    fn pass(&mut self, cx: &mut Context<'_>, bytes: &[u8], to: &mut Stream) -> io::Result<()> {
        if bytes.is_empty() {
            self.state = State::Ended;
            return Ok(());
        }
        self.moved += bytes.len();
        let written = match Pin::new(to).poll_write(cx, bytes) {
            Poll::Ready(written) => written?,
            Poll::Pending => 0,
        };
        self.pending.extend_from_slice(&bytes[written..]);
        Ok(())
    }
}
