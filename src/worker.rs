//! One thread of the edge: a runtime, its listeners, its clients' connections, its pool of upstream connections, its
//! clock. A request that finds a pooled connection neither leaves the thread nor takes a lock: what all workers share
//! is read-only or a counter. A dial asks the control thread for addresses, and a full batch of log lines is handed over.

use std::{
    cell::{Cell, RefCell, RefMut},
    collections::{HashMap, HashSet},
    io,
    net::IpAddr,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use arc_swap::{ArcSwap, Cache};
use tokio::{
    runtime,
    sync::{Notify, mpsc, oneshot},
    time::{self, Instant, MissedTickBehavior},
};

use crate::{
    config::{Address, Balance, EdgeLimits},
    date::Date,
    deadline::{Deadlines, TICK},
    headers::{self, Vouched},
    http1::Fields,
    listener::{Accepting, Waiting},
    session::Peer,
    snapshot::{Route, Snapshot},
    socket::BoundSocket,
    spares::Spares,
    telemetry::{
        access_log::{AccessLog, Batch},
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

/// Orders that wait for a worker. They come one a reload, and a worker takes them at once.
const COMMANDS_MAX: usize = 16;

/// Clients that a full worker turns away in good order at one time; it closes on further ones as soon as they are told.
const PARTINGS_MAX: usize = 64;

/// What all workers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(crate) resolver: Resolver,
    /// The control thread's runtime.
    pub(crate) control: runtime::Handle,
    pub(crate) access_log: AccessLog,
    /// Client connections of all workers.
    pub(crate) connections: AtomicUsize,
}

/// What the control thread asks of a worker.
#[derive(Debug)]
pub(crate) enum Command {
    Listen(Address, BoundSocket),
    /// Close the socket, and say so.
    Unlisten(Address, oneshot::Sender<()>),
    /// Accept nothing more, and say so; finish what is there, then end.
    Drain {
        handed_over: Arc<HashSet<Address>>,
        done: oneshot::Sender<()>,
    },
    /// End now, whatever is there.
    End,
}

/// A worker as the control thread sees it.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) commands: mpsc::Sender<Command>,
    /// Resolves when the thread has nothing left to do; with the number of connections that it had to abort.
    pub(crate) ended: oneshot::Receiver<usize>,
}

/// The worker as its connections see it.
#[derive(Debug)]
pub(crate) struct Worker {
    shared: Arc<Shared>,
    snapshot: RefCell<Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>>,
    deadlines: Rc<Deadlines>,
    pool: RefCell<Pool>,
    log: RefCell<Batch>,
    random: RefCell<fastrand::Rng>,
    spares: Spares,
    date: Cell<Date>,
    scratch: RefCell<Box<[u8]>>,
    stage: Cell<Stage>,
    connections: Cell<usize>,
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

/// Starts a worker's thread.
///
/// # Errors
/// Where the system has no thread or no event queue left.
pub(crate) fn start(index: usize, shared: Arc<Shared>) -> io::Result<Handle> {
    let (commands, orders) = mpsc::channel(COMMANDS_MAX);
    let (report, ended) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread();
    thread::Builder::new()
        .name(format!("worker-{index}"))
        .spawn(move || {
            let mut runtime = runtime;
            match runtime
                .enable_all()
                .build_local(tokio::runtime::LocalOptions::default())
            {
                Ok(runtime) => {
                    let aborted = runtime.block_on(run(shared, orders));
                    // Before the report, so that whoever waits for it finds every connection closed.
                    drop(runtime);
                    let _ = report.send(aborted);
                }
                Err(error) => tracing::error!(%error, "a worker can't run"),
            }
        })?;
    Ok(Handle { commands, ended })
}

/// Serves until told to end; how many connections had to be aborted then.
async fn run(shared: Arc<Shared>, mut orders: mpsc::Receiver<Command>) -> usize {
    let worker = Rc::new(Worker::new(shared));
    let mut listeners: HashMap<Address, Vec<Accepting>> = HashMap::new();
    let began = Instant::now();
    let mut tick = time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => worker.tick(began),
            () = worker.empty.notified(), if worker.is_draining() => {}
            order = orders.recv() => match order {
                Some(Command::Listen(address, socket)) => {
                    let accepting = Accepting::start(&worker, socket);
                    listeners.entry(address).or_default().push(accepting);
                }
                Some(Command::Unlisten(address, done)) => {
                    for accepting in listeners.remove(&address).unwrap_or_default() {
                        accepting.stop(Waiting::Accept).await;
                    }
                    let _ = done.send(());
                }
                Some(Command::Drain { handed_over, done }) => {
                    for (address, all) in listeners.drain() {
                        let waiting = if handed_over.contains(&address) {
                            Waiting::Leave
                        } else {
                            Waiting::Accept
                        };
                        for accepting in all {
                            accepting.stop(waiting).await;
                        }
                    }
                    worker.enter(Stage::Draining);
                    let _ = done.send(());
                }
                Some(Command::End) | None => {
                    let aborted = worker.connections.get();
                    worker.enter(Stage::Ending);
                    return aborted;
                }
            },
        }
        if worker.is_draining() && worker.connections.get() == 0 {
            worker.log.borrow_mut().flush();
            return 0;
        }
    }
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            snapshot: RefCell::new(Cache::new(Arc::clone(&shared.snapshot))),
            log: RefCell::new(shared.access_log.batch()),
            shared,
            deadlines: Rc::default(),
            pool: RefCell::default(),
            random: RefCell::new(fastrand::Rng::new()),
            spares: Spares::default(),
            date: Cell::new(Date::now()),
            scratch: RefCell::new(vec![0; SCRATCH_BYTES].into()),
            stage: Cell::new(Stage::Serving),
            connections: Cell::new(0),
            partings: Cell::new(0),
            empty: Notify::new(),
        }
    }

    pub(crate) fn tick(&self, began: Instant) {
        self.deadlines.tick(began.elapsed());
        self.date.set(self.date.get().or_later());
        // Where nobody asks for anything, an earlier generation and all that it leads to would be kept for good.
        self.read(|_| ());
        self.pool.borrow_mut().sweep(self.deadlines.now());
        self.log.borrow_mut().flush();
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
        self.connections.set(self.connections.get() + 1);
        let place = Place(Rc::clone(self));
        (before < most).then_some(place)
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
                .put(upstream, connection, self.deadlines.now());
        }
    }

    /// Lets `write` add to the access log, if there is one.
    pub(crate) fn log(&self, write: impl FnOnce(&mut Batch)) {
        if self.read(|snapshot| snapshot.access_log) {
            write(&mut self.log.borrow_mut());
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
