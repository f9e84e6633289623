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
use rustix::io::Errno;
use tokio::{
    net::{TcpStream, UnixStream},
    time::{self, Instant},
};

use super::{
    endpoint::{Endpoint, Endpoints},
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

/// A connection to an address that belonged to the origin when it already stood. Only a [`Dial`] makes one.
#[derive(Debug)]
pub(super) struct Verified {
    stream: Stream,
    endpoint: Arc<Endpoint>,
}

impl Verified {
    pub(super) fn into_parts(self) -> (Stream, Arc<Endpoint>) {
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
    /// The edge has no descriptor left to dial with; that says nothing about the address.
    Exhausted { error: io::Error },
    /// Whenever a connection stood, its address was no longer the name's.
    Moved { name: Arc<str> },
    /// There are addresses, and the health checks of all of them fail.
    Out { origin: String },
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unresolved { name, error } => write!(f, "{name}: {error}"),
            Self::Unreachable { endpoint, error } => write!(f, "{endpoint}: {error}"),
            Self::Exhausted { error } => write!(f, "the edge can't dial: {error}"),
            Self::Moved { name } => write!(f, "{name}: its address keeps changing"),
            Self::Out { origin } => write!(f, "{origin}: its health checks fail"),
        }
    }
}

/// One origin of an upstream, and how to get a connection to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dial<'a> {
    pub(super) origin: &'a Origin,
    /// Of the origin, among those of its upstream.
    pub(super) index: usize,
    /// Those of the upstream; what look-ups find is kept there.
    pub(super) endpoints: &'a Endpoints,
    /// Off only for names whose answers rotate.
    pub(super) verify: bool,
    pub(super) resolver: &'a Resolver,
}

impl Dial<'_> {
    /// A connection to any of the origin's endpoints that is not out: to `preferred` rather than to another, and to one
    /// that failed lately last. `turn` spreads dials over those that are all the same.
    pub(super) async fn any(
        self,
        preferred: Option<&Endpoint>,
        turn: usize,
    ) -> Result<Verified, DialError> {
        let mut age = Age::Recent;
        let mut failure = None;
        for _ in 0..MOVES_MAX {
            let found = self.look_up(age).await;
            let mut endpoints = found.map_err(|error| unresolved(&self.name(), error))?;
            endpoints.retain(|endpoint| !endpoint.is_out());
            if endpoints.is_empty() {
                return Err(DialError::Out {
                    origin: self.origin.to_string(),
                });
            }
            let count = endpoints.len();
            endpoints.rotate_left(turn % count);
            let is_other = |endpoint: &Arc<Endpoint>| {
                preferred.is_none_or(|preferred| !std::ptr::eq(preferred, &**endpoint))
            };
            endpoints.sort_by_key(|endpoint| (is_other(endpoint), endpoint.is_aside()));
            let mut endpoints = families_in_turn(endpoints);
            endpoints.truncate(DIALS_MAX);
            match self.race(&endpoints).await {
                Err(moved @ DialError::Moved { .. }) => {
                    age = Age::FromNow;
                    failure = Some(moved);
                }
                dialled => return dialled,
            }
        }
        Err(failure.unwrap_or_else(|| self.moved()))
    }

    /// A connection to this endpoint and no other, even if it is out.
    pub(super) async fn one(self, endpoint: &Arc<Endpoint>) -> Result<Verified, DialError> {
        self.race(std::slice::from_ref(endpoint)).await
    }

    /// The endpoints that the origin has now.
    pub(super) async fn look_up(self, age: Age) -> Result<Vec<Arc<Endpoint>>, Unresolved> {
        match self.origin {
            Origin::Http { host, port } => {
                let found = self.resolver.resolve(host, age).await?;
                let addresses = found.addresses.iter();
                let addresses = addresses.map(|ip| SocketAddr::new(*ip, *port));
                let addresses: Vec<_> = addresses.collect();
                Ok(self.endpoints.found(self.index, &addresses, found.unknown))
            }
            Origin::Unix(_) => Ok(self.endpoints.unix(self.index, self.origin.to_string())),
        }
    }

    /// Dials one endpoint after the other, each with a head start on the next; the first that is verified wins, and
    /// the others are dropped.
    async fn race(self, endpoints: &[Arc<Endpoint>]) -> Result<Verified, DialError> {
        let mut later = endpoints.iter();
        let mut dials = FuturesUnordered::new();
        let mut overtaken: &[Arc<Endpoint>] = &[];
        let mut failure = None;
        loop {
            match later.next() {
                Some(endpoint) => dials.push(self.reach(endpoint)),
                None if dials.is_empty() => break,
                None => {}
            }
            let more = !later.as_slice().is_empty();
            let ended = tokio::select! {
                ended = dials.next() => ended,
                () = time::sleep(STAGGER), if more => None,
            };
            match ended {
                Some((endpoint, Ok(verified))) => {
                    endpoint.succeeded();
                    let slow = overtaken.iter().filter(|slow| !Arc::ptr_eq(slow, endpoint));
                    for slow in slow {
                        slow.failed("no answer to a dial, and another answered", Instant::now());
                    }
                    return Ok(verified);
                }
                // Its successor has an address that nobody has dialled yet.
                Some((_, Err(moved @ DialError::Moved { .. }))) => return Err(moved),
                Some((_, Err(exhausted @ DialError::Exhausted { .. }))) => return Err(exhausted),
                Some((endpoint, Err(error))) => {
                    endpoint.failed(&error.to_string(), Instant::now());
                    failure = Some(error);
                }
                None => overtaken = &endpoints[..endpoints.len() - later.as_slice().len()],
            }
        }
        Err(failure.unwrap_or_else(|| self.moved()))
    }

    async fn reach(
        self,
        endpoint: &Arc<Endpoint>,
    ) -> (&Arc<Endpoint>, Result<Verified, DialError>) {
        let reached = match (self.origin, endpoint.address()) {
            (Origin::Http { host, .. }, Some(address)) => {
                let target = Target {
                    name: host,
                    address,
                    endpoint,
                    verify: self.verify && host.parse::<IpAddr>().is_err(),
                    resolver: self.resolver,
                };
                match target.connect().await {
                    Ok(standing) => target.verify(standing).await,
                    Err(error) => Err(error),
                }
            }
            (Origin::Unix(path), _) => dial_unix(path, endpoint).await,
            // An endpoint of a name has an address.
            (Origin::Http { .. }, None) => Err(self.moved()),
        };
        (endpoint, reached)
    }

    fn name(self) -> Arc<str> {
        match self.origin {
            Origin::Http { host, .. } => Arc::clone(host),
            Origin::Unix(_) => self.origin.to_string().into(),
        }
    }

    fn moved(self) -> DialError {
        DialError::Moved { name: self.name() }
    }
}

/// So that a family that can't be reached from here doesn't take all the dials (RFC 8305 §4). Within each the order
/// stays, and the first comes first.
fn families_in_turn(endpoints: Vec<Arc<Endpoint>>) -> Vec<Arc<Endpoint>> {
    let is_v6 = |endpoint: &Arc<Endpoint>| endpoint.address().is_some_and(|at| at.is_ipv6());
    let first_is_v6 = endpoints.first().is_some_and(is_v6);
    let (one, other): (Vec<_>, Vec<_>) = endpoints
        .into_iter()
        .partition(|endpoint| is_v6(endpoint) == first_is_v6);
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    let mut in_turn = Vec::with_capacity(one.len() + other.len());
    while one.len() + other.len() > 0 {
        in_turn.extend(one.next());
        in_turn.extend(other.next());
    }
    in_turn
}

/// A path names one place and no other.
async fn dial_unix(path: &Path, endpoint: &Arc<Endpoint>) -> Result<Verified, DialError> {
    match UnixStream::connect(path).await {
        Ok(stream) => Ok(Verified {
            stream: Stream::Unix(stream),
            endpoint: Arc::clone(endpoint),
        }),
        Err(error) => Err(unreachable(endpoint, error)),
    }
}

/// Whose fault it is that a dial failed.
fn unreachable(endpoint: &Endpoint, error: io::Error) -> DialError {
    // Of the process, and of the system.
    let ours = [Errno::MFILE, Errno::NFILE];
    if ours
        .iter()
        .any(|ours| error.raw_os_error() == Some(ours.raw_os_error()))
    {
        return DialError::Exhausted { error };
    }
    DialError::Unreachable {
        endpoint: endpoint.text().to_owned(),
        error,
    }
}

/// An address of a name, and how to ask whether it still is one.
#[derive(Debug, Clone, Copy)]
struct Target<'a> {
    name: &'a Arc<str>,
    address: SocketAddr,
    endpoint: &'a Arc<Endpoint>,
    verify: bool,
    resolver: &'a Resolver,
}

/// A connection that stands, to an address that the name had some time ago. Nothing can be sent on it.
#[derive(Debug)]
struct Standing(TcpStream);

impl Target<'_> {
    /// Dials, and gives up as soon as the name has lost the address: nobody shall wait for a SYN to be sent again to
    /// a container that is gone.
    async fn connect(self) -> Result<Standing, DialError> {
        let mut connect = pin!(connect_insistently(self.address));
        let mut doubt = pin!(self.lost());
        let stream = tokio::select! {
            biased;
            stream = &mut connect => stream,
            lost = &mut doubt => return Err(lost),
        };
        let stream = stream.map_err(|error| unreachable(self.endpoint, error))?;
        let nodelay = stream.set_nodelay(true);
        nodelay.map_err(|error| unreachable(self.endpoint, error))?;
        Ok(Standing(stream))
    }

    /// Resolves when the name doesn't have the address any more.
    async fn lost(self) -> DialError {
        if !self.verify {
            return pending().await;
        }
        loop {
            time::sleep(DOUBT).await;
            match self.resolver.has(self.name, self.address.ip()).await {
                Ok(true) => {}
                Ok(false) => return self.moved(),
                Err(error) => return unresolved(self.name, error),
            }
        }
    }

    /// The check. If the name has the address now, while the connection stands, then it was accepted by the name's own
    /// container, or by one that has died since, and with it the connection.
    async fn verify(self, Standing(stream): Standing) -> Result<Verified, DialError> {
        if self.verify {
            let has = self.resolver.has(self.name, self.address.ip()).await;
            if !has.map_err(|error| unresolved(self.name, error))? {
                return Err(self.moved());
            }
        }
        Ok(Verified {
            stream: Stream::Tcp(stream),
            endpoint: Arc::clone(self.endpoint),
        })
    }

    fn moved(self) -> DialError {
        tracing::info!(name = %self.name, address = %self.address, "dial dropped: the address has moved");
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
