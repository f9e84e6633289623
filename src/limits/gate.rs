//! A place that takes so many at a time, shared by all workers: who finds it full waits outside, in the order of coming.
//!
//! Whoever is let in or leaves where nobody waits touches two counters and no lock.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
};

/// So often in a row somebody is called who came after the first of those that wait.
const PASSED_OVER_MAX: u32 = 8;

/// How many it takes is said by whoever comes and goes, since that may change meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    inside: AtomicUsize,
    /// As many as stand in the queue, to be seen without its lock.
    waiting: AtomicUsize,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    next: u64,
    /// By their turn. One that is let in is taken out.
    waiters: BTreeMap<u64, Waiter>,
    passed_over: u32,
}

#[derive(Debug)]
struct Waiter {
    waker: Waker,
    /// Which of the parties it belongs to, see [`Gate::call`].
    party: usize,
    called: bool,
}

/// Too many wait already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// What became of one that waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It is inside.
    In,
    /// It isn't, but should look whether what it wants is to be had otherwise.
    Called,
}

impl Gate {
    /// Lets one in, unless `most` are inside or somebody waits. Whoever is in has to [`leave`](Self::leave).
    #[inline]
    pub(crate) fn try_enter(&self, most: usize) -> bool {
        self.waiting.load(SeqCst) == 0 && self.let_in(most)
    }

    #[inline]
    pub(crate) fn leave(&self, most: usize) {
        self.inside.fetch_sub(1, SeqCst);
        // One that comes now either is seen here, or sees that there is room: each writes first and looks then.
        if self.is_waited_for() {
            self.admit(most);
        }
    }

    #[inline]
    pub(crate) fn is_waited_for(&self) -> bool {
        self.waiting.load(SeqCst) > 0
    }

    pub(crate) fn inside(&self) -> usize {
        self.inside.load(SeqCst)
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(SeqCst)
    }

    /// Queues up, if fewer than `queue_max` wait.
    pub(crate) fn wait_if(&self, most: usize, queue_max: usize) -> Result<Waiting<'_>, Full> {
        let queue = self.queue();
        if queue.waiters.len() >= queue_max {
            return Err(Full);
        }
        Ok(self.line_up(queue, most, 0))
    }

    /// Queues up as one of a party.
    pub(crate) fn wait(&self, most: usize, party: usize) -> Waiting<'_> {
        self.line_up(self.queue(), most, party)
    }

    fn line_up(&self, mut queue: MutexGuard<'_, Queue>, most: usize, party: usize) -> Waiting<'_> {
        let turn = queue.next;
        queue.next += 1;
        let waiter = Waiter {
            waker: Waker::noop().clone(),
            party,
            called: false,
        };
        queue.waiters.insert(turn, waiter);
        self.waiting.store(queue.waiters.len(), SeqCst);
        drop(queue);
        // Somebody may have left before this one was seen to wait.
        self.admit(most);
        Waiting {
            gate: self,
            most,
            turn,
            is_in: false,
        }
    }

    /// Lets in those that there is room for.
    pub(crate) fn admit(&self, most: usize) {
        let mut queue = self.queue();
        let mut admitted = Vec::new();
        while !queue.waiters.is_empty() && self.let_in(most) {
            queue.passed_over = 0;
            if let Some((_, waiter)) = queue.waiters.pop_first() {
                admitted.push(waiter.waker);
            }
        }
        self.waiting.store(queue.waiters.len(), SeqCst);
        drop(queue);
        admitted.into_iter().for_each(Waker::wake);
    }

    /// Calls the first of a party that waits, for what that party alone can use; false if none does, or if somebody
    /// else has waited for longer and been passed over too often.
    pub(crate) fn call(&self, party: usize) -> bool {
        let mut queue = self.queue();
        let Queue {
            waiters,
            passed_over,
            ..
        } = &mut *queue;
        let mut behind = false;
        for waiter in waiters.values_mut() {
            if waiter.party == party && !waiter.called {
                if behind && *passed_over >= PASSED_OVER_MAX {
                    return false;
                }
                *passed_over = if behind { *passed_over + 1 } else { 0 };
                waiter.called = true;
                let waker = waiter.waker.clone();
                drop(queue);
                waker.wake();
                return true;
            }
            behind |= waiter.party != party;
        }
        false
    }

    #[inline]
    fn let_in(&self, most: usize) -> bool {
        self.inside
            .fetch_update(SeqCst, SeqCst, |inside| {
                (inside < most).then_some(inside + 1)
            })
            .is_ok()
    }

    /// Nothing under this lock can panic, so what a poisoned one holds is whole.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One that waits; dropped, it gives its place up.
#[derive(Debug)]
pub(crate) struct Waiting<'a> {
    gate: &'a Gate,
    most: usize,
    turn: u64,
    /// Whether it has been told that it is.
    is_in: bool,
}

impl Future for Waiting<'_> {
    type Output = Turn;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Turn> {
        let mut queue = self.gate.queue();
        let Some(waiter) = queue.waiters.get_mut(&self.turn) else {
            drop(queue);
            self.is_in = true;
            return Poll::Ready(Turn::In);
        };
        if std::mem::take(&mut waiter.called) {
            return Poll::Ready(Turn::Called);
        }
        waiter.waker.clone_from(cx.waker());
        Poll::Pending
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.is_in {
            return;
        }
        let mut queue = self.gate.queue();
        let waited = queue.waiters.remove(&self.turn);
        self.gate.waiting.store(queue.waiters.len(), SeqCst);
        drop(queue);
        match waited {
            // What it was called for may be another's.
            Some(waiter) if waiter.called => {
                self.gate.call(waiter.party);
            }
            Some(_) => {}
            // It was let in and will never know.
            None => self.gate.leave(self.most),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, thread};

    use futures_util::{FutureExt as _, future::poll_immediate};

    use super::*;

    fn turn(waiting: &mut Waiting<'_>) -> Option<Turn> {
        poll_immediate(waiting).now_or_never().flatten()
    }

    #[test]
    fn as_many_are_let_in_as_there_is_room_for_and_the_next_when_one_leaves() {
        let gate = Gate::default();
        assert!((0..3).all(|_| gate.try_enter(3)));
        assert!(!gate.try_enter(3));
        gate.leave(3);
        assert!(gate.try_enter(3));
        let mut first = gate.wait_if(3, 2).unwrap();
        let mut second = gate.wait_if(3, 2).unwrap();
        assert_eq!(gate.wait_if(3, 2).err(), Some(Full));
        assert_eq!((turn(&mut first), turn(&mut second)), (None, None));
        gate.leave(3);
        assert!(!gate.try_enter(3), "those who wait go first");
        assert_eq!(
            (turn(&mut second), turn(&mut first)),
            (None, Some(Turn::In))
        );
        assert_eq!((gate.inside(), gate.waiting()), (3, 1));
    }

    #[test]
    fn who_gives_up_leaves_no_gap() {
        let gate = Gate::default();
        assert!(gate.try_enter(1));
        let first = gate.wait(1, 0);
        let mut second = gate.wait(1, 0);
        let mut third = gate.wait(1, 0);
        drop(first);
        gate.leave(1);
        // It was let in, and goes without having looked.
        drop(second);
        second = gate.wait(1, 0);
        assert_eq!(turn(&mut third), Some(Turn::In));
        assert_eq!(turn(&mut second), None);
        gate.leave(1);
        assert_eq!(turn(&mut second), Some(Turn::In));
        gate.leave(1);
        assert_eq!((gate.inside(), gate.waiting()), (0, 0));
    }

    #[test]
    fn more_room_lets_those_in_who_wait_and_less_keeps_them_out() {
        let gate = Gate::default();
        assert!(gate.try_enter(1));
        let mut waiting: Vec<_> = (0..3).map(|_| gate.wait(1, 0)).collect();
        gate.admit(3);
        let turns: Vec<_> = waiting.iter_mut().map(turn).collect();
        assert_eq!(turns, [Some(Turn::In), Some(Turn::In), None]);
        gate.leave(1);
        gate.leave(1);
        assert_eq!(turn(&mut waiting[2]), None, "one is still in");
        gate.leave(1);
        assert_eq!(turn(&mut waiting[2]), Some(Turn::In));
    }

    #[test]
    fn one_of_a_party_is_called_and_keeps_its_place() {
        let gate = Gate::default();
        assert!(gate.try_enter(1));
        let mut ours = gate.wait(1, 1);
        let mut theirs = gate.wait(1, 2);
        assert!(!gate.call(3));
        assert!(gate.call(1));
        assert!(!gate.call(1), "there is only one of them");
        assert_eq!(turn(&mut theirs), None);
        assert_eq!(turn(&mut ours), Some(Turn::Called));
        assert_eq!(turn(&mut ours), None);
        for _ in 0..PASSED_OVER_MAX {
            assert!(gate.call(2));
            assert_eq!(turn(&mut theirs), Some(Turn::Called));
        }
        assert!(!gate.call(2), "the other one has waited for longer");
        assert!(gate.call(1), "it stands first");
        let mut later = gate.wait(1, 1);
        drop(ours);
        assert_eq!(turn(&mut later), Some(Turn::Called), "instead of it");
        gate.leave(1);
        assert_eq!(turn(&mut theirs), Some(Turn::In));
    }

    #[test]
    fn nobody_is_lost_between_threads() {
        const MOST: usize = 3;
        let gate = Arc::new(Gate::default());
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let gate = Arc::clone(&gate);
                thread::spawn(move || {
                    for _ in 0..5_000 {
                        if !gate.try_enter(MOST) {
                            let waiting = gate.wait(MOST, 0);
                            assert_eq!(block_on(waiting), Turn::In);
                        }
                        assert!(gate.inside() <= MOST);
                        gate.leave(MOST);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|one| one.join().unwrap());
        assert_eq!((gate.inside(), gate.waiting()), (0, 0));
    }

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(future)
    }
}
