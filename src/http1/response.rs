//! Reading the head of a response.

use std::fmt;

use http::{Method, StatusCode};
use httparse::Status;

use super::{
    BodyDecoder, ConnectionOptions, Fields, Name,
    fields::{FIELDS_MAX, Span},
    framing::{BadFraming, Framing, Repeated},
    request::check_line_ends,
};

/// Heads larger than this are refused: they are held in memory whole.
pub(crate) const HEAD_BYTES_MAX: usize = 64 * 1024;

/// The head of one response, interim ones included. Its memory is used again for the next.
#[derive(Debug, Default)]
pub(crate) struct ResponseHead {
    pub(crate) status: StatusCode,
    pub(crate) fields: Fields,
    pub(crate) body: BodyDecoder,
    /// Whether another request may follow on the same connection, once the body has ended.
    pub(crate) keep_alive: bool,
    pub(crate) connection: ConnectionOptions,
    /// What follows the version: code and reason.
    status_line: Span,
}

/// Why a response head can't be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InvalidHead {
    Grammar(httparse::Error),
    LineEnd,
    TooLarge,
    Status,
    ContentLength,
    TransferEncoding,
}

impl fmt::Display for InvalidHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grammar(error) => write!(f, "response head is not HTTP/1: {error}"),
            Self::LineEnd => f.write_str("response head has a line that doesn't end in CR LF"),
            Self::TooLarge => write!(
                f,
                "response head exceeds {HEAD_BYTES_MAX} bytes or {FIELDS_MAX} fields"
            ),
            Self::Status => f.write_str("response status is out of range"),
            Self::ContentLength => f.write_str("response has no single valid Content-Length"),
            Self::TransferEncoding => {
                f.write_str("response has a Transfer-Encoding other than chunked")
            }
        }
    }
}

impl ResponseHead {
    /// Reads a head off the front of `input`: how long it is, or nothing while it isn't there whole.
    ///
    /// `method` is the request's: it decides whether a body follows.
    pub(crate) fn parse(
        &mut self,
        input: &[u8],
        method: &Method,
    ) -> Result<Option<usize>, InvalidHead> {
        let mut fields =
            [const { std::mem::MaybeUninit::<httparse::Header<'_>>::uninit() }; FIELDS_MAX];
        let mut response = httparse::Response::new(&mut []);
        let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
            &mut response,
            input,
            &mut fields,
        );
        let length = match parsed {
            Ok(Status::Complete(length)) if length <= HEAD_BYTES_MAX => length,
            Ok(Status::Partial) if input.len() < HEAD_BYTES_MAX => return Ok(None),
            Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(InvalidHead::TooLarge),
            Err(error) => return Err(InvalidHead::Grammar(error)),
        };
        let head = &input[..length];
        check_line_ends(head).map_err(|_| InvalidHead::LineEnd)?;
        let status = response
            .code
            .and_then(|code| StatusCode::from_u16(code).ok());
        self.status = status.ok_or(InvalidHead::Status)?;
        let http11 = response.version == Some(1);
        self.fields.restart(head);
        self.status_line = status_line(head);
        self.connection.restart();
        let mut framing = Framing::default();
        for field in response.headers.iter() {
            let pushed = self.fields.push(head, field.name.as_bytes(), field.value);
            let name = pushed.map_err(|_| InvalidHead::TooLarge)?;
            framing.mind(name, field.value, http11, Repeated::Same)?;
            if name == Name::Connection {
                self.connection.read(field.value);
            }
        }
        let bodiless = method == Method::HEAD
            || self.status.is_informational()
            || self.status == StatusCode::NO_CONTENT
            || self.status == StatusCode::NOT_MODIFIED;
        // What is said of a body is checked even if there can be none.
        let body = framing.decoder(BodyDecoder::UntilClose)?;
        self.body = if bodiless { BodyDecoder::Empty } else { body };
        self.keep_alive =
            self.connection.keep_alive(http11) && self.body != BodyDecoder::UntilClose;
        Ok(Some(length))
    }

    /// Code and reason, as the app wrote them.
    pub(crate) fn status_line(&self) -> &[u8] {
        self.fields.text(self.status_line)
    }

    /// What a 101 switches to, if it says so properly.
    pub(crate) fn upgrade(&self) -> Option<&[u8]> {
        let upgrade = self.fields.first(Name::Upgrade);
        upgrade.filter(|_| self.connection.upgrade())
    }
}

/// What stands between `HTTP/1.1 ` and the end of the line. Some servers put empty lines before it.
fn status_line(head: &[u8]) -> Span {
    let start = head.iter().position(|byte| !matches!(byte, b'\r' | b'\n'));
    let line = &head[start.unwrap_or_default()..];
    let end = memchr::memchr(b'\r', line).unwrap_or(line.len());
    Span::of(head, line.get(9..end).unwrap_or_default())
}

impl From<BadFraming> for InvalidHead {
    fn from(bad: BadFraming) -> Self {
        match bad {
            BadFraming::ContentLength | BadFraming::Both => Self::ContentLength,
            BadFraming::TransferEncoding => Self::TransferEncoding,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(wire: &[u8]) -> Result<Option<ResponseHead>, InvalidHead> {
        let mut head = ResponseHead::default();
        let length = head.parse(wire, &Method::GET)?;
        Ok(length.map(|_| head))
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
            let wire = format!("HTTP/1.1 {status} \r\n{fields}\r\n\r\nrest");
            let mut head = ResponseHead::default();
            let length = head.parse(wire.as_bytes(), &method).unwrap().unwrap();
            assert_eq!(head.body, body, "{method} {status} {fields}");
            assert_eq!(&wire[length..], "rest");
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
    fn the_status_line_is_as_the_app_wrote_it() {
        for (wire, line) in [
            (&b"HTTP/1.1 200 OK\r\n\r\n"[..], &b"200 OK"[..]),
            (
                b"HTTP/1.0 200 Very  \xe4 fine\r\n\r\n",
                b"200 Very  \xe4 fine",
            ),
            (b"HTTP/1.1 204 \r\n\r\n", b"204 "),
            (b"HTTP/1.1 204\r\n\r\n", b"204"),
            (b"\r\nHTTP/1.1 200 OK\r\n\r\n", b"200 OK"),
        ] {
            assert_eq!(read(wire).unwrap().unwrap().status_line(), line);
        }
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
            let mut head = ResponseHead::default();
            let cut = cut.index(wire.len());
            prop_assert_eq!(head.parse(&wire.as_bytes()[..cut], &Method::GET), Ok(None));
            prop_assert_eq!(head.parse(wire.as_bytes(), &Method::GET), Ok(Some(wire.len())));
            let (mut once, mut again) = (Vec::new(), Vec::new());
            whole.fields.write(&mut once, |_| true);
            head.fields.write(&mut again, |_| true);
            prop_assert_eq!(&once, lines.as_bytes());
            prop_assert_eq!(once, again);
        }

        #[test]
        fn nothing_that_arrives_can_do_worse_than_be_refused(wire in prop::collection::vec(any::<u8>(), 0..300)) {
            let length = ResponseHead::default().parse(&wire, &Method::GET);
            prop_assert!(length.is_ok_and(|length| length.is_none_or(|length| length <= wire.len())) || length.is_err());
        }
    }
}
