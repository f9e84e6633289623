//! The edge as a whole, from its control thread: starts, listens, reloads, gives way, ends. No request passes here.

use std::{collections::HashSet, io, sync::Arc};

use arc_swap::ArcSwap;
use tokio::{
    sync::{Semaphore, oneshot},
    time::{self, MissedTickBehavior},
};

use crate::{
    admin::{Told, status::Status},
    config::{Address, Config, Source},
    edge_error::EdgeError,
    handover::{Control, Farewell, Predecessor, Successor},
    listening::{self, FirstSockets, Listening, RunningAdmin},
    reload::{self, POLL},
    shutdown::{self, Signals},
    snapshot::{Changes, Snapshot},
    socket::{Bound, Identity},
    telemetry::{
        Format, Level,
        access_log::AccessLog,
        ledger::{self, Ledger, LedgerFile},
    },
    upstream::{
        active::{self, CHECKS_MAX},
        resolve::Resolver,
    },
    worker::{
        Shared,
        thread::{self, Command, Handle},
    },
};

/// A running edge.
#[derive(Debug)]
pub(crate) struct Edge {
    config: Config,
    shared: Arc<Shared>,
    workers: Vec<Handle>,
    listening: Vec<Listening>,
    admin: RunningAdmin,
    told: Told,
    status: Arc<Status>,
    level: Level,
    usage: Ledger,
    signals: Signals,
    control: Control,
    /// Of health checks.
    slots: Arc<Semaphore>,
}

impl Edge {
    /// Binds everything, starts the workers and serves. Runs on the control thread's runtime. If it is to `replace`
    /// the edge that runs, it takes over the sockets of that one, and tells it in the end that it may go.
    ///
    /// # Errors
    /// If an address can't be bound, the system refuses a thread, or the other edge doesn't make way; then nothing is
    /// left running, and the other one goes on.
    pub(crate) async fn start(
        config: Config,
        level: Level,
        replace: bool,
    ) -> Result<Self, EdgeError> {
        let signals = Signals::listen().map_err(EdgeError::System)?;
        raise_descriptor_limit(&config);
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let (sockets, predecessor) = if replace {
            FirstSockets::take_over(&config, count).await?
        } else {
            (FirstSockets::bind(&config, count, None)?, None)
        };
        let usage = open_usage(&config).await?;
        let status = Arc::new(Status::default());
        let snapshot = Arc::new(ArcSwap::from_pointee(Snapshot::first(&config)));
        let format = Format::of(config.log.format, &io::stdout());
        let resolver = Resolver::start(&config.nameservers)
            .map_err(|error| EdgeError::Resolver(error.into()))?;
        let access_log =
            AccessLog::start(format, Box::new(io::stdout())).map_err(EdgeError::System)?;
        let shared = Arc::new(Shared::new(count, snapshot, resolver, access_log));
        let told = Told::new(Arc::clone(&status), Arc::clone(&shared));
        let admin = RunningAdmin::start(&config.admin, sockets.admin, &told)?;
        let workers = (0..count).map(|index| thread::start(index, Arc::clone(&shared)));
        let workers = workers
            .collect::<io::Result<_>>()
            .map_err(EdgeError::System)?;
        let mut edge = Self {
            config,
            shared,
            workers,
            listening: Vec::new(),
            admin,
            told,
            status,
            level,
            usage: Ledger::default(),
            signals,
            control: Control::new(),
            slots: Arc::new(Semaphore::new(CHECKS_MAX)),
        };
        edge.check_health();
        edge.usage.keep_in(usage, &edge.shared.snapshot);
        for (wanted, bound) in sockets.listen {
            let listening = Listening::new(wanted, &bound)?;
            edge.listen(listening, bound).await;
        }
        if predecessor.is_none() {
            edge.be_replaceable();
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
        if let Some(predecessor) = predecessor {
            edge = edge.dismiss(predecessor).await?;
            edge.be_replaceable();
        }
        Ok(edge)
    }

    /// Tells the old edge that this one serves. If that one doesn't go, this one has to: of two that serve beside each
    /// other, only one would be told of changes, and stopped.
    async fn dismiss(self, predecessor: Predecessor) -> Result<Self, EdgeError> {
        let peer = predecessor.peer;
        let taken = predecessor.taken().iter().cloned().collect();
        match predecessor.dismiss().await {
            Ok(Farewell::Drains) => tracing::info!(predecessor = %peer, "replaced it, it drains"),
            Ok(Farewell::Died) => tracing::warn!(predecessor = %peer, "replaced it, it has died"),
            Ok(Farewell::Silent) => {
                tracing::warn!(predecessor = %peer, "it doesn't answer, and may be serving still");
            }
            Err(error) => {
                self.end(&taken).await;
                return Err(EdgeError::Replace {
                    predecessor: peer,
                    error,
                });
            }
        }
        Ok(self)
    }

    /// The addresses that it serves on, ports as they really are.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = &Address> {
        self.listening.iter().map(|listening| &listening.bound)
    }

    /// Serves until the process is told to end, or another has taken over; then ends in order. Takes up what changes in
    /// `source`, if there is one.
    pub(crate) async fn run(mut self, mut source: Option<Source>) {
        let mut poll = time::interval(POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let left = loop {
            let asked = tokio::select! {
                _ = poll.tick() => false,
                _ = self.signals.hang_up.recv() => true,
                () = self.signals.end.recv() => break HashSet::new(),
                successor = self.control.successor() => match self.hand_over(successor).await {
                    Some(taken) => break taken,
                    None => continue,
                }
            };
            if let Some(known) = source.take() {
                source = Some(reload::reload(&mut self, known, asked).await);
            }
        };
        self.end(&left).await;
    }

    /// Finishes what is there. What is in `left` is served on by another process.
    async fn end(mut self, left: &HashSet<Identity>) {
        self.status.draining();
        // So that nobody asks one that can't give anything any more.
        self.control.close().await;
        let mut ended = Vec::new();
        let mut handed_over = HashSet::new();
        for listening in self.listening {
            if listening.is_in(left) {
                handed_over.insert(listening.bound.clone());
            } else {
                ended.push(listening.close());
            }
        }
        let admin = if self.admin.listening().is_in(left) {
            self.admin.leave();
            None
        } else {
            Some(self.admin)
        };
        let signals = &mut self.signals.end;
        let sooner = async {
            // The service manager's own, of one that drains already.
            if !left.is_empty() {
                signals.recv().await;
            }
            signals.recv().await;
        };
        let grace = self.config.shutdown_grace;
        shutdown::drain(self.workers, handed_over, grace, sooner).await;
        for leftover in ended {
            leftover.clean_up();
        }
        if let Some(admin) = admin {
            admin.end();
        }
        self.usage.finish().await;
        self.shared.access_log.clone().finish();
    }

    /// What `successor` has taken over, if it serves now.
    async fn hand_over(&mut self, mut successor: Successor) -> Option<HashSet<Identity>> {
        let peer = successor.peer;
        let version = successor.version.as_str();
        tracing::info!(successor = %peer, version, "asked to be replaced");
        let listening = self.listening.iter().chain([self.admin.listening()]);
        let offered: Vec<_> = listening.filter_map(Listening::offer).collect();
        let taken = match successor.offer(&offered).await {
            Ok(taken) => taken,
            Err(error) => {
                tracing::warn!(successor = %peer, %error, "not replaced, going on");
                return None;
            }
        };
        // Before it is told, since it takes the names then.
        self.control.close().await;
        if let Err(error) = successor.confirm().await {
            tracing::warn!(successor = %peer, %error, "not replaced, going on");
            self.be_replaceable();
            return None;
        }
        tracing::info!(successor = %peer, "replaced");
        Some(taken.into_iter().collect())
    }

    /// Lets a successor find this edge at each of its addresses.
    fn be_replaceable(&mut self) {
        let listening = self.listening.iter().chain([self.admin.listening()]);
        let identities = listening.filter_map(|listening| listening.identity.clone());
        self.control.listen_at(identities.collect());
    }

    /// Serves `config` from now on, or changes nothing.
    ///
    /// # Errors
    /// If an address that it adds can't be bound, or another file of the usage ledger can't be opened.
    pub(crate) async fn apply(&mut self, config: Config) -> Result<Changes, EdgeError> {
        let mut ours: Vec<_> = self.addresses().cloned().collect();
        let mut added = Vec::new();
        for wanted in &config.listen {
            if self.listening.iter().all(|old| old.wanted != *wanted) {
                let bound = listening::bind(wanted, self.workers.len(), &ours)?;
                ours.push(bound.address.clone());
                added.push((Listening::new(wanted.clone(), &bound)?, bound));
            }
        }
        let usage = if config.usage == self.config.usage {
            None
        } else {
            Some(open_usage(&config).await?)
        };
        if config.admin != self.config.admin {
            let ours = [self.admin.listening().bound.clone()];
            let bound = listening::bind(&config.admin, 1, &ours)?;
            let admin = RunningAdmin::start(&config.admin, bound, &self.told)?;
            std::mem::replace(&mut self.admin, admin).end();
        }
        // From here on nothing fails.
        let (next, changes, gone) = self.shared.snapshot.load().next(&config);
        self.status.serving(next.generation, next.routes());
        self.shared.snapshot.store(Arc::new(next));
        if let Some(file) = usage {
            self.usage.keep_in(file, &self.shared.snapshot);
        }
        self.usage.see_off(&gone);
        drop(gone);
        self.check_health();
        for (listening, bound) in added {
            self.listen(listening, bound).await;
        }
        let (kept, removed) = std::mem::take(&mut self.listening)
            .into_iter()
            .partition(|old| config.listen.contains(&old.wanted));
        self.listening = kept;
        for old in removed {
            self.unlisten(old).await;
        }
        self.be_replaceable();
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

    /// Begins to ask the upstreams for their health that want it and aren't asked yet. It ends with the upstream.
    fn check_health(&self) {
        let snapshot = self.shared.snapshot.load();
        let routes = snapshot.all_routes();
        for upstream in routes.filter_map(|route| route.checked_upstream()) {
            if upstream.begins_to_be_checked() {
                let (weak, slots) = (Arc::downgrade(upstream), Arc::clone(&self.slots));
                tokio::spawn(active::run(weak, self.shared.resolver.clone(), slots));
            }
        }
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

    async fn listen(&mut self, listening: Listening, bound: Bound) {
        tracing::info!(address = %bound.address, "listening");
        // There may be more sockets than workers, if another process with more of them has bound them.
        let workers = self.workers.iter().cycle();
        for (worker, socket) in workers.zip(bound.sockets) {
            // A worker that is gone can't be told; the others serve on.
            let order = Command::Listen(bound.address.clone(), socket);
            let _ = worker.commands.send(order).await;
        }
        self.listening.push(listening);
    }

    async fn unlisten(&self, old: Listening) {
        let address = old.bound.clone();
        let leftover = old.close();
        for worker in &self.workers {
            let (done, is_done) = oneshot::channel();
            let order = Command::Unlisten(address.clone(), done);
            // Until it has closed its socket, the address couldn't be bound again.
            if worker.commands.send(order).await.is_ok() {
                let _ = is_done.await;
            }
        }
        leftover.clean_up();
        tracing::info!(%address, "not listening any more");
    }
}

/// The file of the usage ledger, if one is to be kept.
async fn open_usage(config: &Config) -> Result<Option<LedgerFile>, EdgeError> {
    let Some(path) = config.usage.clone() else {
        return Ok(None);
    };
    match ledger::open(path.clone()).await {
        Ok(file) => Ok(Some(file)),
        Err(error) => Err(EdgeError::Usage { path, error }),
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
