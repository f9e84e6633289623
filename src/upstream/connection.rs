//! One connection to an app: its socket and the bytes that wait on either side of it.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncWrite;

use super::dial::Verified;
use crate::stream::Stream;

/// Enough for nearly every response head, and for the whole of a small response.
const HEAD_READ_BYTES: usize = 8 * 1024;
/// Small buffers nearly double what a large body costs.
const BODY_READ_BYTES: usize = 64 * 1024;

#[derive(Debug)]
pub(crate) struct Connection {
    pub(super) stream: Stream,
    /// What has been read and not yet been understood.
    pub(super) input: BytesMut,
    /// Heads and chunk framing on their way out; `sent` bytes of it are gone.
    output: Vec<u8>,
    sent: usize,
    /// Bytes that this request has put on the wire, body included.
    written: u64,
    endpoint: Rc<str>,
    /// Which of the upstream's origins this is.
    origin: usize,
    /// The upstream's epoch when it was dialled.
    pub(super) epoch: u64,
    /// The tick at which it came to the pool for the first time.
    pub(super) pooled_since: Option<u64>,
}

impl Connection {
    /// Over a connection that is known to belong to the origin: there is no other way to make one.
    pub(super) fn new(verified: Verified, origin: usize, epoch: u64) -> Self {
        let (stream, endpoint) = verified.into_parts();
        Self {
            stream,
            input: BytesMut::new(),
            output: Vec::with_capacity(1024),
            sent: 0,
            written: 0,
            endpoint: endpoint.into(),
            origin,
            epoch,
            pooled_since: None,
        }
    }

    pub(crate) fn endpoint(&self) -> &Rc<str> {
        &self.endpoint
    }

    pub(crate) fn origin(&self) -> usize {
        self.origin
    }

    /// An empty buffer to write the next request's head to.
    pub(crate) fn head_buffer(&mut self) -> &mut Vec<u8> {
        self.written = 0;
        self.output.clear();
        self.sent = 0;
        &mut self.output
    }

    /// Where chunk framing is added, behind what hasn't been sent yet.
    pub(super) fn framing(&mut self) -> &mut Vec<u8> {
        if self.sent == self.output.len() {
            self.output.clear();
            self.sent = 0;
        }
        &mut self.output
    }

    /// The exchange is over: holds no more than an idle connection needs.
    pub(super) fn rest(&mut self) {
        if self.input.capacity() > HEAD_READ_BYTES {
            self.input = BytesMut::new();
        }
    }

    pub(super) fn is_flushed(&self) -> bool {
        self.sent == self.output.len()
    }

    /// How many bytes of the request at hand have left; while it is none, the app can't know of the request.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Writes out what stands in `output`, then `data`, in as few system calls as the socket takes.
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        data: &mut Bytes,
    ) -> Poll<io::Result<()>> {
        loop {
            let framing = &self.output[self.sent..];
            let stream = Pin::new(&mut self.stream);
            let written = match (framing.is_empty(), data.is_empty()) {
                (true, true) => return Poll::Ready(Ok(())),
                (false, true) => ready!(stream.poll_write(cx, framing))?,
                (true, false) => ready!(stream.poll_write(cx, data))?,
                (false, false) => ready!(
                    stream.poll_write_vectored(cx, &[IoSlice::new(framing), IoSlice::new(data)])
                )?,
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_framing = written.min(framing.len());
            self.sent += of_framing;
            self.written += written as u64;
            data.advance(written - of_framing);
        }
    }

    /// Reads what there is; zero bytes mean that the app closed.
    pub(super) fn poll_read_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.poll_read(cx, HEAD_READ_BYTES)
    }

    pub(super) fn poll_read_body(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.poll_read(cx, BODY_READ_BYTES)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, bytes: usize) -> Poll<io::Result<usize>> {
        if self.input.capacity() - self.input.len() < 1024 {
            self.input.reserve(bytes);
        }
        tokio_util::io::poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.input)
    }

    /// The socket of a connection that has been upgraded, and what was read beyond the head.
    pub(crate) fn into_stream(self) -> (Stream, Bytes) {
        (self.stream, self.input.freeze())
    }
}
