//! HTTP/1 messages as they stand on the wire: heads kept byte for byte, bodies taken out of their framing.
//!
//! Shared by the client and the upstreams. It is strict about nothing: what the edge may not send is for the
//! tests to say.

use std::io::{BufRead, BufReader, ErrorKind, Read};

use socket2::Socket;

pub(crate) type Reader = BufReader<Socket>;

/// The start line and the fields of a message. Text is Latin-1 here: one character for each byte.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) raw: Vec<u8>,
    pub(crate) start: String,
    pub(crate) fields: Vec<(String, String)>,
}

impl Head {
    /// Every value of a field, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let named = |field: &&(String, String)| field.0.eq_ignore_ascii_case(name);
        self.fields
            .iter()
            .filter(named)
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// The value of a field that is there once, or `None`.
    #[track_caller]
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let values = self.all(name);
        assert!(
            values.len() < 2,
            "{name} is there {} times: {values:?}",
            values.len()
        );
        values.first().copied()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        !self.all(name).is_empty()
    }

    fn lists(&self, name: &str, token: &str) -> bool {
        let named = |part: &str| part.trim().eq_ignore_ascii_case(token);
        self.all(name)
            .iter()
            .any(|value| value.split(',').any(named))
    }

    /// Whether Connection names `option`.
    pub(crate) fn connection(&self, option: &str) -> bool {
        self.lists("connection", option)
    }

    /// The framing that a body has by these fields, before method and status have their say.
    fn declared(&self) -> Option<Framing> {
        if self.lists("transfer-encoding", "chunked") {
            return Some(Framing::Chunked);
        }
        let length = self.field("content-length")?;
        Some(Framing::Length(length.parse().unwrap()))
    }

    pub(crate) fn request_framing(&self) -> Framing {
        self.declared().unwrap_or(Framing::Length(0))
    }

    /// RFC 9112 §6.3, of a response to a request by `method`.
    pub(crate) fn response_framing(&self, method: &str) -> Framing {
        let status = self.status();
        let empty = method == "HEAD" || status < 200 || status == 204 || status == 304;
        if empty {
            return Framing::Length(0);
        }
        self.declared().unwrap_or(Framing::UntilClose)
    }

    /// Of a response.
    #[track_caller]
    pub(crate) fn status(&self) -> u16 {
        let status = self
            .start
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        status.unwrap_or_else(|| panic!("not a status line: {:?}", self.start))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
    /// Whether it ended as its framing says that it ends.
    pub(crate) whole: bool,
}

/// The next head, or `None` where the connection ends before its first byte.
pub(crate) fn read_head(reader: &mut Reader) -> Option<Head> {
    let mut raw = Vec::new();
    let mut lines = Vec::new();
    loop {
        let line = read_line(reader, &mut raw)?;
        if line.is_empty() && !lines.is_empty() {
            break;
        }
        lines.push(line);
    }
    let fields = lines.iter().skip(1).map(|line| {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        (name.to_owned(), value.trim_matches([' ', '\t']).to_owned())
    });
    Some(Head {
        fields: fields.collect(),
        start: lines[0].clone(),
        raw,
    })
}

pub(crate) fn read_body(reader: &mut Reader, framing: Framing) -> Body {
    let mut body = Body::default();
    body.whole = match framing {
        Framing::Length(length) => read_some(reader, length, &mut body.bytes),
        Framing::UntilClose => read_some(reader, u64::MAX, &mut body.bytes),
        Framing::Chunked => read_chunks(reader, &mut body).is_some(),
    };
    body
}

/// Everything until the other side ends the connection, and whether it did so in good order.
pub(crate) fn read_to_end(reader: &mut Reader) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    let whole = read_some(reader, u64::MAX, &mut bytes);
    (bytes, whole)
}

/// Reads the chunks and the trailers; `None` where they are cut short.
fn read_chunks(reader: &mut Reader, body: &mut Body) -> Option<()> {
    let mut raw = Vec::new();
    loop {
        let line = read_line(reader, &mut raw)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size =
            u64::from_str_radix(size, 16).unwrap_or_else(|_| panic!("not a chunk size: {line:?}"));
        if size == 0 {
            break;
        }
        read_some(reader, size, &mut body.bytes).then_some(())?;
        read_line(reader, &mut raw)?;
    }
    loop {
        let line = read_line(reader, &mut raw)?;
        let Some((name, value)) = line.split_once(':') else {
            return Some(());
        };
        body.trailers
            .push((name.to_owned(), value.trim().to_owned()));
    }
}

/// One line without its end; `None` where the connection ends first. What was read is added to `raw`.
fn read_line(reader: &mut Reader, raw: &mut Vec<u8>) -> Option<String> {
    let start = raw.len();
    match reader.read_until(b'\n', raw) {
        Ok(_) if raw.ends_with(b"\n") && raw.len() > start => {}
        Ok(_) => return None,
        Err(error) => {
            refuse_silence(&error);
            return None;
        }
    }
    let line: String = raw[start..].iter().copied().map(char::from).collect();
    Some(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Reads `length` bytes, or until the end where it is `u64::MAX`; false where the body is cut short.
fn read_some(reader: &mut Reader, length: u64, bytes: &mut Vec<u8>) -> bool {
    let start = bytes.len();
    match reader.take(length).read_to_end(bytes) {
        Ok(_) => length == u64::MAX || (bytes.len() - start) as u64 == length,
        Err(error) => {
            refuse_silence(&error);
            false
        }
    }
}

/// A connection that was reset has ended; one that is silent past the deadline fails the test.
#[track_caller]
fn refuse_silence(error: &std::io::Error) {
    let silent = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
    assert!(!silent, "nothing came within the deadline");
}
