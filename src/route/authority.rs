//! The host that a request is for. It never looks at routes.

use std::{
    fmt,
    io::{Cursor, Write as _},
    net::Ipv6Addr,
};

/// The longest name that DNS can carry, without its trailing dot (RFC 1035 §2.3.4).
pub(super) const NAME_BYTES_MAX: usize = 253;
/// RFC 1035 §2.3.4.
pub(super) const LABEL_BYTES_MAX: usize = 63;

/// What a request names as its server: a host and perhaps a port (RFC 9110 §7.2), checked and
/// written in the one way that patterns are compared with.
#[derive(Clone, Copy)]
pub struct Authority {
    host: [u8; NAME_BYTES_MAX + 1],
    len: u8,
    port: Option<u16>,
}

/// What was given is no host: nothing may be routed by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidHost;

impl Authority {
    /// Reads the value of a Host header or the authority of a request target.
    ///
    /// # Errors
    /// Anything but letters, digits, `-`, `_` and dots in labels of 1 to 63 bytes, or an IPv6
    /// address in brackets, with or without a port of 1 to 65535 (or an empty one, RFC 3986 §3.2.3).
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidHost> {
        if bytes.first() == Some(&b'[') {
            return Self::parse_ipv6(bytes);
        }
        let mut host = [0; NAME_BYTES_MAX + 1];
        let mut len = 0;
        let mut label = 0;
        let mut port = None;
        for (at, &byte) in bytes.iter().enumerate() {
            let folded = match byte {
                b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => byte,
                b'A'..=b'Z' => byte | 0x20,
                b'.' if label > 0 => byte,
                b':' => {
                    port = parse_port(&bytes[at + 1..])?;
                    break;
                }
                _ => return Err(InvalidHost),
            };
            label = if byte == b'.' { 0 } else { label + 1 };
            if label > LABEL_BYTES_MAX || len == host.len() {
                return Err(InvalidHost);
            }
            host[len] = folded;
            len += 1;
        }
        // A name with its root dot is the same name (RFC 1034 §3.1).
        len -= usize::from(len > 0 && label == 0);
        match u8::try_from(len) {
            Ok(short) if (1..=NAME_BYTES_MAX).contains(&len) => Ok(Self {
                host,
                len: short,
                port,
            }),
            _ => Err(InvalidHost),
        }
    }

    fn parse_ipv6(bytes: &[u8]) -> Result<Self, InvalidHost> {
        let end = bytes.iter().position(|&b| b == b']').ok_or(InvalidHost)?;
        let text = str::from_utf8(&bytes[1..end]).map_err(|_| InvalidHost)?;
        let address: Ipv6Addr = text.parse().map_err(|_| InvalidHost)?;
        let port = match &bytes[end + 1..] {
            [] => None,
            [b':', digits @ ..] => parse_port(digits)?,
            _ => return Err(InvalidHost),
        };
        let mut host = [0; NAME_BYTES_MAX + 1];
        let mut cursor = Cursor::new(&mut host[..]);
        write!(cursor, "[{address}]").map_err(|_| InvalidHost)?;
        let len = u8::try_from(cursor.position()).map_err(|_| InvalidHost)?;
        Ok(Self { host, len, port })
    }

    /// The host in lower case, without port and trailing dot; an IPv6 address keeps its brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        // Only ASCII is ever written there.
        str::from_utf8(&self.host[..usize::from(self.len)]).unwrap_or_default()
    }

    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }
}

fn parse_port(digits: &[u8]) -> Result<Option<u16>, InvalidHost> {
    if digits.len() > 5 {
        return Err(InvalidHost);
    }
    let mut port = 0_u32;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return Err(InvalidHost);
        }
        port = port * 10 + u32::from(digit - b'0');
    }
    match u16::try_from(port) {
        _ if digits.is_empty() => Ok(None),
        Ok(0) | Err(_) => Err(InvalidHost),
        Ok(port) => Ok(Some(port)),
    }
}

impl PartialEq for Authority {
    fn eq(&self, other: &Self) -> bool {
        self.host() == other.host() && self.port == other.port
    }
}

impl Eq for Authority {}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("host", &self.host())
            .field("port", &self.port)
            .finish()
    }
}

impl fmt::Display for InvalidHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a host")
    }
}

impl std::error::Error for InvalidHost {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hosts_of_requests() {
        let check = |text: &str, host: &str, port| {
            let authority = Authority::parse(text.as_bytes()).unwrap();
            assert_eq!((authority.host(), authority.port()), (host, port), "{text}");
        };
        check("thor.polls.local", "thor.polls.local", None);
        check("Thor.Polls.LOCAL:8080", "thor.polls.local", Some(8080));
        check("thor.polls.local.", "thor.polls.local", None);
        check("thor.polls.local.:80", "thor.polls.local", Some(80));
        check("thor.polls.local:", "thor.polls.local", None);
        check("thor_web:65535", "thor_web", Some(65535));
        check("-a-.b", "-a-.b", None);
        check("192.0.2.1:80", "192.0.2.1", Some(80));
        check("[2001:DB8:0:0::1]", "[2001:db8::1]", None);
        check("[::1]:8080", "[::1]", Some(8080));
        check(&"a".repeat(63), &"a".repeat(63), None);
        let longest = format!(
            "{}{}",
            format!("{}.", "a".repeat(63)).repeat(3),
            "b".repeat(61)
        );
        check(&format!("{longest}."), &longest, None);
    }

    #[test]
    fn what_is_no_host() {
        let refused = [
            "",
            ".",
            "..",
            ":80",
            ".a",
            "a..b",
            "a b",
            " a",
            "a,b",
            "a\0",
            "a\t",
            "a/b",
            "user@a",
            "a%41",
            "a*",
            "*.a",
            "b\u{fc}cher",
            "a:0",
            "a:65536",
            "a:+80",
            "a:8 0",
            "a:000080",
            "a:80:80",
            "::1",
            "[::1",
            "[::1]x",
            "[]",
            "[fe80::1%25eth0]",
            "[1.2.3.4]",
            &"a".repeat(64),
            &"a.".repeat(128),
        ];
        for text in refused {
            assert_eq!(
                Authority::parse(text.as_bytes()),
                Err(InvalidHost),
                "{text:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_host_or_refused(bytes: Vec<u8>) {
            let _ = Authority::parse(&bytes);
        }

        #[test]
        fn reading_what_was_read_changes_nothing(text in "[A-Za-z0-9_.:\\[\\]-]{0,40}") {
            if let Ok(once) = Authority::parse(text.as_bytes()) {
                let again = Authority::parse(once.host().as_bytes()).unwrap();
                prop_assert_eq!(once.host(), again.host());
                prop_assert!(!once.host().is_empty() && once.host().is_ascii());
            }
        }
    }
}
