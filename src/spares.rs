//! Memory of messages that are over, for the next ones: a head is some kilobytes, and there is one for each request and
//! each response.

use std::cell::RefCell;

use crate::http1::{RequestHead, ResponseHead};

/// Heads of either kind that a worker keeps; with large cookies one takes some 8 KiB.
const KEPT_MAX: usize = 64;

#[derive(Debug, Default)]
#[expect(clippy::vec_box, reason = "they travel as boxes")]
pub(crate) struct Spares {
    requests: RefCell<Vec<Box<RequestHead>>>,
    responses: RefCell<Vec<Box<ResponseHead>>>,
}

impl Spares {
    pub(crate) fn request(&self) -> Box<RequestHead> {
        self.requests.borrow_mut().pop().unwrap_or_default()
    }

    pub(crate) fn keep_request(&self, head: Box<RequestHead>) {
        keep(&self.requests, head);
    }

    pub(crate) fn response(&self) -> Box<ResponseHead> {
        self.responses.borrow_mut().pop().unwrap_or_default()
    }

    pub(crate) fn keep_response(&self, head: Box<ResponseHead>) {
        keep(&self.responses, head);
    }
}

fn keep<T>(spares: &RefCell<Vec<Box<T>>>, spare: Box<T>) {
    let mut spares = spares.borrow_mut();
    if spares.len() < KEPT_MAX {
        spares.push(spare);
    }
}
