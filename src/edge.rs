//! The edge as a whole, seen from its control thread: it starts the workers, listens, takes up new configurations
//! and ends everything in order. No request passes through here.

use std::{
    fmt, io,
    sync::{Arc, atomic::AtomicUsize},
};

use arc_swap::ArcSwap;
use tokio::{
    runtime,
    signal::unix::{SignalKind, signal},
    task::JoinHandle,
    time::{self, MissedTickBehavior},
};

use crate::{
    admin::{Admin, status::Status},
    config::{Address, Config, Source},
    listener::{self, Bound},
    reload::{self, POLL},
    shutdown,
    snapshot::{Changes, Snapshot},
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
        raise_descriptor_limit(&config);
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let bound = bind_all(&config.listen, count)?;
        let status = Arc::new(Status::default());
        let admin = RunningAdmin::start(&config.admin, &status).await?;

        let control = runtime::Handle::current();
        let format = Format::of(config.log.format, &io::stdout());
        let shared = Arc::new(Shared {
            snapshot: Arc::new(ArcSwap::from_pointee(Snapshot::first(&config))),
            resolver: Resolver::from_system(control)
                .map_err(|error| EdgeError::Resolver(error.into()))?,
            access_log: AccessLog::start(format, Box::new(io::stdout()))
                .map_err(EdgeError::System)?,
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
    ///
    /// # Errors
    /// If the system has no signals to listen to.
    pub(crate) async fn run(mut self, mut source: Option<Source>) -> Result<(), EdgeError> {
        let mut hang_up = signal(SignalKind::hangup()).map_err(EdgeError::System)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(EdgeError::System)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(EdgeError::System)?;
        let mut poll = time::interval(POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let asked = tokio::select! {
                _ = poll.tick() => false,
                _ = hang_up.recv() => true,
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
            };
            if let Some(known) = source.take() {
                source = Some(reload::reload(&mut self, known, asked).await);
            }
        }
        self.status.draining();
        let sooner = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        shutdown::drain(self.workers, self.config.shutdown_grace, sooner).await;
        for listening in &self.listening {
            remove_socket(&listening.bound);
        }
        remove_socket(&self.admin.address);
        self.shared.access_log.clone().finish();
        Ok(())
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
        let bound = bind_all(&added.cloned().collect::<Vec<_>>(), self.workers.len())?;
        if config.admin != self.config.admin {
            let admin = RunningAdmin::start(&config.admin, &self.status).await?;
            std::mem::replace(&mut self.admin, admin).task.abort();
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
            let _ = worker
                .commands
                .send(Command::Unlisten(old.bound.clone()))
                .await;
        }
        remove_socket(&old.bound);
        tracing::info!(address = %old.bound, "not listening any more");
    }
}

impl RunningAdmin {
    async fn start(address: &Address, status: &Arc<Status>) -> Result<Self, EdgeError> {
        let admin = Admin::bind(address).await;
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

fn bind_all(addresses: &[Address], workers: usize) -> Result<Vec<(Address, Bound)>, EdgeError> {
    let bind = |address: &Address| match listener::bind(address, workers) {
        Ok(bound) => Ok((address.clone(), bound)),
        Err(error) => Err(EdgeError::Bind {
            address: address.clone(),
            error,
        }),
    };
    addresses.iter().map(bind).collect()
}

/// A unix socket's file outlives the socket.
fn remove_socket(address: &Address) {
    if let Address::Unix(path) = address {
        let _ = std::fs::remove_file(path);
    }
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
