//! The edge as a whole, seen from its control thread: it starts the workers, listens, takes up new configurations
//! and ends everything in order. No request passes through here.

use std::{
    fmt, io,
    sync::{Arc, atomic::AtomicUsize},
};

use arc_swap::ArcSwap;
use tokio::{
    runtime,
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
    task::JoinHandle,
    time::{self, MissedTickBehavior},
};

use crate::{
    admin::{Admin, status::Status},
    config::{Address, Config, Source},
    reload::{self, POLL},
    shutdown,
    snapshot::{Changes, Snapshot},
    socket::{self, Bound},
    telemetry::{Format, Level, access_log::AccessLog},
    upstream::resolve::Resolver,
    worker::{self, Command, Handle, Shared},
};

/// A running edge.
#[derive(Debug)]
pub(crate) struct Edge {
    config: Config,
    shared: Arc<Shared>,
    workers: Vec<Handle>,
    listening: Vec<Listening>,
    admin: RunningAdmin,
    status: Arc<Status>,
    level: Level,
    signals: Signals,
}

/// What the process is told from outside. They are heard from before anybody could know that the edge is there.
#[derive(Debug)]
struct Signals {
    hang_up: Signal,
    end: EndSignals,
}

#[derive(Debug)]
struct EndSignals {
    terminate: Signal,
    interrupt: Signal,
}

/// An address as it was asked for and as it was bound: they differ in the port if that was 0.
#[derive(Debug)]
struct Listening {
    wanted: Address,
    bound: Address,
}

#[derive(Debug)]
struct RunningAdmin {
    address: Address,
    task: JoinHandle<()>,
}

/// Why an edge can't start, or can't take up a configuration.
#[derive(Debug)]
pub(crate) enum EdgeError {
    Bind { address: Address, error: io::Error },
    Resolver(Box<dyn std::error::Error + Send + Sync>),
    System(io::Error),
}

impl fmt::Display for EdgeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind { address, error } if error.kind() == io::ErrorKind::AddrInUse => {
                write!(
                    f,
                    "can't listen on {address}: another process has it; stop that one, or set another address"
                )
            }
            Self::Bind { address, error } if error.kind() == io::ErrorKind::PermissionDenied => {
                write!(
                    f,
                    "can't listen on {address}: not permitted; take a port above 1023, or grant CAP_NET_BIND_SERVICE"
                )
            }
            Self::Bind { address, error } => write!(f, "can't listen on {address}: {error}"),
            Self::Resolver(error) => write!(f, "can't look up names: {error}"),
            Self::System(error) => write!(f, "can't start: {error}"),
        }
    }
}

impl std::error::Error for EdgeError {}

impl Edge {
    /// Binds everything, starts the workers and serves. Runs on the control thread's runtime.
    ///
    /// # Errors
    /// If an address can't be bound or the system refuses a thread; then nothing is left running.
    pub(crate) async fn start(config: Config, level: Level) -> Result<Self, EdgeError> {
        let signals = Signals::listen().map_err(EdgeError::System)?;
        raise_descriptor_limit(&config);
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let bound = bind_all(config.listen.iter(), count, Vec::new())?;
        let status = Arc::new(Status::default());
        let admin = RunningAdmin::start(&config.admin, &[], &status)?;

        let format = Format::of(config.log.format, &io::stdout());
        let shared = Arc::new(Shared {
            snapshot: Arc::new(ArcSwap::from_pointee(Snapshot::first(&config))),
            resolver: Resolver::start(&config.nameservers)
                .map_err(|error| EdgeError::Resolver(error.into()))?,
            access_log: AccessLog::start(format, Box::new(io::stdout()))
                .map_err(EdgeError::System)?,
            control: runtime::Handle::current(),
            connections: AtomicUsize::new(0),
        });
        let workers = (0..count).map(|index| worker::start(index, Arc::clone(&shared)));
        let workers = workers
            .collect::<io::Result<_>>()
            .map_err(EdgeError::System)?;
        let mut edge = Self {
            config,
            shared,
            workers,
            listening: Vec::new(),
            admin,
            status,
            level,
            signals,
        };
        for (wanted, bound) in bound {
            edge.listen(wanted, bound).await;
        }
        let snapshot = edge.shared.snapshot.load();
        edge.status.serving(snapshot.generation, snapshot.routes());
        tracing::info!(
            routes = snapshot.routes(),
            generation = snapshot.generation,
            workers = count,
            "serving"
        );
        drop(snapshot);
        Ok(edge)
    }

    /// The addresses that it serves on, ports as they really are.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = &Address> {
        self.listening.iter().map(|listening| &listening.bound)
    }

    /// Serves until the process is told to end; then ends in order. Takes up what changes in `source`, if there is one.
    pub(crate) async fn run(mut self, mut source: Option<Source>) {
        let mut poll = time::interval(POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let asked = tokio::select! {
                _ = poll.tick() => false,
                _ = self.signals.hang_up.recv() => true,
                () = self.signals.end.recv() => break,
            };
            if let Some(known) = source.take() {
                source = Some(reload::reload(&mut self, known, asked).await);
            }
        }
        self.status.draining();
        let again = self.signals.end.recv();
        shutdown::drain(self.workers, self.config.shutdown_grace, again).await;
        for listening in &self.listening {
            socket::clean_up(&listening.bound);
        }
        socket::clean_up(&self.admin.address);
        self.shared.access_log.clone().finish();
    }

    /// Serves `config` from now on, or changes nothing.
    ///
    /// # Errors
    /// If an address that it adds can't be bound.
    pub(crate) async fn apply(&mut self, config: Config) -> Result<Changes, EdgeError> {
        let added = config
            .listen
            .iter()
            .filter(|wanted| !self.listening.iter().any(|old| old.wanted == **wanted));
        let ours = self.addresses().cloned().collect();
        let bound = bind_all(added, self.workers.len(), ours)?;
        if config.admin != self.config.admin {
            let ours = [self.admin.address.clone()];
            let admin = RunningAdmin::start(&config.admin, &ours, &self.status)?;
            let old = std::mem::replace(&mut self.admin, admin);
            old.task.abort();
            socket::clean_up(&old.address);
        }
        // From here on nothing fails.
        let (next, changes) = self.shared.snapshot.load().next(&config);
        self.status.serving(next.generation, next.routes());
        self.shared.snapshot.store(Arc::new(next));
        for (wanted, bound) in bound {
            self.listen(wanted, bound).await;
        }
        let (kept, removed) = std::mem::take(&mut self.listening)
            .into_iter()
            .partition(|old| config.listen.contains(&old.wanted));
        self.listening = kept;
        for old in removed {
            self.unlisten(old).await;
        }
        self.level.set(config.log.level);
        if config.log.format != self.config.log.format {
            tracing::warn!("a new log.format takes effect when the edge is restarted");
        }
        if config.nameservers != self.config.nameservers {
            tracing::warn!("new nameservers take effect when the edge is restarted");
        }
        self.config = config;
        Ok(changes)
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn status(&self) -> &Status {
        &self.status
    }

    pub(crate) fn generation(&self) -> u64 {
        self.shared.snapshot.load().generation
    }

    async fn listen(&mut self, wanted: Address, bound: Bound) {
        tracing::info!(address = %bound.address, "listening");
        for (worker, socket) in self.workers.iter().zip(bound.sockets) {
            // A worker that is gone can't be told; the others serve on.
            let _ = worker
                .commands
                .send(Command::Listen(bound.address.clone(), socket))
                .await;
        }
        self.listening.push(Listening {
            wanted,
            bound: bound.address,
        });
    }

    async fn unlisten(&self, old: Listening) {
        for worker in &self.workers {
            let (done, is_done) = oneshot::channel();
            let order = Command::Unlisten(old.bound.clone(), done);
            // Until it has closed its socket, the address couldn't be bound again.
            if worker.commands.send(order).await.is_ok() {
                let _ = is_done.await;
            }
        }
        socket::clean_up(&old.bound);
        tracing::info!(address = %old.bound, "not listening any more");
    }
}

impl RunningAdmin {
    fn start(address: &Address, ours: &[Address], status: &Arc<Status>) -> Result<Self, EdgeError> {
        let admin = Admin::bind(address, ours);
        let admin = admin.map_err(|error| EdgeError::Bind {
            address: address.clone(),
            error,
        })?;
        let address = admin.address().clone();
        tracing::info!(%address, "admin listening");
        let status = Arc::clone(status);
        let task = tokio::spawn(async move {
            admin.serve(status).await;
        });
        Ok(Self { address, task })
    }
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            hang_up: signal(SignalKind::hangup())?,
            end: EndSignals {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
            },
        })
    }
}

impl EndSignals {
    async fn recv(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Binds all or none. `ours` are the addresses that are bound already.
fn bind_all<'a>(
    addresses: impl Iterator<Item = &'a Address>,
    workers: usize,
    mut ours: Vec<Address>,
) -> Result<Vec<(Address, Bound)>, EdgeError> {
    let bind = |address: &Address| {
        let bound = socket::bind(address, workers, &ours);
        let bound = bound.map_err(|error| EdgeError::Bind {
            address: address.clone(),
            error,
        })?;
        ours.push(bound.address.clone());
        Ok((address.clone(), bound))
    };
    addresses.map(bind).collect()
}

/// Each client connection may need a second descriptor for its upstream.
fn raise_descriptor_limit(config: &Config) {
    let wanted = 2 * config.limits.connections as u64 + 256;
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) if limit >= wanted => {}
        Ok(limit) => tracing::warn!(
            limit,
            wanted,
            "fewer file descriptors than limits.connections needs; raise the hard limit (ulimit -Hn) or lower limits.connections"
        ),
        Err(error) => tracing::warn!(%error, "can't raise the limit of file descriptors"),
    }
}
