//! Idle upstream connections of one worker, last in first out.
//!
//! It hands out only what was alive when last looked at, and keeps nothing for long: an app that closes idle
//! connections after 2 s (gunicorn) or 5 s (Node) shall not close one that a request has just been given.

use std::{
    collections::HashMap,
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::{Context, Waker},
    time::Duration,
};

use tokio::task::unconstrained;

use super::{Connection, UpstreamId, endpoint::Endpoint};
use crate::{bulkhead::Slot, deadline::ticks};

/// Shorter than gunicorn's 2 s, the shortest keep-alive that is common, by a margin for the app's own clock.
const IDLE_MAX: Duration = Duration::from_millis(1500);
const PER_UPSTREAM_MAX: usize = 512;
const TOTAL_MAX: usize = 8192;

#[derive(Debug, Default)]
pub(crate) struct Pool {
    idle: HashMap<UpstreamId, Vec<Idle>, foldhash::fast::RandomState>,
    total: usize,
}

/// What a connection is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// A request that can be sent again if the connection turns out to be dead.
    Repeatable,
    /// One that can't: it gets none that has been idle for longer than one of the endpoint's was seen to survive.
    Once,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: u64,
}

impl Pool {
    /// The connection that was used last, to `endpoint` if one is given, if it is still good.
    pub(crate) fn take(
        &mut self,
        upstream: UpstreamId,
        endpoint: Option<&Arc<Endpoint>>,
        purpose: Use,
        now: u64,
    ) -> Option<Connection> {
        let idle = self.idle.get_mut(&upstream)?;
        loop {
            let last = match endpoint {
                None => idle.len().checked_sub(1)?,
                Some(endpoint) => idle
                    .iter()
                    .rposition(|idle| idle.connection.is_to(endpoint))?,
            };
            let Idle { connection, since } = &idle[last];
            let idled = now - since;
            if purpose == Use::Once && !connection.may_survive(idled) {
                // Those below it have been idle for longer. They are good enough for others.
                return None;
            }
            // What the runtime knows is as old as the events that it works on. A request that can't be sent again asks the
            // system itself, since what came in meanwhile may be the connection's end; for others that call costs more
            // than a second try now and then.
            let good = connection.is_lendable()
                && is_young(*since, now)
                && is_quiet(connection)
                && (purpose == Use::Repeatable || connection.wire.stream.is_silent());
            let mut taken = idle.remove(last);
            self.total -= 1;
            if good {
                taken.connection.lend_again(idled);
                return Some(taken.connection);
            }
        }
    }

    /// Keeps a connection whose exchange is over; beyond the bounds it is closed. Where requests wait for it, one of this
    /// `worker` has it; if they are others', it is closed, to make room.
    pub(crate) fn put(
        &mut self,
        upstream: UpstreamId,
        mut connection: Connection,
        now: u64,
        worker: usize,
    ) {
        connection.give_back();
        if self.total >= TOTAL_MAX {
            return;
        }
        if let Some(slot) = connection.slot()
            && slot.is_waited_for()
            && !slot.offer(worker)
        {
            return;
        }
        let idle = self.idle.entry(upstream).or_default();
        if idle.len() < PER_UPSTREAM_MAX {
            idle.push(Idle {
                connection,
                since: now,
            });
            self.total += 1;
        }
    }

    /// Closes what is too old, was closed by the app, or goes where no request may go now. Called on every tick.
    pub(crate) fn sweep(&mut self, now: u64) {
        self.idle.retain(|_, idle| {
            idle.retain(|Idle { connection, since }| {
                connection.is_lendable() && is_young(*since, now) && is_quiet(connection)
            });
            !idle.is_empty()
        });
        self.total = self.idle.values().map(Vec::len).sum();
    }

    /// Closes those that requests of their tenants wait for the room of, here or on other workers.
    pub(crate) fn make_room(&mut self) {
        self.idle.retain(|_, idle| {
            // One by one: the room of each may be enough.
            idle.retain(|Idle { connection, .. }| {
                !connection.slot().is_some_and(Slot::is_waited_for)
            });
            !idle.is_empty()
        });
        self.total = self.idle.values().map(Vec::len).sum();
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

fn is_young(since: u64, now: u64) -> bool {
    now - since < ticks(IDLE_MAX)
}

/// An idle connection has nothing to say: anything to be read is its end, or bytes that nobody asked for.
fn is_quiet(connection: &Connection) -> bool {
    // However much the task has done already: a budget that is used up would make a dead connection look quiet.
    let ready = unconstrained(poll_fn(|cx| connection.wire.stream.poll_read_ready(cx)));
    pin!(ready)
        .poll(&mut Context::from_waker(Waker::noop()))
        .is_pending()
}
