//! The HTTP/1 codec of both sides: bytes in, messages out, and the other way round.
//!
//! It owns the grammar and nothing else: no sockets, no clock, no policy. Who may be reached, retried or waited for is
//! decided above it. Neither clients nor apps are trusted: whatever two readers could understand in two ways is an error.

pub(crate) mod body;
pub(crate) mod buffer;
pub(crate) mod fields;
pub(crate) mod framing;
pub(crate) mod name;
pub(crate) mod options;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod write;

pub(crate) use body::{BodyDecoder, Decoded, InvalidBody};
pub(crate) use buffer::Buffer;
pub(crate) use fields::{Field, Fields};
pub(crate) use name::Name;
pub(crate) use options::ConnectionOptions;
pub(crate) use request::{BadHead, RequestHead};
pub(crate) use response::{InvalidHead, ResponseHead};
