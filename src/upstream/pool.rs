//! Idle upstream connections of one worker, last in first out.
//!
//! It hands out only what was alive when last looked at, and keeps nothing for long: an app that closes idle
//! connections after 2 s (gunicorn) or 5 s (Node) shall not close one that a request has just been given.

use std::{
    collections::HashMap,
    future::{Future, poll_fn},
    pin::pin,
    task::{Context, Waker},
    time::Duration,
};

use tokio::task::unconstrained;

use super::{Connection, UpstreamId};
use crate::deadline::ticks;

/// Shorter than gunicorn's 2 s, the shortest keep-alive that is common, by a margin for the app's own clock.
const IDLE_MAX: Duration = Duration::from_millis(1500);
/// A name may have got further addresses since a connection was made; only a new one can go there.
const AGE_MAX: Duration = Duration::from_secs(3);
const PER_UPSTREAM_MAX: usize = 512;
const TOTAL_MAX: usize = 8192;

#[derive(Debug, Default)]
pub(crate) struct Pool {
    idle: HashMap<UpstreamId, Vec<Idle>, foldhash::fast::RandomState>,
    total: usize,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: u64,
}

impl Pool {
    /// The connection that was used last, if it is still good.
    pub(crate) fn take(&mut self, upstream: UpstreamId, now: u64) -> Option<Connection> {
        let idle = self.idle.get_mut(&upstream)?;
        while let Some(Idle { connection, since }) = idle.pop() {
            self.total -= 1;
            if is_young(since, now) && is_quiet(&connection) {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection whose exchange is over; beyond the bounds it is closed.
    pub(crate) fn put(&mut self, upstream: UpstreamId, mut connection: Connection, now: u64) {
        let since = *connection.pooled_since.get_or_insert(now);
        if self.total >= TOTAL_MAX || now - since >= ticks(AGE_MAX) {
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

    /// Closes what is too old or was closed by the app. Called on every tick.
    pub(crate) fn sweep(&mut self, now: u64) {
        self.idle.retain(|_, idle| {
            idle.retain(|idle| is_young(idle.since, now) && is_quiet(&idle.connection));
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
    let ready = unconstrained(poll_fn(|cx| connection.stream.poll_read_ready(cx)));
    pin!(ready)
        .poll(&mut Context::from_waker(Waker::noop()))
        .is_pending()
}
