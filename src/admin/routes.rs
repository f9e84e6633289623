//! `/routes`: what the edge knows of its upstreams now, a route at a time, as JSON.
//!
//! It reads what requests and checks have left behind, and asks nobody.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
    vec,
};

use bytes::Bytes;
use http_body::{Body, Frame};
use serde::{Deserialize, Serialize};
use tokio::{sync::OwnedSemaphorePermit, time::Instant};

use crate::{
    config::Balance,
    snapshot::{Route, Snapshot},
    upstream::{
        Upstream,
        endpoint::{Endpoint, State},
    },
};

/// Listings of all routes that are written at one time: each holds a generation for as long as its reader takes.
pub(super) const LISTINGS_MAX: usize = 4;
/// Written at once, and then it is the reader's turn.
const PIECE_BYTES: usize = 32 * 1024;

/// Everything, in the order of the tenants' names.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Routes {
    pub(crate) generation: u64,
    pub(crate) routes: Vec<RouteShown>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RouteShown {
    pub(crate) tenant: String,
    pub(crate) hosts: Vec<String>,
    pub(crate) balance: String,
    /// Requests, of all its upstreams.
    pub(crate) in_flight: usize,
    pub(crate) queued: usize,
    /// To its apps, idle ones too.
    pub(crate) connections: usize,
    /// Those of its prefixes, in the order in which they are tried, then the one for the rest.
    pub(crate) upstreams: Vec<UpstreamShown>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct UpstreamShown {
    /// None for what no prefix takes.
    pub(crate) prefix: Option<String>,
    pub(crate) origins: Vec<String>,
    /// Whether its endpoints are asked for their health.
    pub(crate) checked: bool,
    /// For how long it hasn't been reached, if it is away.
    pub(crate) away_ms: Option<u64>,
    /// Those that it has now, as far as anybody has asked for it.
    pub(crate) endpoints: Vec<EndpointShown>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EndpointShown {
    pub(crate) origin: String,
    /// As the access log has it.
    pub(crate) address: String,
    pub(crate) state: State,
    pub(crate) in_flight: usize,
    /// Dials that failed since the last that succeeded.
    pub(crate) failures: u32,
    /// For how long it will be dialled last.
    pub(crate) aside_ms: u64,
    pub(crate) last_error: Option<String>,
    pub(crate) last_error_ms_ago: Option<u64>,
}

impl Routes {
    /// Of one tenant alone.
    pub(super) fn of(snapshot: &Snapshot, tenant: &str) -> Option<Self> {
        let route = snapshot.tenant(tenant)?;
        Some(Self {
            generation: snapshot.generation,
            routes: vec![RouteShown::of(route, Instant::now())],
        })
    }
}

impl RouteShown {
    fn of(route: &Route, now: Instant) -> Self {
        let upstreams = route.upstreams().map(|(prefix, upstream)| {
            let prefix = prefix.map(ToString::to_string);
            UpstreamShown::of(prefix, upstream, now)
        });
        Self {
            tenant: route.tenant().to_string(),
            hosts: route.hosts().map(ToString::to_string).collect(),
            balance: balance(route.policy.balance).to_owned(),
            in_flight: route.bulkhead().in_flight(),
            queued: route.bulkhead().queued(),
            connections: route.bulkhead().connections(),
            upstreams: upstreams.collect(),
        }
    }
}

impl UpstreamShown {
    fn of(prefix: Option<String>, upstream: &Upstream, now: Instant) -> Self {
        let origins = upstream.origins().iter();
        let endpoints = upstream.endpoints();
        let endpoint = |endpoint: &Arc<Endpoint>| EndpointShown::of(upstream, endpoint, now);
        Self {
            prefix,
            origins: origins.map(ToString::to_string).collect(),
            checked: upstream.is_checked(),
            away_ms: upstream.outage().map(|outage| outage.away_ms()),
            endpoints: endpoints.iter().map(endpoint).collect(),
        }
    }
}

impl EndpointShown {
    fn of(upstream: &Upstream, endpoint: &Endpoint, now: Instant) -> Self {
        let report = endpoint.report(now);
        let (ago, last_error) = report.error.unzip();
        Self {
            origin: upstream.origins()[endpoint.origin()].to_string(),
            address: endpoint.text().to_owned(),
            state: report.state,
            in_flight: report.in_flight,
            failures: report.failures,
            aside_ms: ms(report.aside_for),
            last_error,
            last_error_ms_ago: ago.map(ms),
        }
    }
}

/// As proxy.toml says it.
pub(crate) fn balance(balance: Balance) -> &'static str {
    match balance {
        Balance::LeastRequests => "least_requests",
        Balance::RoundRobin => "round_robin",
        Balance::ClientIp => "client_ip",
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// All routes, written while they are read: with 100,000 of them the whole would be tens of megabytes.
#[derive(Debug)]
pub(super) struct Listing {
    generation: u64,
    routes: vec::IntoIter<Arc<Route>>,
    stage: Stage,
    _permit: OwnedSemaphorePermit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Start,
    /// Some have been written.
    Within,
    Done,
}

impl Listing {
    pub(super) fn new(snapshot: &Snapshot, permit: OwnedSemaphorePermit) -> Self {
        let mut routes: Vec<_> = snapshot.all_routes().cloned().collect();
        routes.sort_unstable_by(|one, other| one.tenant().cmp(other.tenant()));
        Self {
            generation: snapshot.generation,
            routes: routes.into_iter(),
            stage: Stage::Start,
            _permit: permit,
        }
    }

    fn piece(&mut self) -> Option<Bytes> {
        let mut out = Vec::with_capacity(PIECE_BYTES);
        let mut comma: &[u8] = match self.stage {
            Stage::Start => {
                let start = format!("{{\"generation\":{},\"routes\":[", self.generation);
                out.extend_from_slice(start.as_bytes());
                b""
            }
            Stage::Within => b",",
            Stage::Done => return None,
        };
        let now = Instant::now();
        while out.len() < PIECE_BYTES {
            let Some(route) = self.routes.next() else {
                out.extend_from_slice(b"]}\n");
                self.stage = Stage::Done;
                return Some(out.into());
            };
            out.extend_from_slice(std::mem::replace(&mut comma, b","));
            serde_json::to_writer(&mut out, &RouteShown::of(&route, now))
                .expect("it is made of plain values");
            self.stage = Stage::Within;
        }
        Some(out.into())
    }
}

impl Body for Listing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.piece().map(|piece| Ok(Frame::data(piece))))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::config::of_text;

    fn snapshot(routes: usize) -> Snapshot {
        let route =
            |n| format!("[routes.t{n:06}]\nhosts = \"t{n}.local\"\nupstream = \"http://t{n}:1\"\n");
        let text: String = (0..routes).map(route).collect();
        Snapshot::first(&of_text(&text).unwrap())
    }

    #[tokio::test]
    async fn many_routes_are_written_in_pieces_and_are_one_whole() {
        for count in [0, 1, 2, 1000] {
            let slots = Arc::new(Semaphore::new(1));
            let permit = Arc::clone(&slots).try_acquire_owned().unwrap();
            let mut listing = Listing::new(&snapshot(count), permit);
            let mut whole = Vec::new();
            let mut pieces = 0;
            while let Some(frame) = listing.frame().await {
                let piece = frame.unwrap().into_data().unwrap();
                assert!(piece.len() < 2 * PIECE_BYTES);
                whole.extend_from_slice(&piece);
                pieces += 1;
            }
            let routes: Routes = serde_json::from_slice(&whole).unwrap();
            assert_eq!((routes.generation, routes.routes.len()), (1, count));
            assert!(routes.routes.is_sorted_by_key(|route| route.tenant.clone()));
            assert_eq!(pieces > 1, count == 1000);
            assert_eq!(slots.available_permits(), 0);
            drop(listing);
            assert_eq!(slots.available_permits(), 1);
        }
    }

    #[test]
    fn one_tenant_is_found_by_name() {
        let snapshot = snapshot(3);
        let one = Routes::of(&snapshot, "t000001").unwrap();
        assert_eq!(one.routes.len(), 1);
        assert_eq!(one.routes[0].hosts, ["t1.local"]);
        assert_eq!(one.routes[0].upstreams[0].origins, ["http://t1:1"]);
        assert!(Routes::of(&snapshot, "nobody").is_none());
    }
}
