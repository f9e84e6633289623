//! The PROXY protocol, versions 1 and 2: how a proxy that passes connections on says whose they are, before their first
//! byte. Pure; whose word is taken, and what becomes of the client's address, is decided elsewhere.

use std::net::IpAddr;

use proxy_header::{ParseConfig, Protocol, ProxyHeader};

/// A header of version 2 may carry more about the connection than its addresses, which isn't looked at. Certificates
/// don't belong to it, so what is larger than this is none.
const HEADER_BYTES_MAX: usize = 4 * 1024;

/// What a PROXY header says of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Client(IpAddr),
    /// The proxy itself asks, or doesn't know for whom: LOCAL and UNKNOWN.
    Unsaid,
}

/// The connection doesn't begin with a PROXY header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Invalid;

/// Takes a header off the front of `input`: how long it is and what it says, or nothing while it isn't there whole.
pub(crate) fn parse(input: &[u8]) -> Result<Option<(usize, Source)>, Invalid> {
    let config = ParseConfig {
        include_tlvs: false,
        ..ParseConfig::default()
    };
    match ProxyHeader::parse(input, config) {
        Ok((_, length)) if length > HEADER_BYTES_MAX => Err(Invalid),
        Ok((header, length)) => match header.proxied_address() {
            Some(address) if address.protocol == Protocol::Stream => {
                let client = address.source.ip().to_canonical();
                Ok(Some((length, Source::Client(client))))
            }
            // HTTP comes over no datagrams.
            Some(_) => Err(Invalid),
            None => Ok(Some((length, Source::Unsaid))),
        },
        Err(proxy_header::Error::BufferTooShort)
            if may_become_one(input) && input.len() < HEADER_BYTES_MAX =>
        {
            Ok(None)
        }
        Err(_) => Err(Invalid),
    }
}

/// The library waits for more bytes than are needed to see that they are something else: it looks for neither the whole
/// beginning nor the end of a line.
fn may_become_one(input: &[u8]) -> bool {
    let begins = |beginning: &[u8]| {
        let both = beginning.len().min(input.len());
        beginning[..both] == input[..both]
    };
    begins(b"\r\n\r\n\0\r\nQUIT\n") || begins(b"PROXY ") && !input.contains(&b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
        bytes.extend([command, family]);
        bytes.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
        bytes.extend(rest);
        bytes
    }

    #[test]
    fn both_versions_name_the_client() {
        let four = [192, 0, 2, 7, 10, 0, 0, 1, 1, 2, 0, 80];
        let mut six = [0; 36];
        six[..4].copy_from_slice(&[0x20, 1, 0xd, 0xb8]);
        six[15] = 7;
        let mut mapped = [0; 36];
        mapped[10..16].copy_from_slice(&[0xff, 0xff, 192, 0, 2, 7]);
        let with_more = [&four[..], &[4, 0, 1, 0]].concat();
        let unix = [0; 216];
        let client = |ip: &str| Source::Client(ip.parse().unwrap());
        for (wire, source) in [
            (
                b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 80\r\n".to_vec(),
                client("192.0.2.7"),
            ),
            (
                b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 80\r\n".to_vec(),
                client("2001:db8::7"),
            ),
            (
                b"PROXY TCP6 ::ffff:192.0.2.7 ::1 4711 80\r\n".to_vec(),
                client("192.0.2.7"),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), Source::Unsaid),
            (b"PROXY UNKNOWN a b c d\r\n".to_vec(), Source::Unsaid),
            (v2(0x21, 0x11, &four), client("192.0.2.7")),
            (v2(0x21, 0x11, &with_more), client("192.0.2.7")),
            (v2(0x21, 0x21, &six), client("2001:db8::7")),
            (v2(0x21, 0x21, &mapped), client("192.0.2.7")),
            (v2(0x21, 0x31, &unix), Source::Unsaid),
            (v2(0x20, 0x00, &[]), Source::Unsaid),
            (v2(0x20, 0x11, &four), Source::Unsaid),
        ] {
            let shown = wire.escape_ascii().to_string();
            let expected = Ok(Some((wire.len(), source)));
            assert_eq!(parse(&wire), expected, "{shown}");
            let mut followed = wire.clone();
            followed.extend(b"GET / HTTP/1.1\r\n");
            assert_eq!(parse(&followed), expected, "{shown}");
            for cut in 0..wire.len() {
                assert_eq!(parse(&wire[..cut]), Ok(None), "{cut} bytes of {shown}");
            }
        }
    }

    #[test]
    fn anything_else_is_none_as_soon_as_that_can_be_seen() {
        let long = [b"PROXY UNKNOWN ".as_slice(), &[b'a'; 107]].concat();
        let udp = v2(0x21, 0x12, &[0; 12]);
        let huge = v2(0x21, 0x11, &[0; 5000]);
        let short = [&v2(0x21, 0x11, &[0; 11])[..], b"G"].concat();
        for wire in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"G",
            b"PUT / HTTP/1.1\r\n",
            b"PROXYTCP4 ",
            b"\r\n\r\nGET",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 4711\r\n\r\n",
            b"PROXY TCP4 2001:db8::7 10.0.0.1 4711 80\r\n",
            b"PROXY TCP4 192.0.2.777 10.0.0.1 4711 80\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 80\rGET",
            b"PROXY UDP4 192.0.2.7 10.0.0.1 4711 80\r\n",
            &v2(0x31, 0x11, &[0; 12]),
            &short,
            &v2(0x21, 0x51, &[0; 12]),
            &udp,
            &long,
            &huge,
            &huge[..HEADER_BYTES_MAX],
        ] {
            assert_eq!(parse(wire), Err(Invalid), "{}", wire.escape_ascii());
        }
    }
}
