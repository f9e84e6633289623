//! Configuration as trusted: what proxy.toml means once it has been read, checked and completed.
//!
//! Nothing here can be wrong or missing: no field is an option that means "default", and no string
//! is left to be parsed again. `raw` is the file as typed, `validate` turns one into the other,
//! `load` reads the files, `diagnostic` says what is wrong with them.

mod diagnostic;
mod files;
mod health;
mod interpolate;
mod leaf;
mod limits;
mod load;
mod names;
mod pieces;
mod policy;
mod raw;
mod reader;
mod remembered;
mod routes;
mod scalar;
mod schema;
mod source;
mod syntax;
mod validate;

use std::{
    fmt,
    net::SocketAddr,
    path::{Path as FilePath, PathBuf},
    sync::Arc,
    time::Duration,
};

use http::{HeaderName, HeaderValue};
use ipnet::IpNet;
use smallvec::SmallVec;

use crate::{
    limits::rate::Rate,
    route::{HostPattern, PathPrefix},
};

pub(crate) use self::routes::Routes;
pub use self::{diagnostic::ConfigErrors, schema::schema, source::Source};

/// One whole configuration. Two that are equal run alike.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub(crate) listen: Vec<Address>,
    pub(crate) admin: Address,
    pub(crate) trusted_proxies: Vec<IpNet>,
    /// Whether connections from those begin with a PROXY header.
    pub(crate) proxy_protocol: bool,
    /// Where names are looked up; none for the servers of the system's configuration.
    pub(crate) nameservers: Vec<SocketAddr>,
    pub(crate) log: Log,
    /// The file of the usage ledger, if one is kept.
    pub(crate) usage: Option<PathBuf>,
    pub(crate) shutdown_grace: Duration,
    pub(crate) limits: EdgeLimits,
    pub(crate) routes: Routes,
}

/// Something to bind: a socket address or the path of a unix socket.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Log {
    pub(crate) format: LogFormat,
    pub(crate) level: LogLevel,
    /// Whether one line is written for each request.
    pub(crate) access: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// Text where standard error is a terminal, else JSON.
    Auto,
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// Limits of the edge as a whole, whichever tenant a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EdgeLimits {
    pub(crate) connections: usize,
    pub(crate) headers_bytes_max: usize,
    pub(crate) header_read: Duration,
    pub(crate) keepalive: Duration,
    /// After so many requests a client connection is closed.
    pub(crate) keepalive_requests: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Route {
    pub(crate) tenant: Arc<str>,
    /// Mostly one.
    pub(crate) hosts: SmallVec<[HostPattern; 1]>,
    pub(crate) upstream: Upstream,
    /// Unique prefixes, in the order of the file.
    pub(crate) paths: Box<[Path]>,
    /// Shared by every route whose policy is the same, so that 100,000 routes without one of their own cost one.
    pub(crate) policy: Arc<Policy>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Path {
    pub(crate) prefix: PathPrefix,
    pub(crate) upstream: Upstream,
    /// Whether the prefix is taken off the path before the request is forwarded.
    pub(crate) strip: bool,
}

/// One or more origins; never empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Upstream {
    pub(crate) origins: Arc<[Origin]>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Origin {
    /// `http://thor_web:8000`. The host is in lower case; a literal address is a name that needs no
    /// look-up, and an IPv6 one is without its brackets.
    Http { host: Arc<str>, port: u16 },
    /// `unix:/run/thor.sock`
    Unix(Box<FilePath>),
}

impl Origin {
    /// The Host that it goes by: for an app on a unix socket as good as any.
    pub(crate) fn authority(&self) -> String {
        match self {
            Self::Http { host, port } => match (host.contains(':'), port) {
                (false, 80) => host.to_string(),
                (false, port) => format!("{host}:{port}"),
                (true, 80) => format!("[{host}]"),
                (true, port) => format!("[{host}]:{port}"),
            },
            Self::Unix(_) => "localhost".to_owned(),
        }
    }
}

/// How requests of a route are treated, whichever of its upstreams they go to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Policy {
    pub(crate) host: HostHeader,
    pub(crate) request_headers: HeaderEdits,
    pub(crate) response_headers: HeaderEdits,
    pub(crate) timeouts: Timeouts,
    pub(crate) limits: TenantLimits,
    /// Whether a connection is used only if the origin's name has its address once it stands.
    pub(crate) verify_address: bool,
    /// How long a request waits for an upstream that is away, counted from when it went away.
    pub(crate) hold: Duration,
    /// Tries beyond the first, where a further one can do no harm.
    pub(crate) retries: u32,
    pub(crate) balance: Balance,
    pub(crate) health: Health,
    /// Whose requests are let in: those of these networks if there are any, but of none that is denied.
    pub(crate) allow: Box<[IpNet]>,
    pub(crate) deny: Box<[IpNet]>,
}

/// Which of several endpoints a request goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum Balance {
    /// Of two that are drawn, the one with fewer requests in flight.
    #[default]
    LeastRequests,
    RoundRobin,
    /// Each client to one and the same.
    ClientIp,
}

/// How the endpoints of a route's upstream are asked for their health.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Health {
    /// Without one they aren't asked.
    pub(crate) path: Option<Arc<str>>,
    /// From the beginning of one round to that of the next.
    pub(crate) interval: Duration,
    /// A whole check, from the dial to the head of the answer.
    pub(crate) timeout: Duration,
    /// Checks in a row that bring an endpoint back.
    pub(crate) healthy: u32,
    /// Checks in a row that put an endpoint out.
    pub(crate) unhealthy: u32,
    /// The Host that they are asked by, where it is not one that follows from the route.
    pub(crate) host: Option<HeaderValue>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            host: HostHeader::default(),
            request_headers: HeaderEdits::default(),
            response_headers: HeaderEdits::default(),
            timeouts: Timeouts::default(),
            limits: TenantLimits::default(),
            verify_address: true,
            hold: Duration::from_secs(10),
            retries: 1,
            balance: Balance::default(),
            health: Health::default(),
            allow: Box::default(),
            deny: Box::default(),
        }
    }
}

impl Default for Health {
    fn default() -> Self {
        Self {
            path: None,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            healthy: 1,
            unhealthy: 3,
            host: None,
        }
    }
}

impl Route {
    /// The first of its hosts that is one and not many.
    pub(crate) fn exact_host(&self) -> Option<HeaderValue> {
        let mut exact = self
            .hosts
            .iter()
            .filter(|host| host.wildcard_suffix().is_none());
        HeaderValue::from_str(exact.next()?.as_str()).ok()
    }
}

/// The Host that the app is told.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) enum HostHeader {
    /// As the client sent it, port included.
    #[default]
    Preserve,
    /// The origin's host and port.
    Upstream,
    Literal(HeaderValue),
}

/// What is done to a set of headers, in this order: remove, set, add.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct HeaderEdits {
    pub(crate) remove: Vec<HeaderName>,
    pub(crate) set: Vec<(HeaderName, HeaderValue)>,
    pub(crate) add: Vec<(HeaderName, HeaderValue)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Timeouts {
    /// A dial, from the first look-up to a standing connection.
    pub(crate) connect: Duration,
    /// From the request's last byte sent, or from its head while its body flows, to the response head.
    pub(crate) response: Duration,
    /// Between two body bytes, either way.
    pub(crate) idle: Duration,
    /// Between two bytes of an upgraded connection, either way.
    pub(crate) tunnel_idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            response: Duration::from_secs(60),
            idle: Duration::from_secs(60),
            tunnel_idle: Duration::from_secs(3600),
        }
    }
}

/// What one tenant's requests may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TenantLimits {
    /// The body of a request.
    pub(crate) body_bytes_max: u64,
    /// Requests in flight, from their heads to the last bytes of their responses.
    pub(crate) requests: u32,
    /// Requests that wait to be in flight, and for how long each may.
    pub(crate) queue: u32,
    pub(crate) queue_wait: Duration,
    /// Connections to the tenant's apps, idle ones too.
    pub(crate) connections: Option<u32>,
    pub(crate) rate: Option<Rate>,
    pub(crate) rate_per_client: Option<Rate>,
}

impl Default for TenantLimits {
    fn default() -> Self {
        Self {
            body_bytes_max: 100 * 1024 * 1024,
            requests: 512,
            queue: 512,
            queue_wait: Duration::from_secs(5),
            connections: None,
            rate: None,
            rate_per_client: None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http { host, port } if host.contains(':') => write!(f, "http://[{host}]:{port}"),
            Self::Http { host, port } => write!(f, "http://{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// What a text would mean as a proxy.toml of its own, with an empty environment.
#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "tests write the files that are read"
)]
pub(crate) fn of_text(text: &str) -> Result<Config, ConfigErrors> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proxy.toml");
    std::fs::write(&path, text).unwrap();
    Source::new(path).load(&|_| None)
}

/// Writes a file whose last change is so many seconds ago.
#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "tests write the files that are read"
)]
fn write_aged(path: &FilePath, content: &str, seconds_ago: u64) {
    use std::{fs, time::SystemTime};

    fs::write(path, content).unwrap();
    let file = fs::File::options().write(true).open(path).unwrap();
    let then = SystemTime::now() - Duration::from_secs(seconds_ago);
    file.set_modified(then).unwrap();
}
