//! The hosts that a route answers for, and what people write in their stead. It never matches.

use std::{fmt, net::Ipv6Addr, sync::Arc};

use super::authority::{Authority, LABEL_BYTES_MAX, NAME_BYTES_MAX};

/// A host that a route answers for: one host, or with `*.` every host below one.
///
/// Kept as it is shown: lower case, A-labels, no trailing dot, no port. The configuration and the tables of all
/// generations share it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPattern(Arc<str>);

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
            idna::domain_to_ascii_cow(host.as_bytes(), idna::AsciiDenyList::URL)
                .map_err(|_| HostPatternError::Idn)?
        };
        let authority = Authority::parse(ascii.as_bytes()).map_err(|_| explain(&ascii))?;
        let host = authority.host();
        if !wildcard {
            return Ok(Self(host.into()));
        }
        // Hosts that end in a number are addresses, which have no hosts below them.
        let last = host.rsplit('.').next().unwrap_or(host);
        if last.bytes().all(|byte| byte.is_ascii_digit()) {
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
    if text.starts_with("*.[") {
        return Err(HostPatternError::WildcardAddress);
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_are_written_in_one_way() {
        let check = |text: &str, shown: &str| {
            assert_eq!(HostPattern::parse(text).unwrap().to_string(), shown);
        };
        check("thor.polls.local", "thor.polls.local");
        check("Thor.POLLS.local.", "thor.polls.local");
        check("*.Polls.local.", "*.polls.local");
        check("*.localhost", "*.localhost");
        check("thor_web", "thor_web");
        check("B\u{fc}cher.example", "xn--bcher-kva.example");
        check("*.b\u{fc}cher.example", "*.xn--bcher-kva.example");
        check("192.0.2.1", "192.0.2.1");
        check("[2001:DB8::0:1]", "[2001:db8::1]");
    }

    #[test]
    fn what_is_no_pattern_has_its_remedy() {
        let check = |text: &str, remedy: &str| {
            let error = HostPattern::parse(text).expect_err(text);
            assert!(
                error.remedy().contains(remedy),
                "{text}: {error}: {}",
                error.remedy()
            );
        };
        check("", "write a host");
        check("thor.polls.local:8080", "write `thor.polls.local`");
        check("[::1]:80", "write `[::1]`");
        check("::1", "`[::1]`");
        check("[::1", "in brackets");
        check("[fe80::1%eth0]", "in brackets");
        check(
            "http://thor.polls.local:8080/x",
            "alone: `thor.polls.local`",
        );
        check("thor.polls.local/polls", "alone: `thor.polls.local`");
        check("me@thor.polls.local", "alone: `thor.polls.local`");
        check("*", "name the hosts");
        check("*.", "name the hosts");
        check("a.*.b", "at the front only");
        check("*.*.b", "at the front only");
        check("*a.b", "at the front only");
        check("*.192.0.2.1", "without `*.`");
        check("*.[::1]", "without `*.`");
        check("a..b", "labels of 1 to 63");
        check(&"a".repeat(64), "labels of 1 to 63");
        check(&"a.".repeat(200), "at most 253");
        check("a b", "letters, digits");
        check("xn--\u{fc}", "as browsers show it");
        // Wide forms of what separates a host from a port or a path.
        check("b\u{fc}cher.example\u{ff1a}80", "as browsers show it");
        check("b\u{fc}cher.example\u{ff0f}a", "as browsers show it");
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_as_the_same(text in "(\\*\\.)?[A-Za-z0-9_\u{e4}\u{fc}.-]{1,30}") {
            if let Ok(pattern) = HostPattern::parse(&text) {
                prop_assert_eq!(&HostPattern::parse(&pattern.to_string()).unwrap(), &pattern);
            }
        }

        #[test]
        fn any_text_is_a_pattern_or_refused(text: String) {
            if let Err(error) = HostPattern::parse(&text) {
                prop_assert!(!error.to_string().is_empty() && !error.remedy().is_empty());
            }
        }
    }
}
