//! The HTTP/1.1 codec of the upstream side: bytes in, messages out, and the other way round.
//!
//! It owns the grammar and nothing else: no sockets, no clock, no policy. Who may be reached, retried or
//! waited for is decided above it. What an upstream sends is not trusted: whatever is ambiguous is an error.

pub(crate) mod body;
pub(crate) mod request;
pub(crate) mod response;

pub(crate) use body::{BodyDecoder, Decoded, InvalidBody};
pub(crate) use response::{InvalidHead, ResponseHead};
