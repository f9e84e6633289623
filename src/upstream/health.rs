//! What dials have taught of the addresses of an upstream: those that failed lately are dialled last, and the
//! longer the more often they have failed. It takes no address out: where all have failed, all are dialled.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

const ASIDE_FIRST: Duration = Duration::from_millis(500);
const ASIDE_MAX: Duration = Duration::from_secs(30);
/// Addresses come and go with their containers; beyond this many the old ones are forgotten.
const KNOWN_MAX: usize = 64;

/// Shared by all workers. The lock is held for a look at a handful of addresses, and only when somebody dials.
#[derive(Debug, Default)]
pub(super) struct Health {
    aside: Mutex<HashMap<SocketAddr, Aside>>,
}

#[derive(Debug, Clone, Copy)]
struct Aside {
    failures: u32,
    until: Instant,
}

impl Health {
    /// Puts the addresses that failed lately behind the others, and leaves their order as it is otherwise.
    pub(super) fn sort(&self, addresses: &mut [SocketAddr], now: Instant) {
        let aside = self.lock();
        if !aside.is_empty() {
            addresses
                .sort_by_key(|address| aside.get(address).is_some_and(|aside| aside.until > now));
        }
    }

    pub(super) fn failed(&self, address: SocketAddr, now: Instant) {
        let mut known = self.lock();
        if known.len() >= KNOWN_MAX {
            known.retain(|_, aside| aside.until > now);
        }
        if known.len() >= KNOWN_MAX && !known.contains_key(&address) {
            return;
        }
        let failures = known.get(&address).map_or(0, |aside| aside.failures);
        let wait = ASIDE_FIRST
            .saturating_mul(1 << failures.min(16))
            .min(ASIDE_MAX);
        let aside = Aside {
            failures: failures + 1,
            until: now + wait,
        };
        known.insert(address, aside);
    }

    pub(super) fn succeeded(&self, address: SocketAddr) {
        self.lock().remove(&address);
    }

    /// Nothing under this lock can panic, so what a poisoned one holds is whole.
    fn lock(&self) -> MutexGuard<'_, HashMap<SocketAddr, Aside>> {
        self.aside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses() -> [SocketAddr; 3] {
        [1, 2, 3].map(|last| ([10, 0, 0, last], 8000).into())
    }

    fn sorted(health: &Health, now: Instant) -> [SocketAddr; 3] {
        let mut addresses = addresses();
        health.sort(&mut addresses, now);
        addresses
    }

    #[test]
    fn an_address_that_failed_is_dialled_last_for_longer_each_time() {
        let health = Health::default();
        let [one, two, three] = addresses();
        let mut now = Instant::now();
        let mut wait = ASIDE_FIRST;
        for _ in 0..20 {
            health.failed(one, now);
            assert_eq!(sorted(&health, now), [two, three, one]);
            assert_eq!(
                sorted(&health, now + wait - Duration::from_millis(1)),
                [two, three, one]
            );
            now += wait;
            assert_eq!(sorted(&health, now), [one, two, three]);
            wait = (wait * 2).min(ASIDE_MAX);
        }
    }

    #[test]
    fn success_brings_an_address_back() {
        let health = Health::default();
        let now = Instant::now();
        let [one, two, three] = addresses();
        health.failed(one, now);
        health.failed(two, now);
        assert_eq!(sorted(&health, now), [three, one, two]);
        health.succeeded(one);
        assert_eq!(sorted(&health, now), [one, three, two]);
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let health = Health::default();
        let now = Instant::now();
        for number in 0..1000_u16 {
            health.failed(([127, 0, 0, 1], number).into(), now);
        }
        assert_eq!(health.lock().len(), KNOWN_MAX);
        let later = now + ASIDE_MAX;
        health.failed(([127, 0, 0, 2], 1).into(), later);
        assert_eq!(health.lock().len(), 1);
    }
}
