//! How the edge is doing, as far as those who watch it need to know.
//!
//! Written by whoever loads configurations and shuts down; read by the admin listener alone. No
//! request of a tenant ever reads it.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// Shared between the control thread and the admin listener's. The lock is held for a copy and never across a wait.
#[derive(Debug, Default)]
pub(crate) struct Status {
    readiness: Mutex<Readiness>,
    reloads: AtomicU64,
    failed_reloads: AtomicU64,
}

/// What `/readyz` answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Readiness {
    /// Whether new connections should be sent here.
    pub(crate) ready: bool,
    /// Of the configuration that is served; 0 before the first.
    pub(crate) generation: u64,
    pub(crate) routes: usize,
    /// Why the files as they are now are not what is served; None when they are.
    pub(crate) last_reload_error: Option<String>,
}

impl Status {
    /// A configuration is served now, and it is what the files say.
    pub(crate) fn serving(&self, generation: u64, routes: usize) {
        let mut readiness = self.lock();
        if readiness.ready {
            self.reloads.fetch_add(1, Relaxed);
        }
        *readiness = Readiness {
            ready: true,
            generation,
            routes,
            last_reload_error: None,
        };
    }

    /// What was served is served on; the files hold something that can't be.
    pub(crate) fn reload_failed(&self, why: String) {
        self.failed_reloads.fetch_add(1, Relaxed);
        self.lock().last_reload_error = Some(why);
    }

    /// The files are back at what is served.
    pub(crate) fn reload_unneeded(&self) {
        self.lock().last_reload_error = None;
    }

    /// The edge is on its way out; load balancers should look elsewhere.
    pub(crate) fn draining(&self) {
        self.lock().ready = false;
    }

    pub(crate) fn readiness(&self) -> Readiness {
        self.lock().clone()
    }

    /// How many configurations were taken up after the first, and how many could not be.
    pub(crate) fn reloads(&self) -> (u64, u64) {
        let failed = self.failed_reloads.load(Relaxed);
        (self.reloads.load(Relaxed), failed)
    }

    /// No code under this lock can panic, so a poisoned status is still a whole one.
    fn lock(&self) -> MutexGuard<'_, Readiness> {
        self.readiness
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
