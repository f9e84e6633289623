//! What is a host in a request and in the configuration: read once more by splitting, as docs/http.md has it, and by the
//! `http` crate.

use std::net::Ipv6Addr;

use crate::route::{Authority, HostPattern, HostTable};

/// Any bytes are a Host, or what a configuration names as one, or refused.
pub fn run(bytes: &[u8]) {
    of_request(bytes);
    if let Ok(text) = str::from_utf8(bytes) {
        of_config(text);
    }
}

fn of_request(bytes: &[u8]) {
    let parsed = Authority::parse(bytes).ok();
    let found = parsed.map(|authority| (authority.host().to_owned(), authority.port()));
    assert_eq!(found, oracle(bytes));
    let Some((host, port)) = found else {
        return;
    };
    assert_ne!(port, Some(0));
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
    let address = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    match address {
        Some(address) => assert!(address.parse::<Ipv6Addr>().is_ok(), "{host}"),
        None => assert!(host.bytes().all(allowed), "{host}"),
    }
    let again = Authority::parse(host.as_bytes()).expect("what was read is a host");
    assert_eq!((again.host(), again.port()), (&*host, None));
    agrees_with_http(bytes, &host, port);
}

/// Whatever is a host here is one to everybody, and the same.
fn agrees_with_http(bytes: &[u8], host: &str, port: Option<u16>) {
    // An empty port is allowed by RFC 3986 §3.2.3 and refused by the crate.
    let bytes = bytes.strip_suffix(b":").unwrap_or(bytes);
    let theirs = http::uri::Authority::try_from(bytes).expect("others take it for a host");
    let name = theirs.host().to_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(&name);
    match host.strip_prefix('[') {
        // The crate doesn't write addresses in one way.
        Some(_) => assert!(name.starts_with('[')),
        None => assert_eq!(name, host),
    }
    assert_eq!(theirs.port_u16(), port);
}

/// What docs/http.md says of a Host, with nothing in mind but to be plain.
fn oracle(bytes: &[u8]) -> Option<(String, Option<u16>)> {
    let text = str::from_utf8(bytes).ok().filter(|text| text.is_ascii())?;
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            let address: Ipv6Addr = address.parse().ok()?;
            let port = match port {
                "" => None,
                port => Some(port.strip_prefix(':')?),
            };
            (format!("[{address}]"), port)
        }
        None => {
            let (name, port) = match text.split_once(':') {
                Some((name, port)) => (name, Some(port)),
                None => (text, None),
            };
            let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
            let label = |label: &str| {
                let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
                (1..=63).contains(&label.len()) && label.chars().all(allowed)
            };
            let valid = name.len() <= 253 && name.split('.').all(label);
            (valid.then_some(name)?, port)
        }
    };
    let port = match port {
        None | Some("") => None,
        Some(digits) => {
            let plain = digits.len() <= 5 && digits.chars().all(|c| c.is_ascii_digit());
            let port: u16 = digits.parse().ok().filter(|_| plain)?;
            Some((port > 0).then_some(port)?)
        }
    };
    Some((host, port))
}

fn of_config(text: &str) {
    let pattern = match HostPattern::parse(text) {
        Ok(pattern) => pattern,
        Err(error) => {
            assert!(!error.to_string().is_empty() && !error.remedy().is_empty());
            // What a request can name, a configuration can, but for a port and an address without its brackets.
            let plain = Authority::parse(text.as_bytes()).is_ok() && !text.contains(':');
            assert!(!plain, "{text}: {error}");
            return;
        }
    };
    let again = HostPattern::parse(pattern.as_str());
    assert_eq!(
        again.as_ref(),
        Ok(&pattern),
        "what is shown reads as the same"
    );
    let host = pattern.wildcard_suffix().unwrap_or(pattern.as_str());
    let authority = Authority::parse(host.as_bytes()).expect("a request can name it");
    assert_eq!((authority.host(), authority.port()), (host, None));

    if !host.starts_with('[') {
        assert_eq!(
            plain(text),
            host,
            "{text} lost more than its case and root dot"
        );
    }

    let mut table = HostTable::default();
    assert_eq!(table.insert(&pattern, ()), Ok(()));
    assert_eq!(table.insert(&pattern, ()), Err(()));
    let is_wildcard = pattern.wildcard_suffix().is_some();
    assert_eq!(table.find(host).is_some(), !is_wildcard);
    assert_eq!(table.find(&format!("a.{host}")).is_some(), is_wildcard);
    assert!(table.find(&format!("a{host}")).is_none());
}

/// The name of a pattern as it is looked up.
fn plain(text: &str) -> String {
    let name = text.strip_prefix("*.").unwrap_or(text);
    let name = if name.is_ascii() {
        name.into()
    } else {
        let mapped = idna::domain_to_ascii_cow(name.as_bytes(), idna::AsciiDenyList::EMPTY);
        mapped.expect("an international name")
    };
    let name = name.to_ascii_lowercase();
    name.strip_suffix('.').unwrap_or(&name).to_owned()
}
