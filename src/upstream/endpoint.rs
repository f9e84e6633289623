//! One address of an upstream: its health and its requests in flight; and the addresses that an upstream has now.
//!
//! It dials nothing and chooses nothing. Dials tell it how they ended, and so do health checks where a route has them.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use tokio::time::Instant;

use super::{balance::hash, resolve::Family};

/// How long an address that failed is dialled last; the longer the more often it has failed.
const ASIDE_FIRST: Duration = Duration::from_millis(500);
const ASIDE_MAX: Duration = Duration::from_secs(30);
/// Addresses of one name that are used. Names of containers have a handful.
const PER_NAME_MAX: usize = 64;
/// What is kept of an error, for people to read.
const ERROR_CHARS_MAX: usize = 200;

/// Its name has another address now.
const GONE: u8 = 1;
/// Its health checks fail.
const OUT: u8 = 2;

/// Shared by all workers. Requests read its marks and count themselves; nothing here is locked for them.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// Which of the upstream's origins has it.
    origin: usize,
    /// None for a unix socket, whose path the origin has.
    address: Option<SocketAddr>,
    /// As the access log has it.
    text: Box<str>,
    /// Of the text, the same in every process.
    hash: u64,
    in_flight: AtomicUsize,
    /// How long an idle connection has been seen to survive, in ticks.
    survived: AtomicU64,
    marks: AtomicU8,
    born: Instant,
    /// Dials that failed since the last that succeeded.
    failures: AtomicU32,
    /// In milliseconds since it was born; 0 if no dial has failed since the last that succeeded.
    aside_until: AtomicU64,
    /// Checks in a row that speak against the state it is in.
    streak: AtomicU32,
    last_error: Mutex<Option<(Instant, String)>>,
}

/// What there is to tell of an endpoint.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) state: State,
    pub(crate) failures: u32,
    pub(crate) aside_for: Duration,
    pub(crate) in_flight: usize,
    /// The last, and how long ago that was.
    pub(crate) error: Option<(Duration, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Up,
    /// A dial failed lately: it is dialled last.
    Aside,
    /// Its health checks fail: it gets no requests.
    Out,
}

impl Endpoint {
    pub(super) fn new(origin: usize, address: Option<SocketAddr>, text: String) -> Self {
        Self {
            origin,
            address,
            hash: hash(text.as_bytes()),
            text: text.into(),
            in_flight: AtomicUsize::new(0),
            survived: AtomicU64::new(0),
            marks: AtomicU8::new(0),
            born: Instant::now(),
            failures: AtomicU32::new(0),
            aside_until: AtomicU64::new(0),
            streak: AtomicU32::new(0),
            last_error: Mutex::new(None),
        }
    }

    pub(crate) fn origin(&self) -> usize {
        self.origin
    }

    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// For how many ticks its connections have been seen to survive being idle.
    pub(super) fn survived(&self) -> u64 {
        self.survived.load(Ordering::Relaxed)
    }

    /// A connection that had been idle for so long was good.
    pub(super) fn has_survived(&self, ticks: u64) {
        // Looked at first, for a write is one that all workers wait for.
        if self.survived() < ticks {
            self.survived.fetch_max(ticks, Ordering::Relaxed);
        }
    }

    /// A connection that had been idle for so long was dead.
    pub(super) fn has_not_survived(&self, ticks: u64) {
        let less = ticks.saturating_sub(1);
        self.survived.fetch_min(less, Ordering::Relaxed);
    }

    /// Whether a request may go there: the name still has it, and no health check has put it out.
    pub(super) fn is_usable(&self) -> bool {
        self.marks.load(Ordering::Relaxed) == 0
    }

    pub(super) fn is_out(&self) -> bool {
        self.marks.load(Ordering::Relaxed) & OUT != 0
    }

    /// Whether a dial failed so lately that others are better.
    pub(super) fn is_aside(&self) -> bool {
        // Mostly none has failed, and then the clock isn't looked at.
        match self.aside_until.load(Ordering::Relaxed) {
            0 => false,
            until => until > self.age_ms(Instant::now()),
        }
    }

    pub(super) fn failed(&self, error: &str, now: Instant) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed);
        let wait = ASIDE_FIRST
            .saturating_mul(1 << failures.min(16))
            .min(ASIDE_MAX);
        self.aside_until
            .store(self.age_ms(now + wait).max(1), Ordering::Relaxed);
        self.note(error, now);
    }

    pub(super) fn succeeded(&self) {
        // Looked at first: most dials succeed, and a write is one that all workers wait for.
        if self.failures.load(Ordering::Relaxed) > 0 {
            self.failures.store(0, Ordering::Relaxed);
            self.aside_until.store(0, Ordering::Relaxed);
        }
    }

    /// A health check was passed. True if that brings it back, after `healthy` in a row.
    pub(super) fn passed(&self, healthy: u32) -> bool {
        let back = self.count_against(self.is_out(), healthy);
        if back {
            self.marks.fetch_and(!OUT, Ordering::Relaxed);
        }
        back
    }

    /// A health check was failed. True if that puts it out, after `unhealthy` in a row.
    pub(super) fn flunked(&self, unhealthy: u32, error: &str, now: Instant) -> bool {
        self.note(error, now);
        let out = self.count_against(!self.is_out(), unhealthy);
        if out {
            self.marks.fetch_or(OUT, Ordering::Relaxed);
        }
        out
    }

    /// Only the one task that checks an upstream counts here.
    fn count_against(&self, against: bool, enough: u32) -> bool {
        let streak = if against {
            self.streak.load(Ordering::Relaxed) + 1
        } else {
            0
        };
        let turns = against && streak >= enough;
        let kept = if turns { 0 } else { streak };
        self.streak.store(kept, Ordering::Relaxed);
        turns
    }

    pub(crate) fn report(&self, now: Instant) -> Report {
        let until = self.aside_until.load(Ordering::Relaxed);
        let aside_for = Duration::from_millis(until.saturating_sub(self.age_ms(now)));
        let error = self.last_error().clone();
        Report {
            state: match (self.is_out(), aside_for.is_zero()) {
                (true, _) => State::Out,
                (false, false) => State::Aside,
                (false, true) => State::Up,
            },
            failures: self.failures.load(Ordering::Relaxed),
            aside_for,
            in_flight: self.in_flight(),
            error: error.map(|(at, error)| (now.duration_since(at), error)),
        }
    }

    fn note(&self, error: &str, now: Instant) {
        let error = error.chars().take(ERROR_CHARS_MAX).collect();
        *self.last_error() = Some((now, error));
    }

    fn age_ms(&self, now: Instant) -> u64 {
        u64::try_from(now.duration_since(self.born).as_millis()).unwrap_or(u64::MAX)
    }

    /// Nothing under this lock can panic, so what a poisoned one holds is whole.
    fn last_error(&self) -> MutexGuard<'_, Option<(Instant, String)>> {
        self.last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Belongs to a connection, and counts it while a request has it.
#[derive(Debug)]
pub(crate) struct Claim {
    endpoint: Arc<Endpoint>,
    counted: bool,
}

impl Claim {
    pub(super) fn new(endpoint: Arc<Endpoint>) -> Self {
        Self {
            endpoint,
            counted: false,
        }
    }

    pub(super) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    pub(super) fn begin(&mut self) {
        if !self.counted {
            self.counted = true;
            self.endpoint.in_flight.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn end(&mut self) {
        if self.counted {
            self.counted = false;
            self.endpoint.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.end();
    }
}

/// The endpoints that an upstream has now, as far as they have been looked up.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    /// In the order of the origins and addresses; none before the first look-up.
    now: ArcSwapOption<Vec<Arc<Endpoint>>>,
    several: AtomicBool,
    /// Held by whoever changes them.
    changing: Mutex<()>,
}

impl Endpoints {
    pub(super) fn are_several(&self) -> bool {
        self.several.load(Ordering::Relaxed)
    }

    pub(super) fn with<T>(&self, read: impl FnOnce(&[Arc<Endpoint>]) -> T) -> T {
        match &*self.now.load() {
            Some(endpoints) => read(endpoints),
            None => read(&[]),
        }
    }

    pub(super) fn all(&self) -> Arc<Vec<Arc<Endpoint>>> {
        self.now.load_full().unwrap_or_default()
    }

    /// Those of an origin's name, which has been looked up: `addresses` is all that it has, but for those of the family
    /// that is `unknown`. What it had before and hasn't now is used no more, and neither are connections to it.
    pub(super) fn found(
        &self,
        origin: usize,
        addresses: &[SocketAddr],
        unknown: Option<Family>,
    ) -> Vec<Arc<Endpoint>> {
        let mut wanted = addresses.to_vec();
        if let Some(unknown) = unknown {
            let known = self.with(|all| all.to_vec()).into_iter();
            let of_origin = known.filter(|endpoint| endpoint.origin == origin);
            let addresses = of_origin.filter_map(|endpoint| endpoint.address);
            wanted.extend(addresses.filter(|address| Family::of(address.ip()) == unknown));
        }
        wanted.sort_unstable();
        wanted.dedup();
        // By their order, so that the same ones are kept each time.
        wanted.truncate(PER_NAME_MAX);
        let wanted: Vec<_> = wanted.into_iter().map(Some).collect();
        self.are(origin, &wanted, |address| {
            address.map_or_else(String::new, |address| address.to_string())
        })
    }

    /// The one of an origin that is a unix socket.
    pub(super) fn unix(&self, origin: usize, text: String) -> Vec<Arc<Endpoint>> {
        self.are(origin, &[None], |_| text.clone())
    }

    /// `wanted` is in order.
    fn are(
        &self,
        origin: usize,
        wanted: &[Option<SocketAddr>],
        text: impl Fn(Option<SocketAddr>) -> String,
    ) -> Vec<Arc<Endpoint>> {
        let known = |all: &[Arc<Endpoint>]| -> Vec<Arc<Endpoint>> {
            let of_origin = all.iter().filter(|endpoint| endpoint.origin == origin);
            of_origin.cloned().collect()
        };
        let is_all = |known: &[Arc<Endpoint>]| {
            let known = known.iter().map(|endpoint| endpoint.address);
            known.eq(wanted.iter().copied())
        };
        let before = self.with(known);
        if is_all(&before) {
            return before;
        }
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = Vec::clone(&self.all());
        let before = known(&all);
        if is_all(&before) {
            return before;
        }
        all.retain(|endpoint| endpoint.origin != origin);
        let now = wanted.iter().map(|address| {
            let same = |endpoint: &&Arc<Endpoint>| endpoint.address == *address;
            let new = || Arc::new(Endpoint::new(origin, *address, text(*address)));
            before.iter().find(same).map_or_else(new, Arc::clone)
        });
        let now: Vec<_> = now.collect();
        all.extend(now.iter().cloned());
        all.sort_by_key(|endpoint| (endpoint.origin, endpoint.address));
        self.several.store(all.len() > 1, Ordering::Relaxed);
        self.now.store(Some(Arc::new(all)));
        for endpoint in before {
            if !wanted.contains(&endpoint.address) {
                endpoint.marks.fetch_or(GONE, Ordering::Relaxed);
            }
        }
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> SocketAddr {
        ([10, 0, 0, last], 8000).into()
    }

    fn endpoint() -> Endpoint {
        Endpoint::new(0, Some(address(1)), address(1).to_string())
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_failed_is_put_aside_for_longer_each_time() {
        let endpoint = endpoint();
        let mut wait = ASIDE_FIRST;
        for _ in 0..20 {
            endpoint.failed("refused", Instant::now());
            assert_eq!(endpoint.report(Instant::now()).state, State::Aside);
            tokio::time::advance(wait - Duration::from_millis(1)).await;
            assert!(endpoint.is_aside());
            tokio::time::advance(Duration::from_millis(1)).await;
            assert!(!endpoint.is_aside());
            wait = (wait * 2).min(ASIDE_MAX);
        }
        assert_eq!(endpoint.report(Instant::now()).failures, 20);
    }

    #[tokio::test(start_paused = true)]
    async fn success_brings_an_address_back() {
        let endpoint = endpoint();
        endpoint.failed("refused", Instant::now());
        endpoint.succeeded();
        assert!(!endpoint.is_aside());
        let report = endpoint.report(Instant::now());
        assert_eq!((report.state, report.failures), (State::Up, 0));
        let (_, error) = report.error.unwrap();
        assert_eq!(error, "refused", "what happened last can still be told");
    }

    #[test]
    fn checks_count_only_in_a_row() {
        let endpoint = endpoint();
        let now = Instant::now();
        let flunked = || endpoint.flunked(3, "503", now);
        assert!(!flunked());
        assert!(!flunked());
        assert!(!endpoint.passed(2));
        assert!(!flunked());
        assert!(!flunked());
        assert!(flunked());
        assert!(endpoint.is_out() && !endpoint.is_usable());
        assert!(!flunked(), "it is out already");
        assert!(!endpoint.passed(2));
        assert!(!flunked());
        assert!(!endpoint.passed(2));
        assert!(endpoint.passed(2));
        assert!(endpoint.is_usable());
        assert!(!endpoint.passed(2), "it is in already");
    }

    #[test]
    fn a_claim_is_counted_once_and_given_up_with_its_owner() {
        let endpoint = Arc::new(endpoint());
        let mut claim = Claim::new(Arc::clone(&endpoint));
        assert_eq!(endpoint.in_flight(), 0);
        claim.begin();
        claim.begin();
        assert_eq!(endpoint.in_flight(), 1);
        claim.end();
        claim.end();
        assert_eq!(endpoint.in_flight(), 0);
        claim.begin();
        drop(claim);
        assert_eq!(endpoint.in_flight(), 0);
    }

    #[test]
    fn an_address_that_stays_is_the_same_endpoint_and_one_that_left_is_not_used_again() {
        let endpoints = Endpoints::default();
        let first = endpoints.found(0, &[address(2), address(1), address(2)], None);
        assert_eq!(first.len(), 2);
        assert!(endpoints.are_several());
        let second = endpoints.found(0, &[address(3), address(2)], None);
        assert!(Arc::ptr_eq(&first[1], &second[0]));
        assert!(!first[0].is_usable() && first[1].is_usable());
        let third = endpoints.found(0, &[address(1), address(2)], None);
        assert!(
            !Arc::ptr_eq(&first[0], &third[0]),
            "it came back as another"
        );
        assert!(!first[0].is_usable());
        let of_another = endpoints.found(1, &[address(1)], None);
        assert_eq!((of_another.len(), endpoints.all().len()), (1, 3));
        endpoints.found(0, &[address(1)], None);
        endpoints.found(1, &[address(1)], None);
        assert_eq!(endpoints.all().len(), 2);
    }

    #[test]
    fn addresses_of_a_family_without_an_answer_stay() {
        let v6 = SocketAddr::new([0, 0, 0, 0, 0, 0, 0, 1].into(), 8000);
        let endpoints = Endpoints::default();
        let first = endpoints.found(0, &[address(1), v6], None);
        let second = endpoints.found(0, &[address(2)], Some(Family::V6));
        assert_eq!(second.len(), 2);
        assert!(Arc::ptr_eq(&first[1], &second[1]) && second[1].is_usable());
        assert!(!first[0].is_usable(), "its own family has an answer");
        assert_eq!(endpoints.found(0, &[v6], Some(Family::V4)).len(), 2);
        assert_eq!(endpoints.found(0, &[address(2)], None).len(), 1);
        assert!(!first[1].is_usable());
    }

    #[test]
    fn what_is_taken_of_one_answer_has_a_bound() {
        let endpoints = Endpoints::default();
        let many: Vec<SocketAddr> = (1..=1000)
            .map(|port| ([10, 0, 0, 1], port).into())
            .collect();
        let first = endpoints.found(0, &many, None);
        assert_eq!(first.len(), PER_NAME_MAX);
        let shuffled: Vec<_> = many.into_iter().rev().collect();
        let second = endpoints.found(0, &shuffled, None);
        assert!(Arc::ptr_eq(&first[0], &second[0]));
    }
}
