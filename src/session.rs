//! What the parts of one client connection share: who the client is, in which phase the connection is, its one
//! deadline, and the counters of the request at hand. One task uses it, so nothing here is locked.

use std::{
    cell::{Cell, RefCell},
    net::{IpAddr, Ipv4Addr},
    rc::Rc,
    task::Context,
    time::Duration,
};

use crate::{deadline::Deadline, upgrade::Tunnel, upstream::exchange::Exchange, worker::Worker};

#[derive(Debug)]
pub(crate) struct Session {
    worker: Rc<Worker>,
    peer: Peer,
    deadline: Deadline,
    phase: Cell<Phase>,
    /// How long an idle connection is kept.
    keepalive: Duration,
    /// How long a client may take for a request's head, from its first byte.
    header_read: Duration,
    bytes_in: Cell<u64>,
    bytes_out: Cell<u64>,
    /// Set by a request that was upgraded, for the connection to run once hyper has sent the 101.
    tunnel: RefCell<Option<Tunnel>>,
    /// The exchange whose request body is still on its way while its response is. hyper asks for more of the response
    /// only when the client takes it, and the upload must not wait for that.
    uploading: RefCell<Option<Rc<RefCell<Exchange>>>>,
    /// Whether an answer was given while the client still had some of its request to send.
    answered_early: Cell<bool>,
}

/// Who is at the other end of the client's socket.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) ip: IpAddr,
    /// The same as text, written once instead of for each request.
    pub(crate) text: Box<str>,
}

impl Peer {
    pub(crate) fn new(ip: IpAddr) -> Self {
        let ip = ip.to_canonical();
        Self {
            ip,
            text: ip.to_string().into(),
        }
    }

    /// Whoever can open a unix socket is on this machine.
    pub(crate) fn local() -> Self {
        Self::new(Ipv4Addr::LOCALHOST.into())
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

impl Session {
    pub(crate) fn new(worker: Rc<Worker>, peer: Peer, deadline: Deadline) -> Self {
        let limits = worker.limits();
        // A new connection has the time of a head to say something; only one that has proved its worth may idle.
        deadline.set(limits.header_read);
        Self {
            worker,
            peer,
            deadline,
            phase: Cell::new(Phase::Fresh),
            keepalive: limits.keepalive,
            header_read: limits.header_read,
            bytes_in: Cell::new(0),
            bytes_out: Cell::new(0),
            tunnel: RefCell::new(None),
            uploading: RefCell::new(None),
            answered_early: Cell::new(false),
        }
    }

    pub(crate) fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    pub(crate) fn peer(&self) -> &Peer {
        &self.peer
    }

    pub(crate) fn deadline(&self) -> &Deadline {
        &self.deadline
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// The client's bytes came.
    pub(crate) fn has_read(&self) {
        match self.phase.get() {
            Phase::Fresh | Phase::Idle => {
                self.phase.set(Phase::Head);
                self.deadline.set(self.header_read);
            }
            Phase::Response(idle) => self.deadline.set(idle),
            Phase::Head | Phase::Request => {}
        }
    }

    /// The client took bytes.
    pub(crate) fn has_written(&self) {
        match self.phase.get() {
            Phase::Idle => self.deadline.set(self.keepalive),
            Phase::Response(idle) => self.deadline.set(idle),
            Phase::Fresh | Phase::Head | Phase::Request => {}
        }
    }

    pub(crate) fn begin_request(&self) {
        self.phase.set(Phase::Request);
        self.deadline.clear();
        self.bytes_in.set(0);
        self.bytes_out.set(0);
        self.answered_early.set(false);
    }

    pub(crate) fn begin_response(&self, idle: Duration) {
        self.phase.set(Phase::Response(idle));
        self.deadline.set(idle);
    }

    pub(crate) fn end_request(&self) {
        self.set_uploading(None);
        self.phase.set(Phase::Idle);
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

    pub(crate) fn open_tunnel(&self, tunnel: Tunnel) {
        *self.tunnel.borrow_mut() = Some(tunnel);
    }

    pub(crate) fn take_tunnel(&self) -> Option<Tunnel> {
        self.tunnel.borrow_mut().take()
    }

    pub(crate) fn set_uploading(&self, exchange: Option<Rc<RefCell<Exchange>>>) {
        *self.uploading.borrow_mut() = exchange;
    }

    /// Sends what can be sent of a request body whose response has begun.
    pub(crate) fn drive_upload(&self, cx: &mut Context<'_>) {
        let mut uploading = self.uploading.borrow_mut();
        if let Some(exchange) = &*uploading
            && exchange.borrow_mut().drive_upload(cx, self).is_ready()
        {
            *uploading = None;
        }
    }

    pub(crate) fn set_answered_early(&self) {
        self.answered_early.set(true);
    }

    pub(crate) fn answered_early(&self) -> bool {
        self.answered_early.get()
    }
}
