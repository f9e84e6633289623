//! Whose turn it is where a worker has more to do than it can: all tenants that want something get as much of it.
//!
//! A round is what a worker does between two looks at its sockets. In each, a tenant has a share: so many requests may
//! begin, and so many pieces of bodies be moved. What goes beyond it waits for the next round, behind what waits there already, and
//! the worker looks at its sockets in between. So whoever asks for little meets a queue of one round, however much others
//! ask for, and not of all that they have sent.
//!
//! While no share is used up, this is a counter for each request.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, VecDeque},
    ptr,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use foldhash::fast::RandomState;
use tokio::{sync::Notify, task::yield_now};

use crate::bulkhead::Bulkhead;

/// What a round holds for those who wait, in units of a begun request or of [`PIECE_BYTES`].
const ROUND_UNITS: u32 = 64;
/// However many tenants wait, each gets this much in a round: or the looks at the sockets would cost more than the work.
const SHARE_UNITS_MIN: u32 = 4;
/// Of a body; it takes about as long to move as a small request takes.
const PIECE_BYTES: usize = 16 * 1024;
/// Shares that are kept at least, before one looks for those that nobody uses any more.
const SHARES_KEPT: usize = 64;

thread_local! {
    static ROUND: Cell<u64> = const { Cell::new(0) };
}

/// One more round of this thread's has passed. The runtime says so when it has nothing left to do, [`Rounds::run`] while
/// somebody waits.
pub(crate) fn passed() {
    ROUND.set(ROUND.get() + 1);
}

/// The rounds of a worker.
#[derive(Debug)]
pub(crate) struct Rounds {
    shares: RefCell<HashMap<*const Bulkhead, Rc<Share>, RandomState>>,
    /// Of requests that lead to no tenant.
    nobodys: Rc<Share>,
    /// In the order in which they get their next share.
    waiting: RefCell<VecDeque<Rc<Share>>>,
    share_units: Cell<u32>,
    /// Told when somebody begins to wait.
    awaited: Notify,
    /// How many shares there may be until unused ones are looked for.
    shares_max: Cell<usize>,
}

/// What one tenant gets of each round.
#[derive(Debug, Default)]
struct Share {
    /// Held, so that its address stays its own.
    tenant: Option<Arc<Bulkhead>>,
    round: Cell<u64>,
    /// In this round; what is beyond the share is owed to the next.
    spent: Cell<u32>,
    queue: RefCell<VecDeque<Rc<Seat>>>,
    /// Whether it stands among those that wait.
    waits: Cell<bool>,
}

/// Where a connection waits for its share's next round.
#[derive(Debug)]
struct Seat {
    state: Cell<Waits>,
    waker: RefCell<Waker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    No,
    Yes,
    /// No longer: it is its turn.
    Called,
}

/// A connection's part in the rounds: whose share its work is taken from.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    share: RefCell<Option<Rc<Share>>>,
    /// Kept for the next time.
    seat: RefCell<Option<Rc<Seat>>>,
}

impl Default for Rounds {
    fn default() -> Self {
        Self {
            shares: RefCell::default(),
            nobodys: Rc::default(),
            waiting: RefCell::default(),
            share_units: Cell::new(ROUND_UNITS),
            awaited: Notify::new(),
            shares_max: Cell::new(SHARES_KEPT),
        }
    }
}

impl Rounds {
    /// Goes from round to round while somebody waits.
    pub(crate) async fn run(self: Rc<Self>) {
        loop {
            if self.waiting.borrow().is_empty() {
                self.awaited.notified().await;
            }
            // Not before the runtime has looked at its sockets.
            yield_now().await;
            passed();
            self.call();
        }
    }

    /// Lets those go on for whom there is room in this round.
    fn call(&self) {
        let waiting = self.waiting.borrow().len();
        let units = ROUND_UNITS / u32::try_from(waiting).unwrap_or(u32::MAX).max(1);
        self.share_units.set(units.max(SHARE_UNITS_MIN));
        for _ in 0..waiting {
            let Some(share) = self.waiting.borrow_mut().pop_front() else {
                return;
            };
            share.call(self.share_units.get());
            if share.queue.borrow().is_empty() {
                share.waits.set(false);
            } else {
                self.waiting.borrow_mut().push_back(share);
            }
        }
    }

    fn share(&self, tenant: Option<&Arc<Bulkhead>>) -> Rc<Share> {
        let Some(tenant) = tenant else {
            return Rc::clone(&self.nobodys);
        };
        let mut shares = self.shares.borrow_mut();
        if shares.len() >= self.shares_max.get() {
            shares.retain(|_, share| Rc::strong_count(share) > 1);
            self.shares_max.set(SHARES_KEPT.max(2 * shares.len()));
        }
        let share = shares.entry(Arc::as_ptr(tenant)).or_insert_with(|| {
            Rc::new(Share {
                tenant: Some(Arc::clone(tenant)),
                ..Share::default()
            })
        });
        Rc::clone(share)
    }

    fn wait(&self, share: &Rc<Share>, seat: Rc<Seat>) {
        share.queue.borrow_mut().push_back(seat);
        if !share.waits.replace(true) {
            self.waiting.borrow_mut().push_back(Rc::clone(share));
            self.awaited.notify_one();
        }
    }
}

impl Share {
    fn is_of(&self, tenant: Option<&Arc<Bulkhead>>) -> bool {
        let of = self.tenant.as_ref().map_or(ptr::null(), Arc::as_ptr);
        ptr::eq(of, tenant.map_or(ptr::null(), Arc::as_ptr))
    }

    /// How much of the share this round has taken so far, after what earlier ones have left to it.
    #[inline]
    fn spent(&self, units: u32) -> u32 {
        let round = ROUND.get();
        let passed = round - self.round.replace(round);
        if passed > 0 {
            let passed = u32::try_from(passed).unwrap_or(u32::MAX);
            let forgiven = units.saturating_mul(passed);
            self.spent.set(self.spent.get().saturating_sub(forgiven));
        }
        self.spent.get()
    }

    #[inline]
    fn spend(&self, units: u32) {
        self.spent.set(self.spent.get().saturating_add(units));
    }

    fn call(&self, units: u32) {
        while self.spent(units) < units {
            let Some(seat) = self.queue.borrow_mut().pop_front() else {
                return;
            };
            // Whose connection has gone meanwhile needs no turn.
            if Rc::strong_count(&seat) > 1 {
                self.spend(1);
                seat.state.set(Waits::Called);
                seat.waker.borrow().wake_by_ref();
            }
        }
    }
}

impl Standing {
    /// What the connection does from now on is done for this tenant, or for none.
    #[inline]
    pub(crate) fn works_for(&self, tenant: Option<&Arc<Bulkhead>>, rounds: &Rounds) {
        let mut share = self.share.borrow_mut();
        if !share.as_ref().is_some_and(|share| share.is_of(tenant)) {
            *share = Some(rounds.share(tenant));
            self.seat.take();
        }
    }

    /// Ready when it is the connection's turn to do one thing more, which it then does.
    #[inline]
    pub(crate) fn poll_turn(&self, cx: &mut Context<'_>, rounds: &Rounds) -> Poll<()> {
        let share = self.share.borrow();
        let Some(share) = &*share else {
            return Poll::Ready(());
        };
        if let Some(seat) = &*self.seat.borrow() {
            match seat.state.get() {
                Waits::No => {}
                Waits::Yes => {
                    seat.waker.borrow_mut().clone_from(cx.waker());
                    return Poll::Pending;
                }
                Waits::Called => {
                    seat.state.set(Waits::No);
                    return Poll::Ready(());
                }
            }
        }
        let units = rounds.share_units.get();
        if share.spent(units) < units && !share.waits.get() {
            share.spend(1);
            return Poll::Ready(());
        }
        rounds.wait(share, self.take_seat(cx.waker()));
        Poll::Pending
    }

    fn take_seat(&self, waker: &Waker) -> Rc<Seat> {
        let mut seat = self.seat.borrow_mut();
        let seat = seat.get_or_insert_with(|| {
            Rc::new(Seat {
                state: Cell::new(Waits::No),
                waker: RefCell::new(waker.clone()),
            })
        });
        seat.state.set(Waits::Yes);
        seat.waker.borrow_mut().clone_from(waker);
        Rc::clone(seat)
    }

    /// Bytes were moved.
    #[inline]
    pub(crate) fn moved(&self, bytes: usize) {
        if bytes >= PIECE_BYTES
            && let Some(share) = &*self.share.borrow()
        {
            share.spend(u32::try_from(bytes / PIECE_BYTES).unwrap_or(u32::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TenantLimits;

    fn tenant() -> Arc<Bulkhead> {
        Arc::new(Bulkhead::new(&TenantLimits::default()))
    }

    /// So many connections of a tenant's.
    fn standings(count: usize, tenant: &Arc<Bulkhead>, rounds: &Rounds) -> Vec<Standing> {
        let new = || {
            let standing = Standing::default();
            standing.works_for(Some(tenant), rounds);
            standing
        };
        std::iter::repeat_with(new).take(count).collect()
    }

    fn goes_on(standing: &Standing, rounds: &Rounds) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        standing.poll_turn(&mut cx, rounds).is_ready()
    }

    /// Which of them go on now.
    fn who(standings: &[Standing], rounds: &Rounds) -> Vec<usize> {
        let goes_on = |at: &usize| goes_on(&standings[*at], rounds);
        (0..standings.len()).filter(goes_on).collect()
    }

    fn next(rounds: &Rounds) {
        passed();
        rounds.call();
    }

    #[test]
    fn what_is_beyond_a_share_waits_in_order_and_another_tenant_does_not() {
        let rounds = Rounds::default();
        let thor = standings(100, &tenant(), &rounds);
        let [potter] = &standings(1, &tenant(), &rounds)[..] else {
            panic!("one");
        };
        assert_eq!(who(&thor, &rounds), (0..32).collect::<Vec<_>>());
        assert!(goes_on(potter, &rounds));
        assert!(who(&thor[32..], &rounds).is_empty(), "they wait already");
        for expected in [32..64, 64..96] {
            next(&rounds);
            assert_eq!(
                who(&thor[32..], &rounds),
                expected.map(|at| at - 32).collect::<Vec<_>>()
            );
            // Those who have had their turn don't come before those who wait.
            assert!(!goes_on(&thor[0], &rounds));
            assert!(goes_on(potter, &rounds));
        }
    }

    #[test]
    fn a_round_is_shared_by_those_who_wait() {
        let rounds = Rounds::default();
        let [thor, potter] = [tenant(), tenant()].map(|one| standings(100, &one, &rounds));
        who(&thor, &rounds);
        who(&potter, &rounds);
        // What they have had in the first round is forgiven by and by.
        next(&rounds);
        for _ in 0..3 {
            next(&rounds);
            assert_eq!(who(&thor[32..], &rounds).len(), 16);
            assert_eq!(who(&potter[32..], &rounds).len(), 16);
        }
    }

    #[test]
    fn bytes_that_were_moved_are_owed_to_the_rounds_that_follow() {
        let rounds = Rounds::default();
        let [one, other] = &standings(2, &tenant(), &rounds)[..] else {
            panic!("two");
        };
        assert!(goes_on(one, &rounds));
        one.moved(64 * PIECE_BYTES);
        assert!(!goes_on(other, &rounds));
        next(&rounds);
        assert!(!goes_on(other, &rounds), "33 of 65 are owed");
        next(&rounds);
        assert!(goes_on(other, &rounds), "1 of 65 is owed");
    }

    #[test]
    fn a_thread_with_nothing_left_to_do_forgives() {
        let rounds = Rounds::default();
        let [one] = &standings(1, &tenant(), &rounds)[..] else {
            panic!("one");
        };
        for _ in 0..10 {
            assert!((0..32).all(|_| goes_on(one, &rounds)));
            passed();
        }
        assert!(rounds.waiting.borrow().is_empty());
    }

    #[test]
    fn who_has_left_takes_nobodys_turn() {
        let rounds = Rounds::default();
        let mut thor = standings(96, &tenant(), &rounds);
        who(&thor, &rounds);
        thor.drain(32..64);
        next(&rounds);
        assert_eq!(who(&thor[32..], &rounds).len(), 32);
    }

    #[test]
    fn requests_for_no_tenant_share_one_share() {
        let rounds = Rounds::default();
        let strays: Vec<_> = (0..40).map(|_| Standing::default()).collect();
        for stray in &strays {
            stray.works_for(None, &rounds);
        }
        assert_eq!(who(&strays, &rounds).len(), 32);
        // One of them asks for a tenant.
        strays[39].works_for(Some(&tenant()), &rounds);
        assert!(goes_on(&strays[39], &rounds));
    }

    #[test]
    fn shares_that_nobody_uses_are_forgotten() {
        let rounds = Rounds::default();
        let kept = standings(1, &tenant(), &rounds);
        for _ in 0..10 * SHARES_KEPT {
            drop(standings(1, &tenant(), &rounds));
        }
        assert!(rounds.shares.borrow().len() <= SHARES_KEPT);
        assert!(goes_on(&kept[0], &rounds));
    }
}
