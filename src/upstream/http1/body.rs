//! Reading the body of a response: where it ends, and what of the bytes at hand belongs to it.

use std::fmt;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::headers;

/// A chunk's size line, extensions included; nobody is known to need more.
const SIZE_LINE_BYTES_MAX: usize = 256;
const TRAILER_BYTES_MAX: usize = 8 * 1024;
const TRAILERS_MAX: usize = 32;

/// Where in a body we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BodyDecoder {
    /// Nothing is left, or there never was a body.
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
#[derive(Debug, PartialEq)]
pub(crate) enum Decoded {
    Data(Bytes),
    /// The end of a chunked body, with the fields that followed it.
    Trailers(HeaderMap),
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

    /// Takes the next piece of the body off the front of `buffer`. What follows the body is left there.
    pub(crate) fn decode(&mut self, buffer: &mut BytesMut) -> Result<Decoded, InvalidBody> {
        match self {
            Self::Empty => Ok(Decoded::End),
            _ if buffer.is_empty() => Ok(Decoded::More),
            Self::UntilClose => Ok(Decoded::Data(buffer.split().freeze())),
            Self::Length(left) => {
                let data = take(buffer, *left);
                *left -= data.len() as u64;
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

    fn decode_chunked(&mut self, buffer: &mut BytesMut) -> Result<Decoded, InvalidBody> {
        while let Self::Chunked(chunk) = self {
            match chunk {
                Chunk::Size => match chunk_size(buffer)? {
                    None => return Ok(Decoded::More),
                    Some(0) => *chunk = Chunk::Trailers,
                    Some(size) => *chunk = Chunk::Data(size),
                },
                Chunk::Data(left) => {
                    let data = take(buffer, *left);
                    *left -= data.len() as u64;
                    if *left == 0 {
                        *chunk = Chunk::DataEnd;
                    }
                    return Ok(if data.is_empty() {
                        Decoded::More
                    } else {
                        Decoded::Data(data)
                    });
                }
                Chunk::DataEnd => match buffer.as_ref() {
                    [b'\r', b'\n', ..] => {
                        buffer.advance(2);
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
                    return Ok(if trailers.is_empty() {
                        Decoded::End
                    } else {
                        Decoded::Trailers(trailers)
                    });
                }
            }
        }
        Ok(Decoded::End)
    }
}

fn take(buffer: &mut BytesMut, most: u64) -> Bytes {
    let len = usize::try_from(most)
        .unwrap_or(usize::MAX)
        .min(buffer.len());
    buffer.split_to(len).freeze()
}

/// Takes a size line: hex digits, perhaps extensions, CR LF. A bare LF is refused, and so is white space:
/// both have been used to make two parsers see two different bodies.
fn chunk_size(buffer: &mut BytesMut) -> Result<Option<u64>, InvalidBody> {
    let window = &buffer[..buffer.len().min(SIZE_LINE_BYTES_MAX)];
    let Some(end) = window.iter().position(|&byte| byte == b'\n') else {
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
    buffer.advance(end + 1);
    Ok(Some(size))
}

/// Takes the trailer section. Fields that frame, route or authenticate a message have no place in it
/// (RFC 9110 §6.5.1) and are dropped.
fn trailers(buffer: &mut BytesMut) -> Result<Option<HeaderMap>, InvalidBody> {
    let mut fields = [httparse::EMPTY_HEADER; TRAILERS_MAX];
    let (len, fields) = match httparse::parse_headers(buffer, &mut fields) {
        Ok(httparse::Status::Complete(parsed)) if parsed.0 <= TRAILER_BYTES_MAX => parsed,
        Ok(httparse::Status::Partial) if buffer.len() < TRAILER_BYTES_MAX => return Ok(None),
        Ok(_) | Err(_) => return Err(InvalidBody::Trailers),
    };
    let mut trailers = HeaderMap::new();
    for field in fields {
        let name =
            HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| InvalidBody::Trailers)?;
        let value = HeaderValue::from_bytes(field.value).map_err(|_| InvalidBody::Trailers)?;
        if headers::may_be_trailer(&name) {
            trailers.append(name, value);
        }
    }
    buffer.advance(len);
    Ok(Some(trailers))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The body, what followed it as trailers, and what was left over.
    type Read = Result<(Vec<u8>, Option<HeaderMap>, Vec<u8>), InvalidBody>;

    /// Feeds `wire` in pieces cut at `cuts`.
    fn decode(mut decoder: BodyDecoder, wire: &[u8], cuts: &[usize]) -> Read {
        let mut buffer = BytesMut::new();
        let (mut body, mut trailers, mut from) = (Vec::new(), None, 0);
        let ends = cuts
            .iter()
            .map(|cut| cut % (wire.len() + 1))
            .chain([wire.len()]);
        let mut ends: Vec<usize> = ends.collect();
        ends.sort_unstable();
        for end in ends {
            buffer.extend_from_slice(&wire[from..end]);
            from = end;
            loop {
                match decoder.decode(&mut buffer)? {
                    Decoded::Data(data) => body.extend_from_slice(&data),
                    Decoded::Trailers(fields) => trailers = Some(fields),
                    Decoded::End | Decoded::More => break,
                }
            }
        }
        if !decoder.is_end() {
            decoder.closed()?;
        }
        Ok((body, trailers, buffer.to_vec()))
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
        let trailers = trailers.unwrap();
        assert_eq!(
            (trailers.len(), trailers["digest"].as_bytes()),
            (1, &b"a"[..])
        );
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
                super::super::request::chunk_start(&mut wire, chunk.len());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(super::super::request::CHUNK_END);
            }
            super::super::request::last_chunk(&mut wire, None);
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
