//! Host patterns, path prefixes and the tables that they are looked up in.
//!
//! It owns what a host is, in a request and in the configuration, and that both are written the
//! same way before they are compared. It does no I/O and knows no upstream: the tables lead to
//! whatever their owner puts into them.

use std::{
    collections::HashMap,
    fmt,
    io::{Cursor, Write as _},
    net::Ipv6Addr,
};

use foldhash::fast::RandomState;

/// The longest name that DNS can carry, without its trailing dot (RFC 1035 §2.3.4).
const NAME_BYTES_MAX: usize = 253;
/// RFC 1035 §2.3.4.
const LABEL_BYTES_MAX: usize = 63;
/// Longer prefixes than this are a mistake: most servers refuse such a path.
const PREFIX_BYTES_MAX: usize = 4096;

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

/// A host that a route answers for: one host, or with `*.` every host below one.
///
/// Kept as it is shown: lower case, A-labels, no trailing dot, no port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPattern(Box<str>);

/// Why a text is no host pattern; where there is one, with the host that was probably meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostPatternError {
    Empty,
    Scheme { host: String },
    Path { host: String },
    Userinfo { host: String },
    Port { host: String },
    Unbracketed(Ipv6Addr),
    BadIpv6,
    Everything,
    WildcardInside,
    WildcardAddress,
    Label,
    Length,
    Character(char),
    Idn,
}

impl HostPattern {
    /// Reads `thor.polls.local`, `*.polls.local`, `bücher.example`, `192.0.2.1` or `[2001:db8::1]`.
    ///
    /// # Errors
    /// What a host in a request could never equal, see [`HostPatternError`].
    pub fn parse(text: &str) -> Result<Self, HostPatternError> {
        check_shape(text)?;
        let (wildcard, host) = match text.strip_prefix("*.") {
            Some(host) => (true, host),
            None => (false, text),
        };
        if host.contains('*') {
            return Err(HostPatternError::WildcardInside);
        }
        let ascii = if host.is_ascii() {
            host.into()
        } else {
            idna::domain_to_ascii_cow(host.as_bytes(), idna::AsciiDenyList::EMPTY)
                .map_err(|_| HostPatternError::Idn)?
        };
        let authority = Authority::parse(ascii.as_bytes()).map_err(|_| explain(&ascii))?;
        let host = authority.host();
        if !wildcard {
            return Ok(Self(host.into()));
        }
        // Hosts that end in a number are addresses, which have no hosts below them.
        let last = host.rsplit('.').next().unwrap_or(host);
        if host.starts_with('[') || last.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(HostPatternError::WildcardAddress);
        }
        Ok(Self(format!("*.{host}").into()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host below which this pattern matches, if it is a wildcard.
    #[must_use]
    pub fn wildcard_suffix(&self) -> Option<&str> {
        self.0.strip_prefix("*.")
    }
}

/// Finds what people write around a host, since each has its own remedy.
fn check_shape(text: &str) -> Result<(), HostPatternError> {
    let host = || bare_host(text).to_owned();
    if text.is_empty() {
        return Err(HostPatternError::Empty);
    }
    if text == "*" || text == "*." {
        return Err(HostPatternError::Everything);
    }
    if text.contains("://") {
        return Err(HostPatternError::Scheme { host: host() });
    }
    if text.contains(['/', '?', '#']) {
        return Err(HostPatternError::Path { host: host() });
    }
    if text.contains('@') {
        return Err(HostPatternError::Userinfo { host: host() });
    }
    if let Ok(address) = text.parse() {
        return Err(HostPatternError::Unbracketed(address));
    }
    match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, _)) if address.parse::<Ipv6Addr>().is_err() => {
                Err(HostPatternError::BadIpv6)
            }
            Some((_, "")) => Ok(()),
            Some((_, port)) if port.starts_with(':') => {
                Err(HostPatternError::Port { host: host() })
            }
            _ => Err(HostPatternError::BadIpv6),
        },
        None if text.contains(':') => Err(HostPatternError::Port { host: host() }),
        None => Ok(()),
    }
}

/// The host in something like `http://user@thor.polls.local:8080/polls/`.
fn bare_host(text: &str) -> &str {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let host = authority.rsplit('@').next().unwrap_or(authority);
    match host.find(']') {
        Some(end) if host.starts_with('[') => &host[..=end],
        _ => host.split(':').next().unwrap_or(host),
    }
}

fn explain(host: &str) -> HostPatternError {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if let Some(odd) = host.chars().find(|&c| !allowed(c)) {
        return HostPatternError::Character(odd);
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    if name.len() > NAME_BYTES_MAX {
        return HostPatternError::Length;
    }
    HostPatternError::Label
}

impl HostPatternError {
    /// What would be right.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Empty => "write a host, such as `thor.polls.local`".to_owned(),
            Self::Scheme { host } | Self::Path { host } | Self::Userinfo { host } => {
                format!("write the host alone: `{host}`")
            }
            Self::Port { host } => format!("ports are ignored: write `{host}`"),
            Self::Unbracketed(address) => format!("write it in brackets: `[{address}]`"),
            Self::BadIpv6 => "write an IPv6 address in brackets, such as `[2001:db8::1]`".to_owned(),
            Self::Everything => {
                "name the hosts, such as `*.polls.local`: a host that nobody owns is answered with 404"
                    .to_owned()
            }
            Self::WildcardInside => {
                "`*` stands for whole labels at the front only, such as `*.polls.local`".to_owned()
            }
            Self::WildcardAddress => "write the address, without `*.`".to_owned(),
            Self::Label => format!("write labels of 1 to {LABEL_BYTES_MAX} characters between the dots"),
            Self::Length => format!("a host has at most {NAME_BYTES_MAX} characters"),
            Self::Character(_) => "write letters, digits, `-`, `_` and dots".to_owned(),
            Self::Idn => "write the name as browsers show it, or as `xn--` labels".to_owned(),
        }
    }
}

impl fmt::Display for HostPatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a host pattern is empty"),
            Self::Scheme { .. } => f.write_str("a host pattern has no scheme"),
            Self::Path { .. } => f.write_str("a host pattern has no path"),
            Self::Userinfo { .. } => f.write_str("a host pattern has no user"),
            Self::Port { .. } => f.write_str("a host pattern has no port"),
            Self::Unbracketed(_) => f.write_str("an IPv6 address as a host has no brackets"),
            Self::BadIpv6 => f.write_str("a host pattern in brackets is no IPv6 address"),
            Self::Everything => f.write_str("a host pattern can't match every host"),
            Self::WildcardInside => f.write_str("a host pattern has `*` in the wrong place"),
            Self::WildcardAddress => f.write_str("a wildcard can't stand before an address"),
            Self::Label => f.write_str("a host pattern has an empty or too long label"),
            Self::Length => f.write_str("a host pattern is too long"),
            Self::Character(c) => write!(f, "a host pattern can't hold {c:?}"),
            Self::Idn => f.write_str("a host pattern is no valid international name"),
        }
    }
}

impl std::error::Error for HostPatternError {}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The beginning of a path that a route treats apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PathPrefix(Box<str>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathPrefixError {
    /// Without `/` at its start.
    Relative,
    /// Something that can't be in the path of a request as it is sent (RFC 3986 §3.3).
    Character(char),
    Length,
}

impl PathPrefix {
    /// Reads `/static/`. It is compared byte by byte with the path as the client sends it.
    ///
    /// # Errors
    /// What no path of a request could begin with, see [`PathPrefixError`].
    pub fn parse(text: &str) -> Result<Self, PathPrefixError> {
        let in_path = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@/%".contains(c);
        if !text.starts_with('/') {
            return Err(PathPrefixError::Relative);
        }
        if let Some(odd) = text.chars().find(|&c| !in_path(c)) {
            return Err(PathPrefixError::Character(odd));
        }
        if text.len() > PREFIX_BYTES_MAX {
            return Err(PathPrefixError::Length);
        }
        Ok(Self(text.into()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a path, with or without its query, lies below: `/static` matches `/static`,
    /// `/static?v=1` and `/static/x` but not `/staticfiles`.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        path.strip_prefix(&*self.0).is_some_and(|rest| {
            self.0.ends_with('/') || rest.is_empty() || rest.starts_with(['/', '?'])
        })
    }
}

impl fmt::Display for PathPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for PathPrefixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Relative => f.write_str("a prefix begins with `/`"),
            Self::Character(c) => write!(f, "a prefix can't hold {c:?}"),
            Self::Length => f.write_str("a prefix is too long"),
        }
    }
}

impl std::error::Error for PathPrefixError {}

/// From a host to what its owner keeps for it: the exact host, else the longest wildcard.
///
/// The cost of a look-up depends on the labels of the host asked for, never on the entries.
#[derive(Debug, Clone)]
pub struct HostTable<T> {
    exact: HashMap<Box<str>, T, RandomState>,
    below: HashMap<Box<str>, T, RandomState>,
}

impl<T> Default for HostTable<T> {
    fn default() -> Self {
        Self {
            exact: HashMap::default(),
            below: HashMap::default(),
        }
    }
}

impl<T> HostTable<T> {
    #[must_use]
    pub fn with_capacity(entries: usize) -> Self {
        Self {
            exact: HashMap::with_capacity_and_hasher(entries, RandomState::default()),
            below: HashMap::default(),
        }
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// Gives the value back if the pattern has an entry already, which stays.
    pub fn insert(&mut self, pattern: &HostPattern, value: T) -> Result<(), T> {
        let (map, key) = match pattern.wildcard_suffix() {
            Some(suffix) => (&mut self.below, suffix),
            None => (&mut self.exact, pattern.as_str()),
        };
        if map.contains_key(key) {
            return Err(value);
        }
        map.insert(key.into(), value);
        Ok(())
    }

    /// Looks up a host that is written as [`Authority::host`] writes it.
    #[must_use]
    pub fn find(&self, host: &str) -> Option<&T> {
        if let Some(value) = self.exact.get(host) {
            return Some(value);
        }
        if self.below.is_empty() {
            return None;
        }
        let mut rest = host;
        while let Some((_, suffix)) = rest.split_once('.') {
            if let Some(value) = self.below.get(suffix) {
                return Some(value);
            }
            rest = suffix;
        }
        None
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.exact.len() + self.below.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.below.is_empty()
    }
}

/// From a path to what its owner keeps for it: the longest prefix that matches.
///
/// A route has a handful of prefixes, so they are tried in turn, the longest first.
#[derive(Debug, Clone)]
pub struct PathTable<T> {
    longest_first: Vec<(PathPrefix, T)>,
}

impl<T> Default for PathTable<T> {
    fn default() -> Self {
        Self {
            longest_first: Vec::new(),
        }
    }
}

impl<T> PathTable<T> {
    /// Adds an entry.
    ///
    /// # Errors
    /// Gives the value back if the prefix has an entry already, which stays.
    pub fn insert(&mut self, prefix: PathPrefix, value: T) -> Result<(), T> {
        if self.longest_first.iter().any(|(known, _)| *known == prefix) {
            return Err(value);
        }
        let longer = |(known, _): &(PathPrefix, T)| known.0.len() >= prefix.0.len();
        let at = self.longest_first.partition_point(longer);
        self.longest_first.insert(at, (prefix, value));
        Ok(())
    }

    /// Looks up a path as the client sent it, with or without its query.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<(&PathPrefix, &T)> {
        let (prefix, value) = self
            .longest_first
            .iter()
            .find(|(prefix, _)| prefix.matches(path))?;
        Some((prefix, value))
    }
}
