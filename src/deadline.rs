//! Coarse deadlines. A timer for each request costs more than the request's own code, so a worker has one
//! clock that ticks every 100 ms, and each of its connections has one deadline, which the tick looks at.
//!
//! Whoever waits sets the deadline, and asks on the next poll whether it has passed; the tick only wakes.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::Waker,
    time::Duration,
};

use slab::Slab;

use crate::rounds::Turn;

pub(crate) const TICK: Duration = Duration::from_millis(TICK_MILLIS);
const TICK_MILLIS: u64 = 100;
const NEVER: u64 = u64::MAX;
/// How soon those are woken that wait for what nobody wakes them for.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// A worker's clock and the deadlines that hang on it.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    now: Cell<u64>,
    /// From where some are woken next.
    next: Cell<usize>,
    tasks: RefCell<Slab<Rc<Task>>>,
}

/// That of a connection, as its worker wakes it.
#[derive(Debug)]
pub(crate) struct Task {
    at: Cell<u64>,
    /// When to be woken although nothing has passed.
    look: Cell<u64>,
    waker: Waker,
    /// Its place among those that want something to be done.
    pub(crate) turn: Cell<Turn>,
}

impl Deadlines {
    /// How many ticks there have been.
    pub(crate) fn now(&self) -> u64 {
        self.now.get()
    }

    /// Moves the clock on to `elapsed` since it began, and wakes those whose deadline has passed.
    pub(crate) fn tick(&self, elapsed: Duration) {
        let now = ticks(elapsed);
        self.now.set(now);
        for (_, task) in self
            .tasks
            .borrow()
            .iter()
            .filter(|(_, task)| task.at.get() <= now || task.look.get() <= now)
        {
            task.look.set(NEVER);
            task.waker.wake_by_ref();
        }
    }

    /// Wakes every connection, whatever it waits for, so that it sees that the worker's state has changed.
    pub(crate) fn wake_all(&self) {
        for (_, task) in self.tasks.borrow().iter() {
            task.waker.wake_by_ref();
        }
    }

    /// Wakes so many connections, others each time.
    pub(crate) fn wake_some(&self, count: usize) {
        let tasks = self.tasks.borrow();
        let first = self.next.get();
        let next = first + count;
        self.next
            .set(if next < tasks.capacity() { next } else { 0 });
        for task in (first..next).filter_map(|key| tasks.get(key)) {
            task.waker.wake_by_ref();
        }
    }

    /// A deadline that is not set yet, for the task that `waker` wakes.
    pub(crate) fn register(self: &Rc<Self>, waker: &Waker) -> Deadline {
        let task = Rc::new(Task {
            at: Cell::new(NEVER),
            look: Cell::new(NEVER),
            waker: waker.clone(),
            turn: Cell::default(),
        });
        let key = self.tasks.borrow_mut().insert(Rc::clone(&task));
        Deadline {
            table: Rc::clone(self),
            task,
            key,
        }
    }

    /// So many ticks from now; at least one whole tick, since the next one may come at any moment.
    fn after(&self, wait: Duration) -> u64 {
        let ticks = ticks(wait + TICK - Duration::from_nanos(1));
        self.now.get().saturating_add(ticks).saturating_add(1)
    }
}

/// Whole ticks in a time. Written out, because it is done for every request and a division of 128 bits is slow.
pub(crate) fn ticks(time: Duration) -> u64 {
    const PER_SECOND: u64 = 1000 / TICK_MILLIS;
    time.as_secs().saturating_mul(PER_SECOND) + u64::from(time.subsec_millis()) / TICK_MILLIS
}

/// The one deadline of a connection, moved along as it goes from phase to phase.
#[derive(Debug)]
pub(crate) struct Deadline {
    table: Rc<Deadlines>,
    task: Rc<Task>,
    key: usize,
}

impl Deadline {
    /// From now on it passes after `wait`, up to two ticks late; early only by as much as the last tick was late.
    pub(crate) fn set(&self, wait: Duration) {
        self.task.at.set(self.table.after(wait));
    }

    /// Whose it is.
    pub(crate) fn task(&self) -> &Rc<Task> {
        &self.task
    }

    pub(crate) fn clear(&self) {
        self.task.at.set(NEVER);
    }

    /// Has the task woken in a while, whatever else may wake it, to look at what makes no noise.
    pub(crate) fn look_again(&self) {
        if self.task.look.get() == NEVER {
            self.task.look.set(self.table.after(LOOK_AGAIN));
        }
    }

    pub(crate) fn passed(&self) -> bool {
        self.task.at.get() <= self.table.now.get()
    }
}

impl Task {
    pub(crate) fn wake(&self) {
        self.waker.wake_by_ref();
    }

    /// Whether its connection is still there, seen from somebody who holds this once.
    pub(crate) fn is_there(self: &Rc<Self>) -> bool {
        Rc::strong_count(self) > 1
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.table.tasks.borrow_mut().remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    struct Count(AtomicUsize);

    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_deadline_is_never_early_and_wakes_its_task_until_it_is_moved() {
        let table = Rc::new(Deadlines::default());
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let deadline = table.register(&Arc::clone(&count).into());
        deadline.set(TICK * 3);
        for ticks in 1..=3 {
            table.tick(TICK * ticks);
            assert!(!deadline.passed());
        }
        table.tick(TICK * 4);
        assert!(deadline.passed());
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        deadline.set(TICK * 10);
        table.tick(TICK * 5);
        assert!(!deadline.passed());
        deadline.clear();
        deadline.look_again();
        table.tick(TICK * 10);
        assert_eq!(count.0.load(Ordering::Relaxed), 1, "not yet");
        table.tick(TICK * 11);
        assert_eq!(count.0.load(Ordering::Relaxed), 2);
        assert!(!deadline.passed());
        table.tick(TICK * 12);
        assert_eq!(count.0.load(Ordering::Relaxed), 2, "once");
        drop(deadline);
        table.tick(TICK * 99);
        assert_eq!(count.0.load(Ordering::Relaxed), 2);
    }
}
