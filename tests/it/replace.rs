//! `hostler run --replace`: one edge after the other at one address, and nobody is refused, reset or left unanswered.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::{
    process::{Signal, geteuid},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::support::{
    DEADLINE, Gate,
    client::Client,
    edge::{Edge, Process, Setup, tenant},
    eventually,
    upstream::{Upstream, ok},
    websocket::{self, Chat},
    wire::Framing,
};

const HOST: &str = "thor.polls.local";
const GRACE: &str = "shutdown.grace = \"60s\"\n";

fn first(upstream: &Upstream) -> Edge {
    Edge::start(&format!("{GRACE}{}", tenant("thor", upstream)))
}

/// What listens where `edge` does, and is `config` else.
fn at(edge: &Edge, config: &str) -> Setup {
    at_addresses(edge.address(), edge.admin_address(), config)
}

fn at_addresses(address: SocketAddr, admin: SocketAddr, config: &str) -> Setup {
    Setup::exactly(&format!(
        "listen = \"{address}\"\nadmin.listen = \"{admin}\"\nlog.format = \"json\"\n{GRACE}{config}"
    ))
}

/// Replaces `old` by one of the same addresses, and waits until both know.
#[track_caller]
fn replace(old: &Edge, upstream: &Upstream) -> Edge {
    let new = at(old, &tenant("thor", upstream)).start_replacing();
    let said = new.await_event(0, "replaced it, it drains");
    assert_eq!(said["predecessor"], old.pid().to_string());
    let said = old.await_event(0, "replaced");
    assert_eq!(said["successor"], new.pid().to_string());
    new
}

/// Does `step` again and again on a thread of its own; a step that fails fails the test.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    fn none() -> Self {
        Self {
            stop: Arc::default(),
            done: Arc::default(),
            threads: Vec::new(),
        }
    }

    fn with(mut self, mut step: impl FnMut() + Send + 'static) -> Self {
        let (stop, done) = (Arc::clone(&self.stop), Arc::clone(&self.done));
        self.threads.push(thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                step();
                done.fetch_add(1, Ordering::Relaxed);
                // Some hundred a second of each, however quick the machine.
                thread::sleep(Duration::from_millis(1));
            }
        }));
        self
    }

    fn with_new_connections(self, address: SocketAddr) -> Self {
        self.with(move || {
            let mut client = Client::connect(address);
            let response = client.get_with(HOST, "/new", "Connection: close\r\n");
            response.expect(200, "ok");
            client.expect_closed();
        })
    }

    /// As a browser does: one connection as long as it is kept, and then another one.
    fn with_kept_connections(self, address: SocketAddr) -> Self {
        let mut kept: Option<Client> = None;
        self.with(move || {
            let mut client = kept.take().unwrap_or_else(|| Client::connect(address));
            let response = client.get(HOST, "/kept");
            response.expect(200, "ok");
            if response.head.connection("close") {
                client.expect_closed();
            } else {
                kept = Some(client);
            }
        })
    }

    /// Waits for so many further steps of all threads together.
    #[track_caller]
    fn goes_on(&self, steps: usize) {
        let target = self.done.load(Ordering::Relaxed) + steps;
        eventually("the load goes on", || {
            let ended = self.threads.iter().any(JoinHandle::is_finished);
            assert!(!ended, "a client failed");
            self.done.load(Ordering::Relaxed) >= target
        });
    }

    fn finish(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        self.done.load(Ordering::Relaxed)
    }
}

/// Answers requests, and echoes a WebSocket.
fn app() -> Upstream {
    Upstream::saying("ok")
}

#[test]
fn ten_replacements_under_load_refuse_reset_and_fail_nobody() {
    let upstream = app();
    let echo = websocket::echo();
    let config = format!(
        "{}paths = [{{ prefix = \"/chat\", upstream = \"{}\" }}]\n",
        tenant("thor", &upstream),
        echo.url()
    );
    let mut oldest = Edge::start(&format!("{GRACE}{config}"));
    let address = oldest.address();
    let mut chat = Chat::open(&oldest, HOST);
    let mut load = Load::none();
    for _ in 0..3 {
        load = load
            .with_new_connections(address)
            .with_kept_connections(address);
    }
    load.goes_on(50);
    let mut current: Option<Edge> = None;
    for round in 0..10 {
        let old = current.as_ref().unwrap_or(&oldest);
        let new = at(old, &config).start_replacing();
        new.await_event(0, "replaced it, it drains");
        load.goes_on(50);
        chat.say(&format!("round {round}"));
        if let Some(mut old) = current.replace(new) {
            assert_eq!(old.wait().code(), Some(0), "drained in good order");
        }
    }
    let requests = load.finish();
    assert!(requests >= 550, "{requests}");
    chat.say("still with the first one");
    chat.close();
    assert_eq!(oldest.wait().code(), Some(0));
    oldest.await_event(0, "drained");
}

#[test]
fn bodies_in_flight_are_finished_by_the_old_one() {
    let gate = Gate::default();
    let app_gate = gate.clone();
    let upstream = Upstream::script(move |connection| {
        while let Some(request) = connection.request() {
            if request.target() == "/download" {
                connection.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfirst");
                app_gate.wait();
                connection.send("last");
            } else {
                connection.send(ok("taken"));
            }
        }
    });
    let mut old = first(&upstream);
    let mut upload = old.client();
    upload.send(format!(
        "POST /upload HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 10\r\n\r\nfirst"
    ));
    let mut download = old.client();
    download.send(format!("GET /download HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    assert_eq!(download.head().status(), 200);
    assert_eq!(download.exactly(5), b"first");
    upstream.wait("both", |seen| seen.requests.len() == 2);

    let new = replace(&old, &upstream);
    new.get(HOST, "/").expect(200, "taken");
    upload.send("last!");
    upload.response().expect(200, "taken");
    gate.open();
    assert_eq!(download.body(Framing::Length(4)).bytes, b"last");
    download.expect_closed();
    assert_eq!(old.wait().code(), Some(0));
}

#[test]
fn successor_answers_at_the_admin_address_too_and_the_old_one_is_not_ready() {
    let gate = Gate::default();
    let app_gate = gate.clone();
    let upstream = Upstream::script(move |connection| {
        connection.request();
        app_gate.wait();
        connection.send(ok("late"));
        connection.rest();
    });
    let mut old = first(&upstream);
    let mut kept = Client::connect(old.admin_address());
    assert_eq!(kept.get("localhost", "/readyz").status, 200);
    let mut slow = old.client();
    slow.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    upstream.wait("the request", |seen| seen.requests.len() == 1);
    let new = replace(&old, &upstream);
    eventually("the old one isn't ready", || {
        kept.get("localhost", "/readyz").status == 503
    });
    for _ in 0..20 {
        assert_eq!(new.admin("/readyz").status, 200);
    }
    gate.open();
    slow.response().expect(200, "late");
    assert_eq!(old.wait().code(), Some(0));
    new.get(HOST, "/").expect(200, "late");
}

#[test]
fn with_nothing_to_replace_it_starts() {
    let upstream = app();
    let edge = Setup::new(&tenant("thor", &upstream)).start_replacing();
    edge.get(HOST, "/").expect(200, "ok");
    edge.await_event(0, "nothing runs here that could be replaced, starting");
}

/// Starts what can't take over, and returns what it says in the end.
#[track_caller]
fn fails(setup: &Setup, options: &[&str]) -> String {
    let mut process = setup.spawn(options);
    assert_eq!(process.wait().code(), Some(1));
    process.stderr.all().join("\n")
}

#[test]
fn successor_with_a_wrong_configuration_leaves_the_old_one_serving() {
    let upstream = app();
    let old = first(&upstream);
    let said = fails(&at(&old, "lisen = 1\n"), &["--replace"]);
    assert!(said.contains("lisen"), "{said}");
    old.get(HOST, "/").expect(200, "ok");
    assert!(!old.events().so_far().join("").contains("replaced"));
}

#[test]
fn successor_that_fails_with_the_sockets_in_its_hands_leaves_the_old_one_serving() {
    let upstream = app();
    let old = first(&upstream);
    let load = Load::none()
        .with_new_connections(old.address())
        .with_kept_connections(old.address());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let admin = taken.local_addr().unwrap();
    let setup = at_addresses(old.address(), admin, &tenant("thor", &upstream));
    let said = fails(&setup, &["--replace"]);
    let us = std::process::id();
    assert!(
        said.contains(&format!("can't listen on {admin}: process {us} (")),
        "{said}"
    );
    old.await_event(0, "not replaced, going on");
    load.goes_on(50);
    load.finish();
    let mut old = old;
    let new = replace(&old, &upstream);
    new.get(HOST, "/").expect(200, "ok");
    assert_eq!(old.wait().code(), Some(0));
}

/// A connection to the control socket of an address.
fn control(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    let name = format!("\0hostler/tcp/{address}");
    socket.connect(&SockAddr::unix(name).unwrap()).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket
}

#[test]
fn successor_that_dies_before_it_serves_leaves_the_old_one_serving() {
    let upstream = app();
    let mut old = first(&upstream);
    // One that says nothing, and one that has asked and then dies.
    let silent = control(old.address());
    drop(silent);
    let mut asking = control(old.address());
    let ask = r#"{"ask":{"protocol":1,"version":"0"}}"#;
    asking
        .write_all(&u32::try_from(ask.len()).unwrap().to_le_bytes())
        .unwrap();
    asking.write_all(ask.as_bytes()).unwrap();
    let mut length = [0; 4];
    asking.read_exact(&mut length).unwrap();
    drop(asking);
    old.await_event(0, "not replaced, going on");
    old.get(HOST, "/").expect(200, "ok");
    assert_eq!(old.admin("/readyz").status, 200);
    let new = replace(&old, &upstream);
    new.get(HOST, "/").expect(200, "ok");
    assert_eq!(old.wait().code(), Some(0));
}

#[test]
fn without_the_flag_the_holder_is_named_and_goes_on() {
    let upstream = app();
    let old = first(&upstream);
    let (address, pid) = (old.address(), old.pid());
    let setup = at(&old, &tenant("thor", &upstream));
    let said = fails(&setup, &[]);
    let expected = format!(
        "hostler: can't listen on {address}: process {pid} (hostler) has it; `hostler run --replace` takes its place"
    );
    assert!(said.contains(&expected), "{said}");
    // All addresses have this one.
    let all = SocketAddr::from(([0, 0, 0, 0], address.port()));
    let setup = at_addresses(all, old.admin_address(), &tenant("thor", &upstream));
    let said = fails(&setup, &[]);
    assert!(
        said.contains(&format!(
            "can't listen on {all}: process {pid} (hostler) has it"
        )),
        "{said}"
    );
    old.get(HOST, "/").expect(200, "ok");
}

#[test]
fn holder_that_is_no_edge_is_named_with_or_without_the_flag() {
    let upstream = app();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let address = taken.local_addr().unwrap();
    let setup = at_addresses(address, free, &tenant("thor", &upstream));
    let us = format!(
        "can't listen on {address}: process {} (",
        std::process::id()
    );
    for options in [&[][..], &["--replace"]] {
        let said = fails(&setup, options);
        assert!(
            said.contains(&us) && said.contains("stop that one, or set another address"),
            "{said}"
        );
        assert!(!said.contains("run --replace`"), "{said}");
    }
}

#[test]
fn of_several_that_start_at_once_one_serves_at_most() {
    let upstream = app();
    for _ in 0..5 {
        let free = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let setup = at_addresses(free, any, &tenant("thor", &upstream));
        let mut starting: Vec<_> = (0..4).map(|_| setup.spawn(&[])).collect();
        let serves = |process: &Process| {
            process
                .stderr
                .so_far()
                .iter()
                .any(|line| line.contains("\"serving\""))
        };
        let mut serving = 0;
        for process in &mut starting {
            eventually("it serves or ends", || {
                serves(process) || process.has_ended()
            });
            serving += usize::from(serves(process));
        }
        assert_eq!(serving, 1);
    }
}

#[test]
fn successor_may_have_other_addresses() {
    let upstream = app();
    let app = tenant("thor", &upstream);
    let log = "admin.listen = \"127.0.0.1:0\"\nlog.format = \"json\"\n";
    let first = format!("listen = [\"127.0.0.1:0\", \"127.0.0.1:0\"]\n{log}{GRACE}{app}");
    let mut old = Setup::exactly(&first).start();
    let listening = old.listening();
    let [kept, dropped] = listening.as_slice() else {
        panic!("{listening:?}")
    };
    let second = format!("listen = [\"{kept}\", \"127.0.0.1:0\"]\n{log}{GRACE}{app}");
    let new = Setup::exactly(&second).start_replacing();
    assert_eq!(old.wait().code(), Some(0));
    let listening = new.listening();
    assert_eq!(&listening[0], kept);
    for address in &listening {
        let mut client = Client::connect(address.parse().unwrap());
        client.get(HOST, "/").expect(200, "ok");
    }
    assert!(Client::try_connect(dropped.parse().unwrap()).is_err());
}

#[test]
fn address_may_become_narrower_and_wider() {
    let upstream = app();
    let app = tenant("thor", &upstream);
    let mut old = first(&upstream);
    let address = old.address();
    let all = SocketAddr::from(([0, 0, 0, 0], address.port()));
    for next in [all, address] {
        let new = at_addresses(next, old.admin_address(), &app).start_replacing();
        assert_eq!(old.wait().code(), Some(0));
        let mut client = Client::connect(address);
        client.get(HOST, "/").expect(200, "ok");
        assert_eq!(new.listening(), [next.to_string()]);
        old = new;
    }
}

#[test]
fn successor_may_have_fewer_or_more_workers() {
    let upstream = app();
    let app = tenant("thor", &upstream);
    let all = sched_getaffinity(None).unwrap();
    let one = (0..CpuSet::MAX_CPU).find(|cpu| all.is_set(*cpu)).unwrap();
    let mut single = CpuSet::new();
    single.set(one);
    let workers = |edge: &Edge| edge.await_event(0, "serving")["workers"].as_u64().unwrap();
    let mut old = first(&upstream);
    let many = workers(&old);
    let load = Load::none()
        .with_new_connections(old.address())
        .with_kept_connections(old.address());
    for (cpus, expected) in [
        (&single, 1),
        (&all, many),
        (&single, 1),
        (&single, 1),
        (&all, many),
    ] {
        // Of this thread, and so of what it starts.
        sched_setaffinity(None, cpus).unwrap();
        let new = at(&old, &app).start_replacing();
        assert_eq!(workers(&new), expected);
        load.goes_on(30);
        assert_eq!(old.wait().code(), Some(0));
        old = new;
    }
    load.finish();
}

#[test]
fn socket_file_of_a_unix_listener_outlives_the_old_one() {
    let upstream = app();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("edge.sock");
    let config = |path: &Path| {
        let log = "admin.listen = \"127.0.0.1:0\"\nlog.format = \"json\"\n";
        format!(
            "listen = \"unix:{}\"\n{log}{}",
            path.display(),
            tenant("thor", &upstream)
        )
    };
    let get = || Client::connect_unix(&path).get(HOST, "/").expect(200, "ok");
    let mut old = Setup::exactly(&config(&path)).start();
    get();
    // The same file by another name.
    let alias = directory.path().join("here");
    std::os::unix::fs::symlink(directory.path(), &alias).unwrap();
    for path in [&alias.join("edge.sock"), &path] {
        let said = fails(&Setup::exactly(&config(path)), &[]);
        let holder = format!("process {} (hostler) has it", old.pid());
        assert!(said.contains(&holder), "{said}");
        let new = Setup::exactly(&config(path)).start_replacing();
        assert_eq!(old.wait().code(), Some(0));
        get();
        old = new;
    }
    old.signal(Signal::TERM);
    assert_eq!(old.wait().code(), Some(0));
    assert!(!path.exists());
}

#[test]
fn two_at_once_replace_one_after_the_other() {
    let upstream = app();
    let app = tenant("thor", &upstream);
    let mut old = first(&upstream);
    let load = Load::none().with_new_connections(old.address());
    let setups = [(); 3].map(|()| at(&old, &app));
    let starting = setups.map(|setup| thread::spawn(|| setup.start_replacing()));
    let mut started = starting.map(|thread| thread.join().unwrap());
    assert_eq!(old.wait().code(), Some(0));
    load.goes_on(30);
    eventually("one is left", || {
        let left = started
            .iter_mut()
            .map(|edge| usize::from(!edge.has_ended()));
        left.sum::<usize>() == 1
    });
    load.goes_on(30);
    load.finish();
}

#[test]
fn signal_to_one_that_was_replaced_cuts_nothing_and_a_second_one_does() {
    let upstream = websocket::echo();
    let mut old = first(&upstream);
    let mut chat = Chat::open(&old, HOST);
    let _new = replace(&old, &upstream);
    old.signal(Signal::TERM);
    for _ in 0..5 {
        chat.say("still here");
    }
    eventually("the second signal ends it", || {
        old.signal(Signal::TERM);
        old.has_ended()
    });
    chat.wait_closed();
    old.wait();
}

#[test]
fn edge_that_has_reloaded_hands_over_what_it_has_now() {
    let upstream = app();
    let app = tenant("thor", &upstream);
    let mut old = first(&upstream);
    let address = old.address();
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let log = "admin.listen = \"127.0.0.1:0\"\nlog.format = \"json\"\n";
    let moved = format!("listen = \"{free}\"\n{log}{app}");
    old.reload_exactly(&moved);
    // Its first address is anybody's again.
    let other = at_addresses(address, SocketAddr::from(([127, 0, 0, 1], 0)), &app).start();
    let new = Setup::exactly(&moved).start_replacing();
    assert_eq!(old.wait().code(), Some(0));
    for edge in [&new, &other] {
        edge.get(HOST, "/").expect(200, "ok");
    }
}

#[test]
fn another_users_edge_is_neither_replaced_nor_replaces() {
    if !geteuid().is_root() {
        // Nobody else may start a process as another user; a unit test has the rule itself.
        return;
    }
    let upstream = app();
    let old = first(&upstream);
    let setup = at(&old, &tenant("thor", &upstream));
    fs::set_permissions(setup.directory(), fs::Permissions::from_mode(0o755)).unwrap();
    let binary = setup.directory().join("hostler");
    fs::copy(env!("CARGO_BIN_EXE_hostler"), &binary).unwrap();
    let config = setup.config();
    let start = |options: &[&str]| {
        let mut command = std::process::Command::new(&binary);
        command
            .arg("run")
            .arg("--config")
            .arg(&config)
            .args(options);
        command.env_remove("HOSTLER_CONFIG").env_remove("RUST_LOG");
        command.uid(12345).gid(12345).current_dir("/");
        let mut process = Process::spawn(command);
        assert_eq!(process.wait().code(), Some(1));
        process.stderr.all().join("\n")
    };
    let pid = old.pid();
    let said = start(&["--replace"]);
    assert!(
        said.contains(&format!("can't replace process {pid}: it runs as user 0")),
        "{said}"
    );
    let said = start(&[]);
    assert!(
        said.contains(&format!("process {pid} (hostler) has it")),
        "{said}"
    );
    assert!(said.contains("if started as user 0"), "{said}");
    old.get(HOST, "/").expect(200, "ok");
    let _ = old.await_event(0, "serving");
}
