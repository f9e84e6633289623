//! An upstream that is away: since when, who waits for it, and the probe that watches for its return.
//!
//! It never gives a request up: how long one may wait is its route's to say.

use std::{
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, Semaphore},
    time::{self, Instant},
};

use super::{Upstream, resolve::Resolver};

/// Requests that wait for one upstream. Those beyond are told at once that it is away.
const WAITING_MAX: usize = 512;
/// How soon a returning app is noticed while requests may wait for it.
const PROBE_EVERY: Duration = Duration::from_millis(50);
/// The same once nobody waits any more.
const PROBE_EVERY_LATER: Duration = Duration::from_millis(500);
/// After this, what is away is probed less often unless somebody waits. It is the time that requests wait by default.
const PROBE_OFTEN_FOR: Duration = Duration::from_secs(10);
/// An upstream that nobody has asked for in this time isn't probed until somebody does.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// It may be back for long by then, so those who ask wait for a probe, however long it has been away.
const LOOK: Duration = Duration::from_secs(1);
const SAY_EVERY: Duration = Duration::from_secs(60);
/// Those who waited are let go a few at a time: an app that has just come up is not to be run over.
const RELEASED_AT_ONCE: usize = 16;
const RELEASE_EVERY: Duration = Duration::from_millis(10);

/// The time in which an upstream can't be reached, shared by all workers.
#[derive(Debug)]
pub(crate) struct Outage {
    since: Instant,
    /// Gives a permit to each one that may go, and is closed once all may.
    gate: Semaphore,
    waiting: AtomicUsize,
    /// Whether anybody has asked since the probe last looked.
    asked: AtomicBool,
    /// Whether the probe doesn't look until somebody asks.
    forgotten: AtomicBool,
    /// When somebody last had it look again, in milliseconds from the beginning of the outage.
    remembered: AtomicU64,
    wake: Notify,
}

/// Why a request doesn't wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoWait {
    /// It has been away for longer than the route waits.
    TooLong,
    /// Enough others wait.
    Full,
}

impl fmt::Display for NoWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "it has been away for too long",
            Self::Full => "enough others wait for it",
        })
    }
}

impl std::error::Error for NoWait {}

impl Outage {
    pub(super) fn new() -> Self {
        Self {
            since: Instant::now(),
            gate: Semaphore::new(0),
            waiting: AtomicUsize::new(0),
            asked: AtomicBool::new(true),
            forgotten: AtomicBool::new(false),
            remembered: AtomicU64::new(0),
            wake: Notify::new(),
        }
    }

    /// How long a request may wait that is held for `hold`, counted from when the upstream went away.
    pub(crate) fn patience(&self, hold: Duration) -> Result<Duration, NoWait> {
        self.asked.store(true, Ordering::Relaxed);
        if self.forgotten.swap(false, Ordering::Relaxed) {
            self.remembered.store(self.away_ms(), Ordering::Relaxed);
            self.wake.notify_one();
        }
        let until = match self.remembered.load(Ordering::Relaxed) {
            0 => hold,
            remembered => hold.max(Duration::from_millis(remembered) + LOOK.min(hold)),
        };
        match until.checked_sub(self.since.elapsed()) {
            None | Some(Duration::ZERO) => Err(NoWait::TooLong),
            Some(left) => Ok(left),
        }
    }

    /// Waits until the upstream is back and it is this one's turn. Whoever stops waiting frees its place.
    pub(crate) async fn wait(&self) -> Result<(), NoWait> {
        let place = Place(&self.waiting);
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING_MAX {
            return Err(NoWait::Full);
        }
        if let Ok(permit) = self.gate.acquire().await {
            permit.forget();
        }
        drop(place);
        Ok(())
    }

    /// Something has come back: time to look, even if nobody has asked for long.
    pub(super) fn hint(&self) {
        self.wake.notify_one();
    }

    pub(crate) fn away_ms(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn has_waiters(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    async fn release(&self) {
        let mut count = RELEASED_AT_ONCE;
        while self.has_waiters() {
            self.gate.add_permits(count);
            time::sleep(RELEASE_EVERY).await;
            count = (count * 2).min(WAITING_MAX);
        }
        self.gate.close();
    }
}

/// One of those who wait.
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Dials until the upstream is back, then lets those who wait go. Ends also when no route leads to it any more.
pub(crate) async fn probe(
    upstream: Weak<Upstream>,
    outage: Arc<Outage>,
    resolver: Resolver,
    connect: Duration,
) {
    let mut said = None;
    let mut asked = Instant::now();
    loop {
        let Some(upstream) = upstream.upgrade() else {
            return;
        };
        let reason = match time::timeout(connect, upstream.can_be_dialled(&resolver)).await {
            Ok(Ok(())) => {
                upstream.is_back();
                let away_ms = outage.away_ms();
                tracing::info!(upstream = %upstream, away_ms, "upstream is back");
                return outage.release().await;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer to a dial".to_owned(),
        };
        let now = Instant::now();
        if outage.asked.swap(false, Ordering::Relaxed) {
            asked = now;
            if said.is_none_or(|said| now.duration_since(said) >= SAY_EVERY) {
                said = Some(now);
                let away_ms = outage.away_ms();
                tracing::warn!(upstream = %upstream, away_ms, reason, "upstream is away");
            }
        }
        drop(upstream);
        if now.duration_since(asked) >= FORGOTTEN_AFTER {
            outage.forgotten.store(true, Ordering::Relaxed);
            // Now and then, to see whether the upstream is still anybody's.
            let _ = time::timeout(FORGOTTEN_AFTER, outage.wake.notified()).await;
        } else if outage.since.elapsed() < PROBE_OFTEN_FOR || outage.has_waiters() {
            time::sleep(PROBE_EVERY).await;
        } else {
            time::sleep(PROBE_EVERY_LATER).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn patience_is_counted_from_the_start_of_the_outage() {
        let outage = Outage::new();
        time::advance(Duration::from_secs(4)).await;
        let hold = Duration::from_secs(10);
        assert_eq!(outage.patience(hold), Ok(Duration::from_secs(6)));
        time::advance(Duration::from_secs(6)).await;
        assert_eq!(outage.patience(hold), Err(NoWait::TooLong));
        assert_eq!(outage.patience(Duration::ZERO), Err(NoWait::TooLong));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_to_ask_for_a_forgotten_upstream_have_it_looked_at() {
        let outage = Outage::new();
        let hold = Duration::from_secs(10);
        time::advance(Duration::from_secs(3600)).await;
        assert_eq!(outage.patience(hold), Err(NoWait::TooLong));
        outage.forgotten.store(true, Ordering::Relaxed);
        assert_eq!(outage.patience(hold), Ok(LOOK));
        assert_eq!(outage.patience(hold), Ok(LOOK), "those beside it as well");
        assert_eq!(
            outage.patience(Duration::from_millis(5)),
            Ok(Duration::from_millis(5))
        );
        assert_eq!(outage.patience(Duration::ZERO), Err(NoWait::TooLong));
        time::advance(LOOK).await;
        assert_eq!(outage.patience(hold), Err(NoWait::TooLong));
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_takes_nobody_and_a_place_is_free_when_its_waiter_leaves() {
        let outage = Arc::new(Outage::new());
        let mut waiters: Vec<_> = (0..WAITING_MAX).map(|_| Box::pin(outage.wait())).collect();
        for waiter in &mut waiters {
            assert!(futures_util::poll!(waiter).is_pending());
        }
        assert_eq!(outage.wait().await, Err(NoWait::Full));
        waiters.pop();
        let mut next = Box::pin(outage.wait());
        assert!(futures_util::poll!(&mut next).is_pending());
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_are_let_go_a_few_at_a_time_and_latecomers_at_once() {
        let outage = Arc::new(Outage::new());
        let gone = Arc::new(AtomicUsize::new(0));
        for _ in 0..100 {
            let (outage, gone) = (Arc::clone(&outage), Arc::clone(&gone));
            tokio::spawn(async move {
                outage.wait().await.unwrap();
                gone.fetch_add(1, Ordering::Relaxed);
            });
        }
        tokio::task::yield_now().await;
        let releasing = tokio::spawn({
            let outage = Arc::clone(&outage);
            async move { outage.release().await }
        });
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        assert_eq!(gone.load(Ordering::Relaxed), RELEASED_AT_ONCE);
        releasing.await.unwrap();
        assert_eq!(gone.load(Ordering::Relaxed), 100);
        assert_eq!(outage.wait().await, Ok(()), "the gate stays open");
    }
}
