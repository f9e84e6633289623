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
use ipnet::IpNet;
use schemars::{Schema, json_schema};

use super::{
    Address, Balance, LogFormat, LogLevel,
    scalar::{Leaf, Problem, Scalar, nearest},
};

/// Longer waits than this are a mistake, and nearer to where the clock's arithmetic ends.
const DURATION_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
/// What `sun_path` holds, its closing zero apart (unix(7)).
const UNIX_PATH_BYTES_MAX: usize = 107;
/// How many of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Count(pub(super) usize);

/// A pattern of files, relative to the file that holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FilePattern(pub(super) String);

/// Where names are looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct NameServer(pub(super) SocketAddr);

/// RFC 1035 §4.2.
const DNS_PORT: u16 = 53;

impl std::fmt::Display for NameServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Leaf for NameServer {
    const EXPECTED: &'static str = "an address, such as \"127.0.0.11\"";

    fn read(scalar: Scalar<'_>) -> Result<Self, Problem> {
        let text = scalar.text(Self::EXPECTED)?;
        let alone = text.parse().map(|ip: IpAddr| (ip, DNS_PORT).into());
        alone.or_else(|_| text.parse()).map(Self).map_err(|_| {
            Problem::new(
                format!("`{text}` is no IP address"),
                "write the address of a name server: \"127.0.0.11\", \"[2001:db8::1]:5353\"",
            )
        })
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "examples": ["127.0.0.11", "[2001:db8::1]:5353"] })
    }
}

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
            let single = Self::from(net.addr());
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

pub(super) fn unix_path(path: &str) -> Result<PathBuf, Problem> {
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

impl Leaf for PathBuf {
    const EXPECTED: &'static str = "the path of a file, such as \"usage.jsonl\"";

    fn read(scalar: Scalar<'_>) -> Result<Self, Problem> {
        let text = scalar.text(Self::EXPECTED)?;
        let path = Self::from(text);
        let names_a_file = path.file_name().is_some() && !text.ends_with('/');
        if text.is_empty() {
            return Err(Problem::new(
                "an empty path",
                format!("write {}", Self::EXPECTED),
            ));
        }
        if text.contains('\0') || !names_a_file {
            return Err(Problem::new(
                format!("`{text}` names no file"),
                format!("write {}", Self::EXPECTED),
            ));
        }
        Ok(path)
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "examples": ["usage.jsonl", "/var/lib/hostler/usage.jsonl"] })
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
    Balance expects "\"least_requests\", \"round_robin\" or \"client_ip\"" {
        "least_requests" => LeastRequests,
        "round_robin" => RoundRobin,
        "client_ip" => ClientIp,
    }
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
