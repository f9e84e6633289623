//! A copy of the shipped stack, from its files to its containers, that goes away when it is dropped.
//!
//! It never touches the project's own files nor any container, network or volume but its own.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use tempfile::TempDir;

use crate::{browser::Browser, found_within, project, read};

/// What is shipped: the files that a fresh clone builds and runs the stack from.
const SHIPPED: [&str; 9] = [
    ".cargo",
    ".dockerignore",
    "Cargo.lock",
    "Cargo.toml",
    "Dockerfile",
    "docker-compose.yaml",
    "polls",
    "proxy.toml",
    "src",
];

/// A tenant whose app is the edge's own admin listener, by a name that /etc/hosts of its container alone has.
const PINNED_ROUTE: &str =
    "\n[routes.pinned]\nhosts = \"pinned.polls.local\"\nupstream = \"http://pinned_host:9180\"\n";

/// A command may build the edge from nothing.
const COMMAND: Duration = Duration::from_secs(1800);

#[derive(Debug)]
pub(crate) struct Stack {
    files: TempDir,
    name: String,
    port: u16,
    subnets: String,
    compose: &'static [&'static str],
}

impl Stack {
    pub(crate) fn copy_of_the_shipped_one() -> Self {
        let files = TempDir::new().expect("a directory for the copy");
        // The edge, which is not root, reads its configuration there.
        fs::set_permissions(files.path(), fs::Permissions::from_mode(0o755))
            .expect("the copy is ours");
        for name in SHIPPED {
            copy(&project().join(name), &files.path().join(name));
        }
        let ours = project().join("tests/compose");
        copy(&ours.join("stream.py"), &files.path().join("stream.py"));
        copy(
            &ours.join("override.yaml"),
            &files.path().join("docker-compose.override.yaml"),
        );
        let stack = Self {
            files,
            name: format!("hostler-test-{}", std::process::id()),
            port: free_port(),
            subnets: free_subnets(),
            compose: compose_command(),
        };
        stack.edit("proxy.toml", |file| {
            let upstream = "upstream = \"http://thor_web:8000\"\n";
            let paths =
                "paths = [{ prefix = \"/stream/\", upstream = \"http://thor_stream:9000\" }]\n";
            assert!(file.contains(upstream), "thor's route is where it was");
            file.replace(upstream, &format!("{upstream}{paths}")) + PINNED_ROUTE
        });
        stack.edit("docker-compose.yaml", |file| {
            let edge = "  edge:\n    build: .\n";
            assert!(file.contains(edge), "the edge is where it was");
            file.replace(
                edge,
                &format!("{edge}    extra_hosts: [\"pinned_host:127.0.0.1\"]\n"),
            )
        });
        stack
    }

    /// Runs `docker-compose ARGUMENTS`, or `docker compose` where there is that, to its success.
    pub(crate) fn compose(&self, arguments: &[&str]) -> String {
        self.try_compose(arguments)
            .unwrap_or_else(|failure| panic!("{arguments:?}: {failure}"))
    }

    /// Runs a command line of the documentation.
    pub(crate) fn compose_line(&self, line: &str) -> String {
        let mut words = line.split_whitespace();
        assert_eq!(words.next(), Some("docker-compose"), "{line}");
        self.compose(&words.collect::<Vec<_>>())
    }

    pub(crate) fn docker(&self, arguments: &[&str]) -> String {
        docker(arguments).unwrap_or_else(|failure| panic!("{arguments:?}: {failure}"))
    }

    /// One field of a container, as a Go template.
    pub(crate) fn inspect(&self, container: &str, template: &str) -> String {
        self.docker(&["inspect", "-f", template, container])
            .trim()
            .to_owned()
    }

    /// The container of a service that has one.
    pub(crate) fn container(&self, service: &str) -> String {
        let id = self.compose(&["ps", "-q", service]).trim().to_owned();
        assert!(!id.is_empty(), "{service} has no container");
        id
    }

    /// What the names of its containers and networks begin with.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Where this machine's clients find the edge.
    pub(crate) fn published(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The edge's own address, which no engine stands before.
    pub(crate) fn edge_address(&self) -> SocketAddr {
        let network = format!(
            "{{{{(index .NetworkSettings.Networks \"{}_edge\").IPAddress}}}}",
            self.name
        );
        let address = self.inspect(&self.container("edge"), &network);
        let address: Ipv4Addr = address.parse().expect("the edge has an address");
        (address, 8080).into()
    }

    pub(crate) fn host(&self, tenant: &str) -> String {
        format!("{tenant}.polls.local:{}", self.port)
    }

    pub(crate) fn browser(&self, tenant: &str) -> Browser {
        Browser::new(self.published(), &self.host(tenant))
    }

    /// Saves one of the copy's files as an editor does: aside, then renamed over the old one.
    pub(crate) fn edit(&self, name: &str, change: impl FnOnce(String) -> String) {
        let path = self.files.path().join(name);
        let aside = self.files.path().join(format!(".{name}.new"));
        fs::write(&aside, change(read(&path))).expect("the copy is ours");
        fs::rename(&aside, &path).expect("the copy is ours");
    }

    fn try_compose(&self, arguments: &[&str]) -> Result<String, String> {
        let (program, first) = self.compose.split_first().expect("a program");
        run(Command::new(program)
            .args(first)
            .args(["-p", &self.name])
            .args(arguments)
            .current_dir(self.files.path())
            .env_remove("COMPOSE_FILE")
            .env("HOSTLER_PORT", self.port.to_string())
            .env("HOSTLER_SUBNETS", &self.subnets))
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if thread::panicking() {
            for arguments in [&["ps", "-a"][..], &["logs", "--no-color", "--tail=60"][..]] {
                println!("{}", self.try_compose(arguments).unwrap_or_else(|why| why));
            }
        }
        let down = self.try_compose(&["down", "-v", "--remove-orphans", "-t", "5"]);
        if let Err(failure) = down {
            println!("{} is not wholly gone: {failure}", self.name);
        }
        // The images' names go; the layers stay, or the next run would compile everything again.
        let ours = format!("reference={}*", self.name);
        let images = docker(&["images", "--filter", &ours, "--format", "{{.Repository}}"]);
        for image in images.unwrap_or_default().lines() {
            if let Err(failure) = docker(&["rmi", "--no-prune", image]) {
                println!("{image} stays: {failure}");
            }
        }
    }
}

fn docker(arguments: &[&str]) -> Result<String, String> {
    run(Command::new("docker").args(arguments))
}

/// Standard output of a command that succeeds in time; else what it wrote to standard error.
fn run(command: &mut Command) -> Result<String, String> {
    let output = TempDir::new().map_err(|error| error.to_string())?;
    let [out, err] = ["out", "err"].map(|name| output.path().join(name));
    let create = |path: &PathBuf| File::create(path).map_err(|error| error.to_string());
    let mut child = command
        .stdin(Stdio::null())
        .stdout(create(&out)?)
        .stderr(create(&err)?)
        .spawn()
        .map_err(|error| error.to_string())?;
    match found_within(COMMAND, || child.try_wait().transpose()) {
        Some(Ok(status)) if status.success() => Ok(read(&out)),
        Some(Ok(status)) => Err(format!("{status}: {}{}", read(&out), read(&err))),
        Some(Err(error)) => Err(error.to_string()),
        None => {
            child.kill().map_err(|error| error.to_string())?;
            Err(format!("not done after {COMMAND:?}: {}", read(&err)))
        }
    }
}

/// The second generation of compose where it is installed, else the first.
fn compose_command() -> &'static [&'static str] {
    let second: &[_] = &["docker", "compose"];
    if docker(&["compose", "version"]).is_ok() {
        second
    } else {
        &["docker-compose"]
    }
}

/// Free now; nobody else takes it soon, since the system hands these out in turn.
fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port()
}

/// The beginning of 256 addresses that none of the engine's networks has.
fn free_subnets() -> String {
    let networks = docker(&["network", "ls", "-q"]).expect("a Docker engine answers");
    let subnets: String = networks
        .lines()
        .map(|network| {
            // One that has gone since it was listed takes no addresses.
            let template = "{{range .IPAM.Config}}{{.Subnet}} {{end}}";
            docker(&["network", "inspect", "-f", template, network]).unwrap_or_default()
        })
        .collect();
    (0..=255)
        .map(|third| format!("10.214.{third}"))
        .find(|prefix| !subnets.contains(&format!("{prefix}.")))
        .expect("subnets are free")
}

/// A file, or a directory with all that is in it but what Python compiled there.
fn copy(from: &Path, to: &Path) {
    if from.is_file() {
        fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
        return;
    }
    fs::create_dir(to).expect("the copy is new");
    let entries = fs::read_dir(from).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
    for entry in entries {
        let name = entry.expect("a directory can be listed").file_name();
        if name != "__pycache__" {
            copy(&from.join(&name), &to.join(&name));
        }
    }
}
