//! How often something may happen: the generic cell rate algorithm, for a tenant as a whole and for each of its clients.
//!
//! What it keeps of one is the time at which all that has happened would be paid for.

use std::{
    collections::HashMap,
    fmt,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use foldhash::fast::RandomState;

/// `100/s`: a hundred at once, and from then on one more each hundredth of a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Rate {
    pub(crate) count: NonZeroU32,
    pub(crate) per: Duration,
    /// How many may come at once after a rest.
    pub(crate) burst: NonZeroU32,
}

/// As proxy.toml has it.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.per.as_secs() {
            1 => 's',
            60 => 'm',
            _ => 'h',
        };
        write!(f, "{}/{unit}", self.count)?;
        if self.burst != self.count {
            write!(f, " burst {}", self.burst)?;
        }
        Ok(())
    }
}

impl Rate {
    /// From one to the next.
    fn interval(self) -> u64 {
        (nanos(self.per) / u64::from(self.count.get())).max(1)
    }

    /// Whether one more may happen at `now`, or else how long it has to wait. `paid` is when all before it would be paid
    /// for, and what comes first is when all would be from now on.
    fn take(self, paid: u64, now: u64) -> (u64, Result<(), Duration>) {
        let interval = self.interval();
        let credit = interval.saturating_mul(u64::from(self.burst.get()));
        // What is owed by a rate that was lower before is not held against anybody.
        let most = now.saturating_add(credit);
        let before = paid.clamp(now, most);
        let after = before.saturating_add(interval);
        match after.saturating_sub(most) {
            0 => (after, Ok(())),
            wait => (before, Err(Duration::from_nanos(wait))),
        }
    }
}

/// Of one tenant. Times are from any beginning that stays the same.
#[derive(Debug, Default)]
pub(crate) struct Paced(AtomicU64);

impl Paced {
    pub(crate) fn take(&self, rate: Rate, now: Duration) -> Result<(), Duration> {
        let now = nanos(now);
        let mut paid = self.0.load(Relaxed);
        loop {
            let (next, may) = rate.take(paid, now);
            match self.0.compare_exchange_weak(paid, next, Relaxed, Relaxed) {
                Ok(_) => return may,
                Err(meanwhile) => paid = meanwhile,
            }
        }
    }
}

/// Clients of one tenant that are remembered are twice as many at most. Beyond that those are forgotten who have come
/// least lately.
const CLIENTS_MAX: usize = 32 * 1024;

/// Of each client of a tenant.
#[derive(Debug, Default)]
pub(crate) struct PacedClients(Mutex<Generations>);

/// Whoever comes moves to the younger one; when that is full or old, the older one is forgotten.
#[derive(Debug, Default)]
struct Generations {
    younger: HashMap<IpAddr, u64, RandomState>,
    older: HashMap<IpAddr, u64, RandomState>,
    since: u64,
}

impl PacedClients {
    pub(crate) fn take(&self, client: IpAddr, rate: Rate, now: Duration) -> Result<(), Duration> {
        let (client, now) = (site(client), nanos(now));
        // Nothing under this lock can panic, so what a poisoned one holds is whole.
        let mut generations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        generations.age(rate, now);
        let Generations { younger, older, .. } = &mut *generations;
        let paid = younger.get(&client).or_else(|| older.get(&client));
        let (next, may) = rate.take(paid.copied().unwrap_or_default(), now);
        younger.insert(client, next);
        may
    }
}

impl Generations {
    fn age(&mut self, rate: Rate, now: u64) {
        // After that long, whatever anybody owed is paid.
        let all_paid = rate.interval().saturating_mul(rate.burst.get().into());
        if self.younger.len() >= CLIENTS_MAX || now.saturating_sub(self.since) > all_paid {
            self.older = std::mem::take(&mut self.younger);
            self.since = now;
        }
    }
}

/// Whom an address stands for: in IPv6 each customer has at least a network of 64 bits for themselves.
fn site(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(count: u32, per: u64, burst: u32) -> Rate {
        Rate {
            count: NonZeroU32::new(count).unwrap(),
            per: Duration::from_secs(per),
            burst: NonZeroU32::new(burst).unwrap(),
        }
    }

    const START: Duration = Duration::from_secs(1000);

    #[test]
    fn a_burst_and_then_one_at_a_time() {
        let (paced, rate) = (Paced::default(), rate(10, 1, 3));
        let take = |after_ms| paced.take(rate, START + Duration::from_millis(after_ms));
        assert_eq!((take(0), take(0), take(0)), (Ok(()), Ok(()), Ok(())));
        assert_eq!(take(0), Err(Duration::from_millis(100)));
        assert_eq!(take(99), Err(Duration::from_millis(1)));
        assert_eq!(take(100), Ok(()));
        assert_eq!(take(100), Err(Duration::from_millis(100)));
        // What was refused costs nothing.
        assert_eq!(take(200), Ok(()));
        // A rest earns a burst and no more.
        assert!((0..3).all(|_| take(60_000).is_ok()));
        assert_eq!(take(60_000), Err(Duration::from_millis(100)));
    }

    #[test]
    fn a_rate_that_is_raised_or_lowered_counts_at_once() {
        let paced = Paced::default();
        let slow = rate(1, 3600, 5);
        assert!((0..5).all(|_| paced.take(slow, START).is_ok()));
        assert!(paced.take(slow, START).is_err());
        let fast = rate(10, 1, 1);
        assert_eq!(paced.take(fast, START), Err(Duration::from_millis(100)));
        let after = START + Duration::from_millis(100);
        assert_eq!(paced.take(fast, after), Ok(()));
    }

    #[test]
    fn each_client_has_its_own_and_one_network_is_one_client() {
        let (paced, rate) = (PacedClients::default(), rate(1, 60, 1));
        let take = |client: &str| paced.take(client.parse().unwrap(), rate, START);
        assert_eq!(take("192.0.2.1"), Ok(()));
        assert_eq!(take("192.0.2.2"), Ok(()));
        assert_eq!(take("192.0.2.1"), Err(Duration::from_secs(60)));
        assert_eq!(take("2001:db8::1"), Ok(()));
        assert_eq!(take("2001:db8::2"), Err(Duration::from_secs(60)));
        assert_eq!(take("2001:db8:0:1::2"), Ok(()));
    }

    #[test]
    fn clients_that_are_remembered_have_a_bound_and_the_latest_are() {
        let (paced, rate) = (PacedClients::default(), rate(1, 3600, 1));
        let client = |n: u32| IpAddr::from(n.to_be_bytes());
        let faithful = client(u32::MAX);
        for n in 0..200_000 {
            let _ = paced.take(client(n), rate, START);
            if n % 10_000 == 0 {
                let _ = paced.take(faithful, rate, START);
            }
        }
        let known = |one| paced.take(one, rate, START).is_err();
        assert!(known(client(199_999)) && known(faithful) && !known(client(0)));
        let generations = paced.0.lock().unwrap();
        assert!(generations.younger.len() <= CLIENTS_MAX);
        assert!(generations.older.len() <= CLIENTS_MAX);
    }

    #[test]
    fn clients_that_owe_nothing_are_forgotten() {
        let (paced, rate) = (PacedClients::default(), rate(1, 1, 1));
        for seconds in 0..4 {
            let now = START + Duration::from_secs(2 * seconds);
            for n in 0..100_u32 {
                let _ = paced.take(n.to_be_bytes().into(), rate, now);
            }
        }
        let later = START + Duration::from_secs(60);
        for one in ["192.0.2.1", "192.0.2.2"] {
            let _ = paced.take(one.parse().unwrap(), rate, later + Duration::from_secs(9));
            let _ = paced.take(one.parse().unwrap(), rate, later + Duration::from_secs(60));
        }
        let generations = paced.0.lock().unwrap();
        assert!(generations.younger.len() + generations.older.len() < 100);
    }
}
