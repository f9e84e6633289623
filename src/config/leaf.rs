//! What the values of proxy.toml look like: one parser, one noun and one schema for each kind.
//!
//! Each is read into the type that the rest of the program uses. What needs two values to be seen
//! (duplicates, bounds of one key) is `validate`'s.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use bytesize::ByteSize;
use http::{HeaderName, HeaderValue};
use ipnet::IpNet;
use schemars::{Schema, json_schema};

use super::{
    Address, HostHeader, LogFormat, LogLevel, Origin,
    reader::{Leaf, Problem, Scalar, nearest},
};
use crate::route::{Authority, HostPattern, PathPrefix, PathPrefixError};

/// Longer waits than this are a mistake, and nearer to where the clock's arithmetic ends.
const DURATION_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
/// What `sun_path` holds, its closing zero apart (unix(7)).
const UNIX_PATH_BYTES_MAX: usize = 107;
/// Tenants become labels of logs and metrics, and names of containers.
const TENANT_BYTES_MAX: usize = 63;

/// Headers that say how a message is framed or what becomes of its connection (RFC 9110 §7.6.1,
/// RFC 9112 §6): the edge writes them itself, each hop anew.
const EDGE_HEADERS: [&str; 12] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The name of a route: who is isolated from whom.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Tenant(pub(super) Box<str>);

/// The name of a header that an operator may change.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct EditableHeader(pub(super) HeaderName);

/// How many of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Count(pub(super) usize);

/// A pattern of files, relative to the file that holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FilePattern(pub(super) String);

impl Leaf for bool {
    const EXPECTED: &'static str = "`true` or `false`";

    fn read(scalar: Scalar<'_>) -> Result<Self, Problem> {
        match scalar {
            Scalar::Boolean(boolean) => Ok(boolean),
            Scalar::Text(text @ ("true" | "false")) => Err(Problem::new(
                "expected a boolean, found a string",
                format!("write {text} without quotes"),
            )),
            Scalar::Text(_) => Err(Scalar::wrong(Self::EXPECTED, "string")),
            Scalar::Integer(_) => Err(Scalar::wrong(Self::EXPECTED, "integer")),
            Scalar::Other(kind) => Err(Scalar::wrong(Self::EXPECTED, kind)),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "boolean" })
    }
}

impl Leaf for Count {
    const EXPECTED: &'static str = "a number";

    fn read(scalar: Scalar<'_>) -> Result<Self, Problem> {
        match scalar {
            Scalar::Integer(integer) => {
                match integer.and_then(|integer| usize::try_from(integer).ok()) {
                    Some(count) => Ok(Self(count)),
                    None => Err(Problem::new(
                        "a number out of range",
                        "write a number of 1 or more",
                    )),
                }
            }
            Scalar::Text(_) => Err(Problem::new(
                "expected a number, found a string",
                "write a number without quotes, such as 20000",
            )),
            Scalar::Boolean(_) => Err(Scalar::wrong(Self::EXPECTED, "boolean")),
            Scalar::Other(kind) => Err(Scalar::wrong(Self::EXPECTED, kind)),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "integer", "minimum": 1 })
    }
}

impl Leaf for Duration {
    const EXPECTED: &'static str = "a duration, such as \"30s\"";

    fn read(scalar: Scalar<'_>) -> Result<Self, Problem> {
        if let Scalar::Integer(Some(number @ 0..)) = scalar {
            return Err(Problem::new(
                "a duration needs a unit",
                format!("write \"{number}s\" for seconds, \"{number}ms\" for milliseconds"),
            ));
        }
        let text = scalar.text(Self::EXPECTED)?;
        let duration = humantime::parse_duration(text).map_err(|_| {
            let remedy = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
                format!("write \"{text}s\" for seconds, \"{text}ms\" for milliseconds")
            } else {
                "write a number and a unit: \"500ms\", \"30s\", \"2m\", \"1h\"".to_owned()
            };
            Problem::new(format!("`{text}` is no duration"), remedy)
        })?;
        if duration > DURATION_MAX {
            return Err(Problem::new(
                format!("`{text}` is too long"),
                "write at most \"10years\"",
            ));
        }
        Ok(duration)
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "examples": ["500ms", "30s", "2m", "1h"] })
    }
}

impl Leaf for ByteSize {
    const EXPECTED: &'static str = "a number of bytes, such as \"32KiB\"";

    fn read(scalar: Scalar<'_>) -> Result<Self, Problem> {
        if let Scalar::Integer(Some(number @ 0..)) = scalar {
            return Err(Problem::new(
                "a number of bytes needs a unit",
                format!("write \"{number}B\""),
            ));
        }
        let text = scalar.text(Self::EXPECTED)?;
        text.parse().map_err(|_| {
            let remedy = "write a number and a unit: \"512B\", \"32KiB\", \"1MiB\"";
            Problem::new(format!("`{text}` is no number of bytes"), remedy)
        })
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "examples": ["512B", "32KiB", "1MiB"] })
    }
}

impl Leaf for IpNet {
    const EXPECTED: &'static str = "a network, such as \"10.0.0.0/8\"";

    /// Reads a CIDR or a single address.
    fn read(scalar: Scalar<'_>) -> Result<Self, Problem> {
        let text = scalar.text(Self::EXPECTED)?;
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(address.into());
        }
        let net: Self = text.parse().map_err(|_| {
            Problem::new(
                format!("`{text}` is no network"),
                "write an address and a length: \"10.0.0.0/8\", \"2001:db8::/32\"",
            )
        })?;
        // Whoever writes 10.1.2.3/8 means one of two very different things; to trust the wrong one
        // lets strangers name their own address.
        if net.trunc() != net {
            let single = IpNet::from(net.addr());
            return Err(Problem::new(
                format!("`{text}` names an address inside of a network"),
                format!(
                    "write \"{}\" for the network or \"{single}\" for the address",
                    net.trunc()
                ),
            ));
        }
        Ok(net)
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "examples": ["10.0.0.0/8", "192.0.2.1", "2001:db8::/32"] })
    }
}

impl Leaf for Address {
    const EXPECTED: &'static str = "an address, such as \"0.0.0.0:8080\"";

    fn read(scalar: Scalar<'_>) -> Result<Self, Problem> {
        if let Scalar::Integer(Some(port @ 0..=65535)) = scalar {
            let message = "a port alone is no address";
            return Err(Problem::new(message, format!("write \"0.0.0.0:{port}\"")));
        }
        let text = scalar.text(Self::EXPECTED)?;
        if let Some(path) = text.strip_prefix("unix:") {
            return unix_path(path).map(Self::Unix);
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self::Tcp(address));
        }
        let port = |port: &str| port.parse::<u16>().is_ok();
        let remedy = if let Ok(ip) = text.parse::<IpAddr>() {
            format!("write a port too: \"{}\"", SocketAddr::new(ip, 8080))
        } else if port(text) {
            format!("write \"0.0.0.0:{text}\"")
        } else {
            match text.rsplit_once(':') {
                Some(("" | "*", number)) if port(number) => format!("write \"0.0.0.0:{number}\""),
                Some(("localhost", number)) if port(number) => {
                    format!("write \"127.0.0.1:{number}\"")
                }
                _ => "write an IP address and a port: \"0.0.0.0:8080\", \"[::]:8080\"".to_owned(),
            }
        };
        Err(Problem::new(
            format!("`{text}` is no address to listen on"),
            remedy,
        ))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "examples": ["0.0.0.0:8080", "[::]:8080", "unix:/run/hostler.sock"] })
    }
}

impl Leaf for Origin {
    const EXPECTED: &'static str = "an upstream, such as \"http://thor_web:8000\"";

    fn read(scalar: Scalar<'_>) -> Result<Self, Problem> {
        let text = scalar.text(Self::EXPECTED)?;
        if let Some(path) = text.strip_prefix("unix:") {
            return unix_path(path).map(Self::Unix);
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            let rest = if text.is_empty() {
                "thor_web:8000"
            } else {
                text
            };
            let message = format!("upstream `{text}` has no scheme");
            return Err(Problem::new(message, format!("write \"http://{rest}\"")));
        };
        match scheme.to_ascii_lowercase().as_str() {
            "http" => {}
            "https" => {
                let mut problem = Problem::new(
                    "https:// upstreams are not supported",
                    format!("write \"http://{rest}\" if the app speaks plain HTTP"),
                );
                problem.note = Some("hostler speaks plain HTTP/1.1 to upstreams".to_owned());
                return Err(problem);
            }
            other => {
                let message = format!("upstream scheme `{other}` is not supported");
                return Err(Problem::new(
                    message,
                    format!("write \"http://{rest}\" or \"unix:PATH\""),
                ));
            }
        }
        let host_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let authority = &rest[..host_end];
        if host_end < rest.len() {
            let message = format!("upstream `{text}` has a path");
            let mut problem = Problem::new(message, format!("write \"http://{authority}\""));
            problem.note =
                Some("the path of a request goes to the app as the client sent it".to_owned());
            return Err(problem);
        }
        let invalid = || {
            let remedy = "write a host and a port: \"http://thor_web:8000\"";
            Problem::new(
                format!("upstream `{text}` has no valid host and port"),
                remedy,
            )
        };
        let parsed = Authority::parse(authority.as_bytes()).map_err(|_| invalid())?;
        let Some(port) = parsed.port() else {
            let host = parsed.host();
            let message = format!("upstream `{text}` has no port");
            return Err(Problem::new(
                message,
                format!("write the port that the app listens on: \"http://{host}:8000\""),
            ));
        };
        let host = parsed.host().trim_matches(['[', ']']).into();
        Ok(Self::Http { host, port })
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "examples": ["http://thor_web:8000", "unix:/run/thor.sock"] })
    }
}

fn unix_path(path: &str) -> Result<PathBuf, Problem> {
    if path.is_empty() || path.contains('\0') {
        return Err(Problem::new(
            "`unix:` without a path",
            "write \"unix:/run/thor.sock\"",
        ));
    }
    if path.len() > UNIX_PATH_BYTES_MAX {
        return Err(Problem::new(
            "the path of a unix socket is too long",
            format!("the system takes at most {UNIX_PATH_BYTES_MAX} bytes"),
        ));
    }
    Ok(path.into())
}

impl Leaf for HostPattern {
    const EXPECTED: &'static str = "a host, such as \"thor.polls.local\"";

    fn read(scalar: Scalar<'_>) -> Result<Self, Problem> {
        let text = scalar.text(Self::EXPECTED)?;
        Self::parse(text).map_err(|error| Problem::new(error.to_string(), error.remedy()))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "examples": ["thor.polls.local", "*.thor.polls.local"] })
    }
}

impl Leaf for PathPrefix {
    const EXPECTED: &'static str = "a path, such as \"/static/\"";

    fn read(scalar: Scalar<'_>) -> Result<Self, Problem> {
        let text = scalar.text(Self::EXPECTED)?;
        Self::parse(text).map_err(|error| {
            let remedy = match error {
                PathPrefixError::Relative => format!("write \"/{text}\""),
                PathPrefixError::Character('?' | '#') => {
                    "write the path without its query".to_owned()
                }
                PathPrefixError::Character(c) => {
                    let mut bytes = [0; 4];
                    let encoded = c
                        .encode_utf8(&mut bytes)
                        .bytes()
                        .map(|byte| format!("%{byte:02X}"));
                    format!(
                        "write it as clients send it: `{}`",
                        encoded.collect::<String>()
                    )
                }
                PathPrefixError::Length => "write a shorter one".to_owned(),
            };
            Problem::new(error.to_string(), remedy)
        })
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^(/|\\$\\{)" })
    }
}

impl Leaf for HostHeader {
    const EXPECTED: &'static str = "\"preserve\", \"upstream\" or a host";

    fn read(scalar: Scalar<'_>) -> Result<Self, Problem> {
        let text = scalar.text(Self::EXPECTED)?;
        match text {
            "preserve" => return Ok(Self::Preserve),
            "upstream" => return Ok(Self::Upstream),
            _ => {}
        }
        if !text.contains(['.', ':'])
            && let Some(near) = nearest(text, &["preserve", "upstream"])
        {
            let message = format!("`{text}` is neither a known word nor a full host");
            return Err(Problem::new(message, format!("did you mean \"{near}\"?")));
        }
        let remedy = "write \"preserve\", \"upstream\", or a host such as \"thor.polls.local\"";
        let problem = || Problem::new(format!("`{text}` is no host"), remedy);
        Authority::parse(text.as_bytes()).map_err(|_| problem())?;
        HeaderValue::from_str(text)
            .map(Self::Literal)
            .map_err(|_| problem())
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "examples": ["preserve", "upstream", "thor.polls.local"] })
    }
}

impl Leaf for EditableHeader {
    const EXPECTED: &'static str = "the name of a header";

    fn read(scalar: Scalar<'_>) -> Result<Self, Problem> {
        let text = scalar.text(Self::EXPECTED)?;
        let name = HeaderName::from_bytes(text.as_bytes()).map_err(|_| {
            let remedy = "write letters, digits and `-`, such as `X-Frame-Options`";
            Problem::new(format!("`{text}` is no name of a header"), remedy)
        })?;
        if !EDGE_HEADERS.contains(&name.as_str()) {
            return Ok(Self(name));
        }
        let remedy = match name.as_str() {
            "host" => "use the key `host` of the route: `host = \"upstream\"`",
            "content-length" | "transfer-encoding" | "trailer" | "te" => {
                "take it out: the edge frames each message itself"
            }
            "keep-alive" => "use `keepalive` of [limits]",
            _ => "take it out: the edge manages its connections itself",
        };
        Err(Problem::new(
            format!("`{text}` belongs to the edge"),
            remedy,
        ))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string" })
    }
}

impl Leaf for HeaderValue {
    const EXPECTED: &'static str = "the value of a header";

    fn read(scalar: Scalar<'_>) -> Result<Self, Problem> {
        let text = scalar.text(Self::EXPECTED)?;
        // The value itself is not repeated: it may be a secret of the environment.
        let odd = text.chars().find(|c| !matches!(c, '\t' | ' '..='~'));
        match (odd, Self::from_str(text)) {
            (None, Ok(value)) => Ok(value),
            (odd, _) => Err(Problem::new(
                format!(
                    "the value of a header can't hold {:?}",
                    odd.unwrap_or_default()
                ),
                "write visible ASCII, on one line",
            )),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string" })
    }
}

impl Leaf for Tenant {
    const EXPECTED: &'static str = "the name of a tenant";

    fn read(scalar: Scalar<'_>) -> Result<Self, Problem> {
        let text = scalar.text(Self::EXPECTED)?;
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if text.is_empty() || text.len() > TENANT_BYTES_MAX || !text.bytes().all(allowed) {
            return Err(Problem::new(
                format!("`{text}` can't be the name of a tenant"),
                format!("write 1 to {TENANT_BYTES_MAX} letters, digits, `_` or `-`"),
            ));
        }
        Ok(Self(text.into()))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9_-]{1,63}$" })
    }
}

impl Leaf for FilePattern {
    const EXPECTED: &'static str = "a pattern of files, such as \"tenants/*.toml\"";

    fn read(scalar: Scalar<'_>) -> Result<Self, Problem> {
        let text = scalar.text(Self::EXPECTED)?;
        if text.is_empty() {
            return Err(Problem::new(
                "an empty pattern of files",
                "write \"tenants/*.toml\"",
            ));
        }
        match glob::Pattern::new(text) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(error) => Err(Problem::new(
                format!("`{text}` is no pattern of files: {}", error.msg),
                "write \"tenants/*.toml\", or `[*]` for the character itself",
            )),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "examples": ["tenants/*.toml"] })
    }
}

/// Values that are one word of a few.
macro_rules! words {
    ($($type:ident expects $expected:literal { $($word:literal => $value:ident),* $(,)? })*) => { $(
        impl Leaf for $type {
            const EXPECTED: &'static str = $expected;

            fn read(scalar: Scalar<'_>) -> Result<Self, Problem> {
                match scalar.text(Self::EXPECTED)? {
                    $($word => Ok(Self::$value),)*
                    other => Err(unknown_word(other, &[$($word),*])),
                }
            }

            fn schema() -> Schema {
                json_schema!({ "type": "string", "enum": [$($word),*] })
            }
        }
    )* };
}

words! {
    LogFormat expects "\"text\" or \"json\"" { "text" => Text, "json" => Json }
    LogLevel expects "\"error\", \"warn\", \"info\", \"debug\" or \"trace\"" {
        "error" => Error,
        "warn" => Warn,
        "info" => Info,
        "debug" => Debug,
        "trace" => Trace,
    }
}

fn unknown_word(word: &str, known: &[&str]) -> Problem {
    let remedy = match nearest(word, known) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => {
            let words: Vec<_> = known.iter().map(|word| format!("\"{word}\"")).collect();
            format!("write one of {}", words.join(", "))
        }
    };
    Problem::new(format!("unknown value `{word}`"), remedy)
}
