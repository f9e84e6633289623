//! What is known of one client connection besides its bytes: who the client is, in which phase the connection is, its
//! one deadline, and the counters of the request at hand. One task uses it, so nothing here is locked.

use std::{
    cell::{Cell, OnceCell},
    future::poll_fn,
    net::{IpAddr, Ipv4Addr},
    ops::Deref,
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use crate::{
    bulkhead::Bulkhead, deadline::Deadline, proxy_header::Source, rounds::Standing, worker::Worker,
};

/// A connection that has been idle for less is closed with an answer only.
const IDLE_TICKS: u64 = 10;

#[derive(Debug)]
pub(crate) struct Session {
    worker: Rc<Worker>,
    peer: Peer,
    /// The client that a trusted proxy has passed on, for which the peer stands from then on.
    passed_on: OnceCell<Peer>,
    deadline: Deadline,
    phase: Cell<Phase>,
    /// The tick at which the last request ended.
    idle_since: Cell<u64>,
    /// How long an idle connection is kept.
    keepalive: Duration,
    /// How long a client may take for a request's head, from its first byte.
    header_read: Duration,
    bytes_in: Cell<u64>,
    bytes_out: Cell<u64>,
    standing: Standing,
}

/// Who is at the other end of the client's socket.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) ip: IpAddr,
    /// The same as text, written once instead of for each request.
    pub(crate) text: IpText,
    /// Whether it may speak for others, if it is trusted to. A proxy may not on a connection that it passes on for
    /// somebody whom it doesn't name.
    pub(crate) may_vouch: bool,
}

impl Peer {
    pub(crate) fn new(ip: IpAddr) -> Self {
        let ip = ip.to_canonical();
        Self {
            ip,
            text: IpText::new(ip),
            may_vouch: true,
        }
    }

    /// Whoever can open a unix socket is on this machine.
    pub(crate) fn local() -> Self {
        Self::new(Ipv4Addr::LOCALHOST.into())
    }
}

/// An address as people write it, without an allocation.
#[derive(Debug)]
pub(crate) struct IpText {
    bytes: [u8; IP_BYTES_MAX],
    len: u8,
}

/// `ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff`; those that embed an IPv4 address are shorter.
const IP_BYTES_MAX: usize = 39;

impl IpText {
    pub(crate) fn new(ip: IpAddr) -> Self {
        let mut text = Self {
            bytes: [0; IP_BYTES_MAX],
            len: 0,
        };
        match ip {
            IpAddr::V4(ip) => {
                // There is one for each connection, and formatting costs more than the rest of what begins it.
                for (index, octet) in ip.octets().into_iter().enumerate() {
                    if index > 0 {
                        text.push(b".");
                    }
                    text.push(itoa::Buffer::new().format(octet).as_bytes());
                }
            }
            IpAddr::V6(ip) => text.push(ip.to_string().as_bytes()),
        }
        text
    }

    fn push(&mut self, more: &[u8]) {
        let free = self.bytes[usize::from(self.len)..].iter_mut();
        for (byte, more) in free.zip(more) {
            *byte = *more;
            self.len += 1;
        }
    }
}

impl Deref for IpText {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// Where a connection is in the cycle of requests; it says whose deadline is running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing has come on this connection yet.
    Fresh,
    /// Nothing of the next request has come.
    Idle,
    /// Some of a head has come.
    Head,
    /// From the whole head to the response's head; `forward` minds the deadline.
    Request,
    /// The response is on its way; bytes that move in either direction put the deadline off by this.
    Response(Duration),
}

/// For those who are woken when it may have become true.
async fn until(mut is: impl FnMut() -> bool) {
    poll_fn(|_| if is() { Poll::Ready(()) } else { Poll::Pending }).await;
}

impl Session {
    pub(crate) fn new(worker: Rc<Worker>, peer: Peer, deadline: Deadline) -> Self {
        let limits = worker.limits();
        // A new connection has the time of a head to say something; only one that has proved its worth may idle.
        deadline.set(limits.header_read);
        Self {
            worker,
            peer,
            passed_on: OnceCell::new(),
            deadline,
            phase: Cell::new(Phase::Fresh),
            idle_since: Cell::new(0),
            keepalive: limits.keepalive,
            header_read: limits.header_read,
            bytes_in: Cell::new(0),
            bytes_out: Cell::new(0),
            standing: Standing::default(),
        }
    }

    pub(crate) fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    /// Who is at the other end, by the word of the proxy in between if there is one.
    pub(crate) fn peer(&self) -> &Peer {
        self.passed_on.get().unwrap_or(&self.peer)
    }

    /// The proxy at the other end has said whose connection this is. The client's time begins only now.
    pub(crate) fn pass_on(&self, source: Source) {
        let _ = self.passed_on.set(match source {
            Source::Client(client) => Peer::new(client),
            Source::Unsaid => Peer {
                may_vouch: false,
                ..Peer::new(self.peer.ip)
            },
        });
        self.phase.set(Phase::Fresh);
        self.deadline.set(self.header_read);
    }

    pub(crate) fn deadline(&self) -> &Deadline {
        &self.deadline
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Some of a request's head is here.
    pub(crate) fn begin_head(&self) {
        if matches!(self.phase.get(), Phase::Fresh | Phase::Idle) {
            self.phase.set(Phase::Head);
            self.deadline.set(self.header_read);
        }
    }

    pub(crate) fn begin_request(&self) {
        self.phase.set(Phase::Request);
        self.deadline.clear();
        self.bytes_in.set(0);
        self.bytes_out.set(0);
    }

    pub(crate) fn begin_response(&self, idle: Duration) {
        self.phase.set(Phase::Response(idle));
        self.deadline.set(idle);
    }

    /// Bytes have moved, in either direction: while a response is on its way, that puts its deadline off.
    pub(crate) fn moved(&self) {
        if let Phase::Response(idle) = self.phase.get() {
            self.deadline.set(idle);
        }
    }

    /// Bytes of a body were read, on either side.
    #[inline]
    pub(crate) fn read(&self, bytes: usize) {
        self.moved();
        self.standing.moved(bytes);
    }

    /// Whether others of its tenant come before the connection's next request.
    #[inline]
    pub(crate) fn has_to_wait(&self) -> bool {
        let rounds = self.worker.rounds();
        self.standing.has_to_wait(self.deadline.task(), rounds)
    }

    /// Has its task woken when it is its turn.
    pub(crate) fn wait_for_turn(&self) {
        let rounds = self.worker.rounds();
        self.standing.waits(self.deadline.task(), rounds);
    }

    /// Whether the edge needs the connection's place for another client. It would be one of its tenant's, which has most.
    pub(crate) fn makes_room(&self) -> bool {
        self.standing.makes_room(self.worker.rounds())
    }

    /// The same for one that has been idle for so long that its client hardly sends a request at this moment.
    pub(crate) fn makes_room_unasked(&self) -> bool {
        let idle = self.phase.get() == Phase::Idle
            && self.worker.deadlines().now() >= self.idle_since.get() + IDLE_TICKS;
        idle && self.makes_room()
    }

    /// A request was read, and leads to this tenant or to none: returns when it is its turn to begin, among all that wants to
    /// be done now.
    pub(crate) async fn turn_to_begin(&self, tenant: Option<&Arc<Bulkhead>>) {
        self.standing.works_for(tenant, self.worker.rounds());
        self.turn().await;
    }

    /// The same for something that has begun: to dial, say.
    pub(crate) async fn turn(&self) {
        until(|| self.takes_turn()).await;
    }

    /// The same for an answer.
    pub(crate) async fn turn_to_answer(&self) {
        let (task, rounds) = (self.deadline.task(), self.worker.rounds());
        until(|| self.standing.answers(task, rounds)).await;
    }

    /// Whether a piece of a body may be moved now; if not, the connection's task is woken when it may.
    #[inline]
    pub(crate) fn takes_turn(&self) -> bool {
        let rounds = self.worker.rounds();
        self.standing.takes_turn(self.deadline.task(), rounds)
    }

    pub(crate) fn end_request(&self) {
        self.phase.set(Phase::Idle);
        self.idle_since.set(self.worker.deadlines().now());
        self.deadline.set(self.keepalive);
    }

    pub(crate) fn count_bytes_in(&self, bytes: usize) {
        self.bytes_in.set(self.bytes_in.get() + bytes as u64);
    }

    pub(crate) fn count_bytes_out(&self, bytes: usize) {
        self.bytes_out.set(self.bytes_out.get() + bytes as u64);
    }

    /// Body bytes of the request at hand: from the client, and to it.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.bytes_in.get(), self.bytes_out.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_as_everybody_does() {
        for text in [
            "0.0.0.0",
            "127.0.0.1",
            "255.255.255.255",
            "::",
            "2001:db8::1",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe",
        ] {
            assert_eq!(*Peer::new(text.parse().unwrap()).text, *text.as_bytes());
        }
        let mapped = Peer::new("::ffff:192.0.2.1".parse().unwrap());
        assert_eq!(*mapped.text, *b"192.0.2.1");
    }
}
