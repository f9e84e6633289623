//! How the edge is doing, as far as those who watch it need to know.
//!
//! Written by whoever loads configurations and shuts down; read by the admin listener alone. No
//! request of a tenant ever reads it.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Shared between the control thread's tasks. The lock is held for a copy and never across a wait.
#[derive(Debug, Default)]
pub(crate) struct Status(Mutex<Readiness>);

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
        *self.lock() = Readiness {
            ready: true,
            generation,
            routes,
            last_reload_error: None,
        };
    }

    /// What was served is served on; the files hold something that can't be.
    pub(crate) fn reload_failed(&self, why: String) {
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

    /// No code under this lock can panic, so a poisoned status is still a whole one.
    fn lock(&self) -> MutexGuard<'_, Readiness> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
