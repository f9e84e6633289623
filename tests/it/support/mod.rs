//! What the tests are written with: the real binary, scripted upstreams, a client that shows the wire.
//!
//! Everything runs on threads and blocking sockets, so that a script reads from top to bottom. Each
//! wait has a deadline, and none of them stands for a measurement. Nothing here knows the edge's code.

pub(crate) mod client;
pub(crate) mod dns;
pub(crate) mod edge;
pub(crate) mod lines;
pub(crate) mod upstream;
pub(crate) mod websocket;
pub(crate) mod wire;

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// How long a test waits for something that must happen, on a machine that is busy with other things.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// Asks again and again until `happened`; `what` is said when it never does.
#[track_caller]
pub(crate) fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    let began = Instant::now();
    while !happened() {
        assert!(
            began.elapsed() < DEADLINE,
            "{what}: not within {DEADLINE:?}"
        );
        thread::sleep(Duration::from_millis(5));
    }
}

/// A value that some threads change and others wait for; copies share it.
#[derive(Debug, Default)]
pub(crate) struct Watched<T>(Arc<(Mutex<T>, Condvar)>);

impl<T> Clone for Watched<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Clone> Watched<T> {
    pub(crate) fn get(&self) -> T {
        self.lock().clone()
    }

    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let changed = change(&mut self.lock());
        self.0.1.notify_all();
        changed
    }

    /// The value as soon as it is as `wanted`, or as it is at the deadline.
    pub(crate) fn wait(&self, deadline: Duration, wanted: impl Fn(&T) -> bool) -> T {
        let waiting = |value: &mut T| !wanted(value);
        let waited = self.0.1.wait_timeout_while(self.lock(), deadline, waiting);
        waited.unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// A test that fails while it looks leaves the value as good as it was.
    fn lock(&self) -> MutexGuard<'_, T> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closed until it is opened, then open for good: lets a test hold a script at a line of its own choice.
#[derive(Clone, Default)]
pub(crate) struct Gate(Watched<bool>);

impl Gate {
    pub(crate) fn open(&self) {
        self.0.change(|open| *open = true);
    }

    pub(crate) fn is_open(&self) -> bool {
        self.0.get()
    }

    /// Gives up after three deadlines, so that a test that failed leaves no thread behind.
    pub(crate) fn wait(&self) {
        self.0.wait(3 * DEADLINE, |open| *open);
    }
}
