//! Reading a body: where it ends, and what of the bytes at hand belongs to it.

use std::fmt;

use super::{Buffer, Fields, request::check_line_ends};

/// A chunk's size line, extensions included; nobody is known to need more.
const SIZE_LINE_BYTES_MAX: usize = 256;
const TRAILER_BYTES_MAX: usize = 8 * 1024;
const TRAILERS_MAX: usize = 32;

/// Where in a body we are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum BodyDecoder {
    /// Nothing is left, or there never was a body.
    #[default]
    Empty,
    /// So many bytes are still to come.
    Length(u64),
    Chunked(Chunk),
    /// All that comes until the connection is closed.
    UntilClose,
}

/// Where in a chunked body we are (RFC 9112 §7.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Chunk {
    Size,
    Data(u64),
    DataEnd,
    Trailers,
}

/// What could be made of the bytes at hand.
#[derive(Debug)]
pub(crate) enum Decoded {
    /// So many bytes at the front of the buffer are of the body. Whoever asked consumes them before it asks again.
    Data(usize),
    /// The end of a chunked body, with the fields that followed it.
    Trailers(Box<Fields>),
    /// The end, which is told as often as it is asked for.
    End,
    /// Nothing; more bytes are needed.
    More,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InvalidBody {
    ChunkSize,
    ChunkEnd,
    Trailers,
    /// The connection was closed before the body's end.
    Truncated,
}

impl fmt::Display for InvalidBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ChunkSize => "chunk size is not valid",
            Self::ChunkEnd => "chunk does not end where its size says",
            Self::Trailers => "trailer section is not valid",
            Self::Truncated => "body ended early",
        })
    }
}

impl BodyDecoder {
    pub(crate) fn chunked() -> Self {
        Self::Chunked(Chunk::Size)
    }

    pub(crate) fn is_end(&self) -> bool {
        matches!(self, Self::Empty)
    }

    /// How many bytes are still to come, where that is known.
    pub(crate) fn remaining(&self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Length(length) => Some(*length),
            Self::Chunked(_) | Self::UntilClose => None,
        }
    }

    /// What is next in `buffer`; framing is consumed, data is not. What follows the body is left there.
    pub(crate) fn decode(&mut self, buffer: &mut Buffer) -> Result<Decoded, InvalidBody> {
        match self {
            Self::Empty => Ok(Decoded::End),
            _ if buffer.is_empty() => Ok(Decoded::More),
            Self::UntilClose => Ok(Decoded::Data(buffer.len())),
            Self::Length(left) => {
                let data = at_most(buffer, left);
                if *left == 0 {
                    *self = Self::Empty;
                }
                Ok(Decoded::Data(data))
            }
            Self::Chunked(_) => self.decode_chunked(buffer),
        }
    }

    /// The connection was closed: is this the end of the body, or is some of it missing?
    pub(crate) fn closed(&mut self) -> Result<(), InvalidBody> {
        match self {
            Self::Empty => Ok(()),
            Self::UntilClose => {
                *self = Self::Empty;
                Ok(())
            }
            Self::Length(_) | Self::Chunked(_) => Err(InvalidBody::Truncated),
        }
    }

    fn decode_chunked(&mut self, buffer: &mut Buffer) -> Result<Decoded, InvalidBody> {
        while let Self::Chunked(chunk) = self {
            match chunk {
                Chunk::Size => match chunk_size(buffer)? {
                    None => return Ok(Decoded::More),
                    Some(0) => *chunk = Chunk::Trailers,
                    Some(size) => *chunk = Chunk::Data(size),
                },
                Chunk::Data(_) if buffer.is_empty() => return Ok(Decoded::More),
                Chunk::Data(left) => {
                    let data = at_most(buffer, left);
                    if *left == 0 {
                        *chunk = Chunk::DataEnd;
                    }
                    return Ok(Decoded::Data(data));
                }
                Chunk::DataEnd => match buffer.bytes() {
                    [b'\r', b'\n', ..] => {
                        buffer.consume(2);
                        *chunk = Chunk::Size;
                    }
                    [] | [b'\r'] => return Ok(Decoded::More),
                    _ => return Err(InvalidBody::ChunkEnd),
                },
                Chunk::Trailers => {
                    let Some(trailers) = trailers(buffer)? else {
                        return Ok(Decoded::More);
                    };
                    *self = Self::Empty;
                    return Ok(trailers.map_or(Decoded::End, Decoded::Trailers));
                }
            }
        }
        Ok(Decoded::End)
    }
}

/// How much of what is left is there; it counts as read.
fn at_most(buffer: &Buffer, left: &mut u64) -> usize {
    let most = usize::try_from(*left).unwrap_or(usize::MAX);
    let data = most.min(buffer.len());
    *left -= data as u64;
    data
}

/// Takes a size line: hex digits, perhaps extensions, CR LF. A bare LF is refused, and so is white space:
/// both have been used to make two parsers see two different bodies.
fn chunk_size(buffer: &mut Buffer) -> Result<Option<u64>, InvalidBody> {
    let window = &buffer.bytes()[..buffer.len().min(SIZE_LINE_BYTES_MAX)];
    let Some(end) = memchr::memchr(b'\n', window) else {
        let full = window.len() == SIZE_LINE_BYTES_MAX;
        return if full {
            Err(InvalidBody::ChunkSize)
        } else {
            Ok(None)
        };
    };
    let line = window[..end]
        .strip_suffix(b"\r")
        .ok_or(InvalidBody::ChunkSize)?;
    let digits = line
        .iter()
        .take_while(|byte| byte.is_ascii_hexdigit())
        .count();
    let valid = (1..=15).contains(&digits)
        && line.get(digits).is_none_or(|&byte| byte == b';')
        && line[digits..]
            .iter()
            .all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f));
    if !valid {
        return Err(InvalidBody::ChunkSize);
    }
    let size = line[..digits].iter().fold(0, |sum, &digit| {
        sum << 4 | u64::from((digit as char).to_digit(16).unwrap_or_default())
    });
    buffer.consume(end + 1);
    Ok(Some(size))
}

/// Takes the trailer section, with its fields if there are any. Those that frame, route or authenticate a message have
/// no place in it (RFC 9110 §6.5.1); whoever writes them on leaves them out.
fn trailers(buffer: &mut Buffer) -> Result<Option<Option<Box<Fields>>>, InvalidBody> {
    let bytes = buffer.bytes();
    let mut found = [httparse::EMPTY_HEADER; TRAILERS_MAX];
    let (length, found) = match httparse::parse_headers(bytes, &mut found) {
        Ok(httparse::Status::Complete(parsed)) if parsed.0 <= TRAILER_BYTES_MAX => parsed,
        Ok(httparse::Status::Partial) if bytes.len() < TRAILER_BYTES_MAX => return Ok(None),
        Ok(_) | Err(_) => return Err(InvalidBody::Trailers),
    };
    let section = &bytes[..length];
    check_line_ends(section).map_err(|_| InvalidBody::Trailers)?;
    let mut trailers = None;
    if !found.is_empty() {
        let fields = trailers.insert(Box::new(Fields::default()));
        fields.restart(section);
        for field in found {
            let pushed = fields.push(section, field.name.as_bytes(), field.value);
            pushed.map_err(|_| InvalidBody::Trailers)?;
        }
    }
    buffer.consume(length);
    Ok(Some(trailers))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::write, *};

    /// The body, what followed it as trailers, and what was left over.
    type Read = Result<(Vec<u8>, Option<String>, Vec<u8>), InvalidBody>;

    /// Feeds `wire` in pieces cut at `cuts`.
    fn decode(mut decoder: BodyDecoder, wire: &[u8], cuts: &[usize]) -> Read {
        let mut buffer = Buffer::default();
        let (mut body, mut trailers, mut from) = (Vec::new(), None, 0);
        let ends = cuts
            .iter()
            .map(|cut| cut % (wire.len() + 1))
            .chain([wire.len()]);
        let mut ends: Vec<usize> = ends.collect();
        ends.sort_unstable();
        for end in ends {
            buffer.extend(&wire[from..end]);
            from = end;
            loop {
                match decoder.decode(&mut buffer)? {
                    Decoded::Data(data) => {
                        assert_ne!(data, 0);
                        body.extend_from_slice(&buffer.bytes()[..data]);
                        buffer.consume(data);
                    }
                    Decoded::Trailers(fields) => {
                        let mut out = Vec::new();
                        write::last_chunk(&mut out, Some(&fields));
                        trailers = String::from_utf8(out).ok();
                    }
                    Decoded::End | Decoded::More => break,
                }
            }
        }
        if !decoder.is_end() {
            decoder.closed()?;
        }
        Ok((body, trailers, buffer.bytes().to_vec()))
    }

    fn chunked(wire: &[u8]) -> Read {
        decode(BodyDecoder::chunked(), wire, &[])
    }

    #[test]
    fn chunked_bodies_that_are_not_exact_are_refused() {
        for (wire, error) in [
            (&b"\r\n"[..], InvalidBody::ChunkSize),
            (b" 5\r\nhello\r\n0\r\n\r\n", InvalidBody::ChunkSize),
            (b"5 \r\nhello\r\n0\r\n\r\n", InvalidBody::ChunkSize),
            (b"0x5\r\nhello\r\n0\r\n\r\n", InvalidBody::ChunkSize),
            (b"+5\r\nhello\r\n0\r\n\r\n", InvalidBody::ChunkSize),
            (b"5\nhello\r\n0\r\n\r\n", InvalidBody::ChunkSize),
            (b"5;a\rb\r\nhello\r\n0\r\n\r\n", InvalidBody::ChunkSize),
            (b"fffffffffffffffff\r\n", InvalidBody::ChunkSize),
            (b"5\r\nhelloo\r\n0\r\n\r\n", InvalidBody::ChunkEnd),
            (b"5\r\nhello\n0\r\n\r\n", InvalidBody::ChunkEnd),
            (b"0\r\nname : x\r\n\r\n", InvalidBody::Trailers),
            (b"0\r\nname: x\n\r\n", InvalidBody::Trailers),
            (b"5\r\nhell", InvalidBody::Truncated),
            (b"5\r\nhello\r\n0\r\n", InvalidBody::Truncated),
            (b"", InvalidBody::Truncated),
        ] {
            assert_eq!(chunked(wire), Err(error), "{}", wire.escape_ascii());
        }
    }

    #[test]
    fn a_size_line_has_a_bound() {
        let mut wire = b"5;".to_vec();
        wire.resize(SIZE_LINE_BYTES_MAX, b'x');
        assert_eq!(chunked(&wire), Err(InvalidBody::ChunkSize));
    }

    #[test]
    fn extensions_are_dropped_and_what_follows_is_left() {
        let (body, trailers, left) = chunked(b"5;name=\"v\"\r\nhello\r\n0\r\n\r\nHTTP").unwrap();
        assert_eq!(
            (&body[..], trailers, &left[..]),
            (&b"hello"[..], None, &b"HTTP"[..])
        );
    }

    #[test]
    fn trailers_come_through_but_those_that_frame_or_route_do_not() {
        let wire =
            b"0\r\nDigest: a\r\nContent-Length: 3\r\nHost: potter\r\nTransfer-Encoding: x\r\n\r\n";
        let (_, trailers, _) = chunked(wire).unwrap();
        assert_eq!(trailers.unwrap(), "0\r\nDigest: a\r\n\r\n");
    }

    #[test]
    fn a_length_is_kept_to() {
        let (body, _, left) = decode(BodyDecoder::Length(3), b"abcdef", &[]).unwrap();
        assert_eq!((&body[..], &left[..]), (&b"abc"[..], &b"def"[..]));
        assert_eq!(
            decode(BodyDecoder::Length(7), b"abcdef", &[]),
            Err(InvalidBody::Truncated)
        );
    }

    proptest! {
        #[test]
        fn what_was_written_in_chunks_is_read_back_however_it_arrives(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..8),
            cuts in prop::collection::vec(any::<usize>(), 0..12),
        ) {
            let mut wire = Vec::new();
            for chunk in &chunks {
                write::chunk_start(&mut wire, chunk.len());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(write::CHUNK_END);
            }
            write::last_chunk(&mut wire, None);
            let (body, _, left) = decode(BodyDecoder::chunked(), &wire, &cuts).unwrap();
            prop_assert_eq!(body, chunks.concat());
            prop_assert!(left.is_empty());
        }

        #[test]
        fn the_verdict_does_not_depend_on_how_the_bytes_arrive(
            wire in prop::collection::vec(prop::sample::select(&b"05aF;\r\n:x "[..]), 0..60),
            cuts in prop::collection::vec(any::<usize>(), 0..12),
        ) {
            let whole = decode(BodyDecoder::chunked(), &wire, &[]);
            let pieces = decode(BodyDecoder::chunked(), &wire, &cuts);
            prop_assert_eq!(whole, pieces);
        }
    }
}
