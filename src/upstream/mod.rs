//! Where requests are sent: upstreams, their origins, and the only code that dials one.
//!
//! A request reaches an upstream through its route and through nothing else: no function here takes a host.

pub(crate) mod connection;
pub(crate) mod exchange;
pub(crate) mod http1;
pub(crate) mod pool;
pub(crate) mod resolve;

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    rc::Rc,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

use tokio::net::{TcpStream, UnixStream};

pub(crate) use self::connection::Connection;
use self::resolve::{Resolver, Unresolved};
use crate::{
    config::{self, Origin},
    stream::Stream,
};

/// How many addresses one request tries to dial; beyond that something is wrong that another try won't mend.
const DIALS_MAX: usize = 4;

/// What a route, or one of its paths, sends to. It lives on across reloads that don't change it, and so do its
/// pooled connections.
#[derive(Debug)]
pub(crate) struct Upstream {
    id: UpstreamId,
    origins: Vec<Origin>,
    /// The Host that each origin goes by, for `host = "upstream"`.
    authorities: Vec<Box<str>>,
    turn: AtomicUsize,
}

/// Unique in the process, never used again: the pool's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct UpstreamId(u64);

/// Why no connection could be had.
#[derive(Debug)]
pub(crate) enum DialError {
    /// No origin's name has an address.
    Unresolved { name: Box<str>, error: Unresolved },
    /// The last of the addresses that were tried.
    Unreachable { endpoint: Rc<str>, error: io::Error },
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unresolved { name, error } => write!(f, "{name}: {error}"),
            Self::Unreachable { endpoint, error } => write!(f, "{endpoint}: {error}"),
        }
    }
}

impl Upstream {
    pub(crate) fn new(upstream: &config::Upstream) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let authority = |origin: &Origin| match origin {
            Origin::Http { host, port: 80 } => host.clone(),
            Origin::Http { host, port } => format!("{host}:{port}").into(),
            Origin::Unix(_) => "localhost".into(),
        };
        Self {
            id: UpstreamId(NEXT.fetch_add(1, Ordering::Relaxed)),
            authorities: upstream.origins.iter().map(authority).collect(),
            origins: upstream.origins.clone(),
            turn: AtomicUsize::new(0),
        }
    }

    pub(crate) fn id(&self) -> UpstreamId {
        self.id
    }

    /// Whether this upstream is what `wanted` asks for, so that it need not be built anew.
    pub(crate) fn serves(&self, wanted: &config::Upstream) -> bool {
        self.origins == wanted.origins
    }

    /// The Host that an origin goes by.
    pub(crate) fn authority(&self, origin: usize) -> &str {
        self.authorities
            .get(origin)
            .map_or("", |authority| authority)
    }

    /// A new connection to one of the origins, in turn; where one can't be had the next address is tried.
    pub(crate) async fn dial(&self, resolver: &Resolver) -> Result<Connection, DialError> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut failure = None;
        let mut dials = 0;
        for offset in 0..self.origins.len() {
            let index = turn.wrapping_add(offset) % self.origins.len();
            let addresses = match self.origins[index].addresses(resolver).await {
                Ok(addresses) => addresses,
                Err(error) => {
                    failure.get_or_insert(error);
                    continue;
                }
            };
            for step in 0..addresses.len() {
                let address = &addresses[turn.wrapping_add(step) % addresses.len()];
                let endpoint: Rc<str> = address.to_string().into();
                match address.connect().await {
                    Ok(stream) => return Ok(Connection::new(stream, endpoint, index)),
                    Err(error) => failure = Some(DialError::Unreachable { endpoint, error }),
                }
                dials += 1;
                if dials == DIALS_MAX {
                    break;
                }
            }
        }
        Err(failure.unwrap_or_else(|| DialError::Unresolved {
            name: self.authorities.first().cloned().unwrap_or_default(),
            error: Unresolved::NotAName,
        }))
    }
}

impl Origin {
    async fn addresses(&self, resolver: &Resolver) -> Result<Vec<Address>, DialError> {
        match self {
            Self::Unix(path) => Ok(vec![Address::Unix(path.clone())]),
            Self::Http { host, port } => match resolver.resolve(host).await {
                Ok(found) => Ok(found
                    .into_iter()
                    .map(|ip: IpAddr| Address::Tcp((ip, *port).into()))
                    .collect()),
                Err(error) => Err(DialError::Unresolved {
                    name: host.clone(),
                    error,
                }),
            },
        }
    }
}

/// Something that can be dialled now.
#[derive(Debug)]
enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Address {
    async fn connect(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
            Self::Unix(path) => UnixStream::connect(path).await.map(Stream::Unix),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", Path::display(path)),
        }
    }
}
