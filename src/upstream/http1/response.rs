//! Reading the head of a response.

use std::fmt;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::BodyDecoder;
use crate::headers::{self, ConnectionOptions};

/// Heads larger than this are refused: they are held in memory whole.
pub(crate) const HEAD_BYTES_MAX: usize = 64 * 1024;
const FIELDS_MAX: usize = 128;

/// The head of one response, interim ones included.
#[derive(Debug)]
pub(crate) struct ResponseHead {
    pub(crate) status: StatusCode,
    /// Only where it says something else than the status code does.
    pub(crate) reason: Option<Bytes>,
    /// End-to-end fields; what concerned the upstream connection alone has been taken out.
    pub(crate) headers: HeaderMap,
    pub(crate) body: BodyDecoder,
    /// Whether another request may follow on the same connection, once the body has ended.
    pub(crate) keep_alive: bool,
    /// What a 101 switches to, if it says so properly.
    pub(crate) upgrade: Option<HeaderValue>,
}

/// Why a response head can't be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InvalidHead {
    Grammar(httparse::Error),
    TooLarge,
    Status,
    Field,
    ContentLength,
    TransferEncoding,
}

impl fmt::Display for InvalidHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grammar(error) => write!(f, "response head is not HTTP/1: {error}"),
            Self::TooLarge => write!(f, "response head exceeds {HEAD_BYTES_MAX} bytes"),
            Self::Status => f.write_str("response status is out of range"),
            Self::Field => f.write_str("response has a field that is not valid"),
            Self::ContentLength => f.write_str("response has no single valid Content-Length"),
            Self::TransferEncoding => f.write_str("response has a Transfer-Encoding other than chunked"),
        }
    }
}

/// Takes one response head off the front of `buffer`, or nothing if it isn't there whole.
///
/// `headers` is an empty map whose memory is used again. `method` is the request's: it decides whether a body follows.
pub(crate) fn parse(
    buffer: &mut BytesMut,
    method: &Method,
    headers: &mut HeaderMap,
) -> Result<Option<ResponseHead>, InvalidHead> {
    let mut fields = [const { std::mem::MaybeUninit::<httparse::Header<'_>>::uninit() }; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        buffer,
        &mut fields,
    );
    let len = match parsed {
        Ok(httparse::Status::Complete(len)) if len <= HEAD_BYTES_MAX => len,
        Ok(httparse::Status::Partial) if buffer.len() < HEAD_BYTES_MAX => return Ok(None),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(InvalidHead::TooLarge),
        Err(error) => return Err(InvalidHead::Grammar(error)),
    };
    let status = response.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or(InvalidHead::Status)?;
    let http11 = response.version == Some(1);

    // Positions first, so that the bytes can be split off and shared by the values without a copy.
    let start = buffer.as_ptr() as usize;
    let span = |text: &[u8]| {
        let from = text.as_ptr() as usize - start;
        from..from + text.len()
    };
    let reason = response.reason.filter(|reason| Some(*reason) != status.canonical_reason());
    let reason = reason.map(|reason| span(reason.as_bytes()));
    let mut spans = [const { (0..0, 0..0) }; FIELDS_MAX];
    let count = response.headers.len();
    for (place, field) in spans.iter_mut().zip(response.headers.iter()) {
        *place = (span(field.name.as_bytes()), span(field.value));
    }

    let bytes = buffer.split_to(len).freeze();
    let mut framing = Framing::default();
    let mut options = ConnectionOptions::default();
    let mut upgrade = None;
    for (name, value) in &spans[..count] {
        let name = HeaderName::from_bytes(&bytes[name.clone()]).map_err(|_| InvalidHead::Field)?;
        let value = HeaderValue::from_maybe_shared(bytes.slice(value.clone()))
            .map_err(|_| InvalidHead::Field)?;
        match name {
            header::CONTENT_LENGTH => framing.length(&value)?,
            header::TRANSFER_ENCODING => {
                framing.transfer_encoding(&value, http11)?;
                continue;
            }
            header::CONNECTION => {
                options.read(&value);
                continue;
            }
            header::UPGRADE => {
                upgrade = Some(value);
                continue;
            }
            _ if headers::is_hop_by_hop(&name) => continue,
            _ => {}
        }
        if name != header::CONTENT_LENGTH || !headers.contains_key(header::CONTENT_LENGTH) {
            headers.append(name, value);
        }
    }
    options.remove_nominated(headers);

    let body = framing.decoder(method, status)?;
    Ok(Some(ResponseHead {
        keep_alive: options.keep_alive(http11) && !matches!(body, BodyDecoder::UntilClose),
        upgrade: upgrade.filter(|_| options.upgrade()),
        reason: reason.map(|reason| bytes.slice(reason)),
        headers: std::mem::take(headers),
        status,
        body,
    }))
}

/// What the fields say about where the body ends (RFC 9112 §6.3).
#[derive(Debug, Default)]
struct Framing {
    length: Option<u64>,
    chunked: bool,
}

impl Framing {
    fn length(&mut self, value: &HeaderValue) -> Result<(), InvalidHead> {
        let length = content_length(value.as_bytes()).ok_or(InvalidHead::ContentLength)?;
        if self.length.is_some_and(|other| other != length) {
            return Err(InvalidHead::ContentLength);
        }
        self.length = Some(length);
        Ok(())
    }

    /// Only `chunked`, once, and only from HTTP/1.1 (RFC 9112 §6.1): anything else can't be delimited with certainty.
    fn transfer_encoding(&mut self, value: &HeaderValue, http11: bool) -> Result<(), InvalidHead> {
        if self.chunked || !http11 || !value.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err(InvalidHead::TransferEncoding);
        }
        self.chunked = true;
        Ok(())
    }

    fn decoder(&self, method: &Method, status: StatusCode) -> Result<BodyDecoder, InvalidHead> {
        if self.chunked && self.length.is_some() {
            return Err(InvalidHead::ContentLength);
        }
        let bodiless = method == Method::HEAD
            || status.is_informational()
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED;
        Ok(match (bodiless, self.chunked, self.length) {
            (true, _, _) | (false, false, Some(0)) => BodyDecoder::Empty,
            (false, true, _) => BodyDecoder::chunked(),
            (false, false, Some(length)) => BodyDecoder::Length(length),
            (false, false, None) => BodyDecoder::UntilClose,
        })
    }
}

/// Digits and nothing else (RFC 9110 §8.6); 18 of them are a million terabytes.
fn content_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 18 {
        return None;
    }
    value.iter().try_fold(0, |sum: u64, byte| {
        byte.is_ascii_digit().then(|| sum * 10 + u64::from(byte - b'0'))
    })
}
