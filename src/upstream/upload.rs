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
        BodyDecoder, Buffer, Decoded, Fields, InvalidBody, RequestHead,
        buffer::{LARGE_BYTES, SMALL_BYTES},
        write::{self, GATHERED_BYTES_MAX, SMALL_CHUNK_BYTES},
    },
    wire::Piece,
};

/// The request's body on its way to the app.
#[derive(Debug)]
pub(crate) struct Upload {
    decoder: BodyDecoder,
    chunked: bool,
    /// How much more of it there may be.
    bytes_left: u64,
    /// What is next, and hasn't been sent: it stands at the front of the client's input.
    piece: Piece,
    /// Whether anything was taken from the client.
    pulled: bool,
    /// Whether the client waits for a 100 Continue before it sends anything.
    waits: bool,
    /// Whether it has been told to go on.
    told: bool,
    ended: bool,
    /// What followed the last chunk.
    trailers: Option<Box<Fields>>,
    /// The app has stopped reading.
    abandoned: bool,
}

/// What ended an upload early.
#[derive(Debug)]
pub(super) enum UploadError {
    /// The client has left.
    ClientGone,
    Client(InvalidBody),
    TooLarge,
    Upstream(io::Error),
}

impl Upload {
    /// The body of a request, if it has one.
    pub(crate) fn of(head: &RequestHead, bytes_max: u64) -> Option<Self> {
        (!head.body.is_end()).then(|| Self {
            decoder: head.body.clone(),
            chunked: head.body.remaining().is_none(),
            bytes_left: bytes_max,
            piece: Piece::default(),
            pulled: false,
            waits: head.expects_continue(),
            told: false,
            ended: false,
            trailers: None,
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
        self.told = true;
    }

    /// Whether the client has been told so.
    pub(super) fn was_told(&self) -> bool {
        self.told
    }

    /// The app has stopped reading. It may have answered all the same.
    pub(super) fn abandon(&mut self) {
        self.abandoned = true;
    }

    /// Whether it is the client's bytes that are missing.
    pub(super) fn starves(&self, connection: &Connection) -> bool {
        !self.abandoned && connection.wire.is_flushed() && self.piece.is_empty()
    }

    /// Whether it is the app that takes nothing. Then nothing is read from the client either.
    pub(super) fn is_blocked(&self, connection: &Connection) -> bool {
        self.reads() && !self.starves(connection)
    }

    /// On to another connection: frames once more what was taken from the client for one that took none of it.
    pub(super) fn restart(&mut self, output: &mut Vec<u8>) {
        self.abandoned = false;
        if self.chunked && self.piece.data > 0 {
            write::chunk_start(output, self.piece.data);
        } else if self.chunked && self.ended {
            write::last_chunk(output, self.trailers.as_deref());
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
        while self.piece.is_empty() && !self.ended && connection.wire.waiting() < GATHERED_BYTES_MAX
        {
            if self.waits {
                return Ok(Poll::Pending);
            }
            let input = &mut client.wire.input;
            match self.decoder.decode(input).map_err(UploadError::Client)? {
                Decoded::Data(data) => {
                    let left = self.bytes_left.checked_sub(data as u64);
                    self.bytes_left = left.ok_or(UploadError::TooLarge)?;
                    client.session().count_bytes_in(data);
                    self.begin_data(data, connection, &mut client.wire.input);
                }
                Decoded::Trailers(trailers) => self.end(connection, Some(trailers)),
                Decoded::End => self.end(connection, None),
                Decoded::More if !client.session().takes_turn() => {
                    client.wire.input.rest();
                    return Ok(Poll::Pending);
                }
                Decoded::More => match client.wire.poll_fill(cx, self.wanted()) {
                    Poll::Ready(Ok(read @ 1..)) => client.session().read(read),
                    Poll::Ready(Ok(0) | Err(_)) => return Err(UploadError::ClientGone),
                    Poll::Pending => return Ok(Poll::Pending),
                },
            }
        }
        Ok(Poll::Ready(()))
    }

    fn begin_data(&mut self, data: usize, connection: &mut Connection, input: &mut Buffer) {
        self.pulled = true;
        if !self.chunked {
            self.piece.data = data;
            // The end may be known already, and then goes out with the rest.
            self.ended = self.decoder.is_end();
            return;
        }
        // While nothing has left it may have to be framed for another connection, and so stays where it is.
        let gathers = data <= SMALL_CHUNK_BYTES && connection.written() > 0;
        let output = connection.wire.output();
        write::chunk_start(output, data);
        if gathers {
            output.extend_from_slice(&input.bytes()[..data]);
            output.extend_from_slice(write::CHUNK_END);
            input.consume(data);
        } else {
            self.piece.data = data;
            self.piece.tail = write::CHUNK_END;
        }
    }

    fn end(&mut self, connection: &mut Connection, trailers: Option<Box<Fields>>) {
        self.pulled = true;
        self.ended = true;
        self.trailers = trailers;
        if self.chunked {
            write::last_chunk(connection.wire.output(), self.trailers.as_deref());
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
