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
            Self::TransferEncoding => {
                f.write_str("response has a Transfer-Encoding other than chunked")
            }
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
    let mut fields =
        [const { std::mem::MaybeUninit::<httparse::Header<'_>>::uninit() }; FIELDS_MAX];
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
    let status = response
        .code
        .and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or(InvalidHead::Status)?;
    let http11 = response.version == Some(1);

    // Positions first, so that the bytes can be split off and shared by the values without a copy.
    let start = buffer.as_ptr() as usize;
    let span = |text: &[u8]| {
        let from = text.as_ptr() as usize - start;
        from..from + text.len()
    };
    let reason = response
        .reason
        .filter(|reason| Some(*reason) != status.canonical_reason());
    let reason = reason.map(|reason| span(reason.as_bytes()));
    let mut spans = [const { (0..0, 0..0) }; FIELDS_MAX];
    let count = response.headers.len();
    for (place, field) in spans.iter_mut().zip(response.headers.iter()) {
        *place = (span(field.name.as_bytes()), span(field.value));
    }

    let bytes = buffer.split_to(len).freeze();
    let mut fields = Fields::default();
    for (name, value) in &spans[..count] {
        let name = HeaderName::from_bytes(&bytes[name.clone()]).map_err(|_| InvalidHead::Field)?;
        let value = HeaderValue::from_maybe_shared(bytes.slice(value.clone()))
            .map_err(|_| InvalidHead::Field)?;
        fields.take(name, value, http11, headers)?;
    }
    fields.options.remove_nominated(headers);

    let body = fields.framing.decoder(method, status)?;
    Ok(Some(ResponseHead {
        keep_alive: fields.options.keep_alive(http11) && body != BodyDecoder::UntilClose,
        upgrade: fields.upgrade.filter(|_| fields.options.upgrade()),
        reason: reason.map(|reason| bytes.slice(reason)),
        headers: std::mem::take(headers),
        status,
        body,
    }))
}

/// The fields of a head, sorted into those that concern this connection and those that go on.
#[derive(Debug, Default)]
struct Fields {
    framing: Framing,
    options: ConnectionOptions,
    upgrade: Option<HeaderValue>,
}

impl Fields {
    fn take(
        &mut self,
        name: HeaderName,
        value: HeaderValue,
        http11: bool,
        onward: &mut HeaderMap,
    ) -> Result<(), InvalidHead> {
        match name {
            header::CONTENT_LENGTH => {
                if self.framing.length(&value)? {
                    onward.append(name, value);
                }
            }
            header::TRANSFER_ENCODING => self.framing.transfer_encoding(&value, http11)?,
            header::CONNECTION => self.options.read(&value),
            header::UPGRADE => self.upgrade = Some(value),
            _ if headers::is_hop_by_hop(&name) => {}
            _ => {
                onward.append(name, value);
            }
        }
        Ok(())
    }
}

/// What the fields say about where the body ends (RFC 9112 §6.3).
#[derive(Debug, Default)]
struct Framing {
    length: Option<u64>,
    chunked: bool,
}

impl Framing {
    /// Whether it is the first; more that say the same are dropped.
    fn length(&mut self, value: &HeaderValue) -> Result<bool, InvalidHead> {
        let length = content_length(value.as_bytes()).ok_or(InvalidHead::ContentLength)?;
        match self.length.replace(length) {
            None => Ok(true),
            Some(same) if same == length => Ok(false),
            Some(_) => Err(InvalidHead::ContentLength),
        }
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
        byte.is_ascii_digit()
            .then(|| sum * 10 + u64::from(byte - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(wire: &[u8]) -> Result<Option<ResponseHead>, InvalidHead> {
        parse(
            &mut BytesMut::from(wire),
            &Method::GET,
            &mut HeaderMap::new(),
        )
    }

    #[test]
    fn heads_that_could_be_understood_in_two_ways_are_refused() {
        use InvalidHead::{ContentLength, Grammar, TransferEncoding};
        for (fields, error) in [
            ("content-length: 3\r\ncontent-length: 4", ContentLength),
            ("content-length: 3, 3", ContentLength),
            ("content-length: +3", ContentLength),
            ("content-length: -1", ContentLength),
            ("content-length: 0x3", ContentLength),
            ("content-length:", ContentLength),
            ("content-length: 9999999999999999999", ContentLength),
            (
                "content-length: 3\r\ntransfer-encoding: chunked",
                ContentLength,
            ),
            ("transfer-encoding: gzip, chunked", TransferEncoding),
            ("transfer-encoding: identity", TransferEncoding),
            (
                "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
                TransferEncoding,
            ),
            ("transfer-encoding: chunked,", TransferEncoding),
            ("a b: c", Grammar(httparse::Error::HeaderName)),
            ("a : c", Grammar(httparse::Error::HeaderName)),
            ("a: b\r\n c", Grammar(httparse::Error::HeaderName)),
            ("a: b\0c", Grammar(httparse::Error::HeaderValue)),
        ] {
            let wire = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n");
            assert_eq!(read(wire.as_bytes()).unwrap_err(), error, "{fields:?}");
        }
        let wire = b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        assert_eq!(read(wire).unwrap_err(), TransferEncoding);
        assert_eq!(
            read(b"HTTP/1.1 099 x\r\n\r\n").unwrap_err(),
            InvalidHead::Status
        );
        assert!(matches!(read(b"ICY 200 OK\r\n\r\n"), Err(Grammar(_))));
    }

    #[test]
    fn where_the_body_ends_follows_from_method_status_and_fields() {
        for (method, status, fields, body) in [
            (
                Method::GET,
                200,
                "content-length: 5",
                BodyDecoder::Length(5),
            ),
            (
                Method::GET,
                200,
                "content-length: 5\r\ncontent-length: 5",
                BodyDecoder::Length(5),
            ),
            (Method::GET, 200, "content-length: 0", BodyDecoder::Empty),
            (
                Method::GET,
                200,
                "transfer-encoding: Chunked",
                BodyDecoder::chunked(),
            ),
            (Method::GET, 200, "x: y", BodyDecoder::UntilClose),
            (Method::HEAD, 200, "content-length: 5", BodyDecoder::Empty),
            (Method::GET, 204, "x: y", BodyDecoder::Empty),
            (Method::GET, 304, "content-length: 5", BodyDecoder::Empty),
            (Method::GET, 103, "x: y", BodyDecoder::Empty),
        ] {
            let mut wire =
                BytesMut::from(format!("HTTP/1.1 {status} \r\n{fields}\r\n\r\nrest").as_bytes());
            let head = parse(&mut wire, &method, &mut HeaderMap::new())
                .unwrap()
                .unwrap();
            assert_eq!(head.body, body, "{method} {status} {fields}");
            assert_eq!(&wire[..], b"rest");
            assert!(head.headers.get_all("content-length").iter().count() <= 1);
        }
    }

    #[test]
    fn a_connection_is_kept_only_where_both_say_so() {
        for (version, fields, kept) in [
            ("1.1", "content-length: 0", true),
            ("1.1", "content-length: 0\r\nconnection: Close", false),
            ("1.1", "content-length: 0\r\nconnection: foo, close", false),
            ("1.1", "x: y", false),
            ("1.0", "content-length: 0", false),
            ("1.0", "content-length: 0\r\nconnection: keep-alive", true),
        ] {
            let head = read(format!("HTTP/{version} 200 OK\r\n{fields}\r\n\r\n").as_bytes());
            assert_eq!(
                head.unwrap().unwrap().keep_alive,
                kept,
                "{version} {fields}"
            );
        }
    }

    #[test]
    fn only_a_reason_that_says_something_else_is_kept() {
        assert_eq!(
            read(b"HTTP/1.1 200 OK\r\n\r\n").unwrap().unwrap().reason,
            None
        );
        let reason = read(b"HTTP/1.1 200 Fine\r\n\r\n").unwrap().unwrap().reason;
        assert_eq!(reason.unwrap(), "Fine");
    }

    #[test]
    fn a_head_has_a_bound() {
        let mut wire = b"HTTP/1.1 200 OK\r\nx: ".to_vec();
        wire.resize(HEAD_BYTES_MAX - 1, b'x');
        assert!(read(&wire).unwrap().is_none());
        wire.push(b'x');
        assert_eq!(read(&wire).unwrap_err(), InvalidHead::TooLarge);
        let fields: String = (0..=FIELDS_MAX)
            .map(|field| format!("x{field}: y\r\n"))
            .collect();
        let wire = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
        assert_eq!(read(wire.as_bytes()).unwrap_err(), InvalidHead::TooLarge);
    }

    proptest! {
        #[test]
        fn a_head_is_read_alike_however_it_arrives(
            fields in prop::collection::vec(("[a-z][a-z-]{0,12}", "[!-~]([ -~]{0,20}[!-~])?"), 0..12),
            cut in any::<prop::sample::Index>(),
        ) {
            let lines: String = fields.iter().map(|(name, value)| format!("x-{name}: {value}\r\n")).collect();
            let wire = format!("HTTP/1.1 200 OK\r\n{lines}\r\n");
            let whole = read(wire.as_bytes()).unwrap().unwrap();
            let mut buffer = BytesMut::from(&wire.as_bytes()[..cut.index(wire.len())]);
            let mut map = HeaderMap::new();
            prop_assert!(parse(&mut buffer, &Method::GET, &mut map).unwrap().is_none());
            buffer.extend_from_slice(&wire.as_bytes()[buffer.len()..]);
            let pieces = parse(&mut buffer, &Method::GET, &mut map).unwrap().unwrap();
            prop_assert_eq!(&whole.headers, &pieces.headers);
            prop_assert_eq!(whole.headers.len(), fields.len());
        }

        #[test]
        fn nothing_that_arrives_can_do_worse_than_be_refused(wire in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut buffer = BytesMut::from(&wire[..]);
            let _ = parse(&mut buffer, &Method::GET, &mut HeaderMap::new());
            prop_assert!(wire.ends_with(&buffer));
        }
    }
}
