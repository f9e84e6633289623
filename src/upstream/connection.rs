//! One connection to an app: what it is a connection to, and how much of a request has left on it.

use std::{
    io,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
};

use super::{
    dial::Verified,
    endpoint::{Claim, Endpoint},
};
use crate::{
    bulkhead::Slot,
    http1::buffer::{LARGE_BYTES, SMALL_BYTES},
    wire::{Sent, Wire},
};

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) wire: Wire,
    /// Bytes that this request has put on the wire, body included.
    written: u64,
    /// As the access log has it.
    endpoint: Rc<str>,
    /// On the endpoint, counted while a request has this connection.
    claim: Claim,
    /// Among the tenant's connections.
    slot: Option<Slot>,
    /// How much is read at once where an answer begins: as much as the one before had to give there. Two reads and two
    /// writes for a page that one of each could carry is what such pages cost most.
    first_read_bytes: usize,
    /// For how many ticks it was idle before the request at hand, if it comes from the pool.
    idled: Option<u64>,
}

impl Connection {
    /// Over a connection that is known to belong to the origin: there is no other way to make one. It counts as a request
    /// in flight from now on, until it is given back or dropped.
    pub(super) fn lent(verified: Verified) -> Self {
        let (stream, endpoint) = verified.into_parts();
        let mut connection = Self {
            wire: Wire::new(stream),
            written: 0,
            endpoint: endpoint.text().into(),
            claim: Claim::new(endpoint),
            slot: None,
            first_read_bytes: SMALL_BYTES,
            idled: None,
        };
        connection.lend();
        connection
    }

    /// A request has it from now on.
    pub(super) fn lend(&mut self) {
        self.claim.begin();
    }

    /// The same, after it was idle for so many ticks.
    pub(super) fn lend_again(&mut self, idled: u64) {
        self.idled = Some(idled);
        self.lend();
    }

    /// It counts among the tenant's, for as long as it stands.
    pub(crate) fn takes(&mut self, slot: Slot) {
        self.slot = Some(slot);
    }

    pub(super) fn slot(&self) -> Option<&Slot> {
        self.slot.as_ref()
    }

    /// No request has it any more, and it was good to the last.
    pub(super) fn give_back(&mut self) {
        self.claim.end();
        if let Some(idled) = self.idled.take() {
            self.claim.endpoint().has_survived(idled);
        }
    }

    /// It was closed by the app, without a word.
    pub(super) fn was_dead(&self) {
        if let Some(idled) = self.idled {
            self.claim.endpoint().has_not_survived(idled);
        }
    }

    /// Whether one that was idle for so many ticks has ever been good. One tick may be no time at all.
    pub(super) fn may_survive(&self, idle: u64) -> bool {
        idle <= self.claim.endpoint().survived().max(1)
    }

    /// Whether another request may have it, as far as its endpoint goes.
    pub(super) fn is_lendable(&self) -> bool {
        self.claim.endpoint().is_usable()
    }

    pub(super) fn is_to(&self, endpoint: &Arc<Endpoint>) -> bool {
        Arc::ptr_eq(self.claim.endpoint(), endpoint)
    }

    pub(crate) fn endpoint(&self) -> &Rc<str> {
        &self.endpoint
    }

    /// Which of the upstream's origins this is.
    pub(crate) fn origin(&self) -> usize {
        self.claim.endpoint().origin()
    }

    /// An empty buffer to write the next request's head to.
    pub(crate) fn head_buffer(&mut self) -> &mut Vec<u8> {
        self.written = 0;
        self.wire.forget_output();
        self.wire.output()
    }

    /// Reads what there is of a head, and what the app has sent with it. `first` is whether it is the first of an answer.
    pub(super) fn poll_fill_head(
        &mut self,
        cx: &mut Context<'_>,
        first: bool,
    ) -> Poll<io::Result<usize>> {
        let bytes = ready!(self.wire.poll_fill(cx, self.first_read_bytes))?;
        if first {
            self.first_read_bytes = if bytes < SMALL_BYTES {
                SMALL_BYTES
            } else {
                LARGE_BYTES
            };
        }
        Poll::Ready(Ok(bytes))
    }

    /// How many bytes of the request at hand have left; while it is none, the app can't know of the request.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// See [`Wire::poll_send`].
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        data: &[u8],
        tail: &[u8],
    ) -> Poll<io::Result<Sent>> {
        let sent = ready!(self.wire.poll_send(cx, data, tail))?;
        self.written += sent.bytes as u64;
        Poll::Ready(Ok(sent))
    }
}
