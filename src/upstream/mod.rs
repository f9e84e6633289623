//! Where requests are sent: upstreams, their origins, and the only code that dials one.
//!
//! A request reaches an upstream through its route and through nothing else: no function here takes a host.

pub(crate) mod active;
mod balance;
pub(crate) mod connection;
mod dial;
mod download;
pub(crate) mod endpoint;
pub(crate) mod exchange;
pub(crate) mod failure;
mod hosts;
pub(crate) mod outage;
pub(crate) mod pool;
pub(crate) mod resolve;
pub(crate) mod upload;
pub(crate) mod watch;

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwapOption;
use once_cell::race::OnceBox;

use self::{
    active::Check,
    dial::Dial,
    endpoint::{Endpoint, Endpoints},
    outage::Outage,
    resolve::{Age, Resolver, Unresolved},
    watch::Watch,
};
pub(crate) use self::{connection::Connection, dial::DialError};
use crate::config::{self, Balance, Origin};

/// What a route, or one of its paths, sends to. It lives on across reloads that don't change it, and so do its
/// pooled connections.
#[derive(Debug)]
pub(crate) struct Upstream {
    id: UpstreamId,
    origins: Arc<[Origin]>,
    /// Whether connections are verified, see `dial`.
    verify: bool,
    /// The Host that each origin goes by, once somebody asks.
    authorities: OnceBox<Authorities>,
    /// How its endpoints are asked for their health, if they are.
    check: Option<Box<Check>>,
    checks_run: AtomicBool,
    turn: AtomicU32,
    endpoints: Endpoints,
    watch: Watch,
    /// While it can't be reached.
    outage: ArcSwapOption<Outage>,
}

/// Apart, since hardly any upstream needs them: of 100,000 the memory counts.
#[derive(Debug)]
struct Authorities(Vec<String>);

/// Unique in the process, never used again: the pool's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct UpstreamId(u64);

impl Upstream {
    pub(crate) fn new(upstream: &config::Upstream, verify: bool, check: Option<Check>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let new = Self {
            id: UpstreamId(NEXT.fetch_add(1, Ordering::Relaxed)),
            authorities: OnceBox::new(),
            origins: Arc::clone(&upstream.origins),
            verify,
            check: check.map(Box::new),
            checks_run: AtomicBool::new(false),
            turn: AtomicU32::new(0),
            endpoints: Endpoints::default(),
            watch: Watch::default(),
            outage: ArcSwapOption::empty(),
        };
        if new.origins.len() > 1 {
            new.know_literals();
        }
        new
    }

    pub(crate) fn id(&self) -> UpstreamId {
        self.id
    }

    /// Whether this upstream is what `wanted` asks for, so that it need not be built anew.
    pub(crate) fn serves(
        &self,
        wanted: &config::Upstream,
        verify: bool,
        check: Option<&Check>,
    ) -> bool {
        self.origins == wanted.origins && self.verify == verify && self.check.as_deref() == check
    }

    pub(crate) fn origins(&self) -> &[Origin] {
        &self.origins
    }

    /// The Host that an origin goes by, for `host = "upstream"`.
    pub(crate) fn authority(&self, origin: usize) -> &str {
        let all = || {
            Box::new(Authorities(
                self.origins.iter().map(Origin::authority).collect(),
            ))
        };
        let Authorities(all) = self.authorities.get_or_init(all);
        all.get(origin).map_or("", |authority| authority)
    }

    /// Whether its names are to be watched from now on: somebody uses it, it has names, and nobody does yet.
    pub(crate) fn begins_to_be_watched(&self) -> bool {
        let is_name = |origin: &Origin| match origin {
            Origin::Http { host, .. } => host.parse::<IpAddr>().is_err(),
            Origin::Unix(_) => false,
        };
        self.origins.iter().any(is_name) && self.watch.begins()
    }

    /// Whether its endpoints are to be asked for their health, and nobody does yet.
    pub(crate) fn begins_to_be_checked(&self) -> bool {
        self.check.is_some() && !self.checks_run.swap(true, Ordering::Relaxed)
    }

    pub(crate) fn is_checked(&self) -> bool {
        self.check.is_some()
    }

    /// The endpoints that it has now, as far as they have been looked up.
    pub(crate) fn endpoints(&self) -> Arc<Vec<Arc<Endpoint>>> {
        self.endpoints.all()
    }

    /// The endpoint that the next request of `client` should go to, if it is not all the same. Where an upstream has one
    /// endpoint, as is the rule, this is a look at two flags.
    #[inline]
    pub(crate) fn pick(
        &self,
        balance: Balance,
        client: &[u8],
        random: &mut fastrand::Rng,
    ) -> Option<Arc<Endpoint>> {
        self.watch.is_used();
        if !self.endpoints.are_several() {
            return None;
        }
        self.endpoints
            .with(|all| balance::choose(all, balance, client, &self.turn, random).cloned())
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

    /// A new connection to `preferred`, for a request; where that can't be had, to another. Without a preference the
    /// origins are tried in turn.
    pub(crate) async fn dial(
        &self,
        preferred: Option<&Endpoint>,
        resolver: &Resolver,
    ) -> Result<Connection, DialError> {
        let count = self.origins.len();
        let (mut origin, turn) = match preferred {
            Some(endpoint) => (endpoint.origin(), 0),
            None => {
                let turn = self.turn.fetch_add(1, Ordering::Relaxed) as usize;
                (turn % count, turn / count)
            }
        };
        let dial = |origin| self.how_to_dial(origin, resolver).any(preferred, turn);
        for _ in 1..count {
            if let Ok(verified) = dial(origin).await {
                return Ok(Connection::lent(verified));
            }
            origin = (origin + 1) % count;
        }
        dial(origin).await.map(Connection::lent)
    }

    /// Whether an origin can be dialled now; what it is dialled with is closed at once.
    pub(crate) async fn can_be_dialled(&self, resolver: &Resolver) -> Result<(), DialError> {
        let mut failure = None;
        for origin in 0..self.origins.len() {
            match self.how_to_dial(origin, resolver).any(None, 0).await {
                Ok(_) => return Ok(()),
                Err(error) => failure = Some(error),
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// Whether an endpoint can be dialled now; what it is dialled with is closed at once.
    pub(crate) async fn answers(
        &self,
        endpoint: &Arc<Endpoint>,
        resolver: &Resolver,
    ) -> Result<(), DialError> {
        let dial = self.how_to_dial(endpoint.origin(), resolver);
        dial.one(endpoint).await.map(drop)
    }

    /// Looks an origin up: the endpoints that it has now. A look-up that fails changes nothing.
    pub(crate) async fn look_up(
        &self,
        origin: usize,
        age: Age,
        resolver: &Resolver,
    ) -> Result<Vec<Arc<Endpoint>>, Unresolved> {
        self.how_to_dial(origin, resolver).look_up(age).await
    }

    fn how_to_dial<'a>(&'a self, index: usize, resolver: &'a Resolver) -> Dial<'a> {
        Dial {
            origin: &self.origins[index],
            index,
            endpoints: &self.endpoints,
            verify: self.verify,
            resolver,
        }
    }

    /// What needs no look-up is known from the start, so that the first request is balanced already.
    fn know_literals(&self) {
        for (index, origin) in self.origins.iter().enumerate() {
            match origin {
                Origin::Http { host, port } => {
                    if let Ok(ip) = host.parse::<IpAddr>() {
                        let address = SocketAddr::new(ip, *port);
                        self.endpoints.found(index, &[address], None);
                    }
                }
                Origin::Unix(_) => {
                    self.endpoints.unix(index, origin.to_string());
                }
            }
        }
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
