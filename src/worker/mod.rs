//! One thread of the edge as its connections see it: a runtime, its listeners, its clients' connections, its pool of upstream connections, its
//! clock. A request that finds a pooled connection neither leaves the thread nor takes a lock: what all workers share
//! is read-only or a counter. A dial asks the control thread for addresses, and a full batch of log lines is handed over.

pub(crate) mod thread;

use std::{
    cell::{Cell, RefCell, RefMut},
    net::IpAddr,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, Cache};
use tokio::{runtime, sync::Notify, time::Instant};

use crate::{
    config::{Balance, EdgeLimits},
    date::Date,
    deadline::Deadlines,
    headers::{self, Vouched},
    http1::Fields,
    rounds::Rounds,
    session::Peer,
    snapshot::{Route, Snapshot},
    spares::Spares,
    telemetry::{
        access_log::{AccessLog, Batch, Line},
        counters::Traffic,
        request_id::RequestId,
    },
    upgrade::SCRATCH_BYTES,
    upstream::{
        Connection, Upstream, UpstreamId,
        endpoint::Endpoint,
        outage::{self, Outage},
        pool::{Pool, Use},
        resolve::Resolver,
        watch,
    },
};

/// Clients that a full worker turns away in good order at one time; it closes on further ones as soon as they are told.
const PARTINGS_MAX: usize = 64;
/// This part of all places is kept free, as far as it can be had from whoever has most of them.
const RESERVE_PART: usize = 64;
/// Connections that are closed for that in a tick, and those that are woken to see whether they are among them.
const CLOSED_MAX: usize = 256;
const WOKEN_MAX: usize = 512;

/// What all workers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(crate) resolver: Resolver,
    /// The control thread's runtime.
    pub(crate) control: runtime::Handle,
    pub(crate) access_log: AccessLog,
    /// Client connections of all workers.
    connections: AtomicUsize,
    /// All that there were.
    accepted: AtomicU64,
    /// Of requests that led to no tenant.
    pub(crate) unrouted: Traffic,
    /// When the edge began: from where the rates of requests are counted.
    pub(crate) began: Instant,
    /// Has each worker close idle connections that are waited for.
    make_room: Box<[Notify]>,
}

impl Shared {
    /// Of so many workers. Whoever calls this is the control thread.
    pub(crate) fn new(
        workers: usize,
        snapshot: Arc<ArcSwap<Snapshot>>,
        resolver: Resolver,
        access_log: AccessLog,
    ) -> Self {
        Self {
            snapshot,
            resolver,
            control: runtime::Handle::current(),
            access_log,
            connections: AtomicUsize::new(0),
            accepted: AtomicU64::new(0),
            unrouted: Traffic::default(),
            began: Instant::now(),
            make_room: (0..workers).map(|_| Notify::new()).collect(),
        }
    }

    /// Of an edge that serves nobody.
    #[cfg(test)]
    pub(crate) fn of(config: &crate::config::Config) -> Self {
        let snapshot = Arc::new(ArcSwap::from_pointee(Snapshot::first(config)));
        let resolver = Resolver::start(&[([127, 0, 0, 1], 53).into()]).unwrap();
        let log =
            AccessLog::start(crate::telemetry::Format::Json, Box::new(std::io::sink())).unwrap();
        Self::new(1, snapshot, resolver, log)
    }

    pub(crate) fn workers(&self) -> usize {
        self.make_room.len()
    }

    /// Of clients, now.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Of clients, ever.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }
}

/// The worker as its connections see it.
#[derive(Debug)]
pub(crate) struct Worker {
    index: usize,
    shared: Arc<Shared>,
    snapshot: RefCell<Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>>,
    deadlines: Rc<Deadlines>,
    rounds: Rc<Rounds>,
    pool: RefCell<Pool>,
    log: RefCell<Batch>,
    random: RefCell<fastrand::Rng>,
    spares: Spares,
    date: Cell<Date>,
    scratch: RefCell<Box<[u8]>>,
    stage: Cell<Stage>,
    connections: Cell<usize>,
    /// The tick at which room was made last.
    made_room: Cell<u64>,
    /// Clients that are being turned away.
    partings: Cell<usize>,
    /// Told when the last connection has gone.
    empty: Notify,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Serving,
    Draining,
    Ending,
}

impl Worker {
    pub(crate) fn new(index: usize, shared: Arc<Shared>) -> Self {
        Self {
            index,
            snapshot: RefCell::new(Cache::new(Arc::clone(&shared.snapshot))),
            log: RefCell::new(shared.access_log.batch()),
            shared,
            deadlines: Rc::default(),
            rounds: Rc::default(),
            pool: RefCell::default(),
            random: RefCell::new(fastrand::Rng::new()),
            spares: Spares::default(),
            date: Cell::new(Date::now()),
            scratch: RefCell::new(vec![0; SCRATCH_BYTES].into()),
            stage: Cell::new(Stage::Serving),
            connections: Cell::new(0),
            made_room: Cell::new(0),
            partings: Cell::new(0),
            empty: Notify::new(),
        }
    }

    pub(crate) fn tick(&self, began: Instant) {
        self.deadlines.tick(began.elapsed());
        self.date.set(self.date.get().or_later());
        self.rounds.tick();
        // Where nobody asks for anything, an earlier generation and all that it leads to would be kept for good.
        self.read(|_| ());
        self.pool.borrow_mut().sweep(self.deadlines.now());
        self.log.borrow_mut().flush();
        self.spares.tick(self.deadlines.now());
    }

    fn enter(&self, stage: Stage) {
        self.stage.set(stage);
        self.pool.borrow_mut().clear();
        self.deadlines.wake_all();
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.stage.get() >= Stage::Draining
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.stage.get() == Stage::Ending
    }

    /// Room for one more client connection, if the edge has any.
    pub(crate) fn place(self: &Rc<Self>) -> Option<Place> {
        let most = self.read(|snapshot| snapshot.limits.connections);
        let before = self.shared.connections.fetch_add(1, Ordering::Relaxed);
        self.shared.accepted.fetch_add(1, Ordering::Relaxed);
        self.connections.set(self.connections.get() + 1);
        let place = Place(Rc::clone(self));
        if before + most / RESERVE_PART >= most {
            self.make_room();
        }
        (before < most).then_some(place)
    }

    /// Has whoever has most connections close some of them: those that are idle, and others with their next answer.
    fn make_room(&self) {
        let now = self.deadlines.now();
        if self.made_room.replace(now) != now {
            self.rounds.make_room(CLOSED_MAX);
            self.deadlines.wake_some(WOKEN_MAX);
        }
    }

    /// Time for a client that can't have a place to be told so in good order, if not too many take it already.
    pub(crate) fn parting(self: &Rc<Self>) -> Option<Parting> {
        let partings = self.partings.get();
        (partings < PARTINGS_MAX).then(|| {
            self.partings.set(partings + 1);
            Parting(Rc::clone(self))
        })
    }

    /// The generation that is served now.
    fn read<T>(&self, with: impl FnOnce(&Snapshot) -> T) -> T {
        with(self.snapshot.borrow_mut().load())
    }

    /// The route of a host, which stays what it is however long the request takes.
    pub(crate) fn route(&self, host: &str) -> Option<Arc<Route>> {
        self.read(|snapshot| snapshot.route(host).cloned())
    }

    pub(crate) fn limits(&self) -> EdgeLimits {
        self.read(|snapshot| snapshot.limits)
    }

    /// What the peer says of a request, if its word is taken.
    pub(crate) fn vouched<'h>(&self, peer: &Peer, fields: &'h Fields) -> Option<Vouched<'h>> {
        let trusted =
            |snapshot: &Snapshot| headers::vouched(peer.ip, fields, &snapshot.trusted_proxies);
        self.read(trusted).filter(|_| peer.may_vouch)
    }

    /// Whether connections of this peer begin with a PROXY header.
    pub(crate) fn expects_proxy_header(&self, peer: IpAddr) -> bool {
        self.read(|snapshot| {
            snapshot.proxy_protocol
                && snapshot
                    .trusted_proxies
                    .iter()
                    .any(|net| net.contains(&peer))
        })
    }

    /// Has the control thread look the upstream's names up now and then, if it doesn't already.
    pub(crate) fn watch(&self, upstream: &Arc<Upstream>) {
        if upstream.begins_to_be_watched() {
            let shared = &self.shared;
            let watch = watch::watch(Arc::downgrade(upstream), shared.resolver.clone());
            shared.control.spawn(watch);
        }
    }

    /// Has the control thread watch for the return of an upstream that has gone away: this one may be asked to end.
    pub(crate) fn probe(&self, upstream: &Arc<Upstream>, outage: &Arc<Outage>, connect: Duration) {
        let shared = &self.shared;
        let (upstream, outage) = (Arc::downgrade(upstream), Arc::clone(outage));
        let probe = outage::probe(upstream, outage, shared.resolver.clone(), connect);
        shared.control.spawn(probe);
    }

    pub(crate) fn resolver(&self) -> &Resolver {
        &self.shared.resolver
    }

    pub(crate) fn deadlines(&self) -> &Rc<Deadlines> {
        &self.deadlines
    }

    pub(crate) fn rounds(&self) -> &Rc<Rounds> {
        &self.rounds
    }

    /// The endpoint that a request of `client` should go to, if it is not all the same.
    pub(crate) fn pick(
        &self,
        upstream: &Upstream,
        balance: Balance,
        client: &[u8],
    ) -> Option<Arc<Endpoint>> {
        upstream.pick(balance, client, &mut self.random.borrow_mut())
    }

    /// An idle connection to an upstream, and to `endpoint` if that is given, if there is one.
    pub(crate) fn pooled(
        &self,
        upstream: UpstreamId,
        endpoint: Option<&Arc<Endpoint>>,
        purpose: Use,
    ) -> Option<Connection> {
        let now = self.deadlines.now();
        self.pool
            .borrow_mut()
            .take(upstream, endpoint, purpose, now)
    }

    pub(crate) fn give_back(&self, upstream: UpstreamId, connection: Connection) {
        if !self.is_draining() {
            self.pool
                .borrow_mut()
                .put(upstream, connection, self.deadlines.now(), self.index);
        }
    }

    /// Which of the workers it is.
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// Has all workers close idle connections whose room is waited for.
    pub(crate) fn ask_for_idle(&self) {
        self.shared.make_room.iter().for_each(Notify::notify_one);
    }

    /// How old the edge was at a moment.
    pub(crate) fn age_at(&self, moment: Instant) -> Duration {
        moment.duration_since(self.shared.began)
    }

    /// A request is over, and its line is known: it is counted, and the access log gets it, if there is one.
    pub(crate) fn over(&self, route: Option<&Route>, line: &Line<'_>) {
        let shared = &self.shared;
        let traffic = route.map_or(&shared.unrouted, |route| route.bulkhead().traffic());
        traffic.count(
            self.index,
            shared.workers(),
            || shared.began.elapsed(),
            line,
        );
        if self.read(|snapshot| snapshot.access_log) {
            self.log.borrow_mut().push(line);
        }
    }

    /// A new request's id.
    pub(crate) fn request_id(&self) -> RequestId {
        RequestId::new(self.random.borrow_mut().u128(..))
    }

    /// Memory that is used again.
    pub(crate) fn spares(&self) -> &Spares {
        &self.spares
    }

    /// The time as HTTP writes it, as of the last tick.
    pub(crate) fn date(&self) -> Date {
        self.date.get()
    }

    /// A buffer for the duration of one poll.
    pub(crate) fn scratch(&self) -> RefMut<'_, Box<[u8]>> {
        self.scratch.borrow_mut()
    }
}

/// A client connection's place in the edge, free again when dropped.
#[derive(Debug)]
pub(crate) struct Place(Rc<Worker>);

impl Drop for Place {
    fn drop(&mut self) {
        let worker = &self.0;
        worker.shared.connections.fetch_sub(1, Ordering::Relaxed);
        worker.connections.set(worker.connections.get() - 1);
        if worker.connections.get() == 0 {
            worker.empty.notify_one();
        }
    }
}

/// A client that is being turned away.
#[derive(Debug)]
pub(crate) struct Parting(Rc<Worker>);

impl Drop for Parting {
    fn drop(&mut self) {
        self.0.partings.set(self.0.partings.get() - 1);
    }
}
