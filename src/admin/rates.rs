//! How much each tenant is asked for lately: what two looks at the counters, a second or more apart, differ by.
//!
//! It looks while somebody wants to know, and all who want to know see the same.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use foldhash::fast::RandomState;
use tokio::time::Instant;

use crate::{
    snapshot::Route,
    telemetry::counters::{Sums, percentile},
    worker::Shared,
};

/// Between two looks. Rates of less would jump about.
const LOOK: Duration = Duration::from_secs(1);
/// A look that is older says nothing of what is now.
const LOOK_AGE_MAX: Duration = Duration::from_secs(10);

/// Shared by those who ask.
#[derive(Debug, Default)]
pub(super) struct Looks(Mutex<Option<Look>>);

#[derive(Debug)]
struct Look {
    at: Instant,
    tenants: HashMap<Arc<str>, Sums, RandomState>,
    unrouted: Sums,
    rates: Arc<Rates>,
}

/// Of all tenants that were asked for between two looks.
#[derive(Debug, Default)]
pub(super) struct Rates {
    /// From look to look; zero while there was but one.
    pub(super) interval: Duration,
    pub(super) unrouted_per_second: f64,
    pub(super) all: Rate,
    tenants: HashMap<Arc<str>, Rate, RandomState>,
}

/// Of one tenant, or of all.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Rate {
    pub(super) requests_per_second: f64,
    pub(super) errors_per_second: f64,
    pub(super) p50: Option<Duration>,
    pub(super) p99: Option<Duration>,
}

impl Rates {
    pub(super) fn of(&self, tenant: &str) -> Rate {
        self.tenants.get(tenant).copied().unwrap_or_default()
    }
}

impl Looks {
    /// The rates as of the last look, which is now if the one before is old enough.
    pub(super) fn rates<'r>(
        &self,
        shared: &Shared,
        routes: impl Iterator<Item = &'r Arc<Route>>,
    ) -> Arc<Rates> {
        let now = Instant::now();
        // Nothing under this lock can panic half-way.
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = last
            .take()
            .filter(|look| now.duration_since(look.at) < LOOK_AGE_MAX);
        let look = match before {
            Some(recent) if now.duration_since(recent.at) < LOOK => recent,
            before => Look::new(now, before, shared, routes),
        };
        let rates = Arc::clone(&look.rates);
        *last = Some(look);
        rates
    }
}

impl Look {
    fn new<'r>(
        at: Instant,
        before: Option<Self>,
        shared: &Shared,
        routes: impl Iterator<Item = &'r Arc<Route>>,
    ) -> Self {
        let of = |route: &Arc<Route>| Some((Arc::clone(route.tenant()), route.bulkhead().sums()?));
        let tenants: HashMap<_, _, _> = routes.filter_map(of).collect();
        let unrouted = shared.unrouted.sums().unwrap_or_default();
        let rates = before.map_or_else(Rates::default, |before| {
            let interval = at.duration_since(before.at);
            let nothing = Sums::default();
            let mut all = Rate::default();
            let rate = |(tenant, now): (&Arc<str>, &Sums)| {
                let rate = Rate::between(
                    before.tenants.get(tenant).unwrap_or(&nothing),
                    now,
                    interval,
                )?;
                all.requests_per_second += rate.requests_per_second;
                all.errors_per_second += rate.errors_per_second;
                Some((Arc::clone(tenant), rate))
            };
            let rates = tenants.iter().filter_map(rate).collect();
            let strays = Rate::between(&before.unrouted, &unrouted, interval);
            Rates {
                interval,
                unrouted_per_second: strays.unwrap_or_default().requests_per_second,
                all,
                tenants: rates,
            }
        });
        Self {
            at,
            tenants,
            unrouted,
            rates: Arc::new(rates),
        }
    }
}

impl Rate {
    /// None if there was nothing between the two.
    fn between(before: &Sums, now: &Sums, interval: Duration) -> Option<Self> {
        // A tenant that was taken away and has come back counts from nothing.
        let requests = now.requests().saturating_sub(before.requests());
        let errors = now.errors.saturating_sub(before.errors);
        let mut durations = now.durations;
        for (now, before) in durations.iter_mut().zip(before.durations) {
            *now = now.saturating_sub(before);
        }
        #[allow(clippy::cast_precision_loss, reason = "a rate is none the worse")]
        let per_second = |count: u64| count as f64 / interval.as_secs_f64();
        (requests > 0).then(|| Self {
            requests_per_second: per_second(requests),
            errors_per_second: per_second(errors),
            p50: percentile(&durations, 0.5),
            p99: percentile(&durations, 0.99),
        })
    }
}
