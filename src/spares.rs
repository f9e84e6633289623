//! Memory of messages that are over, for the next ones: a head is some kilobytes, and there is one for each request and
//! each response.

use std::cell::RefCell;

use crate::{
    http1::{RequestHead, ResponseHead},
    stock::Stock,
};

/// Heads of either kind that a worker keeps; with large cookies one takes some 8 KiB.
const KEPT_MAX: usize = 64;

#[derive(Debug)]
pub(crate) struct Spares {
    requests: RefCell<Stock<Box<RequestHead>>>,
    responses: RefCell<Stock<Box<ResponseHead>>>,
}

impl Default for Spares {
    fn default() -> Self {
        Self {
            requests: RefCell::new(Stock::of(KEPT_MAX)),
            responses: RefCell::new(Stock::of(KEPT_MAX)),
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

    /// Drops what nobody has asked for since it was called last.
    pub(crate) fn shed(&self) {
        self.requests.borrow_mut().shed();
        self.responses.borrow_mut().shed();
    }
}
