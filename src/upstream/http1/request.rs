//! Writing a request: its head line by line, and the framing around its body.

use http::HeaderMap;

/// `GET /path HTTP/1.1`
pub(crate) fn request_line(out: &mut Vec<u8>, method: &str, target: &str) {
    out.extend_from_slice(method.as_bytes());
    out.push(b' ');
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

/// One field line. Name and value come from `http`'s types or from constants, so neither can hold a line break.
pub(crate) fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

pub(crate) fn end_of_head(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// What goes before the data of one chunk; [`CHUNK_END`] goes after it (RFC 9112 §7.1).
pub(crate) fn chunk_start(out: &mut Vec<u8>, len: usize) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let digits = (usize::BITS - len.leading_zeros()).div_ceil(4).max(1);
    for digit in (0..digits).rev() {
        out.push(HEX[(len >> (digit * 4)) & 0xf]);
    }
    out.extend_from_slice(b"\r\n");
}

pub(crate) const CHUNK_END: &[u8] = b"\r\n";

/// The last chunk, the trailer section and the end of a chunked body (RFC 9112 §7.1.2).
pub(crate) fn last_chunk(out: &mut Vec<u8>, trailers: Option<&HeaderMap>) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten() {
        field(out, name.as_str(), value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunk_sizes_are_plain_hex() {
        for len in [1, 9, 10, 15, 16, 255, 256, 65_536, 1 << 40] {
            let mut out = Vec::new();
            chunk_start(&mut out, len);
            assert_eq!(String::from_utf8(out).unwrap(), format!("{len:x}\r\n"));
        }
    }

    #[test]
    fn trailers_stand_between_the_last_chunk_and_the_end() {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        let mut out = Vec::new();
        last_chunk(&mut out, Some(&trailers));
        assert_eq!(out, b"0\r\ngrpc-status: 0\r\n\r\n");
        out.clear();
        last_chunk(&mut out, None);
        assert_eq!(out, b"0\r\n\r\n");
    }
}
