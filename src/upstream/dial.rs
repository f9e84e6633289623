//! The only way to an app: resolve, dial, verify. There is no connection that hasn't come through here.
//!
//! Docker hands the address of a container that has died to the next one that starts. Between a look-up and the
//! moment when a dial to its answer succeeds, the address can change hands, most easily while a SYN to the dead
//! container is being sent again. So once a connection stands, the name is looked up again, and unless it still has
//! the address, not a byte is sent. ARCHITECTURE.md says why that is sound.

use std::{
    fmt,
    future::pending,
    io,
    net::{IpAddr, SocketAddr},
    path::Path,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::{
    net::{TcpStream, UnixStream},
    time::{self, Instant},
};

use super::{
    health::Health,
    resolve::{Age, Resolver, Unresolved},
};
use crate::{config::Origin, stream::Stream};

/// A dial that takes longer than this is in doubt: is the address still the one to dial?
const DOUBT: Duration = Duration::from_millis(100);
/// After this a dial is begun once more, up to so many times beside each other: by then the system sends the first
/// SYN again.
const AGAIN: Duration = Duration::from_millis(100);
const BESIDE_MAX: usize = 10;
/// How long a dial has the field to itself before the next address is dialled as well (RFC 8305 §5).
const STAGGER: Duration = Duration::from_millis(250);
/// Addresses of one answer that are dialled for one request.
const DIALS_MAX: usize = 4;
/// How often one request starts over because the address was another's by the time that the connection stood.
const MOVES_MAX: usize = 16;

/// A connection to an address that belonged to the origin when it already stood. Only [`dial`] makes one.
#[derive(Debug)]
pub(super) struct Verified {
    stream: Stream,
    endpoint: String,
}

impl Verified {
    pub(super) fn into_parts(self) -> (Stream, String) {
        (self.stream, self.endpoint)
    }
}

/// Why no connection could be had.
#[derive(Debug)]
pub(crate) enum DialError {
    /// The name has no address, or had none any more when the connection was to be verified.
    Unresolved { name: Arc<str>, error: Unresolved },
    /// The last of the addresses that were tried.
    Unreachable { endpoint: String, error: io::Error },
    /// Whenever a connection stood, its address was no longer the name's.
    Moved { name: Arc<str> },
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unresolved { name, error } => write!(f, "{name}: {error}"),
            Self::Unreachable { endpoint, error } => write!(f, "{endpoint}: {error}"),
            Self::Moved { name } => write!(f, "{name}: its address keeps changing"),
        }
    }
}

/// A connection to an origin. `turn` spreads dials over the addresses of its name; `verify` is off only for names whose
/// answers rotate.
pub(super) async fn dial(
    origin: &Origin,
    turn: usize,
    verify: bool,
    resolver: &Resolver,
    health: &Health,
) -> Result<Verified, DialError> {
    let (name, port) = match origin {
        Origin::Unix(path) => return dial_unix(path).await,
        Origin::Http { host, port } => (host, *port),
    };
    let mut age = Age::Recent;
    let target = Target {
        name,
        verify: verify && name.parse::<IpAddr>().is_err(),
        resolver,
        health,
    };
    for _ in 0..MOVES_MAX {
        let found = resolver.resolve(name, age).await;
        let found = found.map_err(|error| unresolved(name, error))?;
        let mut addresses: Vec<_> = found.iter().map(|ip| SocketAddr::new(*ip, port)).collect();
        addresses.rotate_left(turn % found.len().max(1));
        health.sort(&mut addresses, Instant::now());
        addresses.truncate(DIALS_MAX);
        match target.race(&addresses).await {
            Err(DialError::Moved { .. }) => age = Age::FromNow,
            dialled => return dialled,
        }
    }
    Err(DialError::Moved {
        name: Arc::clone(name),
    })
}

/// A path names one place and no other.
async fn dial_unix(path: &Path) -> Result<Verified, DialError> {
    let endpoint = format!("unix:{}", path.display());
    match UnixStream::connect(path).await {
        Ok(stream) => Ok(Verified {
            stream: Stream::Unix(stream),
            endpoint,
        }),
        Err(error) => Err(DialError::Unreachable { endpoint, error }),
    }
}

/// The name that is dialled, and how to ask for it.
#[derive(Debug, Clone, Copy)]
struct Target<'a> {
    name: &'a Arc<str>,
    verify: bool,
    resolver: &'a Resolver,
    health: &'a Health,
}

/// A connection that stands, to an address that the name had some time ago. Nothing can be sent on it.
#[derive(Debug)]
struct Standing {
    stream: TcpStream,
    address: SocketAddr,
}

impl Target<'_> {
    /// Dials one address after the other, each with a head start on the next; the first that is verified wins, and
    /// the others are dropped.
    async fn race(self, addresses: &[SocketAddr]) -> Result<Verified, DialError> {
        let mut later = addresses.iter();
        let mut dials = FuturesUnordered::new();
        let mut overtaken = Vec::new();
        let mut failure = None;
        loop {
            match later.next() {
                Some(address) => dials.push(self.reach(*address)),
                None if dials.is_empty() => break,
                None => {}
            }
            let more = !later.as_slice().is_empty();
            let ended = tokio::select! {
                ended = dials.next() => ended,
                () = time::sleep(STAGGER), if more => None,
            };
            match ended {
                Some((address, Ok(verified))) => {
                    self.health.succeeded(address);
                    for slow in overtaken.into_iter().filter(|slow| *slow != address) {
                        self.health.failed(slow, Instant::now());
                    }
                    return Ok(verified);
                }
                // Its successor has an address that nobody has dialled yet.
                Some((_, Err(moved @ DialError::Moved { .. }))) => return Err(moved),
                Some((address, Err(error))) => {
                    self.health.failed(address, Instant::now());
                    failure = Some(error);
                }
                None => overtaken = addresses[..addresses.len() - later.as_slice().len()].to_vec(),
            }
        }
        Err(failure.unwrap_or_else(|| DialError::Moved {
            name: Arc::clone(self.name),
        }))
    }

    async fn reach(self, address: SocketAddr) -> (SocketAddr, Result<Verified, DialError>) {
        let reached = match self.connect(address).await {
            Ok(standing) => self.verify(standing).await,
            Err(error) => Err(error),
        };
        (address, reached)
    }

    /// Dials, and gives up as soon as the name has lost the address: nobody shall wait for a SYN to be sent again to
    /// a container that is gone.
    async fn connect(self, address: SocketAddr) -> Result<Standing, DialError> {
        let mut connect = pin!(connect_insistently(address));
        let mut doubt = pin!(self.lost(address));
        let stream = tokio::select! {
            biased;
            stream = &mut connect => stream,
            lost = &mut doubt => return Err(lost),
        };
        let unreachable = |error| DialError::Unreachable {
            endpoint: address.to_string(),
            error,
        };
        let stream = stream.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        Ok(Standing { stream, address })
    }

    /// Resolves when the name doesn't have the address any more.
    async fn lost(self, address: SocketAddr) -> DialError {
        if !self.verify {
            return pending().await;
        }
        loop {
            time::sleep(DOUBT).await;
            match self.resolver.resolve(self.name, Age::FromNow).await {
                Ok(addresses) if addresses.contains(&address.ip()) => {}
                Ok(_) => return self.moved(address),
                Err(error) => return unresolved(self.name, error),
            }
        }
    }

    /// The check. If the name has the address now, while the connection stands, then it was accepted by the name's own
    /// container, or by one that has died since, and with it the connection.
    async fn verify(self, standing: Standing) -> Result<Verified, DialError> {
        let Standing { stream, address } = standing;
        if self.verify {
            let addresses = self.resolver.resolve(self.name, Age::FromNow).await;
            let addresses = addresses.map_err(|error| unresolved(self.name, error))?;
            if !addresses.contains(&address.ip()) {
                return Err(self.moved(address));
            }
        }
        Ok(Verified {
            stream: Stream::Tcp(stream),
            endpoint: address.to_string(),
        })
    }

    fn moved(self, address: SocketAddr) -> DialError {
        tracing::info!(name = %self.name, %address, "dial dropped: the address has moved");
        DialError::Moved {
            name: Arc::clone(self.name),
        }
    }
}

/// Dials, and once more beside it as long as nothing comes back. A container has its address for a moment before it has
/// its interface; a SYN that is sent in that moment is lost, and the system sends it again only after a second.
async fn connect_insistently(address: SocketAddr) -> io::Result<TcpStream> {
    let mut dials = FuturesUnordered::new();
    loop {
        dials.push(TcpStream::connect(address));
        tokio::select! {
            Some(ended) = dials.next() => return ended,
            () = time::sleep(AGAIN), if dials.len() < BESIDE_MAX => {}
        }
    }
}

fn unresolved(name: &Arc<str>, error: Unresolved) -> DialError {
    DialError::Unresolved {
        name: Arc::clone(name),
        error,
    }
}
