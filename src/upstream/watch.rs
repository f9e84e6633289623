//! Looking up, now and then, the names of an upstream that is in use: requests that flow over pooled connections make
//! no look-ups of their own, and would never find further replicas. An answer that fails changes nothing.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{
        Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time;

use super::{
    Upstream,
    resolve::{Age, Resolver},
};
use crate::config::Origin;

const EVERY: Duration = Duration::from_secs(1);
/// So many rounds in which nobody asked for the upstream, and it isn't looked up any more until somebody does.
const IDLE_ROUNDS_MAX: u32 = 30;

/// What the workers and the watch share.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Changes with the addresses. A connection of an earlier epoch is not lent again.
    epoch: AtomicU64,
    /// Whether there are several addresses at this moment.
    several: AtomicBool,
    used: AtomicBool,
    running: AtomicBool,
}

impl Watch {
    /// The epoch, for somebody who is about to use the upstream.
    pub(super) fn epoch(&self) -> u64 {
        // Looked at first: a write for every request would be one that all workers wait for.
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
        self.epoch.load(Ordering::Relaxed)
    }

    pub(super) fn several(&self) -> bool {
        self.several.load(Ordering::Relaxed)
    }

    /// Whether nobody watches, so that the one who asks must begin to.
    pub(super) fn begins(&self) -> bool {
        !self.running.load(Ordering::Relaxed) && !self.running.swap(true, Ordering::Relaxed)
    }
}

/// Runs on the control thread until nobody uses the upstream, or no route leads to it.
pub(crate) async fn watch(upstream: Weak<Upstream>, resolver: Resolver) {
    let mut known = None;
    let mut idle_rounds = 0;
    while idle_rounds < IDLE_ROUNDS_MAX {
        let Some(upstream) = upstream.upgrade() else {
            return;
        };
        let found = addresses(&upstream.origins, &resolver).await;
        let several = found.as_ref().is_some_and(|found| found.len() > 1);
        upstream.watch.several.store(several, Ordering::Relaxed);
        if let Some(found) = found {
            if known.as_ref().is_some_and(|known| *known != found) {
                upstream.watch.epoch.fetch_add(1, Ordering::Relaxed);
            }
            known = Some(found);
        }
        let used = upstream.watch.used.swap(false, Ordering::Relaxed);
        idle_rounds = if used { 0 } else { idle_rounds + 1 };
        drop(upstream);
        time::sleep(EVERY).await;
    }
    if let Some(upstream) = upstream.upgrade() {
        upstream.watch.running.store(false, Ordering::Relaxed);
    }
}

/// All addresses of all names, or nothing if one of them has no answer.
async fn addresses(origins: &[Origin], resolver: &Resolver) -> Option<BTreeSet<IpAddr>> {
    let mut found = BTreeSet::new();
    for origin in origins {
        if let Origin::Http { host, .. } = origin {
            found.extend(resolver.resolve(host, Age::Recent).await.ok()?.iter());
        }
    }
    Some(found)
}
