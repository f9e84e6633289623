//! The request's body on its way from the client to the app, with the framing that the edge gives it.
//!
//! It sends what it can and reports how that went; what it means for the exchange is not decided here.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use hyper::body::Incoming;

use super::{Connection, http1::request};
use crate::{
    headers::{self, BodyLength},
    session::Session,
};

/// The request's body on its way to the app.
#[derive(Debug)]
pub(crate) struct Upload {
    body: Incoming,
    length: BodyLength,
    /// What was taken from the client and hasn't been sent.
    data: Bytes,
    /// Whether anything was taken from the client.
    pulled: bool,
    /// Whether the client waits for a 100 Continue before it sends anything.
    waits: bool,
    in_chunk: bool,
    ended: bool,
    /// The app has stopped reading.
    abandoned: bool,
}

/// What ended an upload early.
#[derive(Debug)]
pub(super) enum UploadError {
    Client(hyper::Error),
    Upstream(io::Error),
}

impl Upload {
    pub(crate) fn new(body: Incoming, length: BodyLength, waits_for_continue: bool) -> Self {
        Self {
            body,
            length,
            data: Bytes::new(),
            pulled: false,
            waits: waits_for_continue,
            in_chunk: false,
            ended: false,
            abandoned: false,
        }
    }

    /// Whether anything was taken from the client; then it can't be taken again.
    pub(super) fn is_pulled(&self) -> bool {
        self.pulled
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
        !self.abandoned && connection.is_flushed() && self.data.is_empty()
    }

    /// On to another connection: frames once more what was taken from the client for one that took none of it.
    pub(super) fn restart(&mut self, framing: &mut Vec<u8>) {
        if self.length == BodyLength::Chunked {
            if !self.data.is_empty() {
                request::chunk_start(framing, self.data.len());
            } else if self.ended {
                request::last_chunk(framing, None);
            }
        }
    }

    /// Sends what can be sent now, head included; ready once all of it is gone.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut Connection,
        session: &Session,
    ) -> Poll<Result<(), UploadError>> {
        if self.abandoned {
            return Poll::Pending;
        }
        loop {
            let more = self.data.is_empty() && !self.ended && !self.waits;
            // Before the head is sent, so that a small body goes out in the same packet.
            let pulled = if more {
                self.poll_pull(cx, connection, session)
                    .map_err(UploadError::Client)?
            } else {
                Poll::Ready(())
            };
            ready!(connection.poll_send(cx, &mut self.data)).map_err(UploadError::Upstream)?;
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            if self.waits || pulled.is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Takes the next piece from the client and puts its framing before it.
    fn poll_pull(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut Connection,
        session: &Session,
    ) -> Result<Poll<()>, hyper::Error> {
        let chunked = self.length == BodyLength::Chunked;
        if std::mem::take(&mut self.in_chunk) {
            connection.framing().extend_from_slice(request::CHUNK_END);
        }
        let frame = match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(frame) => frame.transpose()?,
        };
        self.pulled = true;
        match frame.map(Frame::into_data) {
            Some(Ok(data)) if data.is_empty() => {}
            Some(Ok(data)) => {
                session.count_bytes_in(data.len());
                if chunked {
                    request::chunk_start(connection.framing(), data.len());
                    self.in_chunk = true;
                }
                self.data = data;
            }
            Some(Err(frame)) => self.end(connection, frame.into_trailers().ok().as_ref()),
            None => self.end(connection, None),
        }
        if !self.ended && self.body.is_end_stream() {
            self.ended = !chunked;
        }
        Ok(Poll::Ready(()))
    }

    fn end(&mut self, connection: &mut Connection, trailers: Option<&HeaderMap>) {
        self.ended = true;
        if self.length == BodyLength::Chunked {
            let trailers = trailers.map(|trailers| {
                let allowed = trailers
                    .iter()
                    .filter(|(name, _)| headers::may_be_trailer(name));
                allowed
                    .map(|(name, value)| (name.clone(), value.clone()))
                    .collect()
            });
            request::last_chunk(connection.framing(), trailers.as_ref());
        }
    }
}
