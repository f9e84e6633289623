//! One socket and the bytes that wait on either side of it: what was read and hasn't been understood, and what was
//! written and hasn't been sent. It knows nothing of what they mean.

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

use crate::{http1::Buffer, stock::Stock, stream::Stream};

/// Enough for the head of most messages.
const OUTPUT_BYTES: usize = 1024;
/// Memory of outputs that a thread keeps for the next: 512 KiB at most.
const OUTPUTS_KEPT: usize = 128;
const OUTPUT_KEPT_BYTES: usize = 4 * 1024;
/// When so much of the output is gone, its memory is used again, although there may always be more behind it.
const OUTPUT_GONE_BYTES: usize = 16 * 1024;

thread_local! {
    static OUTPUTS: RefCell<Stock<Vec<u8>>> = const { RefCell::new(Stock::of(OUTPUTS_KEPT)) };
}

#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) stream: Stream,
    pub(crate) input: Buffer,
    /// Heads and framing on their way out; `sent` bytes of it are gone.
    output: Vec<u8>,
    sent: usize,
}

impl Wire {
    pub(crate) fn new(stream: Stream) -> Self {
        Self {
            stream,
            input: Buffer::default(),
            output: Vec::new(),
            sent: 0,
        }
    }

    /// Where more is added, behind what hasn't been sent yet.
    pub(crate) fn output(&mut self) -> &mut Vec<u8> {
        if self.is_flushed() {
            self.forget_output();
        } else if self.sent >= OUTPUT_GONE_BYTES {
            self.output.drain(..self.sent);
            self.sent = 0;
        }
        if self.output.capacity() == 0 {
            let kept = OUTPUTS.with_borrow_mut(Stock::take);
            self.output = kept.unwrap_or_else(|| Vec::with_capacity(OUTPUT_BYTES));
        }
        &mut self.output
    }

    pub(crate) fn is_flushed(&self) -> bool {
        self.sent == self.output.len()
    }

    /// How much of the output hasn't been sent.
    pub(crate) fn waiting(&self) -> usize {
        self.output.len() - self.sent
    }

    /// Drops what hasn't been sent: nobody wants it any more.
    pub(crate) fn forget_output(&mut self) {
        self.output.clear();
        self.sent = 0;
    }

    /// Reads what there is, into a buffer for at least `wanted` bytes if it is empty; zero bytes mean that the other
    /// side has ended.
    pub(crate) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        wanted: usize,
    ) -> Poll<io::Result<usize>> {
        if self.input.is_empty() && self.stream.poll_read_ready(cx)?.is_pending() {
            // Whoever waits holds no memory.
            self.input.rest();
            return Poll::Pending;
        }
        let mut space = ReadBuf::new(self.input.space(wanted));
        let read = Pin::new(&mut self.stream).poll_read(cx, &mut space);
        let bytes = space.filled().len();
        if read.is_pending() {
            self.input.rest();
        }
        ready!(read)?;
        self.input.filled(bytes);
        Poll::Ready(Ok(bytes))
    }

    /// One write of what stands in the output, of `data` behind it, and of the `tail` that follows the data: how much was
    /// taken. Ready as well if there was nothing to send.
    pub(crate) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        data: &[u8],
        tail: &[u8],
    ) -> Poll<io::Result<Sent>> {
        let output = &self.output[self.sent..];
        let stream = Pin::new(&mut self.stream);
        let written = match (output.is_empty(), data.is_empty() && tail.is_empty()) {
            (true, true) => return Poll::Ready(Ok(Sent::default())),
            (false, true) => ready!(stream.poll_write(cx, output))?,
            (true, false) if tail.is_empty() => ready!(stream.poll_write(cx, data))?,
            (_, false) => {
                let slices = [output, data, tail].map(IoSlice::new);
                ready!(stream.poll_write_vectored(cx, &slices))?
            }
        };
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        let of_output = written.min(output.len());
        let of_data = (written - of_output).min(data.len());
        self.sent += of_output;
        Poll::Ready(Ok(Sent {
            bytes: written,
            of_data,
            of_tail: written - of_output - of_data,
        }))
    }

    /// Holds no memory while there is nothing to say.
    pub(crate) fn rest(&mut self) {
        self.input.rest();
        if self.is_flushed() && self.output.capacity() > 0 {
            self.forget_output();
            let output = std::mem::take(&mut self.output);
            if output.capacity() <= OUTPUT_KEPT_BYTES {
                OUTPUTS.with_borrow_mut(|kept| kept.keep(output));
            }
        }
    }
}

/// Drops what of the thread's stock nobody has asked for since it was called last.
pub(crate) fn shed() {
    OUTPUTS.with_borrow_mut(Stock::shed);
}

/// What one write has taken.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sent {
    pub(crate) bytes: usize,
    pub(crate) of_data: usize,
    pub(crate) of_tail: usize,
}

/// What is to go out behind the output: so many bytes from the front of another wire's input, and what ends them.
#[derive(Debug, Default)]
pub(crate) struct Piece {
    pub(crate) data: usize,
    pub(crate) tail: &'static [u8],
}

impl Piece {
    pub(crate) fn is_empty(&self) -> bool {
        self.data == 0 && self.tail.is_empty()
    }

    /// That much of it is gone.
    pub(crate) fn advance(&mut self, sent: Sent) {
        self.data -= sent.of_data;
        self.tail = &self.tail[sent.of_tail..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn output_that_is_never_all_gone_takes_no_more_than_waits() {
        let (ours, mut theirs) = tokio::net::UnixStream::pair().unwrap();
        socket2::SockRef::from(&ours)
            .set_send_buffer_size(4096)
            .unwrap();
        let mut wire = Wire::new(Stream::Unix(ours));
        let mut taken = [0; 1024];
        let (mut read, mut written) = (0_usize, 0_usize);
        while read < 1024 * 1024 {
            while wire.waiting() < OUTPUT_GONE_BYTES {
                let bytes: Vec<u8> = (written..written + 100)
                    .map(|at| at.to_le_bytes()[0])
                    .collect();
                wire.output().extend_from_slice(&bytes);
                written += 100;
            }
            let length = std::future::poll_fn(|cx| {
                while wire.poll_send(cx, &[], &[]).is_ready() && wire.waiting() > 0 {}
                let mut taken = ReadBuf::new(&mut taken);
                ready!(Pin::new(&mut theirs).poll_read(cx, &mut taken)).unwrap();
                Poll::Ready(taken.filled().len())
            })
            .await;
            for (at, byte) in taken[..length].iter().enumerate() {
                assert_eq!(*byte, (read + at).to_le_bytes()[0]);
            }
            read += length;
            assert!(
                wire.output.len() <= 3 * OUTPUT_GONE_BYTES,
                "{}",
                wire.output.len()
            );
        }
        wire.forget_output();
        wire.rest();
        assert_eq!(wire.output.capacity(), 0);
    }
}
