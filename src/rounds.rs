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
};

use foldhash::fast::RandomState;
use tokio::{sync::Notify, task::yield_now};

use crate::{bulkhead::Bulkhead, deadline::Task};

/// What a round holds for those who wait, in units of a begun request or of [`PIECE_BYTES`], while several tenants want
/// something. It is small, since whoever comes meets a round's work three or four times.
const ROUND_UNITS: u32 = 8;
/// The same while there is but one: to wait costs it something, and only whoever comes first could gain by it.
const LONE_ROUND_UNITS: u32 = 128;
/// Answers that may begin in a round besides. They come as fast as requests began, unless an app gives all of them at the
/// same moment, or a deadline does.
const ANSWERS_MAX: u32 = 12;
/// For so many ticks after a second one was there.
const COMPANY_TICKS: u32 = 20;
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
    /// The share that was used last, to be compared with: it may be gone.
    last: Cell<*const Share>,
    /// For how many ticks more there is company.
    company: Cell<u32>,
    /// Who has most of the connections, as seen when there were too many, and how many of those are still to be closed.
    heaviest: Cell<*const Share>,
    to_close: Cell<usize>,
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
    answers: Cell<u32>,
    queue: RefCell<VecDeque<Rc<Task>>>,
    /// Whether it stands among those that wait.
    waits: Cell<bool>,
    connections: Cell<usize>,
}

/// Where a connection stands among those that want something to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Turn {
    #[default]
    NotWaiting,
    Waiting,
    /// It may do one thing.
    Called,
}

/// Whose share a connection's work is taken from.
#[derive(Debug, Default)]
pub(crate) struct Standing(RefCell<Option<Rc<Share>>>);

impl Default for Rounds {
    fn default() -> Self {
        Self {
            shares: RefCell::default(),
            nobodys: Rc::default(),
            waiting: RefCell::default(),
            share_units: Cell::new(LONE_ROUND_UNITS),
            last: Cell::new(ptr::null()),
            company: Cell::new(0),
            heaviest: Cell::new(ptr::null()),
            to_close: Cell::new(0),
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
        self.set_share(waiting);
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

    pub(crate) fn tick(&self) {
        self.company.set(self.company.get().saturating_sub(1));
        self.set_share(self.waiting.borrow().len());
        self.to_close.set(0);
    }

    /// Has so many connections closed, until the next tick, of whoever has most of them.
    pub(crate) fn make_room(&self, connections: usize) {
        let shares = self.shares.borrow();
        let all = shares.values().chain([&self.nobodys]);
        if let Some(heaviest) = all.max_by_key(|share| share.connections.get()) {
            self.heaviest.set(Rc::as_ptr(heaviest));
            self.to_close.set(connections);
        }
    }

    /// What each of `waiting` tenants gets of a round.
    fn set_share(&self, waiting: usize) {
        let round = if self.company.get() > 0 {
            ROUND_UNITS
        } else {
            LONE_ROUND_UNITS
        };
        let units = round / u32::try_from(waiting).unwrap_or(u32::MAX).max(1);
        self.share_units.set(units.max(SHARE_UNITS_MIN));
    }

    /// A share is used; so there is company, if another one was before.
    #[inline]
    fn used(&self, share: *const Share) {
        let last = self.last.replace(share);
        let other = !ptr::eq(last, share) && !last.is_null();
        if other && self.company.replace(COMPANY_TICKS) == 0 {
            self.set_share(self.waiting.borrow().len());
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

    fn wait(&self, share: &Rc<Share>, task: &Rc<Task>) {
        task.turn.set(Turn::Waiting);
        share.queue.borrow_mut().push_back(Rc::clone(task));
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
            self.answers.set(0);
        }
        self.spent.get()
    }

    /// Whether there is something left of it, and nobody comes first.
    #[inline]
    fn has_room(&self, units: u32) -> bool {
        self.spent(units) < units && !self.waits.get()
    }

    #[inline]
    fn spend(&self, units: u32) {
        self.spent.set(self.spent.get().saturating_add(units));
    }

    fn call(&self, units: u32) {
        while self.spent(units) < units {
            let Some(task) = self.queue.borrow_mut().pop_front() else {
                return;
            };
            // Whose connection has gone meanwhile needs no turn.
            if task.is_there() {
                self.spend(1);
                task.turn.set(Turn::Called);
                task.wake();
            }
        }
    }
}

impl Standing {
    /// What the connection does from now on is done for this tenant, or for none.
    #[inline]
    pub(crate) fn works_for(&self, tenant: Option<&Arc<Bulkhead>>, rounds: &Rounds) {
        let mut share = self.0.borrow_mut();
        if !share.as_ref().is_some_and(|share| share.is_of(tenant)) {
            let next = rounds.share(tenant);
            next.connections.set(next.connections.get() + 1);
            leave(share.replace(next));
        }
    }

    /// Whether the connection is one of those that are to make room.
    pub(crate) fn makes_room(&self, rounds: &Rounds) -> bool {
        let left = rounds.to_close.get();
        let is =
            left > 0 && self.0.borrow().as_ref().map(Rc::as_ptr) == Some(rounds.heaviest.get());
        if is {
            rounds.to_close.set(left - 1);
        }
        is
    }

    /// Whether it is the connection's turn to do one thing more, which it then does; if not, its task is woken when it is.
    #[inline]
    pub(crate) fn takes_turn(&self, task: &Rc<Task>, rounds: &Rounds) -> bool {
        self.goes_on(task, rounds, |share, units| {
            let has_room = share.has_room(units);
            if has_room {
                share.spend(1);
            }
            has_room
        })
    }

    /// Whether the connection's next request has to wait, or waits already, as far as it is the same tenant's as the last. Then
    /// it isn't even read.
    #[inline]
    pub(crate) fn has_to_wait(&self, task: &Rc<Task>, rounds: &Rounds) -> bool {
        match (task.turn.get(), &*self.0.borrow()) {
            (Turn::Called, _) | (_, None) => false,
            (Turn::Waiting, Some(_)) => true,
            (Turn::NotWaiting, Some(share)) => !share.has_room(rounds.share_units.get()),
        }
    }

    /// Has the task woken when it is its turn.
    pub(crate) fn waits(&self, task: &Rc<Task>, rounds: &Rounds) {
        if let (Turn::NotWaiting, Some(share)) = (task.turn.get(), &*self.0.borrow()) {
            rounds.wait(share, task);
        }
    }

    /// The same for an answer, whose request had its turn.
    #[inline]
    pub(crate) fn answers(&self, task: &Rc<Task>, rounds: &Rounds) -> bool {
        self.goes_on(task, rounds, |share, units| {
            share.spent(units);
            let answers = share.answers.get();
            share.answers.set(answers + 1);
            answers < ANSWERS_MAX
        })
    }

    #[inline]
    fn goes_on(
        &self,
        task: &Rc<Task>,
        rounds: &Rounds,
        has_room: impl FnOnce(&Share, u32) -> bool,
    ) -> bool {
        let share = self.0.borrow();
        let Some(share) = &*share else {
            return true;
        };
        match task.turn.get() {
            Turn::NotWaiting => {}
            Turn::Waiting => return false,
            Turn::Called => {
                task.turn.set(Turn::NotWaiting);
                return true;
            }
        }
        rounds.used(Rc::as_ptr(share));
        let goes_on = has_room(share, rounds.share_units.get());
        if !goes_on {
            rounds.wait(share, task);
        }
        goes_on
    }

    /// Bytes were moved.
    #[inline]
    pub(crate) fn moved(&self, bytes: usize) {
        if bytes >= PIECE_BYTES
            && let Some(share) = &*self.0.borrow()
        {
            share.spend(u32::try_from(bytes / PIECE_BYTES).unwrap_or(u32::MAX));
        }
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        leave(self.0.take());
    }
}

fn leave(share: Option<Rc<Share>>) {
    if let Some(share) = share {
        share.connections.set(share.connections.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::{
        config::TenantLimits,
        deadline::{Deadline, Deadlines},
    };

    fn tenant() -> Arc<Bulkhead> {
        Arc::new(Bulkhead::new(&TenantLimits::default()))
    }

    struct Connection {
        standing: Standing,
        deadline: Deadline,
    }

    impl Connection {
        fn new(tenant: Option<&Arc<Bulkhead>>, rounds: &Rounds) -> Self {
            let standing = Standing::default();
            standing.works_for(tenant, rounds);
            let deadline = Rc::new(Deadlines::default()).register(Waker::noop());
            Self { standing, deadline }
        }
    }

    /// So many connections of a tenant's.
    fn connections(count: usize, tenant: &Arc<Bulkhead>, rounds: &Rounds) -> Vec<Connection> {
        let new = || Connection::new(Some(tenant), rounds);
        std::iter::repeat_with(new).take(count).collect()
    }

    fn goes_on(connection: &Connection, rounds: &Rounds) -> bool {
        let task = connection.deadline.task();
        connection.standing.takes_turn(task, rounds)
    }

    /// Which of them go on now.
    fn who(connections: &[Connection], rounds: &Rounds) -> Vec<usize> {
        let goes_on = |at: &usize| goes_on(&connections[*at], rounds);
        (0..connections.len()).filter(goes_on).collect()
    }

    fn next(rounds: &Rounds) {
        passed();
        rounds.call();
    }

    /// Where several tenants want something.
    fn company() -> Rounds {
        let rounds = Rounds::default();
        rounds.company.set(COMPANY_TICKS);
        rounds.tick();
        rounds
    }

    const SHARE: usize = ROUND_UNITS as usize;

    #[test]
    fn what_is_beyond_a_share_waits_in_order_and_another_tenant_does_not() {
        let rounds = company();
        let thor = connections(100, &tenant(), &rounds);
        let [potter] = &connections(1, &tenant(), &rounds)[..] else {
            panic!("one");
        };
        assert_eq!(who(&thor, &rounds), (0..SHARE).collect::<Vec<_>>());
        assert!(goes_on(potter, &rounds));
        let waiting = &thor[SHARE..];
        assert!(who(waiting, &rounds).is_empty(), "they wait already");
        for round in 0..3 {
            next(&rounds);
            let called: Vec<_> = (round * SHARE..(round + 1) * SHARE).collect();
            assert_eq!(who(waiting, &rounds), called);
            // Those who have had their turn don't come before those who wait.
            assert!(!goes_on(&thor[0], &rounds));
            assert!(goes_on(potter, &rounds));
        }
    }

    #[test]
    fn a_round_is_shared_by_those_who_wait() {
        let rounds = company();
        let [thor, potter] = [tenant(), tenant()].map(|one| connections(100, &one, &rounds));
        who(&thor, &rounds);
        who(&potter, &rounds);
        // What they have had in the first round is forgiven by and by.
        next(&rounds);
        for _ in 0..3 {
            next(&rounds);
            assert_eq!(who(&thor[SHARE..], &rounds).len(), SHARE / 2);
            assert_eq!(who(&potter[SHARE..], &rounds).len(), SHARE / 2);
        }
    }

    #[test]
    fn a_tenant_alone_gets_more_of_a_round_until_another_comes() {
        let rounds = Rounds::default();
        let [thor, potter] = [tenant(), tenant()].map(|one| connections(600, &one, &rounds));
        let first = LONE_ROUND_UNITS as usize;
        assert_eq!(who(&thor, &rounds).len(), first);
        assert!(goes_on(&potter[0], &rounds));
        for _ in 0..LONE_ROUND_UNITS / ROUND_UNITS {
            next(&rounds);
        }
        assert_eq!(who(&thor[first..], &rounds).len(), SHARE);
        for _ in 0..=COMPANY_TICKS {
            rounds.tick();
        }
        next(&rounds);
        next(&rounds);
        assert!(who(&thor[first..], &rounds).len() > SHARE);
    }

    #[test]
    fn bytes_that_were_moved_are_owed_to_the_rounds_that_follow() {
        let rounds = company();
        let [one, other] = &connections(2, &tenant(), &rounds)[..] else {
            panic!("two");
        };
        assert!(goes_on(one, &rounds));
        one.standing.moved(2 * SHARE * PIECE_BYTES);
        assert!(!goes_on(other, &rounds));
        next(&rounds);
        assert!(!goes_on(other, &rounds), "a share and a unit are owed");
        next(&rounds);
        assert!(goes_on(other, &rounds), "a unit is owed");
    }

    fn answered(connections: &[Connection], rounds: &Rounds) -> usize {
        let answers = |one: &&Connection| one.standing.answers(one.deadline.task(), rounds);
        connections.iter().filter(answers).count()
    }

    #[test]
    fn answers_that_come_all_at_once_take_their_turns() {
        let rounds = company();
        let thor = connections(100, &tenant(), &rounds);
        let most = ANSWERS_MAX as usize;
        assert_eq!(answered(&thor, &rounds), most);
        let waiting = &thor[most..];
        next(&rounds);
        let called = |one: &&Connection| one.deadline.task().turn.get() == Turn::Called;
        assert_eq!(waiting.iter().filter(called).count(), SHARE);
        assert_eq!(answered(&waiting[..SHARE], &rounds), SHARE);
        assert_eq!(answered(&waiting[SHARE..], &rounds), 0);
    }

    #[test]
    fn an_answer_does_not_wait_for_requests_that_want_to_begin() {
        let rounds = company();
        let thor = connections(100, &tenant(), &rounds);
        assert_eq!(who(&thor, &rounds).len(), SHARE);
        assert_eq!(answered(&thor[..SHARE], &rounds), SHARE);
    }

    #[test]
    fn who_has_waited_to_be_read_does_not_wait_to_begin() {
        let rounds = company();
        let thor = connections(2 * SHARE, &tenant(), &rounds);
        let has_to_wait = |one: &Connection| {
            let task = one.deadline.task();
            one.standing.has_to_wait(task, &rounds)
        };
        let last = &thor[2 * SHARE - 1];
        assert!(!has_to_wait(last));
        who(&thor[..SHARE], &rounds);
        assert!(has_to_wait(last), "the share is used up");
        last.standing.waits(last.deadline.task(), &rounds);
        last.standing.waits(last.deadline.task(), &rounds);
        assert!(has_to_wait(last));
        next(&rounds);
        assert!(!has_to_wait(last));
        // Others come meanwhile.
        who(&thor[..SHARE], &rounds);
        assert!(goes_on(last, &rounds));
        assert!(!goes_on(last, &rounds), "once");
    }

    #[test]
    fn a_thread_with_nothing_left_to_do_forgives() {
        let rounds = company();
        let [one] = &connections(1, &tenant(), &rounds)[..] else {
            panic!("one");
        };
        for _ in 0..10 {
            assert!((0..SHARE).all(|_| goes_on(one, &rounds)));
            passed();
        }
        assert!(rounds.waiting.borrow().is_empty());
    }

    #[test]
    fn who_has_left_takes_nobodys_turn() {
        let rounds = company();
        let mut thor = connections(3 * SHARE, &tenant(), &rounds);
        who(&thor, &rounds);
        thor.drain(SHARE..2 * SHARE);
        next(&rounds);
        assert_eq!(who(&thor[SHARE..], &rounds).len(), SHARE);
    }

    #[test]
    fn requests_for_no_tenant_share_one_share() {
        let rounds = company();
        let stray = |_| Connection::new(None, &rounds);
        let strays: Vec<_> = (0..2 * SHARE).map(stray).collect();
        assert_eq!(who(&strays, &rounds).len(), SHARE);
        let other = Connection::new(None, &rounds);
        assert!(!goes_on(&other, &rounds));
        let new = Connection::new(Some(&tenant()), &rounds);
        assert!(goes_on(&new, &rounds));
    }

    #[test]
    fn whoever_has_most_connections_makes_room_until_the_next_tick() {
        let rounds = Rounds::default();
        let mut thor = connections(5, &tenant(), &rounds);
        let potter = connections(3, &tenant(), &rounds);
        let closing = |all: &[Connection]| {
            let is = |one: &&Connection| one.standing.makes_room(&rounds);
            all.iter().filter(is).count()
        };
        assert_eq!(closing(&thor), 0);
        rounds.make_room(2);
        assert_eq!(
            (closing(&potter), closing(&thor), closing(&thor)),
            (0, 2, 0)
        );
        rounds.make_room(2);
        rounds.tick();
        assert_eq!(closing(&thor), 0);
        thor.truncate(2);
        rounds.make_room(1);
        assert_eq!((closing(&thor), closing(&potter)), (0, 1));
    }

    #[test]
    fn shares_that_nobody_uses_are_forgotten() {
        let rounds = Rounds::default();
        let kept = connections(1, &tenant(), &rounds);
        for _ in 0..10 * SHARES_KEPT {
            drop(connections(1, &tenant(), &rounds));
        }
        assert!(rounds.shares.borrow().len() <= SHARES_KEPT);
        assert!(goes_on(&kept[0], &rounds));
    }
}
