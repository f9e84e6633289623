//! Looking up, now and then, the names of an upstream that is in use: requests that flow over pooled connections make
//! no look-ups of their own, and would never find further replicas. An answer that fails changes nothing.

use std::{
    sync::{
        Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time;

use super::{
    Upstream,
    resolve::{Age, Resolver},
};

const EVERY: Duration = Duration::from_secs(1);
/// So many rounds in which nobody asked for the upstream, and it isn't looked up any more until somebody does.
const IDLE_ROUNDS_MAX: u32 = 30;

/// What the workers and the watch share.
#[derive(Debug, Default)]
pub(super) struct Watch {
    used: AtomicBool,
    running: AtomicBool,
}

impl Watch {
    /// Somebody is about to use the upstream.
    pub(super) fn is_used(&self) {
        // Looked at first: a write for every request would be one that all workers wait for.
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    /// Whether nobody watches, so that the one who asks must begin to.
    pub(super) fn begins(&self) -> bool {
        !self.running.load(Ordering::Relaxed) && !self.running.swap(true, Ordering::Relaxed)
    }
}

/// Runs on the control thread until nobody uses the upstream, or no route leads to it.
pub(crate) async fn watch(upstream: Weak<Upstream>, resolver: Resolver) {
    let mut idle_rounds = 0;
    while idle_rounds < IDLE_ROUNDS_MAX {
        let Some(upstream) = upstream.upgrade() else {
            return;
        };
        for origin in 0..upstream.origins.len() {
            // What is found is kept by the upstream, and what isn't found changes nothing.
            let _ = upstream.look_up(origin, Age::Recent, &resolver).await;
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
