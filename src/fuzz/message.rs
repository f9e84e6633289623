//! Messages as somebody else reads them: heads by httparse and once more by hand, bodies by hand. What the edge writes
//! has to be readable here; nothing of `http1` is used.

/// More than the edge takes, since it adds some.
const FIELDS_MAX: usize = 256;

/// In lower case, with its value.
pub(super) type NamedValue = (String, Vec<u8>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) http11: bool,
    pub(super) fields: Vec<NamedValue>,
    /// Of the head.
    pub(super) length: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) http11: bool,
    pub(super) fields: Vec<NamedValue>,
    /// As much of it as is there and can be read.
    pub(super) body: Vec<u8>,
    /// Whether it has ended as it should.
    pub(super) complete: bool,
    /// What can't be read of its body.
    pub(super) fault: Option<Malformed>,
    /// Of head and body.
    pub(super) length: usize,
}

/// The bytes can't be the beginning of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

/// A request's head; none while it isn't there whole.
pub(super) fn request(bytes: &[u8]) -> Result<Option<Request>, Malformed> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut head = httparse::Request::new(&mut fields);
    let parsed = head.parse(bytes).map_err(|_| Malformed("request head"))?;
    let httparse::Status::Complete(length) = parsed else {
        return Ok(None);
    };
    Ok(Some(Request {
        method: head.method.unwrap_or_default().to_owned(),
        target: head.path.unwrap_or_default().to_owned(),
        http11: head.version == Some(1),
        fields: named_values(head.headers),
        length,
    }))
}

/// The requests of one connection, as they follow one another, each with the length of its body: none if that isn't there
/// whole, and then nothing follows, and neither does it behind what can't be read.
pub(super) fn requests(bytes: &[u8]) -> Vec<(Request, Option<usize>)> {
    let mut found = Vec::new();
    let mut rest = bytes;
    while let Ok(Some(request)) = request(rest) {
        let behind = &rest[request.length..];
        let (body, end) = match framing(&request.fields) {
            Ok(Framing::UntilClose) => (Vec::new(), Ok(Some(0))),
            Ok(framed) => body(framed, behind, false),
            Err(malformed) => (Vec::new(), Err(malformed)),
        };
        let Ok(Some(end)) = end else {
            found.push((request, None));
            break;
        };
        rest = &behind[end..];
        found.push((request, Some(body.len())));
    }
    found
}

/// A response, interim ones included, with its body as far as that has come; none while there is no whole head.
/// `to_head` is of the request, and `closed` of the connection behind the bytes.
pub(super) fn response(
    bytes: &[u8],
    to_head: bool,
    closed: bool,
) -> Result<Option<Response>, Malformed> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut head = httparse::Response::new(&mut fields);
    let parsed = head.parse(bytes).map_err(|_| Malformed("response head"))?;
    let httparse::Status::Complete(length) = parsed else {
        return Ok(None);
    };
    let fields = named_values(head.headers);
    let status = head.code.unwrap_or_default();
    let rest = &bytes[length..];
    let (body, end) = if to_head || status < 200 || matches!(status, 204 | 304) {
        (Vec::new(), Ok(Some(0)))
    } else {
        body(framing(&fields)?, rest, closed)
    };
    let (end, fault) = (end.unwrap_or_default(), end.err());
    Ok(Some(Response {
        status,
        http11: head.version == Some(1),
        fields,
        body,
        complete: end.is_some(),
        fault,
        length: length + end.unwrap_or(rest.len()),
    }))
}

enum Framing {
    Chunks,
    Length(usize),
    UntilClose,
}

/// One length, which may be said again, or chunks, and never both.
fn framing(fields: &[NamedValue]) -> Result<Framing, Malformed> {
    let lengths: Vec<_> = all(fields, "content-length").collect();
    let codings: Vec<_> = all(fields, "transfer-encoding").collect();
    match (&lengths[..], &codings[..]) {
        ([], []) => Ok(Framing::UntilClose),
        ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") => Ok(Framing::Chunks),
        ([length, again @ ..], []) => {
            let digits = !length.is_empty() && length.iter().all(u8::is_ascii_digit);
            let text = str::from_utf8(length).ok().filter(|_| digits);
            let known: Option<usize> = text.and_then(|text| text.parse().ok());
            let same = |other: &&[u8]| {
                str::from_utf8(other)
                    .is_ok_and(|other| other.parse() == Ok(known.unwrap_or_default()))
            };
            match known {
                Some(known) if again.iter().all(same) => Ok(Framing::Length(known)),
                Some(_) | None => Err(Malformed("content-length")),
            }
        }
        _ => Err(Malformed("framing")),
    }
}

/// What is there of a body, and where it ends if it does.
type Body = (Vec<u8>, Result<Option<usize>, Malformed>);

fn body(framing: Framing, bytes: &[u8], closed: bool) -> Body {
    match framing {
        Framing::Chunks => chunks(bytes),
        Framing::Length(length) if length <= bytes.len() => {
            (bytes[..length].to_vec(), Ok(Some(length)))
        }
        Framing::Length(_) => (bytes.to_vec(), Ok(None)),
        Framing::UntilClose => (bytes.to_vec(), Ok(closed.then_some(bytes.len()))),
    }
}

/// RFC 9112 §7.1.
fn chunks(bytes: &[u8]) -> Body {
    let (mut data, mut at) = (Vec::new(), 0);
    let end = loop {
        let Some(line) = line(&bytes[at..]) else {
            break Ok(None);
        };
        let Some(size) = chunk_size(line) else {
            break Err(Malformed("chunk size"));
        };
        at += line.len() + 2;
        if size == 0 {
            break trailers(&bytes[at..]).map(|length| Some(at + length?));
        }
        let chunk = &bytes[at..];
        data.extend_from_slice(&chunk[..size.min(chunk.len())]);
        match chunk.get(size..) {
            Some([b'\r', b'\n', ..]) => at += size + 2,
            None | Some([] | [b'\r']) => break Ok(None),
            Some(_) => break Err(Malformed("chunk end")),
        }
    };
    (data, end)
}

fn chunk_size(line: &[u8]) -> Option<usize> {
    let digits = line.split(|&byte| byte == b';').next()?;
    let plain = digits.iter().all(u8::is_ascii_hexdigit);
    let digits = str::from_utf8(digits).ok().filter(|_| plain)?;
    usize::from_str_radix(digits, 16).ok()
}

/// How long a trailer section is, its empty line included.
fn trailers(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    match httparse::parse_headers(bytes, &mut fields) {
        Ok(httparse::Status::Complete((length, _))) => Ok(Some(length)),
        Ok(httparse::Status::Partial) => Ok(None),
        Err(_) => Err(Malformed("trailers")),
    }
}

/// What stands before the first CR LF.
fn line(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    Some(&bytes[..end])
}

fn named_values(fields: &[httparse::Header<'_>]) -> Vec<NamedValue> {
    let owned =
        |field: &httparse::Header<'_>| (field.name.to_ascii_lowercase(), field.value.to_vec());
    fields.iter().map(owned).collect()
}

/// The values of one name.
pub(super) fn all<'a>(fields: &'a [NamedValue], name: &str) -> impl Iterator<Item = &'a [u8]> {
    fields
        .iter()
        .filter(move |(known, _)| known == name)
        .map(|(_, value)| &value[..])
}

/// The value of a name that must be there once.
#[track_caller]
pub(super) fn sole<'a>(fields: &'a [NamedValue], name: &str) -> &'a [u8] {
    let mut values = all(fields, name);
    let value = values.next();
    assert!(values.next().is_none(), "{name} stands there twice");
    value.unwrap_or_else(|| panic!("there is no {name}"))
}

/// The start line and the fields of a head that the edge has written, by splitting it. Every byte of it has to be
/// where no two readers can see something else.
#[track_caller]
pub(super) fn written(head: &[u8]) -> (&[u8], Vec<NamedValue>) {
    let shown = head.escape_ascii();
    let body = head
        .strip_suffix(b"\r\n\r\n")
        .unwrap_or_else(|| panic!("no end: {shown}"));
    let mut lines = Vec::new();
    let mut rest = body;
    while let Some(line) = line(rest) {
        lines.push(line);
        rest = &rest[line.len() + 2..];
    }
    lines.push(rest);
    let control = |byte: &u8| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f;
    assert!(
        !lines.iter().any(|line| line.iter().any(control)),
        "control bytes: {shown}"
    );
    let fields = lines[1..].iter().map(|line| {
        let colon = line.iter().position(|&byte| byte == b':');
        let colon = colon.unwrap_or_else(|| panic!("no colon: {shown}"));
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        assert!(
            !name.is_empty() && name.iter().all(is_token),
            "no name: {shown}"
        );
        let value = value
            .strip_prefix(b" ")
            .unwrap_or_else(|| panic!("no blank: {shown}"));
        assert_eq!(value, value.trim_ascii(), "blanks around a value: {shown}");
        (
            String::from_utf8_lossy(name).to_ascii_lowercase(),
            value.to_vec(),
        )
    });
    (lines[0], fields.collect())
}

/// RFC 9110 §5.6.2.
fn is_token(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)
}
