//! What the tests are written with: the real binary, scripted upstreams, a client that shows the wire.
//!
//! Everything runs on threads and blocking sockets, so that a script reads from top to bottom. Each
//! wait has a deadline, and none of them stands for a measurement. Nothing here knows the edge's code.

pub(crate) mod client;
pub(crate) mod edge;
pub(crate) mod lines;
pub(crate) mod upstream;
pub(crate) mod websocket;
pub(crate) mod wire;

use std::{
    sync::{Arc, Condvar, Mutex},
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

/// Closed until it is opened, then open for good: lets a test hold a script at a line of its own choice.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub(crate) fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    pub(crate) fn is_open(&self) -> bool {
        *self.0.0.lock().unwrap()
    }

    /// Gives up after three deadlines, so that a test that failed leaves no thread behind.
    pub(crate) fn wait(&self) {
        let open = self.0.0.lock().unwrap();
        drop(
            self.0
                .1
                .wait_timeout_while(open, 3 * DEADLINE, |open| !*open)
                .unwrap(),
        );
    }
}
