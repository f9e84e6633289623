//! What requests add up to: a tenant's, or of those that led to none. Each worker counts for itself, so that counting
//! costs no more than an addition; whoever wants to know sums up.
//!
//! What is counted is what the access log is told, of the same requests at the same time.

use std::{
    array,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use super::access_log::Line;
use crate::error::LABELS;

/// The upper bounds of the classes of durations, but for the last, which has none. Fine enough to tell a percentile by, within
/// a fifth of it; the bounds that everybody's dashboards have are among them.
pub(crate) const BOUNDS_US: [u64; 34] = bounds();
pub(crate) const DURATIONS: usize = BOUNDS_US.len() + 1;

/// 1xx to 5xx.
pub(crate) const CLASSES: usize = 5;

const fn bounds() -> [u64; 34] {
    let steps = [100, 150, 250, 350, 500, 700];
    let mut bounds = [0; 34];
    let (mut at, mut scale) = (0, 1);
    while at < 30 {
        bounds[at] = steps[at % 6] * scale;
        at += 1;
        if at.is_multiple_of(6) {
            scale *= 10;
        }
    }
    [bounds[30], bounds[31], bounds[32], bounds[33]] =
        [10_000_000, 15_000_000, 25_000_000, 60_000_000];
    bounds
}

/// A number that one thread counts up, and others read.
#[derive(Debug, Default)]
struct Count(AtomicU64);

impl Count {
    #[inline]
    fn add(&self, more: u64) {
        // Nobody else writes, so this needs no lock of the bus.
        self.0.store(self.get().wrapping_add(more), Relaxed);
    }

    #[inline]
    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What all workers have counted of one tenant, or of none. There is memory only for those that have counted something.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    workers: OnceLock<Box<[OnceLock<Box<Counters>>]>>,
}

/// Of one worker.
#[derive(Debug)]
#[repr(align(64))]
struct Counters {
    by_class: [Count; CLASSES],
    durations: [Count; DURATIONS],
    duration_us: Count,
    upstream_us: Count,
    bytes_in: Count,
    bytes_out: Count,
    held: Count,
    queued: Count,
    retries: Count,
    errors: Count,
    /// Of most tenants nothing fails.
    failures: OnceLock<Box<Failures>>,
}

#[derive(Debug)]
struct Failures {
    by_label: [Count; LABELS.len()],
    /// See [`LastFailure`].
    last: AtomicU64,
}

/// What the workers' counters add up to.
#[derive(Debug, Clone)]
pub(crate) struct Sums {
    pub(crate) by_class: [u64; CLASSES],
    pub(crate) durations: [u64; DURATIONS],
    pub(crate) duration_us: u64,
    pub(crate) upstream_us: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) held: u64,
    pub(crate) queued: u64,
    pub(crate) retries: u64,
    /// Requests that failed otherwise than by their client's fault, and those that the app answered with 5xx.
    pub(crate) errors: u64,
    pub(crate) by_label: [u64; LABELS.len()],
    pub(crate) last_failure: Option<LastFailure>,
}

/// The last that was not the client's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LastFailure {
    /// How old the edge was.
    pub(crate) at: Duration,
    pub(crate) status: u16,
    pub(crate) label: &'static str,
}

impl Traffic {
    /// A request is over, on `worker` of `workers`; `age` is that of the edge.
    #[inline]
    pub(crate) fn count(
        &self,
        worker: usize,
        workers: usize,
        age: impl FnOnce() -> Duration,
        line: &Line<'_>,
    ) {
        let all = self
            .workers
            .get_or_init(|| (0..workers).map(|_| OnceLock::new()).collect());
        all[worker].get_or_init(Box::default).count(age, line);
    }

    pub(crate) fn is_any(&self) -> bool {
        self.workers.get().is_some()
    }

    /// None if nothing was ever counted.
    pub(crate) fn sums(&self) -> Option<Sums> {
        let counted = self.workers.get()?.iter().filter_map(OnceLock::get);
        let mut sums = None;
        for counters in counted {
            counters.add_to(sums.get_or_insert_with(Sums::default));
        }
        sums
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            by_class: Default::default(),
            durations: array::from_fn(|_| Count::default()),
            duration_us: Count::default(),
            upstream_us: Count::default(),
            bytes_in: Count::default(),
            bytes_out: Count::default(),
            held: Count::default(),
            queued: Count::default(),
            retries: Count::default(),
            errors: Count::default(),
            failures: OnceLock::new(),
        }
    }
}

impl Counters {
    fn count(&self, age: impl FnOnce() -> Duration, line: &Line<'_>) {
        let class = usize::from(line.status / 100).clamp(1, CLASSES) - 1;
        self.by_class[class].add(1);
        // A tunnel's is how long two have kept talking.
        if line.status != 101 {
            let took = micros(line.duration);
            self.durations[BOUNDS_US.partition_point(|bound| *bound < took)].add(1);
            self.duration_us.add(took);
        }
        if let Some(upstream) = line.upstream {
            self.upstream_us.add(micros(upstream));
        }
        self.bytes_in.add(line.bytes_in);
        self.bytes_out.add(line.bytes_out);
        self.held.add(line.held.is_some().into());
        self.queued.add(line.queued.is_some().into());
        self.retries.add(line.attempts.saturating_sub(1).into());
        let mut failed = line.status >= 500;
        if let Some(label) = line.error
            && let Some(index) = LABELS.iter().position(|(known, _)| *known == label)
        {
            let failures = self.failures.get_or_init(Box::default);
            failures.by_label[index].add(1);
            let (_, by_client) = LABELS[index];
            if !by_client {
                failed = true;
                let packed = pack(age(), line.status, index);
                failures.last.store(packed, Relaxed);
            }
        }
        self.errors.add(failed.into());
    }

    fn add_to(&self, sums: &mut Sums) {
        let add = |sums: &mut [u64], counts: &[Count]| {
            for (sum, count) in sums.iter_mut().zip(counts) {
                *sum += count.get();
            }
        };
        add(&mut sums.by_class, &self.by_class);
        add(&mut sums.durations, &self.durations);
        sums.duration_us += self.duration_us.get();
        sums.upstream_us += self.upstream_us.get();
        sums.bytes_in += self.bytes_in.get();
        sums.bytes_out += self.bytes_out.get();
        sums.held += self.held.get();
        sums.queued += self.queued.get();
        sums.retries += self.retries.get();
        sums.errors += self.errors.get();
        if let Some(failures) = self.failures.get() {
            add(&mut sums.by_label, &failures.by_label);
            let last = LastFailure::unpack(failures.last.load(Relaxed));
            sums.last_failure = sums.last_failure.max(last);
        }
    }
}

impl Default for Failures {
    fn default() -> Self {
        Self {
            by_label: array::from_fn(|_| Count::default()),
            last: AtomicU64::default(),
        }
    }
}

/// When, which status and which label, in one number, which is written and read at once.
fn pack(at: Duration, status: u16, label: usize) -> u64 {
    let ms = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
    ms << 24 | u64::from(status) << 8 | label as u64
}

impl LastFailure {
    fn unpack(packed: u64) -> Option<Self> {
        (packed > 0).then(|| Self {
            at: Duration::from_millis(packed >> 24),
            status: u16::try_from(packed >> 8 & 0xffff).unwrap_or_default(),
            label: LABELS[(packed & 0xff) as usize].0,
        })
    }
}

impl Default for Sums {
    fn default() -> Self {
        Self {
            by_class: [0; CLASSES],
            durations: [0; DURATIONS],
            duration_us: 0,
            upstream_us: 0,
            bytes_in: 0,
            bytes_out: 0,
            held: 0,
            queued: 0,
            retries: 0,
            errors: 0,
            by_label: [0; LABELS.len()],
            last_failure: None,
        }
    }
}

impl Sums {
    pub(crate) fn requests(&self) -> u64 {
        self.by_class.iter().sum()
    }
}

/// The duration that a part of all (0.99, say) doesn't exceed, by the bounds between which it lies; None of nothing.
pub(crate) fn percentile(durations: &[u64; DURATIONS], part: f64) -> Option<Duration> {
    let all: u64 = durations.iter().sum();
    if all == 0 {
        return None;
    }
    #[allow(
        clippy::cast_precision_loss,
        reason = "a percentile of so many is none the worse"
    )]
    let wanted = part * all as f64;
    let mut below = 0.0;
    for (index, count) in durations.iter().enumerate() {
        #[allow(clippy::cast_precision_loss, reason = "see above")]
        let count = *count as f64;
        if count > 0.0 && below + count >= wanted {
            let lower = index.checked_sub(1).map_or(0, |at| BOUNDS_US[at]);
            let Some(upper) = BOUNDS_US.get(index) else {
                return Some(Duration::from_micros(lower));
            };
            let within = (wanted - below) / count;
            let span = Duration::from_micros(upper - lower);
            return Some(Duration::from_micros(lower) + span.mul_f64(within.clamp(0.0, 1.0)));
        }
        below += count;
    }
    None
}

fn micros(time: Duration) -> u64 {
    time.as_secs() * 1_000_000 + u64::from(time.subsec_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(status: u16, ms: u64, error: Option<&'static str>) -> Line<'static> {
        Line {
            tenant: Some("thor"),
            host: None,
            method: None,
            path: None,
            status,
            bytes_in: 3,
            bytes_out: 5,
            duration: Duration::from_millis(ms),
            upstream: Some(Duration::from_micros(700)),
            endpoint: None,
            attempts: 2,
            held: None,
            queued: Some(Duration::ZERO),
            client: b"",
            request_id: None,
            error,
        }
    }

    #[test]
    fn workers_are_summed_up() {
        let traffic = Traffic::default();
        assert!(traffic.sums().is_none());
        let age = |secs| move || Duration::from_secs(secs);
        traffic.count(0, 3, age(1), &line(200, 1, None));
        traffic.count(2, 3, age(9), &line(503, 1, Some("queue_full")));
        traffic.count(0, 3, age(10), &line(404, 2, Some("bad_request")));
        traffic.count(0, 3, age(8), &line(101, 99_000, None));
        let sums = traffic.sums().unwrap();
        assert_eq!(sums.by_class, [1, 1, 0, 1, 1]);
        assert_eq!((sums.requests(), sums.errors), (4, 1));
        assert_eq!(sums.by_label.iter().sum::<u64>(), 2);
        assert_eq!((sums.bytes_in, sums.bytes_out), (12, 20));
        assert_eq!((sums.duration_us, sums.upstream_us), (4_000, 2_800));
        assert_eq!((sums.retries, sums.held, sums.queued), (4, 0, 4));
        assert_eq!(
            sums.durations.iter().sum::<u64>(),
            3,
            "a tunnel's doesn't count"
        );
        let last = LastFailure {
            at: age(9)(),
            status: 503,
            label: "queue_full",
        };
        assert_eq!(sums.last_failure, Some(last));
    }

    #[test]
    fn a_duration_is_in_the_class_whose_bound_it_does_not_exceed() {
        assert!(BOUNDS_US.is_sorted());
        let class = |us| {
            let traffic = Traffic::default();
            let took = Line {
                duration: Duration::from_micros(us),
                ..line(200, 0, None)
            };
            traffic.count(0, 1, || Duration::ZERO, &took);
            let sums = traffic.sums().unwrap();
            sums.durations.iter().position(|count| *count == 1).unwrap()
        };
        for (index, bound) in BOUNDS_US.into_iter().enumerate() {
            assert_eq!((class(bound), class(bound + 1)), (index, index + 1));
        }
        assert_eq!(class(u64::from(u32::MAX)), DURATIONS - 1);
    }

    #[test]
    fn percentiles_lie_where_the_durations_do() {
        let mut durations = [0; DURATIONS];
        assert_eq!(percentile(&durations, 0.5), None);
        let at = |us: u64| BOUNDS_US.partition_point(|bound| *bound < us);
        durations[at(1_200)] = 98;
        durations[at(60_000)] = 2;
        let p50 = percentile(&durations, 0.5).unwrap();
        assert!((1_000..=1_500).contains(&micros(p50)), "{p50:?}");
        let p99 = percentile(&durations, 0.99).unwrap();
        assert!((50_000..=70_000).contains(&micros(p99)), "{p99:?}");
        durations[DURATIONS - 1] = 1_000;
        assert_eq!(percentile(&durations, 0.99), Some(Duration::from_secs(60)));
    }
}
