//! Something that is done again and again in the background, and must never fail.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::eventually;

/// Ends with the first failure, or when it is dropped.
pub(crate) struct Watch {
    what: &'static str,
    done: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<(), String>>>,
}

impl Watch {
    /// Does `step` at most 50 times a second; each must end by itself within seconds.
    pub(crate) fn start(
        what: &'static str,
        mut step: impl FnMut() -> Result<(), String> + Send + 'static,
    ) -> Self {
        let done = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let (done, stop) = (Arc::clone(&done), Arc::clone(&stop));
            move || {
                while !stop.load(Ordering::Relaxed) {
                    step()?;
                    done.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(Duration::from_millis(20));
                }
                Ok(())
            }
        });
        Self {
            what,
            done,
            stop,
            thread: Some(thread),
        }
    }

    /// Waits for five further steps, which shows that it has neither failed nor hung.
    pub(crate) fn goes_on(&self) {
        let target = self.done() + 5;
        eventually(self.what, Duration::from_secs(15), || {
            let ended = self.thread.as_ref().is_none_or(JoinHandle::is_finished);
            (ended || self.done() >= target).then_some(())
        });
        assert!(self.done() >= target, "{} has failed", self.what);
    }

    /// Stops it; panics with its failure if it had one.
    pub(crate) fn finish(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("it is finished once");
        let result = thread.join().expect("its steps do not panic");
        println!("{}: {} times", self.what, self.done());
        if let Err(failure) = result {
            panic!("{} failed after {}: {failure}", self.what, self.done());
        }
    }

    fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
