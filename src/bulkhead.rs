//! What keeps one tenant apart from the others inside the edge: how many requests it has in flight and waiting, how many
//! connections to its apps, how often it has been asked, and what
//! that adds up to.
//!
//! It belongs to a tenant's name and not to a route: a reload changes the route, and what is in flight is counted on. What
//! is too much is said by the limits of the route at hand.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use once_cell::race::OnceBox;

use crate::{
    config::TenantLimits,
    limits::{
        gate::{Full, Gate, Waiting},
        rate::{Paced, PacedClients, Rate},
    },
    telemetry::counters::{Sums, Traffic},
};

/// Shared by all workers.
#[derive(Debug)]
pub(crate) struct Bulkhead {
    /// As the configuration has it now, for whoever leaves: the next in the queue comes in by today's limits.
    requests_max: AtomicU32,
    connections_max: AtomicU32,
    /// Of 100,000 tenants few are asked for at one time, so what it takes to count is made when one is.
    counts: OnceBox<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    requests: Gate,
    connections: Gate,
    paced: Paced,
    clients: PacedClients,
    traffic: Traffic,
}

impl Bulkhead {
    pub(crate) fn new(limits: &TenantLimits) -> Self {
        let new = Self {
            requests_max: AtomicU32::new(0),
            connections_max: AtomicU32::new(0),
            counts: OnceBox::new(),
        };
        new.take_up(limits);
        new
    }

    /// New limits count for what is in flight, and let those in for whom there is room now.
    pub(crate) fn take_up(&self, limits: &TenantLimits) {
        self.requests_max.store(limits.requests, Relaxed);
        let connections = limits.connections.unwrap_or(u32::MAX);
        self.connections_max.store(connections, Relaxed);
        if let Some(counts) = self.counts.get() {
            counts.requests.admit(self.requests_max());
            counts.connections.admit(self.connections_max());
        }
    }

    /// The right to be in flight, if there is room and nobody waits for it.
    #[inline]
    pub(crate) fn permit(self: &Arc<Self>) -> Option<Permit> {
        let may = self.counts().requests.try_enter(self.requests_max());
        may.then(|| Permit(Arc::clone(self)))
    }

    /// The wait for that right, if fewer than `queue_max` wait for it. Who is in takes the [`Permit`] at once.
    pub(crate) fn queue(&self, queue_max: u32) -> Result<Waiting<'_>, Full> {
        let requests = &self.counts().requests;
        requests.wait_if(self.requests_max(), queue_max as usize)
    }

    /// Of one that has waited and is in.
    pub(crate) fn waited_for(self: &Arc<Self>) -> Permit {
        Permit(Arc::clone(self))
    }

    /// The right to one more connection.
    pub(crate) fn slot(self: &Arc<Self>) -> Option<Slot> {
        let may = self.counts().connections.try_enter(self.connections_max());
        may.then(|| Slot(Arc::clone(self)))
    }

    /// The wait for that right, of a request on `worker`. There are as many who wait as may be in flight.
    pub(crate) fn queue_for_slot(&self, worker: usize) -> Waiting<'_> {
        let connections = &self.counts().connections;
        connections.wait(self.connections_max(), worker)
    }

    pub(crate) fn is_waited_for_slot(&self) -> bool {
        self.known(|counts| counts.connections.waiting()) > 0
    }

    /// Of one that has waited and is in.
    pub(crate) fn waited_for_slot(self: &Arc<Self>) -> Slot {
        Slot(Arc::clone(self))
    }

    /// Whether one more request at `now` is in keeping with `rate`, or else how long it has to wait.
    pub(crate) fn pace(&self, rate: Rate, now: Duration) -> Result<(), Duration> {
        self.counts().paced.take(rate, now)
    }

    /// The same for one of a client's.
    pub(crate) fn pace_client(
        &self,
        client: IpAddr,
        rate: Rate,
        now: Duration,
    ) -> Result<(), Duration> {
        self.counts().clients.take(client, rate, now)
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.known(|counts| counts.requests.inside())
    }

    pub(crate) fn queued(&self) -> usize {
        self.known(|counts| counts.requests.waiting())
    }

    /// To the tenant's apps, idle ones too.
    pub(crate) fn connections(&self) -> usize {
        self.known(|counts| counts.connections.inside())
    }

    /// What its requests add up to, to be counted on.
    pub(crate) fn traffic(&self) -> &Traffic {
        &self.counts().traffic
    }

    /// The same, if anything was counted.
    pub(crate) fn sums(&self) -> Option<Sums> {
        self.counts.get()?.traffic.sums()
    }

    /// Whether anything was counted. It costs less than [`Self::sums`].
    pub(crate) fn has_traffic(&self) -> bool {
        let counts = self.counts.get();
        counts.is_some_and(|counts| counts.traffic.is_any())
    }

    fn known(&self, count: impl FnOnce(&Counts) -> usize) -> usize {
        self.counts.get().map_or(0, count)
    }

    #[inline]
    fn counts(&self) -> &Counts {
        self.counts.get_or_init(Box::default)
    }

    #[inline]
    fn requests_max(&self) -> usize {
        self.requests_max.load(Relaxed) as usize
    }

    fn connections_max(&self) -> usize {
        self.connections_max.load(Relaxed) as usize
    }
}

/// The right to be in flight, until it is dropped: with the last byte of the response, or the end of the tunnel.
#[derive(Debug)]
pub(crate) struct Permit(Arc<Bulkhead>);

impl Drop for Permit {
    fn drop(&mut self) {
        let bulkhead = &self.0;
        bulkhead.counts().requests.leave(bulkhead.requests_max());
    }
}

/// The right to a connection, until it is closed.
#[derive(Debug)]
pub(crate) struct Slot(Arc<Bulkhead>);

impl Slot {
    /// Whether somebody waits for the connection, or for its place.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.0.counts().connections.is_waited_for()
    }

    /// Tells the first on `worker` who waits that there is a connection to be had; false if nobody does, or somebody on
    /// another worker has waited for too long.
    pub(crate) fn offer(&self, worker: usize) -> bool {
        self.0.counts().connections.call(worker)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let bulkhead = &self.0;
        let connections = &bulkhead.counts().connections;
        connections.leave(bulkhead.connections_max());
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    fn bulkhead(requests: u32) -> Arc<Bulkhead> {
        Arc::new(Bulkhead::new(&TenantLimits {
            requests,
            ..TenantLimits::default()
        }))
    }

    #[test]
    fn a_request_that_panics_is_not_in_flight_any_more() {
        let bulkhead = bulkhead(1);
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _permit = bulkhead.permit().unwrap();
            assert_eq!(bulkhead.in_flight(), 1);
            std::panic::resume_unwind(Box::new(()));
        }));
        assert!(panicked.is_err());
        assert_eq!(bulkhead.in_flight(), 0);
        assert!(bulkhead.permit().is_some());
    }

    #[test]
    fn requests_in_flight_count_against_a_limit_that_is_changed() {
        let bulkhead = bulkhead(3);
        let mut permits: Vec<_> = (0..3).map(|_| bulkhead.permit().unwrap()).collect();
        let limits = |requests| TenantLimits {
            requests,
            ..TenantLimits::default()
        };
        bulkhead.take_up(&limits(2));
        permits.pop();
        assert!(bulkhead.permit().is_none(), "two are in flight");
        bulkhead.take_up(&limits(4));
        permits.extend([bulkhead.permit().unwrap(), bulkhead.permit().unwrap()]);
        assert!(bulkhead.permit().is_none());
    }
}
