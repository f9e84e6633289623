//! The response's body on its way from the app to the client, with the framing that the edge gives it.
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
        BodyDecoder, Decoded, Fields, InvalidBody,
        buffer::{LARGE_BYTES, SMALL_BYTES},
        write::{self, GATHERED_BYTES_MAX, SMALL_CHUNK_BYTES},
    },
    wire::Piece,
};

#[derive(Debug)]
pub(super) struct Download {
    decoder: BodyDecoder,
    /// Whether the client gets chunks.
    chunked: bool,
    /// What is next, and hasn't been sent: it stands at the front of the app's input.
    piece: Piece,
    ended: bool,
    /// Whether the end was that of the connection.
    closed: bool,
    /// Whether the connection has failed in the other direction. Then its end may be that of a body or not.
    broken: bool,
    /// What will end it, once the client has taken what came before.
    failure: Option<DownloadError>,
}

/// What ended a download early.
#[derive(Debug)]
pub(super) enum DownloadError {
    ClientGone,
    Invalid(InvalidBody),
    /// The connection to the app failed.
    Upstream(io::Error),
}

impl Download {
    pub(super) fn new(decoder: BodyDecoder, chunked: bool) -> Self {
        Self {
            decoder,
            chunked,
            piece: Piece::default(),
            ended: false,
            closed: false,
            broken: false,
            failure: None,
        }
    }

    /// Whether the connection may carry another response.
    pub(super) fn ended_exactly(&self) -> bool {
        self.ended && !self.closed
    }

    /// The app has stopped reading, by a reset perhaps, which the system tells once.
    pub(super) fn is_broken(&mut self) {
        self.broken = true;
    }

    /// Whether it is the client that doesn't take what is there.
    pub(super) fn waits_for(&self, client: &Client) -> bool {
        !self.piece.is_empty() || !client.wire.is_flushed()
    }

    /// Ready once the whole response is the client's to take, or can't be.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut Connection,
        client: &mut Client,
    ) -> Poll<Result<(), DownloadError>> {
        loop {
            // Before anything is sent, so that a small response goes out in one packet.
            let mut more = Poll::Ready(());
            if self.failure.is_none() {
                match self.gather(cx, connection, client) {
                    Ok(gathered) => more = gathered,
                    Err(failure) => self.failure = Some(failure),
                }
            }
            if self.ended && self.failure.is_none() {
                let Piece { data, .. } = std::mem::take(&mut self.piece);
                client.take_last(&mut connection.wire.input, data);
                return Poll::Ready(Ok(()));
            }
            while self.waits_for(client) {
                let data = &connection.wire.input.bytes()[..self.piece.data];
                let sent = ready!(client.poll_send(cx, data, self.piece.tail));
                let sent = sent.map_err(|_| DownloadError::ClientGone)?;
                client.session().count_bytes_out(sent.of_data);
                connection.wire.input.consume(sent.of_data);
                self.piece.advance(sent);
            }
            if let Some(failure) = self.failure.take() {
                return Poll::Ready(Err(failure));
            }
            if more.is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Takes from the app what can be sent at once; pending if there is no more of it now.
    fn gather(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut Connection,
        client: &mut Client,
    ) -> Result<Poll<()>, DownloadError> {
        while self.piece.is_empty() && !self.ended && client.wire.waiting() < GATHERED_BYTES_MAX {
            let decoded = self.decoder.decode(&mut connection.wire.input);
            match decoded.map_err(DownloadError::Invalid)? {
                Decoded::Data(data) => self.begin_data(data, connection, client),
                Decoded::Trailers(trailers) => self.end(client, Some(&trailers)),
                Decoded::End => self.end(client, None),
                Decoded::More if !client.session().takes_turn() => {
                    connection.wire.input.rest();
                    return Ok(Poll::Pending);
                }
                Decoded::More => match connection.wire.poll_fill(cx, self.wanted()) {
                    Poll::Ready(Ok(0)) => {
                        self.closed = true;
                        let ended = match self.decoder.closed() {
                            Ok(()) if self.broken => Err(InvalidBody::Truncated),
                            ended => ended,
                        };
                        ended.map_err(DownloadError::Invalid)?;
                    }
                    Poll::Ready(Ok(read)) => client.session().read(read),
                    Poll::Ready(Err(error)) => return Err(DownloadError::Upstream(error)),
                    Poll::Pending => return Ok(Poll::Pending),
                },
            }
        }
        Ok(Poll::Ready(()))
    }

    fn begin_data(&mut self, data: usize, connection: &mut Connection, client: &mut Client) {
        if !self.chunked {
            self.piece.data = data;
            // The end may be known already, and then nothing more is asked for.
            self.ended = self.decoder.is_end();
            return;
        }
        let output = client.wire.output();
        write::chunk_start(output, data);
        if data > SMALL_CHUNK_BYTES {
            self.piece = Piece {
                data,
                tail: write::CHUNK_END,
            };
            return;
        }
        output.extend_from_slice(&connection.wire.input.bytes()[..data]);
        output.extend_from_slice(write::CHUNK_END);
        connection.wire.input.consume(data);
        client.session().count_bytes_out(data);
    }

    fn end(&mut self, client: &mut Client, trailers: Option<&Fields>) {
        self.ended = true;
        if self.chunked {
            write::last_chunk(client.wire.output(), trailers);
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
