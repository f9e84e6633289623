//! The edge as its operator has it: a process, its proxy.toml, its signals and what it prints.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::{
    DEADLINE,
    client::{Client, Response},
    eventually,
    lines::Lines,
    upstream::Upstream,
};

/// What every configuration of the tests begins with; keys of the top level may follow.
pub(crate) const PREAMBLE: &str = "\
listen = \"127.0.0.1:0\"
admin.listen = \"127.0.0.1:0\"
log.format = \"json\"
";

/// The three lines of a tenant, `NAME.polls.local`; further keys of its route may follow.
pub(crate) fn tenant(name: &str, upstream: &Upstream) -> String {
    tenant_at(name, upstream.url())
}

pub(crate) fn tenant_at(name: &str, url: &str) -> String {
    format!("\n[routes.{name}]\nhosts = [\"{name}.polls.local\"]\nupstream = \"{url}\"\n")
}

/// The directory that proxy.toml is in, and the environment of the edge that reads it.
pub(crate) struct Setup {
    directory: TempDir,
    environment: Vec<(String, String)>,
}

impl Setup {
    /// `config` follows [`PREAMBLE`].
    pub(crate) fn new(config: &str) -> Self {
        Self::exactly(&format!("{PREAMBLE}{config}"))
    }

    pub(crate) fn exactly(config: &str) -> Self {
        let setup = Self {
            directory: TempDir::new().unwrap(),
            environment: Vec::new(),
        };
        setup.save_file("proxy.toml", config);
        setup
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Has the clock fail once in a worker's thread when an app has sent `X-Clock: fails`: what handles that panics.
    pub(crate) fn with_failing_clock(self) -> Self {
        let source = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/it/support/failing_clock.c"
        );
        let library = self.directory().join("failing_clock.so");
        let mut compiler = Command::new("cc");
        compiler
            .args(["-shared", "-fPIC", "-o"])
            .arg(&library)
            .arg(source);
        assert!(compiler.status().unwrap().success());
        let library = library.to_str().unwrap().to_owned();
        self.env("LD_PRELOAD", &library)
    }

    pub(crate) fn file(self, name: &str, text: &str) -> Self {
        self.save_file(name, text);
        self
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.directory().join("proxy.toml")
    }

    /// Saves as careful editors do: the new file beside the old one, then renamed over it.
    fn save_file(&self, name: &str, text: &str) {
        let path = self.directory().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let new = path.with_extension("new");
        fs::write(&new, text).unwrap();
        fs::rename(&new, &path).unwrap();
    }

    /// `hostler ARGUMENTS`, in the directory of proxy.toml.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hostler"));
        command
            .args(arguments)
            .current_dir(self.directory())
            .stdin(Stdio::null());
        command.env_remove("HOSTLER_CONFIG").env_remove("RUST_LOG");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a command that ends by itself.
    pub(crate) fn output(&self, arguments: &[&str]) -> Output {
        let mut process = Process::spawn(self.command(arguments));
        let code = process.wait().code();
        Output {
            code,
            stdout: process.stdout.all().join("\n"),
            stderr: process.stderr.all().join("\n"),
        }
    }

    pub(crate) fn start(self) -> Edge {
        let process = self.spawn(&[]);
        self.serving(process)
    }

    /// `hostler run --replace`.
    pub(crate) fn start_replacing(self) -> Edge {
        let process = self.spawn(&["--replace"]);
        self.serving(process)
    }

    fn serving(self, process: Process) -> Edge {
        process
            .stderr
            .json("\"serving\"", |event| event["message"] == "serving");
        let address_of = |message: &str| {
            let events = process.stderr.so_far().into_iter();
            let mut events = events.filter_map(|line| serde_json::from_str::<Value>(&line).ok());
            let event = events.find(|event| event["message"] == message);
            event.and_then(|event| event["address"].as_str()?.parse().ok())
        };
        Edge {
            address: address_of("listening"),
            admin: address_of("admin listening"),
            process,
            setup: self,
        }
    }

    /// The same where the configuration asks for text.
    pub(crate) fn start_with_text_log(self) -> Edge {
        let process = self.spawn(&[]);
        process
            .stderr
            .find("serving", |line| line.contains("serving").then_some(()));
        let address_in = |admin: bool| {
            let events = process.stderr.so_far();
            let said = |event: &&String| {
                event.contains("listening") && event.contains("admin listening") == admin
            };
            let words = events.iter().find(said)?.split([' ', '=', '"']);
            words.filter_map(|word| word.parse().ok()).next()
        };
        let (address, admin) = (address_in(false), address_in(true));
        Edge {
            address,
            admin,
            process,
            setup: self,
        }
    }

    /// `hostler run`, which may not come to serve.
    pub(crate) fn spawn(&self, options: &[&str]) -> Process {
        let config = self.config();
        let run = ["run", "--config", config.to_str().unwrap()];
        Process::spawn(self.command(&[&run, options].concat()))
    }
}

/// What a command that has ended left behind.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A running `hostler run`, killed when it is dropped.
pub(crate) struct Edge {
    /// Of the first listener, unless that one is a unix socket.
    address: Option<SocketAddr>,
    admin: Option<SocketAddr>,
    process: Process,
    setup: Setup,
}

impl Edge {
    /// `config` follows [`PREAMBLE`].
    pub(crate) fn start(config: &str) -> Self {
        Setup::new(config).start()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address.unwrap()
    }

    pub(crate) fn directory(&self) -> &Path {
        self.setup.directory()
    }

    /// To run commands beside it.
    pub(crate) fn setup(&self) -> &Setup {
        &self.setup
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address())
    }

    /// One request on a connection of its own.
    #[track_caller]
    pub(crate) fn get(&self, host: &str, path: &str) -> Response {
        self.client().get_with(host, path, "Connection: close\r\n")
    }

    /// Memory that it has, in KiB.
    pub(crate) fn resident_kib(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let amount = line.unwrap().trim().strip_suffix(" kB");
        amount.unwrap().parse().unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn admin_address(&self) -> SocketAddr {
        self.admin.unwrap()
    }

    #[track_caller]
    pub(crate) fn admin(&self, path: &str) -> Response {
        Client::connect(self.admin.unwrap()).get("localhost", path)
    }

    /// The first line of the access log whose `key` is `value`.
    #[track_caller]
    pub(crate) fn logged(&self, key: &str, value: impl Into<Value>) -> Value {
        let value = value.into();
        self.process
            .stdout
            .json(&format!("{key} {value}"), |line| line[key] == value)
    }

    pub(crate) fn access_log(&self) -> &Lines {
        &self.process.stdout
    }

    pub(crate) fn events(&self) -> &Lines {
        &self.process.stderr
    }

    /// The addresses that were announced as listened on so far, unix sockets included.
    pub(crate) fn listening(&self) -> Vec<String> {
        let events = self.events().so_far().into_iter();
        let events = events.filter_map(|line| serde_json::from_str::<Value>(&line).ok());
        let listening = events.filter(|event| event["message"] == "listening");
        listening
            .filter_map(|event| Some(event["address"].as_str()?.to_owned()))
            .collect()
    }

    /// Saves a file without telling the edge. In proxy.toml `text` follows [`PREAMBLE`].
    pub(crate) fn save(&self, config: &str) {
        self.save_file("proxy.toml", &format!("{PREAMBLE}{config}"));
    }

    pub(crate) fn save_file(&self, name: &str, text: &str) {
        self.setup.save_file(name, text);
    }

    /// Saves proxy.toml, tells the edge, and waits until the new configuration is served.
    #[track_caller]
    pub(crate) fn reload(&self, config: &str) -> Value {
        self.reload_exactly(&format!("{PREAMBLE}{config}"))
    }

    #[track_caller]
    pub(crate) fn reload_exactly(&self, config: &str) -> Value {
        let before = self.events().count();
        self.save_file("proxy.toml", config);
        self.signal(Signal::HUP);
        self.await_event(before, "configuration reloaded")
    }

    /// Saves a proxy.toml that is wrong, tells the edge, and waits until that has been said.
    #[track_caller]
    pub(crate) fn reload_in_vain(&self, config: &str) -> Value {
        let before = self.events().count();
        self.save(config);
        self.signal(Signal::HUP);
        self.await_event(before, "configuration rejected")
    }

    /// Waits for an event among those that come after the first `skip`.
    #[track_caller]
    pub(crate) fn await_event(&self, skip: usize, message: &str) -> Value {
        self.events()
            .json_after(skip, &format!("{message:?}"), |event| {
                event["message"] == message
            })
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Sends SIGTERM and waits until the edge drains: it says so first, and has closed its listeners a little later.
    #[track_caller]
    pub(crate) fn drain(&self) {
        let before = self.events().count();
        self.signal(Signal::TERM);
        self.await_event(before, "draining");
        eventually("new connections are refused", || {
            Client::try_connect(self.address()).is_err()
        });
    }

    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.process.wait()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.process.has_ended()
    }
}

/// A child process with its output gathered, killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    pub(crate) stdout: Lines,
    pub(crate) stderr: Lines,
}

impl Process {
    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = Lines::gather(child.stdout.take().unwrap());
        let stderr = Lines::gather(child.stderr.take().unwrap());
        Self {
            child,
            stdout,
            stderr,
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(
                began.elapsed() < DEADLINE,
                "it did not end; it said:\n{}",
                self.stderr.so_far().join("\n")
            );
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good.
        drop(self.child.kill());
        drop(self.child.wait());
        if thread::panicking() {
            println!(
                "the edge said:\n{}\n{}",
                self.stderr.so_far().join("\n"),
                self.stdout.so_far().join("\n")
            );
        }
    }
}
