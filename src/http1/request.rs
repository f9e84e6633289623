//! Reading the head of a request.
//!
//! httparse reads the grammar; what it lets through and two readers could understand differently is refused here:
//! bare LFs, a fragment, lengths and codings in doubt.

use http::Method;
use httparse::{Error, Status};

use super::{
    BodyDecoder, ConnectionOptions, Fields, Name,
    fields::{FIELDS_MAX, Span},
    framing::{BadFraming, Framing, Repeated},
};

/// The head of one request. Its memory is used again for the next.
#[derive(Debug, Default)]
pub(crate) struct RequestHead {
    pub(crate) method: Method,
    pub(crate) fields: Fields,
    pub(crate) http11: bool,
    /// Where its body is, if it has one.
    pub(crate) body: BodyDecoder,
    pub(crate) connection: ConnectionOptions,
    target: Span,
}

/// Why a head can't be read, or must not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadHead {
    /// The words end the sentence "the request …".
    Invalid(&'static str),
    /// HTTP, of a version that isn't spoken here.
    Version,
    /// The request line alone is too long.
    TargetTooLong,
    TooLarge,
    TooManyFields,
}

impl RequestHead {
    /// As the client sent it.
    pub(crate) fn target(&self) -> &str {
        // httparse has taken it for UTF-8.
        str::from_utf8(self.fields.text(self.target)).unwrap_or_default()
    }

    /// Reads a head off the front of `input`: how long it is, or nothing while it isn't there whole.
    ///
    /// # Errors
    /// What the client is to be told; the connection can't be relied on after that.
    pub(crate) fn parse(
        &mut self,
        input: &[u8],
        bytes_max: usize,
    ) -> Result<Option<usize>, BadHead> {
        let mut fields =
            [const { std::mem::MaybeUninit::<httparse::Header<'_>>::uninit() }; FIELDS_MAX];
        let mut request = httparse::Request::new(&mut []);
        let window = &input[..bytes_max.min(input.len())];
        let length = match request.parse_with_uninit_headers(window, &mut fields) {
            Ok(Status::Complete(length)) => length,
            Ok(Status::Partial) if window.len() < bytes_max => return Ok(None),
            Ok(Status::Partial) => return Err(too_large(window)),
            Err(error) => return Err(BadHead::of(error, window)),
        };
        let head = &input[..length];
        check_line_ends(head)?;
        let (Some(method), Some(target)) = (request.method, request.path) else {
            return Err(BadHead::Invalid("has no request line"));
        };
        if target.contains('#') {
            return Err(BadHead::Invalid("has a fragment in its target"));
        }
        self.method = Method::from_bytes(method.as_bytes())
            .map_err(|_| BadHead::Invalid("has a method that is no word"))?;
        self.http11 = request.version == Some(1);
        self.target = Span::of(head, target.as_bytes());
        self.fields.restart(head);
        self.connection.restart();
        let mut framing = Framing::default();
        for field in request.headers.iter() {
            let pushed = self.fields.push(head, field.name.as_bytes(), field.value);
            let name = pushed.map_err(|_| BadHead::TooManyFields)?;
            framing.mind(name, field.value, self.http11, Repeated::Refused)?;
            if name == Name::Connection {
                self.connection.read(field.value);
            }
        }
        self.body = framing.decoder(BodyDecoder::Empty)?;
        Ok(Some(length))
    }

    /// Whether the connection is to outlive the request, as far as the client is concerned (RFC 9112 §9.3).
    pub(crate) fn keep_alive(&self) -> bool {
        self.connection.keep_alive(self.http11)
    }

    /// Whether the client waits for a 100 before it sends its body (RFC 9110 §10.1.1). One of HTTP/1.0 can't have meant
    /// it.
    pub(crate) fn expects_continue(&self) -> bool {
        let expects = self.fields.first(Name::Expect);
        self.http11 && expects.is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"))
    }
}

/// Every line ends in CR LF, and neither stands anywhere else. httparse takes a bare LF for an end of line
/// (RFC 9112 §2.2 lets a recipient); whoever doesn't sees another message.
pub(super) fn check_line_ends(head: &[u8]) -> Result<(), BadHead> {
    let strict = memchr::memchr_iter(b'\n', head).all(|at| at > 0 && head[at - 1] == b'\r');
    if strict {
        Ok(())
    } else {
        Err(BadHead::Invalid("has a line that doesn't end in CR LF"))
    }
}

fn too_large(beginning: &[u8]) -> BadHead {
    match memchr::memchr(b'\n', beginning) {
        Some(_) => BadHead::TooLarge,
        None => BadHead::TargetTooLong,
    }
}

impl BadHead {
    fn of(error: Error, input: &[u8]) -> Self {
        Self::Invalid(match error {
            Error::TooManyHeaders => return Self::TooManyFields,
            Error::Version if names_version(input) => return Self::Version,
            Error::Version => "names no version of HTTP",
            Error::Token => "has a method or a target that can't be read",
            Error::HeaderName => "has a field whose name can't be read",
            Error::HeaderValue => "has a field whose value can't be read",
            Error::NewLine => "has a line that doesn't end in CR LF",
            Error::Status => "is not HTTP",
        })
    }
}

/// Whether the request line ends in a version of HTTP, whichever.
fn names_version(input: &[u8]) -> bool {
    let line = input
        .split(|&byte| byte == b'\n')
        .find(|line| !matches!(line, [] | [b'\r']))
        .unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut words = line.split(|&byte| byte == b' ');
    let (Some(_), Some(_), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return false;
    };
    match version.strip_prefix(b"HTTP/") {
        Some([major, b'.', minor]) => major.is_ascii_digit() && minor.is_ascii_digit(),
        _ => false,
    }
}

impl From<BadFraming> for BadHead {
    fn from(bad: BadFraming) -> Self {
        Self::Invalid(match bad {
            BadFraming::ContentLength => "has no single valid Content-Length",
            BadFraming::TransferEncoding => "has a Transfer-Encoding other than chunked",
            BadFraming::Both => "has both Content-Length and Transfer-Encoding",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX: usize = 8 * 1024;

    fn read(wire: &[u8]) -> Result<Option<RequestHead>, BadHead> {
        let mut head = RequestHead::default();
        let length = head.parse(wire, MAX)?;
        Ok(length.map(|_| head))
    }

    /// With the request line and a Host before the fields.
    fn with(fields: &str) -> Result<RequestHead, BadHead> {
        let wire = format!("POST /a HTTP/1.1\r\nHost: thor\r\n{fields}\r\n\r\n");
        read(wire.as_bytes()).map(|head| head.expect("a whole head"))
    }

    #[test]
    fn what_could_be_understood_in_two_ways_is_refused() {
        for fields in [
            "Content-Length: 3\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 3",
            "Content-Length: 3\r\nContent-Length: 3",
            "Content-Length: 3\r\nContent-Length: 4",
            "Content-Length: 3, 3",
            "Content-Length: +3",
            "Content-Length: 0x3",
            "Content-Length:",
            "Content-Length: 1234567890123456789",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: chunked, chunked",
            "Transfer-Encoding: chunked,",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding: \"chunked\"",
            "Transfer-Encoding: identity",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding : chunked",
            "X: a\r\n b",
            "X: a\nY: b",
            "X: a\rb",
            "X: a\0b",
            " X: a",
            "X",
            ": a",
        ] {
            assert!(
                matches!(with(fields), Err(BadHead::Invalid(_))),
                "{fields:?}"
            );
        }
        let old = b"POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert!(read(old).is_err());
    }

    #[test]
    fn a_request_line_is_three_words() {
        for (line, expected) in [
            ("GET / HTTP/1.1", Ok(())),
            ("GET /a%2fb;c?d=\u{e4} HTTP/1.0", Ok(())),
            ("GET / HTTP/1.2", Err(BadHead::Version)),
            ("PRI * HTTP/2.0", Err(BadHead::Version)),
            ("GET / HTTP/3", Err(BadHead::Invalid(""))),
            ("GET /a b HTTP/1.1", Err(BadHead::Invalid(""))),
            ("GET / FTP/1.1", Err(BadHead::Invalid(""))),
            ("GET /", Err(BadHead::Invalid(""))),
            ("GET /#a HTTP/1.1", Err(BadHead::Invalid(""))),
            ("GET /\t HTTP/1.1", Err(BadHead::Invalid(""))),
            ("GET  / HTTP/1.1", Err(BadHead::Invalid(""))),
            (" GET / HTTP/1.1", Err(BadHead::Invalid(""))),
        ] {
            let read = read(format!("{line}\r\nHost: h\r\n\r\n").as_bytes());
            let seen = read.map(|_| ()).map_err(|bad| match bad {
                BadHead::Invalid(_) => BadHead::Invalid(""),
                other => other,
            });
            assert_eq!(seen, expected, "{line}");
        }
    }

    #[test]
    fn a_head_has_bounds() {
        let long = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(MAX));
        assert_eq!(read(long.as_bytes()).unwrap_err(), BadHead::TargetTooLong);
        let wide = "a".repeat(MAX);
        assert_eq!(with(&format!("X: {wide}")).unwrap_err(), BadHead::TooLarge);
        let fields = |count: usize| "X: a\r\n".repeat(count - 2) + "Y: b";
        assert!(with(&fields(FIELDS_MAX)).is_ok());
        assert_eq!(
            with(&fields(FIELDS_MAX + 1)).unwrap_err(),
            BadHead::TooManyFields
        );
    }

    #[test]
    fn what_it_says_of_its_body_and_connection() {
        let head = with("Transfer-Encoding: Chunked\r\nExpect: 100-Continue").unwrap();
        assert_eq!(head.body, BodyDecoder::chunked());
        assert!(head.expects_continue() && head.keep_alive());
        let head = with("Content-Length: 7\r\nConnection: close").unwrap();
        assert_eq!(head.body, BodyDecoder::Length(7));
        assert!(!head.expects_continue() && !head.keep_alive());
        let old = read(b"GET / HTTP/1.0\r\nHost: h\r\nExpect: 100-continue\r\n\r\n");
        let old = old.unwrap().unwrap();
        assert!(!old.expects_continue() && !old.keep_alive() && old.body.is_end());
    }

    proptest! {
        #[test]
        fn a_head_is_read_alike_however_it_arrives(
            fields in prop::collection::vec(("[a-zA-Z][a-z_-]{0,12}", "[!-~]([ -~]{0,20}[!-~])?"), 0..12),
            cut in any::<prop::sample::Index>(),
        ) {
            let lines: String = fields.iter().map(|(name, value)| format!("x-{name}: {value}\r\n")).collect();
            let wire = format!("GET /a HTTP/1.1\r\n{lines}\r\n");
            let whole = read(wire.as_bytes()).unwrap().unwrap();
            let mut head = RequestHead::default();
            let cut = cut.index(wire.len());
            prop_assert_eq!(head.parse(&wire.as_bytes()[..cut], MAX), Ok(None));
            prop_assert_eq!(head.parse(wire.as_bytes(), MAX), Ok(Some(wire.len())));
            let mut seen = Vec::new();
            whole.fields.write(&mut seen, |_| true);
            prop_assert_eq!(seen, lines.as_bytes());
        }

        #[test]
        fn nothing_that_arrives_can_do_worse_than_be_refused(wire in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(Some(head)) = read(&wire) {
                prop_assert!(!head.target().is_empty());
            }
        }
    }
}
