//! Writing messages: heads line by line, and the framing around a body.

use super::Fields;

/// `GET /path HTTP/1.1`
pub(crate) fn request_line(out: &mut Vec<u8>, method: &str, target: &str) {
    out.extend_from_slice(method.as_bytes());
    out.push(b' ');
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

/// `HTTP/1.1 200 OK`, of code and reason as an app wrote them. The space after the code is no option
/// (RFC 9112 §4).
pub(crate) fn status_line(out: &mut Vec<u8>, status: &[u8]) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status);
    if status.len() == 3 {
        out.push(b' ');
    }
    out.extend_from_slice(b"\r\n");
}

/// One field line. Name and value have been read as such, or are constants, so neither can hold a line break.
pub(crate) fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
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

/// Chunks up to this size are copied behind one another, as long as no more than that waits to be sent, so that many
/// small ones go out in one write.
pub(crate) const SMALL_CHUNK_BYTES: usize = 2 * 1024;
pub(crate) const GATHERED_BYTES_MAX: usize = 16 * 1024;

/// The last chunk, the trailer section and the end of a chunked body (RFC 9112 §7.1.2).
pub(crate) fn last_chunk(out: &mut Vec<u8>, trailers: Option<&Fields>) {
    out.extend_from_slice(b"0\r\n");
    if let Some(trailers) = trailers {
        trailers.write(out, |field| field.name.may_be_trailer());
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
    fn a_status_line_always_has_its_second_space() {
        for (status, line) in [
            ("200 OK", "HTTP/1.1 200 OK\r\n"),
            ("200 ", "HTTP/1.1 200 \r\n"),
            ("200", "HTTP/1.1 200 \r\n"),
        ] {
            let mut out = Vec::new();
            status_line(&mut out, status.as_bytes());
            assert_eq!(String::from_utf8(out).unwrap(), line);
        }
    }
}
