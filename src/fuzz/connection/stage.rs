//! The edge and who is around it: one runtime whose clock stands still, one worker, two apps. What a run leaves behind is
//! checked to be nothing, and all that a run could learn from the one before is made anew.

use std::{future::Future, path::PathBuf, rc::Rc, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::{
    net::{UnixListener, UnixStream},
    runtime::{self, LocalOptions, LocalRuntime},
    signal::unix::{Signal, SignalKind, signal},
    task::{AbortHandle, JoinSet},
    time::{self, Instant, sleep, timeout},
};

use super::{
    apps::{self, Book},
    client::Client,
    log::{Line, Log},
};
use crate::{
    config::{Config, Origin, Route},
    connection,
    deadline::TICK,
    fuzz::fixed_config,
    session::Peer,
    snapshot::Snapshot,
    stream::Stream,
    upstream::resolve::Resolver,
    worker::{Shared, Worker},
};

/// Passes when nobody has anything left to do.
pub(super) const QUIET: Duration = Duration::from_millis(1);

/// No connection outlives its last byte by so much.
pub(super) const LONGEST: Duration = Duration::from_secs(30);

pub(super) const TENANTS: [&str; 2] = ["thor", "potter"];

/// Short waits, since each of them is some ticks; `potter` takes small bodies only.
const CONFIG: &str = r#"
[limits]
headers_bytes_max = "8KiB"
header_read = "2s"
keepalive = "2s"
keepalive_requests = 20

[defaults]
hold = "0s"
timeouts = { connect = "2s", response = "2s", idle = "2s", tunnel_idle = "2s" }

[routes.thor]
hosts = ["thor.test", "*.thor.test"]
upstream = "unix:/thor"

[routes.potter]
hosts = "potter.test"
upstream = "unix:/potter"
limits.body = "64B"
"#;

struct Stage {
    runtime: LocalRuntime,
    shared: Arc<Shared>,
    log: Log,
    plain: Config,
    proxied: Config,
    apps: Vec<Rc<UnixListener>>,
    /// Writing to an end that is closed would end the process: libFuzzer's `main` doesn't ignore the signal, as Rust's does.
    _pipe: Signal,
}

/// One run: a worker that has seen nothing yet, and apps that haven't either.
pub(super) struct Run {
    stage: &'static Stage,
    worker: Rc<Worker>,
    began: Instant,
    /// What a worker does beside its connections.
    beside: [AbortHandle; 2],
    tasks: JoinSet<()>,
    book: Rc<Book>,
}

/// What everybody has seen, when all of it is over.
pub(super) struct Outcome {
    pub(super) got: Vec<u8>,
    pub(super) book: Rc<Book>,
    pub(super) lines: Vec<Line>,
}

/// Runs `played`, with an edge that expects PROXY headers or doesn't.
pub(super) fn play<F: Future<Output = ()>>(proxied: bool, played: impl FnOnce(Run) -> F) {
    thread_local! {
        // Never dropped: the thread's other locals, which it needs for that, may go before it.
        static STAGE: &'static Stage = Box::leak(Box::new(Stage::build()));
    }
    let stage = STAGE.with(|stage| *stage);
    stage.runtime.block_on(async {
        // Requests get the same ids in each run.
        fastrand::seed(0);
        played(stage.begin(proxied)).await;
    });
}

impl Stage {
    fn build() -> Self {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build_local(LocalOptions::default())
            .expect("a runtime");
        let mut plain = fixed_config(CONFIG);
        let mut apps = Vec::new();
        let (shared, log, pipe) = runtime.block_on(async {
            let mut routes: Vec<Route> = plain
                .routes
                .iter()
                .map(|route| Route::clone(route))
                .collect();
            for (route, tenant) in routes.iter_mut().zip(TENANTS) {
                assert_eq!(&*route.tenant, tenant);
                // In the abstract namespace, so that no file is left behind.
                let path = PathBuf::from(format!("\0hostler-fuzz-{}-{tenant}", std::process::id()));
                apps.push(Rc::new(UnixListener::bind(&path).expect("a listener")));
                route.upstream.origins = [Origin::Unix(path.into())].into();
            }
            plain.routes = routes.into_iter().collect();
            let (access_log, log) = Log::start();
            let snapshot = Arc::new(ArcSwap::from_pointee(Snapshot::first(&plain)));
            // Nobody asks it: the apps are no names.
            let resolver = Resolver::start(&[([127, 0, 0, 1], 53).into()]).expect("a resolver");
            let shared = Shared::new(1, snapshot, resolver, access_log);
            let pipe = signal(SignalKind::pipe()).expect("a signal handler");
            (Arc::new(shared), log, pipe)
        });
        let proxied = Config {
            trusted_proxies: vec![
                "127.0.0.1"
                    .parse::<std::net::IpAddr>()
                    .expect("an address")
                    .into(),
            ],
            proxy_protocol: true,
            ..plain.clone()
        };
        Self {
            runtime,
            shared,
            log,
            plain,
            proxied,
            apps,
            _pipe: pipe,
        }
    }

    fn begin(&'static self, proxied: bool) -> Run {
        let config = if proxied { &self.proxied } else { &self.plain };
        self.shared
            .snapshot
            .store(Arc::new(Snapshot::first(config)));
        let worker = Rc::new(Worker::new(0, Arc::clone(&self.shared)));
        let (began, book) = (Instant::now(), Rc::new(Book::default()));
        let mut tasks = JoinSet::new();
        let beside = [
            tasks.spawn_local(tick(Rc::clone(&worker), began)),
            tasks.spawn_local(Rc::clone(worker.rounds()).run()),
        ];
        for (listener, tenant) in self.apps.iter().zip(TENANTS) {
            tasks.spawn_local(apps::serve(Rc::clone(listener), tenant, Rc::clone(&book)));
        }
        Run {
            stage: self,
            worker,
            began,
            beside,
            tasks,
            book,
        }
    }
}

async fn tick(worker: Rc<Worker>, began: Instant) {
    let mut tick = time::interval(TICK);
    loop {
        tick.tick().await;
        worker.tick(began);
    }
}

impl Run {
    pub(super) fn book(&self) -> &Book {
        &self.book
    }

    /// A client, from this machine.
    pub(super) fn connect(&self) -> Client {
        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        let (worker, stream) = (Rc::clone(&self.worker), Stream::Unix(theirs));
        let edge = tokio::task::spawn_local(connection::serve(worker, stream, Peer::local()));
        Client::new(ours, edge)
    }

    /// Waits for the end of the connection; then there must be nothing left of it.
    pub(super) async fn end(mut self, client: Client) -> Outcome {
        let got = client.end().await;
        let lines = self.stage.log.lines(&self.worker, self.began);
        self.beside.iter().for_each(AbortHandle::abort);
        sleep(QUIET).await;
        let Ok(worker) = Rc::try_unwrap(self.worker) else {
            panic!("something of a connection outlives it");
        };
        drop(worker);
        sleep(QUIET).await;
        assert_eq!(
            self.book.open.get(),
            0,
            "connections to apps outlive the worker"
        );
        self.tasks.shutdown().await;
        Outcome {
            got,
            book: self.book,
            lines,
        }
    }
}

/// Waits for what has to come.
pub(super) async fn within_reason<T>(what: &str, future: impl Future<Output = T>) -> T {
    let waited = timeout(LONGEST, future).await;
    waited.unwrap_or_else(|_| panic!("{what} doesn't end"))
}
