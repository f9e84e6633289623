//! `/live`: how each tenant fares now, as JSON, some tenants at a time in the order that is asked for. The page for people
//! asks for it, and so does `hostler routes --live`.

use std::{cmp::Ordering, fmt, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{
    Told,
    rates::{Rate, Rates},
};
use crate::{
    snapshot::{Route, Snapshot},
    upstream::{
        Upstream,
        endpoint::{self, Endpoint},
    },
};

/// Tenants that are told of at once.
const LIMIT: usize = 100;
const LIMIT_MAX: usize = 500;
/// Of one tenant; a page that says more of it can be asked for.
const HOSTS_MAX: usize = 20;

/// Which tenants, and in which order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View {
    /// What their names or hosts contain, in lower case.
    search: String,
    sort: Sort,
    descending: bool,
    offset: usize,
    limit: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    Tenant,
    State,
    Requests,
    P50,
    P99,
    Errors,
    InFlight,
    Queued,
}

const SORTS: [(&str, Sort); 8] = [
    ("tenant", Sort::Tenant),
    ("state", Sort::State),
    ("requests_per_second", Sort::Requests),
    ("p50_ms", Sort::P50),
    ("p99_ms", Sort::P99),
    ("errors_per_second", Sort::Errors),
    ("in_flight", Sort::InFlight),
    ("queued", Sort::Queued),
];

/// What a query asks for that there isn't.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadView(String);

impl fmt::Display for BadView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sorts = SORTS.map(|(name, _)| name).join(", ");
        writeln!(f, "{} is not understood\n", self.0)?;
        writeln!(f, "search=TEXT    in names and hosts")?;
        writeln!(f, "sort=KEY       {sorts}")?;
        writeln!(f, "order=ORDER    asc, desc")?;
        writeln!(f, "offset=NUMBER  tenants that are left out")?;
        writeln!(f, "limit=NUMBER   1 to {LIMIT_MAX}")
    }
}

impl View {
    /// Of a query as forms write it.
    pub(super) fn of(query: Option<&str>) -> Result<Self, BadView> {
        let mut view = Self {
            search: String::new(),
            sort: Sort::Tenant,
            descending: false,
            offset: 0,
            limit: LIMIT,
        };
        for (key, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            let bad = || BadView(format!("{key}={value}"));
            match &*key {
                "search" => view.search = value.trim().to_lowercase(),
                "sort" => {
                    let sort = SORTS.iter().find(|(name, _)| *name == value);
                    view.sort = sort.ok_or_else(bad)?.1;
                }
                "order" => match &*value {
                    "asc" => view.descending = false,
                    "desc" => view.descending = true,
                    _ => return Err(bad()),
                },
                "offset" => view.offset = value.parse().map_err(|_| bad())?,
                "limit" => {
                    let limit = value.parse().ok();
                    let limit = limit.filter(|limit| (1..=LIMIT_MAX).contains(limit));
                    view.limit = limit.ok_or_else(bad)?;
                }
                _ => return Err(bad()),
            }
        }
        Ok(view)
    }

    fn shows(&self, route: &Route) -> bool {
        let has = |text: &str| text.to_lowercase().contains(&self.search);
        self.search.is_empty()
            || has(route.tenant())
            || route.hosts().any(|host| has(host.as_str()))
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Live {
    pub(crate) version: String,
    pub(crate) generation: u64,
    pub(crate) ready: bool,
    pub(crate) last_reload_error: Option<String>,
    pub(crate) uptime_s: f64,
    pub(crate) tenants: usize,
    /// Of those, how many the search finds.
    pub(crate) matching: usize,
    /// What the rates are of; 0 while there are none.
    pub(crate) interval_ms: u64,
    pub(crate) edge: EdgeNow,
    pub(crate) rows: Vec<Row>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EdgeNow {
    pub(crate) workers: usize,
    pub(crate) connections: usize,
    pub(crate) connections_max: usize,
    pub(crate) requests_per_second: f64,
    pub(crate) errors_per_second: f64,
    pub(crate) in_flight: usize,
    pub(crate) queued: usize,
    pub(crate) unrouted_per_second: f64,
    pub(crate) log_dropped: u64,
}

/// A tenant.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) tenant: String,
    pub(crate) hosts: Vec<String>,
    pub(crate) state: State,
    pub(crate) requests_per_second: f64,
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    pub(crate) errors_per_second: f64,
    pub(crate) in_flight: usize,
    pub(crate) queued: usize,
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) limits: Limits,
    pub(crate) last_error: Option<LastError>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Limits {
    pub(crate) requests: u32,
    pub(crate) queue: u32,
    pub(crate) connections: Option<u32>,
    pub(crate) rate: Option<String>,
    pub(crate) rate_per_client: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LastError {
    pub(crate) label: String,
    pub(crate) status: u16,
    pub(crate) ms_ago: u64,
}

/// That of a tenant's upstream which fares worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Up,
    /// Nobody has asked for it yet.
    Idle,
    /// A dial failed lately.
    Aside,
    /// All of its endpoints fail their health checks.
    Out,
    /// None of them can be reached.
    Away,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Up => "up",
            Self::Idle => "idle",
            Self::Aside => "aside",
            Self::Out => "out",
            Self::Away => "away",
        })
    }
}

impl State {
    fn of(route: &Route) -> Self {
        let states = route
            .upstreams()
            .map(|(_, upstream)| Self::of_one(upstream));
        // One that is asked for and answers says more than one that isn't asked for.
        let asked = states.filter(|state| *state != Self::Idle).max();
        asked.unwrap_or(Self::Idle)
    }

    fn of_one(upstream: &Upstream) -> Self {
        let now = Instant::now();
        let endpoints = upstream.endpoints();
        let is = |state| move |endpoint: &Arc<Endpoint>| endpoint.report(now).state == state;
        // Where health checks fail that is why it can't be reached.
        if !endpoints.is_empty() && endpoints.iter().all(is(endpoint::State::Out)) {
            return Self::Out;
        }
        if upstream.outage().is_some() {
            return Self::Away;
        }
        if endpoints.is_empty() {
            return Self::Idle;
        }
        match endpoints.iter().any(is(endpoint::State::Aside)) {
            true => Self::Aside,
            false => Self::Up,
        }
    }
}

/// What a tenant is sorted by, and what is told of it once it is chosen.
struct Found<'s> {
    route: &'s Arc<Route>,
    rate: Rate,
    state: State,
    in_flight: usize,
    queued: usize,
}

impl Live {
    pub(super) fn of(view: &View, told: &Told) -> Self {
        let shared = &told.shared;
        let snapshot = shared.snapshot.load();
        let rates = told.looks.rates(shared, snapshot.all_routes());
        let readiness = told.status.readiness();
        let mut found: Vec<_> = snapshot
            .all_routes()
            .filter(|route| view.shows(route))
            .map(|route| Found {
                route,
                rate: rates.of(route.tenant()),
                state: State::of(route),
                in_flight: route.bulkhead().in_flight(),
                queued: route.bulkhead().queued(),
            })
            .collect();
        let matching = found.len();
        let by_view = |one: &Found<'_>, other: &Found<'_>| {
            let order = view.sort.compare(one, other);
            let order = if view.descending {
                order.reverse()
            } else {
                order
            };
            order.then_with(|| one.route.tenant().cmp(other.route.tenant()))
        };
        found.sort_unstable_by(by_view);
        let age = shared.began.elapsed();
        let shown = found.iter().skip(view.offset).take(view.limit);
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            generation: snapshot.generation,
            ready: readiness.ready,
            last_reload_error: readiness.last_reload_error,
            uptime_s: age.as_secs_f64(),
            tenants: snapshot.routes(),
            matching,
            interval_ms: u64::try_from(rates.interval.as_millis()).unwrap_or(u64::MAX),
            edge: EdgeNow::of(told, &snapshot, &rates),
            rows: shown.map(|found| Row::of(found, age)).collect(),
        }
    }
}

impl EdgeNow {
    fn of(told: &Told, snapshot: &Snapshot, rates: &Rates) -> Self {
        let shared = &told.shared;
        let count = |of: fn(&Route) -> usize| snapshot.all_routes().map(|route| of(route)).sum();
        Self {
            workers: shared.workers(),
            connections: shared.connections(),
            connections_max: snapshot.limits.connections,
            requests_per_second: rates.all.requests_per_second,
            errors_per_second: rates.all.errors_per_second,
            in_flight: count(|route| route.bulkhead().in_flight()),
            queued: count(|route| route.bulkhead().queued()),
            unrouted_per_second: rates.unrouted_per_second,
            log_dropped: shared.access_log.lines_lost(),
        }
    }
}

impl Row {
    fn of(found: &Found<'_>, age: Duration) -> Self {
        let Found { route, rate, .. } = found;
        let sums = route.bulkhead().sums().unwrap_or_default();
        let limits = &route.policy.limits;
        Self {
            tenant: route.tenant().to_string(),
            hosts: route
                .hosts()
                .take(HOSTS_MAX)
                .map(ToString::to_string)
                .collect(),
            state: found.state,
            requests_per_second: rate.requests_per_second,
            p50_ms: rate.p50.map(ms),
            p99_ms: rate.p99.map(ms),
            errors_per_second: rate.errors_per_second,
            in_flight: found.in_flight,
            queued: found.queued,
            requests: sums.requests(),
            errors: sums.errors,
            bytes_in: sums.bytes_in,
            bytes_out: sums.bytes_out,
            limits: Limits {
                requests: limits.requests,
                queue: limits.queue,
                connections: limits.connections,
                rate: limits.rate.map(|rate| rate.to_string()),
                rate_per_client: limits.rate_per_client.map(|rate| rate.to_string()),
            },
            last_error: sums.last_failure.map(|last| LastError {
                label: last.label.to_owned(),
                status: last.status,
                ms_ago: u64::try_from(age.saturating_sub(last.at).as_millis()).unwrap_or(u64::MAX),
            }),
        }
    }
}

impl Sort {
    /// What isn't known is less than anything.
    fn compare(self, one: &Found<'_>, other: &Found<'_>) -> Ordering {
        match self {
            Self::Tenant => one.route.tenant().cmp(other.route.tenant()),
            Self::State => one.state.cmp(&other.state),
            Self::Requests => {
                let (one, other) = (one.rate.requests_per_second, other.rate.requests_per_second);
                one.total_cmp(&other)
            }
            Self::Errors => {
                let (one, other) = (one.rate.errors_per_second, other.rate.errors_per_second);
                one.total_cmp(&other)
            }
            Self::P50 => one.rate.p50.cmp(&other.rate.p50),
            Self::P99 => one.rate.p99.cmp(&other.rate.p99),
            Self::InFlight => one.in_flight.cmp(&other.in_flight),
            Self::Queued => one.queued.cmp(&other.queued),
        }
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
