//! Where requests are sent: upstreams, their origins, and the only code that dials one.
//!
//! A request reaches an upstream through its route and through nothing else: no function here takes a host.

pub(crate) mod connection;
mod dial;
pub(crate) mod exchange;
mod health;
pub(crate) mod http1;
pub(crate) mod outage;
pub(crate) mod pool;
pub(crate) mod resolve;
pub(crate) mod upload;
pub(crate) mod watch;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use arc_swap::ArcSwapOption;

pub(crate) use self::{connection::Connection, dial::DialError};
use self::{health::Health, outage::Outage, resolve::Resolver, watch::Watch};
use crate::config::{self, Origin};

/// What a route, or one of its paths, sends to. It lives on across reloads that don't change it, and so do its
/// pooled connections.
#[derive(Debug)]
pub(crate) struct Upstream {
    id: UpstreamId,
    origins: Vec<Origin>,
    /// Whether connections are verified, see `dial`.
    verify: bool,
    /// The Host that each origin goes by, for `host = "upstream"`.
    authorities: Vec<String>,
    turn: AtomicUsize,
    health: Health,
    watch: Watch,
    /// While it can't be reached.
    outage: ArcSwapOption<Outage>,
}

/// Unique in the process, never used again: the pool's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct UpstreamId(u64);

impl Upstream {
    pub(crate) fn new(upstream: &config::Upstream, verify: bool) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let authority = |origin: &Origin| match origin {
            Origin::Http { host, port } => match (host.contains(':'), port) {
                (false, 80) => host.to_string(),
                (false, port) => format!("{host}:{port}"),
                (true, 80) => format!("[{host}]"),
                (true, port) => format!("[{host}]:{port}"),
            },
            Origin::Unix(_) => "localhost".to_owned(),
        };
        Self {
            id: UpstreamId(NEXT.fetch_add(1, Ordering::Relaxed)),
            authorities: upstream.origins.iter().map(authority).collect(),
            origins: upstream.origins.clone(),
            verify,
            turn: AtomicUsize::new(0),
            health: Health::default(),
            watch: Watch::default(),
            outage: ArcSwapOption::empty(),
        }
    }

    pub(crate) fn id(&self) -> UpstreamId {
        self.id
    }

    /// Whether this upstream is what `wanted` asks for, so that it need not be built anew.
    pub(crate) fn serves(&self, wanted: &config::Upstream, verify: bool) -> bool {
        self.origins == wanted.origins && self.verify == verify
    }

    pub(crate) fn origins(&self) -> &[Origin] {
        &self.origins
    }

    /// The Host that an origin goes by.
    pub(crate) fn authority(&self, origin: usize) -> &str {
        self.authorities
            .get(origin)
            .map_or("", |authority| authority)
    }

    /// Changes with the addresses of its names: a connection of an earlier one is not lent again.
    pub(crate) fn epoch(&self) -> u64 {
        self.watch.epoch()
    }

    /// Whether its names have several addresses right now, over which its connections should be spread.
    pub(crate) fn has_several_addresses(&self) -> bool {
        self.watch.several()
    }

    /// Whether its names are to be watched from now on: somebody uses it, it has names, and nobody does yet.
    pub(crate) fn begins_to_be_watched(&self) -> bool {
        let is_name = |origin: &Origin| match origin {
            Origin::Http { host, .. } => host.parse::<std::net::IpAddr>().is_err(),
            Origin::Unix(_) => false,
        };
        self.origins.iter().any(is_name) && self.watch.begins()
    }

    /// The outage, if it is away.
    pub(crate) fn outage(&self) -> Option<Arc<Outage>> {
        self.outage.load_full()
    }

    /// It can't be reached. The outage, and whether it has just begun, so that somebody must begin to probe.
    pub(crate) fn is_away(&self) -> (Arc<Outage>, bool) {
        let new = Arc::new(Outage::new());
        let before = self
            .outage
            .compare_and_swap(&None::<Arc<Outage>>, Some(Arc::clone(&new)));
        match &*before {
            Some(known) => (Arc::clone(known), false),
            None => (new, true),
        }
    }

    fn is_back(&self) {
        self.outage.store(None);
    }

    /// A new connection to one of the origins, in turn; where one can't be had the next is tried.
    pub(crate) async fn dial(&self, resolver: &Resolver) -> Result<Connection, DialError> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let count = self.origins.len();
        let mut index = turn % count;
        for _ in 1..count {
            if let Ok(connection) = self.dial_origin(index, turn / count, resolver).await {
                return Ok(connection);
            }
            index = (index + 1) % count;
        }
        self.dial_origin(index, turn / count, resolver).await
    }

    /// Whether an origin can be dialled now; what it is dialled with is closed at once.
    pub(crate) async fn can_be_dialled(&self, resolver: &Resolver) -> Result<(), DialError> {
        let mut failure = None;
        for origin in &self.origins {
            match dial::dial(origin, 0, self.verify, resolver, &self.health).await {
                Ok(_) => return Ok(()),
                Err(error) => failure = Some(error),
            }
        }
        failure.map_or(Ok(()), Err)
    }

    async fn dial_origin(
        &self,
        index: usize,
        turn: usize,
        resolver: &Resolver,
    ) -> Result<Connection, DialError> {
        let origin = &self.origins[index];
        // Before the look-up: an address that is new by the time of the dial may not be among its answers.
        let epoch = self.epoch();
        let verified = dial::dial(origin, turn, self.verify, resolver, &self.health).await?;
        Ok(Connection::new(verified, index, epoch))
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, origin) in self.origins.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{origin}")?;
        }
        Ok(())
    }
}
