//! The body of a response on its way to the client. It carries the request's record, so that the record ends
//! with the last byte, and gives the upstream connection back to the pool.

use std::{
    cell::RefCell,
    fmt,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::{
    telemetry::record::Record,
    upstream::exchange::{Exchange, Failure},
};

#[derive(Debug)]
pub(crate) struct Body {
    source: Source,
    /// Gone once the response is complete: dropping it writes the log line.
    record: Option<Box<Record>>,
}

#[derive(Debug)]
enum Source {
    Done,
    /// Something that the edge says itself.
    Whole(Bytes),
    /// Shared with the session while the request's body is still on its way.
    Upstream(Rc<RefCell<Exchange>>),
}

/// The response can't be completed. There is no status left to say so: hyper cuts the connection, and the client
/// sees that something is missing.
#[derive(Debug)]
pub(crate) struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the response was cut short")
    }
}

impl std::error::Error for Cut {}

impl Body {
    /// What follows the head is a tunnel, which has taken the record.
    pub(crate) fn empty() -> Self {
        Self {
            source: Source::Done,
            record: None,
        }
    }

    /// `bytes` is not empty: errors always say something.
    pub(crate) fn whole(bytes: Bytes, record: Box<Record>) -> Self {
        Self {
            source: Source::Whole(bytes),
            record: Some(record),
        }
    }

    pub(crate) fn upstream(exchange: Exchange, record: Box<Record>) -> Self {
        let is_uploading = exchange.upload_is_open();
        let exchange = Rc::new(RefCell::new(exchange));
        if is_uploading {
            record.session().set_uploading(Some(Rc::clone(&exchange)));
        }
        let mut body = Self {
            source: Source::Upstream(exchange),
            record: Some(record),
        };
        body.finish_if_over();
        body
    }

    /// Ends as soon as the last byte is known to have come, not when somebody asks for one more.
    fn finish_if_over(&mut self) {
        if matches!(&self.source, Source::Upstream(exchange) if exchange.borrow().is_end()) {
            self.finish();
        }
    }

    fn finish(&mut self) {
        let source = std::mem::replace(&mut self.source, Source::Done);
        let Some(record) = self.record.take() else {
            return;
        };
        if let Source::Upstream(exchange) = source {
            record.session().set_uploading(None);
            // The session's was the only other one.
            let exchange = Rc::into_inner(exchange).map(RefCell::into_inner);
            if exchange.as_ref().is_some_and(Exchange::upload_is_open) {
                record.session().set_answered_early();
            }
            if let Some(connection) = exchange.and_then(Exchange::finish) {
                record.give_back(connection);
            }
        }
        record.complete();
    }

    fn cut(&mut self, failure: &Failure) -> Cut {
        self.source = Source::Done;
        if let Some(record) = self.record.take() {
            record.cut(failure);
        }
        Cut
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let this = self.get_mut();
        let frame = match (&mut this.source, &this.record) {
            (Source::Whole(bytes), Some(record)) => {
                record.session().count_bytes_out(bytes.len());
                let bytes = std::mem::take(bytes);
                this.finish();
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            (Source::Upstream(exchange), Some(record)) => {
                ready!(exchange.borrow_mut().poll_body(cx, record.session()))
            }
            _ => return Poll::Ready(None),
        };
        match frame {
            Some(Ok(frame)) => {
                if let (Some(data), Some(record)) = (frame.data_ref(), &this.record) {
                    record.session().count_bytes_out(data.len());
                }
                this.finish_if_over();
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(failure)) => Poll::Ready(Some(Err(this.cut(&failure)))),
            None => {
                this.finish();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.source, Source::Done)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Done => SizeHint::with_exact(0),
            Source::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Upstream(exchange) => exchange
                .borrow()
                .remaining()
                .map_or_else(SizeHint::new, SizeHint::with_exact),
        }
    }
}
