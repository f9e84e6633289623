//! The request's body on its way from the client to the app, with the framing that the edge gives it.
//!
//! It sends what it can and reports how that went; what it means for the exchange is not decided here.

use std::{
    io,
    task::{Context, Poll, ready},
};

use super::Connection;
use crate::{
    client::Client,
    http1::{
        BodyDecoder, Decoded, Fields, InvalidBody, RequestHead,
        buffer::{LARGE_BYTES, SMALL_BYTES},
        write,
    },
    wire::Piece,
};

/// The request's body on its way to the app.
#[derive(Debug)]
pub(crate) struct Upload {
    decoder: BodyDecoder,
    chunked: bool,
    /// What is next, and hasn't been sent: it stands at the front of the client's input.
    piece: Piece,
    /// Whether anything was taken from the client.
    pulled: bool,
    /// Whether the client waits for a 100 Continue before it sends anything.
    waits: bool,
    ended: bool,
    /// The app has stopped reading.
    abandoned: bool,
}

/// What ended an upload early.
#[derive(Debug)]
pub(super) enum UploadError {
    /// The client has left.
    ClientGone,
    Client(InvalidBody),
    Upstream(io::Error),
}

impl Upload {
    /// The body of a request, if it has one.
    pub(crate) fn of(head: &RequestHead) -> Option<Self> {
        (!head.body.is_end()).then(|| Self {
            decoder: head.body.clone(),
            chunked: head.body.remaining().is_none(),
            piece: Piece::default(),
            pulled: false,
            waits: head.expects_continue(),
            ended: false,
            abandoned: false,
        })
    }

    /// Whether anything was taken from the client; then it can't be taken again.
    pub(super) fn is_pulled(&self) -> bool {
        self.pulled
    }

    /// Whether it reads what the client sends, and so notices that it leaves.
    pub(super) fn reads(&self) -> bool {
        !self.waits && !self.abandoned
    }

    /// Whether the client waits to be told that it may send.
    pub(super) fn waits(&self) -> bool {
        self.waits
    }

    /// The client may send: it was told to by the app, or it has waited for long enough.
    pub(super) fn go_on(&mut self) {
        self.waits = false;
    }

    /// The app has stopped reading. It may have answered all the same.
    pub(super) fn abandon(&mut self) {
        self.abandoned = true;
    }

    /// Whether it is the client's bytes that are missing.
    pub(super) fn starves(&self, connection: &Connection) -> bool {
        !self.abandoned && connection.wire.is_flushed() && self.piece.is_empty()
    }

    /// On to another connection: frames once more what was taken from the client for one that took none of it.
    pub(super) fn restart(&mut self, output: &mut Vec<u8>) {
        if self.chunked && self.piece.data > 0 {
            write::chunk_start(output, self.piece.data);
        } else if self.chunked && self.ended {
            write::last_chunk(output, None);
        }
    }

    /// Sends what can be sent now, head included; ready once all of it is gone.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut Connection,
        client: &mut Client,
    ) -> Poll<Result<(), UploadError>> {
        if self.abandoned {
            return Poll::Pending;
        }
        loop {
            // Before the head is sent, so that a small body goes out in the same packet.
            let pulled = self.poll_pull(cx, connection, client)?;
            while !self.piece.is_empty() || !connection.wire.is_flushed() {
                let data = &client.wire.input.bytes()[..self.piece.data];
                let sent = ready!(connection.poll_send(cx, data, self.piece.tail));
                let sent = sent.map_err(UploadError::Upstream)?;
                client.wire.input.consume(sent.of_data);
                self.piece.advance(sent);
            }
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            if pulled.is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Takes the next piece from the client, if the last one is gone, and puts its framing before it.
    fn poll_pull(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut Connection,
        client: &mut Client,
    ) -> Result<Poll<()>, UploadError> {
        // A client that doesn't wait to be told to send doesn't need to be.
        self.waits &= client.wire.input.is_empty();
        while self.piece.is_empty() && !self.ended {
            if self.waits {
                return Ok(Poll::Pending);
            }
            let input = &mut client.wire.input;
            match self.decoder.decode(input).map_err(UploadError::Client)? {
                Decoded::Data(data) => {
                    self.begin_data(data, connection);
                    client.session().count_bytes_in(data);
                }
                Decoded::Trailers(trailers) => self.end(connection, Some(&trailers)),
                Decoded::End => self.end(connection, None),
                Decoded::More => match client.wire.poll_fill(cx, self.wanted()) {
                    Poll::Ready(Ok(1..)) => client.session().moved(),
                    Poll::Ready(Ok(0) | Err(_)) => return Err(UploadError::ClientGone),
                    Poll::Pending => return Ok(Poll::Pending),
                },
            }
        }
        Ok(Poll::Ready(()))
    }

    fn begin_data(&mut self, data: usize, connection: &mut Connection) {
        self.pulled = true;
        self.piece.data = data;
        if self.chunked {
            write::chunk_start(connection.wire.output(), data);
            self.piece.tail = write::CHUNK_END;
        }
        // The end may be known already, and then goes out with the rest.
        self.ended = !self.chunked && self.decoder.is_end();
    }

    fn end(&mut self, connection: &mut Connection, trailers: Option<&Fields>) {
        self.pulled = true;
        self.ended = true;
        if self.chunked {
            write::last_chunk(connection.wire.output(), trailers);
        }
    }

    /// How much is read at once.
    fn wanted(&self) -> usize {
        match self.decoder.remaining() {
            Some(left) if left <= SMALL_BYTES as u64 => SMALL_BYTES,
            Some(_) | None => LARGE_BYTES,
        }
    }
}
