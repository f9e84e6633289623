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

use super::{Connection, Upstream, UpstreamId};
use crate::deadline::ticks;

/// Shorter than gunicorn's 2 s, the shortest keep-alive that is common, by a margin for the app's own clock.
const IDLE_MAX: Duration = Duration::from_millis(1500);
/// The pool lends what was used last, and light traffic would stay on one of several replicas for good. So where there
/// are several, a connection is given up after this, and the next one goes to another.
const AGE_MAX: Duration = Duration::from_secs(1);
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
    /// The connection that was used last, if it is still good, and of this epoch.
    pub(crate) fn take(&mut self, upstream: &Upstream, now: u64) -> Option<Connection> {
        let (epoch, spread) = (upstream.epoch(), upstream.has_several_addresses());
        let idle = self.idle.get_mut(&upstream.id())?;
        while let Some(Idle { connection, since }) = idle.pop() {
            self.total -= 1;
            let old = connection
                .pooled_since
                .is_some_and(|first| now - first >= ticks(AGE_MAX));
            let good = connection.epoch == epoch && !(spread && old);
            if good && is_young(since, now) && is_quiet(&connection) {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection whose exchange is over; beyond the bounds it is closed.
    pub(crate) fn put(&mut self, upstream: UpstreamId, mut connection: Connection, now: u64) {
        connection.pooled_since.get_or_insert(now);
        if self.total >= TOTAL_MAX {
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
