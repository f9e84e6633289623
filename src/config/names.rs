//! What the values of proxy.toml look like that name something: hosts, paths, upstreams, headers,
//! tenants. The rest is in `leaf`.

use http::{HeaderName, HeaderValue};
use schemars::{Schema, json_schema};

use super::{
    HostHeader, Origin,
    leaf::unix_path,
    scalar::{Leaf, Problem, Scalar, nearest},
};
use crate::route::{Authority, HostPattern, PathPrefix, PathPrefixError};

/// Tenants become labels of logs and metrics, and names of containers.
const TENANT_BYTES_MAX: usize = 63;
const HEALTH_PATH_BYTES_MAX: usize = 1024;

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

/// What an app is asked for its health by: a path, perhaps with a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HealthPath(pub(super) Box<str>);

/// The Host that an app is asked for its health by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HealthHost(pub(super) HeaderValue);

/// The name of a header that an operator may change.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct EditableHeader(pub(super) HeaderName);

impl Leaf for Origin {
    const EXPECTED: &'static str = "an upstream, such as \"http://thor_web:8000\"";

    fn read(scalar: Scalar<'_>) -> Result<Self, Problem> {
        let text = scalar.text(Self::EXPECTED)?;
        if let Some(path) = text.strip_prefix("unix:") {
            return unix_path(path).map(|path| Self::Unix(path.into()));
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

impl Leaf for HealthPath {
    const EXPECTED: &'static str = "a path, such as \"/healthz\"";

    fn read(scalar: Scalar<'_>) -> Result<Self, Problem> {
        let text = scalar.text(Self::EXPECTED)?;
        if !text.starts_with('/') {
            let message = format!("`{text}` is no path");
            return Err(Problem::new(message, format!("write \"/{text}\"")));
        }
        // It is sent as it is (RFC 9112 §3.2.1).
        let sendable = |c: char| c.is_ascii_graphic() && c != '#';
        if text.len() > HEALTH_PATH_BYTES_MAX || !text.chars().all(sendable) {
            let message = format!("`{text}` can't be asked for");
            let remedy = "write a path as clients send it: visible ASCII, no `#`";
            return Err(Problem::new(message, remedy));
        }
        Ok(Self(text.into()))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^(/|\\$\\{)", "examples": ["/healthz"] })
    }
}

impl Leaf for HealthHost {
    const EXPECTED: &'static str = "a host, such as \"thor.polls.local\"";

    fn read(scalar: Scalar<'_>) -> Result<Self, Problem> {
        let text = scalar.text(Self::EXPECTED)?;
        let problem = || {
            let remedy = "write a host that the app knows, such as \"thor.polls.local\"";
            Problem::new(format!("`{text}` is no host"), remedy)
        };
        Authority::parse(text.as_bytes()).map_err(|_| problem())?;
        HeaderValue::from_str(text).map(Self).map_err(|_| problem())
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "examples": ["thor.polls.local"] })
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
