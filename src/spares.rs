//! Memory of messages that are over, for the next ones: a head is some kilobytes, and there is one for each request and
//! each response. It also says when what nobody uses is dropped, of this and of the thread's other stocks.

use std::cell::{Cell, RefCell};

use crate::{
    http1::{RequestHead, ResponseHead, buffer},
    stock::Stock,
    wire,
};

/// Heads of either kind that a worker keeps; with large cookies one takes some 8 KiB.
const KEPT_MAX: usize = 64;
/// So long nobody has to have used a piece that is dropped: what is wanted now and then isn't to be made anew each time.
const UNUSED_TICKS: u64 = 5;

#[derive(Debug)]
pub(crate) struct Spares {
    requests: RefCell<Stock<Box<RequestHead>>>,
    responses: RefCell<Stock<Box<ResponseHead>>>,
    /// The tick at which it is looked for unused pieces.
    next: Cell<u64>,
}

impl Default for Spares {
    fn default() -> Self {
        Self {
            requests: RefCell::new(Stock::of(KEPT_MAX)),
            responses: RefCell::new(Stock::of(KEPT_MAX)),
            next: Cell::new(0),
        }
    }
}

impl Spares {
    pub(crate) fn request(&self) -> Box<RequestHead> {
        self.requests.borrow_mut().take().unwrap_or_default()
    }

    pub(crate) fn keep_request(&self, head: Box<RequestHead>) {
        self.requests.borrow_mut().keep(head);
    }

    pub(crate) fn response(&self) -> Box<ResponseHead> {
        self.responses.borrow_mut().take().unwrap_or_default()
    }

    pub(crate) fn keep_response(&self, head: Box<ResponseHead>) {
        self.responses.borrow_mut().keep(head);
    }

    /// What a flood had in use is not kept for the next one.
    pub(crate) fn tick(&self, now: u64) {
        if now >= self.next.get() {
            self.next.set(now + UNUSED_TICKS);
            self.requests.borrow_mut().shed();
            self.responses.borrow_mut().shed();
            buffer::shed();
            wire::shed();
        }
    }
}
