//! What the fields of a message say about where its body ends (RFC 9112 §6). Whatever could be read in two ways is an
//! error: that is what request smuggling lives on.

use super::{BodyDecoder, Name};

/// Gathered field by field.
#[derive(Debug, Default)]
pub(super) struct Framing {
    length: Option<u64>,
    chunked: bool,
}

/// Why a message can't be delimited with certainty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadFraming {
    ContentLength,
    TransferEncoding,
    Both,
}

/// A field that says again what another has said is refused in a request. In a response the same length twice is taken
/// for what it says, since it can't be read otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeated {
    Refused,
    Same,
}

impl Framing {
    /// Minds a field, if it is one of those.
    pub(super) fn mind(
        &mut self,
        name: Name,
        value: &[u8],
        http11: bool,
        repeated: Repeated,
    ) -> Result<(), BadFraming> {
        match name {
            Name::ContentLength => self.length(value, repeated),
            Name::TransferEncoding => self.transfer_encoding(value, http11),
            _ => Ok(()),
        }
    }

    fn length(&mut self, value: &[u8], repeated: Repeated) -> Result<(), BadFraming> {
        let length = content_length(value).ok_or(BadFraming::ContentLength)?;
        match self.length.replace(length) {
            None => Ok(()),
            Some(same) if same == length && repeated == Repeated::Same => Ok(()),
            Some(_) => Err(BadFraming::ContentLength),
        }
    }

    /// Only `chunked`, once, and only in HTTP/1.1 (RFC 9112 §6.1).
    fn transfer_encoding(&mut self, value: &[u8], http11: bool) -> Result<(), BadFraming> {
        if self.chunked || !http11 || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(BadFraming::TransferEncoding);
        }
        self.chunked = true;
        Ok(())
    }

    /// The length of the body, where the message has one that says so; `without` where it says nothing.
    pub(super) fn decoder(&self, without: BodyDecoder) -> Result<BodyDecoder, BadFraming> {
        Ok(match (self.chunked, self.length) {
            (true, Some(_)) => return Err(BadFraming::Both),
            (true, None) => BodyDecoder::chunked(),
            (false, Some(0)) => BodyDecoder::Empty,
            (false, Some(length)) => BodyDecoder::Length(length),
            (false, None) => without,
        })
    }
}

/// Digits and nothing else (RFC 9110 §8.6); 18 of them are a million terabytes.
fn content_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 18 {
        return None;
    }
    value.iter().try_fold(0, |sum: u64, byte| {
        byte.is_ascii_digit()
            .then(|| sum * 10 + u64::from(byte - b'0'))
    })
}
