//! The usage ledger: it says what the access log adds up to, whatever becomes of the edge in between.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    Gate,
    client::Client,
    edge::{Edge, Output, Setup, tenant},
    eventually,
    upstream::{Upstream, ok},
};

const THOR: &str = "thor.polls.local";
const POTTER: &str = "potter.polls.local";

/// Requests, bytes in and out, microseconds to the apps' answers.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Totals {
    requests: u64,
    bytes_in: u64,
    bytes_out: u64,
    upstream_us: u64,
}

type ByTenant = BTreeMap<String, Totals>;

/// Where ledgers are kept, apart from what an edge leaves behind.
struct Ledger(TempDir);

impl Ledger {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("usage.jsonl")
    }

    /// The lines of proxy.toml that have it kept; keys of the top level can't follow.
    fn config(&self) -> String {
        config_of(&self.path())
    }

    fn output(&self, options: &[&str]) -> Output {
        let path = self.path();
        let arguments = ["usage", "--file", path.to_str().unwrap()];
        Setup::exactly("").output(&[&arguments, options].concat())
    }

    /// What `hostler usage` says.
    #[track_caller]
    fn totals(&self) -> ByTenant {
        let output = self.output(&["--json"]);
        assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
        totals_of(&output.stdout)
    }

    /// Waits until it says what `edges` have logged.
    #[track_caller]
    fn agrees_with(&self, edges: &[&Edge]) {
        eventually("the ledger says what the log says", || {
            self.totals() == logged(edges)
        });
    }

    fn requests(&self, tenant: &str) -> u64 {
        self.totals()
            .get(tenant)
            .map_or(0, |totals| totals.requests)
    }
}

fn config_of(path: &Path) -> String {
    format!("\n[usage]\npath = \"{}\"\n", path.display())
}

#[track_caller]
fn totals_of(json: &str) -> ByTenant {
    let rows: Vec<Value> = serde_json::from_str(json).unwrap();
    let rows = rows.iter().map(|row| {
        let number = |key: &str| row[key].as_u64().unwrap();
        let totals = Totals {
            requests: number("requests"),
            bytes_in: number("bytes_in"),
            bytes_out: number("bytes_out"),
            upstream_us: micros(row["upstream_seconds"].as_f64().unwrap() * 1e6),
        };
        (row["tenant"].as_str().unwrap().to_owned(), totals)
    });
    rows.collect()
}

/// What the lines of the access log add up to.
fn logged(edges: &[&Edge]) -> ByTenant {
    let mut all = ByTenant::new();
    for line in edges.iter().flat_map(|edge| edge.access_log().so_far()) {
        let line: Value = serde_json::from_str(&line).unwrap();
        let Some(tenant) = line["tenant"].as_str() else {
            continue;
        };
        let totals = all.entry(tenant.to_owned()).or_default();
        totals.requests += 1;
        totals.bytes_in += line["bytes_in"].as_u64().unwrap();
        totals.bytes_out += line["bytes_out"].as_u64().unwrap();
        totals.upstream_us += micros(line["upstream_ms"].as_f64().unwrap_or(0.0) * 1e3);
    }
    all
}

fn micros(number: f64) -> u64 {
    format!("{number:.0}").parse().unwrap()
}

/// Ten requests: three of each tenant, and four that lead to none.
fn ask(edge: &Edge) {
    let mut client = edge.client();
    for _ in 0..3 {
        client.post(THOR, "/", "a body").expect(200, "ok");
        client.get(POTTER, "/").expect(200, "ok");
        assert_eq!(client.get("ghost.polls.local", "/").status, 404);
    }
    client.send(format!("BREW / HTTP/1.1\r\nHost: {THOR}\r\n\r\n"));
    client.response();
}

/// Waits at the gate before it ends its answer to `/slow`, and doesn't end that to `/endless`.
fn slow(gate: &Gate) -> Upstream {
    let gate = gate.clone();
    Upstream::script(move |connection| {
        while let Some(request) = connection.request() {
            let gate = match request.target() {
                "/slow" => &gate,
                "/endless" => &Gate::default(),
                _ => {
                    connection.send(ok("ok"));
                    continue;
                }
            };
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfirst");
            gate.wait();
            connection.send("last");
        }
    })
}

/// A request that is in flight until its gate opens.
#[track_caller]
fn begin(edge: &Edge, host: &str, path: &str) -> Client {
    let mut client = edge.client();
    client.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    assert_eq!(client.head().status(), 200);
    assert_eq!(client.exactly(5), b"first");
    client
}

#[test]
fn it_says_what_the_log_says() {
    let (ledger, upstream) = (Ledger::new(), Upstream::saying("ok"));
    let both = tenant("thor", &upstream) + &tenant("potter", &upstream);
    let edge = Edge::start(&(ledger.config() + &both));
    for round in 1..=3 {
        ask(&edge);
        eventually("the requests are logged", || {
            edge.access_log().count() == 10 * round
        });
        ledger.agrees_with(&[&edge]);
    }
    let totals = ledger.totals();
    assert_eq!(totals["potter"].requests, 9);
    assert_eq!(totals["thor"].bytes_in, 54);
    assert_eq!(
        totals.len(),
        2,
        "what led to no tenant is nobody's: {totals:?}"
    );
    let text = fs::read_to_string(ledger.path()).unwrap();
    // Over the turn of an hour there may be twice as many.
    assert!(text.lines().count() <= 4, "{text}");
}

#[test]
fn reload_that_changes_and_removes_tenants_loses_nothing_of_them() {
    let gate = Gate::default();
    let (ledger, upstream) = (Ledger::new(), slow(&gate));
    let (thor, potter) = (tenant("thor", &upstream), tenant("potter", &upstream));
    let edge = Edge::start(&format!("{}{thor}{potter}", ledger.config()));
    ask(&edge);
    // Of one that has counted something before it goes, and of one that hasn't.
    let loki = tenant("loki", &upstream);
    edge.reload(&format!("{}{thor}{potter}{loki}", ledger.config()));
    let mut in_flight = [POTTER, "loki.polls.local"].map(|host| begin(&edge, host, "/slow"));
    edge.reload(&format!("{}{thor}hold = \"1s\"\n", ledger.config()));
    assert_eq!(edge.get(POTTER, "/").status, 404);
    edge.get(THOR, "/").expect(200, "ok");
    // A second one of that name comes while the first one has a request.
    edge.reload(&format!("{}{thor}{potter}", ledger.config()));
    edge.get(POTTER, "/").expect(200, "ok");
    gate.open();
    for client in &mut in_flight {
        assert_eq!(client.exactly(4), b"last");
    }
    eventually("the requests are logged", || {
        edge.access_log().count() == 15
    });
    ledger.agrees_with(&[&edge]);
    assert_eq!((ledger.requests("loki"), ledger.requests("potter")), (1, 5));
}

#[test]
fn restart_goes_on_with_the_same_ledger() {
    let (ledger, upstream) = (Ledger::new(), Upstream::saying("ok"));
    let config = format!(
        "{}{}{}",
        ledger.config(),
        tenant("thor", &upstream),
        tenant("potter", &upstream)
    );
    let mut first = Edge::start(&config);
    ask(&first);
    // The last flush is at the very end.
    first.signal(Signal::TERM);
    assert!(first.wait().success());
    assert_eq!(first.access_log().all().len(), 10);
    assert_eq!(ledger.totals(), logged(&[&first]));
    let second = Edge::start(&config);
    ask(&second);
    eventually("the requests are logged", || {
        second.access_log().count() == 10
    });
    ledger.agrees_with(&[&first, &second]);
    assert_eq!(ledger.requests("potter"), 6);
}

#[test]
fn an_edge_and_its_successor_keep_one_ledger_together() {
    let gate = Gate::default();
    let (ledger, upstream) = (Ledger::new(), slow(&gate));
    let config = format!(
        "{}{}{}",
        ledger.config(),
        tenant("thor", &upstream),
        tenant("potter", &upstream)
    );
    let mut old = Edge::start(&format!("shutdown.grace = \"60s\"\n{config}"));
    ask(&old);
    let mut in_flight = begin(&old, THOR, "/slow");
    let new = Setup::exactly(&format!(
        "listen = \"{}\"\nadmin.listen = \"{}\"\nlog.format = \"json\"\n{config}",
        old.address(),
        old.admin_address()
    ));
    let new = new.start_replacing();
    new.await_event(0, "replaced it, it drains");
    // From then on it accepts nobody.
    old.await_event(0, "draining");
    ask(&new);
    eventually("the requests are logged", || new.access_log().count() == 10);
    // Both write, until the old one has ended.
    ledger.agrees_with(&[&old, &new]);
    gate.open();
    assert_eq!(in_flight.exactly(4), b"last");
    assert!(old.wait().success());
    assert_eq!(old.access_log().all().len(), 11);
    ask(&new);
    eventually("the requests are logged", || new.access_log().count() == 20);
    ledger.agrees_with(&[&old, &new]);
    assert_eq!(ledger.requests("thor"), 10);
}

#[test]
fn kill_loses_nothing_that_was_written() {
    let (ledger, upstream) = (Ledger::new(), Upstream::saying("ok"));
    let config = ledger.config() + &tenant("thor", &upstream);
    let mut first = Edge::start(&config);
    for _ in 0..7 {
        first.get(THOR, "/").expect(200, "ok");
    }
    eventually("they are in the ledger", || ledger.requests("thor") == 7);
    // Whatever of these is written is written whole.
    first.get(THOR, "/").expect(200, "ok");
    first.signal(Signal::KILL);
    first.wait();
    let left = ledger.requests("thor");
    assert!((7..=8).contains(&left), "{left}");
    // A crash of the machine can leave a part of a line.
    let mut text = fs::read_to_string(ledger.path()).unwrap();
    text.push_str(&text.clone()[..100]);
    fs::write(ledger.path(), text).unwrap();
    let second = Edge::start(&config);
    second.get(THOR, "/").expect(200, "ok");
    let mut output = None;
    eventually("the next edge goes on", || {
        let said = ledger.output(&["--json"]);
        let requests = totals_of(&said.stdout)["thor"].requests;
        output = Some(said);
        requests == left + 1
    });
    let said = output.unwrap().stderr;
    assert!(said.contains("1 line left out"), "{said}");
}

#[test]
fn it_is_written_while_the_edge_drains() {
    let gate = Gate::default();
    let (ledger, upstream) = (Ledger::new(), slow(&gate));
    let mut edge = Edge::start(&format!(
        "shutdown.grace = \"60s\"\n{}{}",
        ledger.config(),
        tenant("thor", &upstream)
    ));
    let mut first = begin(&edge, THOR, "/slow");
    let _second = begin(&edge, THOR, "/endless");
    edge.drain();
    gate.open();
    assert_eq!(first.exactly(4), b"last");
    eventually("it is in the ledger", || ledger.requests("thor") == 1);
    edge.signal(Signal::KILL);
    edge.wait();
    assert_eq!(ledger.requests("thor"), 1);
}

#[test]
fn another_path_is_taken_up_and_one_that_is_no_good_is_not() {
    let (first, second) = (Ledger::new(), Ledger::new());
    let upstream = Upstream::saying("ok");
    let thor = tenant("thor", &upstream);
    let edge = Edge::start(&thor);
    edge.get(THOR, "/early").expect(200, "ok");
    edge.logged("path", "/early");
    edge.reload(&format!("{}{thor}", first.config()));
    edge.get(THOR, "/").expect(200, "ok");
    let nowhere = config_of(&first.0.path().join("no/usage.jsonl"));
    let rejected = edge.reload_in_vain(&format!("{nowhere}{thor}hold = \"1s\"\n"));
    let said = rejected["errors"].as_str().unwrap();
    for part in ["/no/usage.jsonl", "[usage] path", "No such file"] {
        assert!(said.contains(part), "{said}");
    }
    edge.get(THOR, "/").expect(200, "ok");
    eventually("the first one is kept still", || {
        first.requests("thor") == 2
    });
    edge.reload(&format!("{}{thor}", second.config()));
    // The first one still gets what is counted by then.
    let mut asked = 2;
    eventually("the second one is kept", || {
        edge.get(THOR, "/").expect(200, "ok");
        asked += 1;
        second.requests("thor") > 0
    });
    eventually("both have it all", || {
        first.requests("thor") + second.requests("thor") == asked
    });
    edge.reload(&thor);
    eventually("nobody keeps it", || {
        let open = fs::read_dir(format!("/proc/{}/fd", edge.pid())).unwrap();
        let mut open = open.filter_map(|file| fs::read_link(file.unwrap().path()).ok());
        !open.any(|file| file.ends_with("usage.jsonl"))
    });
}

#[test]
fn start_with_a_path_that_is_no_good_is_1_and_named() {
    let upstream = Upstream::saying("ok");
    let setup = Setup::new(&format!(
        "\n[usage]\npath = \"no/usage.jsonl\"\n{}",
        tenant("thor", &upstream)
    ));
    let output = setup.output(&["run"]);
    assert_eq!(output.code, Some(1));
    assert!(!output.stderr.contains("\"serving\""), "{}", output.stderr);
    for part in ["no/usage.jsonl ([usage] path)", "make its directory"] {
        assert!(output.stderr.contains(part), "{}", output.stderr);
    }
}

#[test]
fn the_command_reads_what_the_configuration_names() {
    let upstream = Upstream::saying("ok");
    let route = tenant("thor", &upstream);
    let edge = Edge::start(&format!("\n[usage]\npath = \"usage.jsonl\"\n{route}"));
    edge.get(THOR, "/").expect(200, "ok");
    let run = |options: &[&str]| edge.setup().output(&[&["usage"], options].concat());
    eventually("it is in the ledger", || {
        run(&["--since", "1h"]).stdout.contains("thor")
    });
    let output = run(&[]);
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
    let rows: Vec<_> = output.stdout.lines().collect();
    assert!(rows[0].starts_with("TENANT  REQUESTS"), "{rows:?}");
    assert!(rows[1].starts_with("thor           1"), "{rows:?}");
    assert!(rows[2].starts_with("(all)          1"), "{rows:?}");
    assert_eq!(run(&["--since", "2999-01-01"]).stdout.lines().count(), 2);
    assert_eq!(run(&["--since", "yesterday"]).code, Some(2));
    let missing = run(&["--file", "none.jsonl"]);
    assert_eq!(missing.code, Some(1));
    assert!(missing.stderr.contains("none.jsonl"), "{}", missing.stderr);
    let none = Setup::new(&route).output(&["usage"]);
    assert_eq!(none.code, Some(1));
    let remedy = "proxy.toml:\n\n[usage]\npath = \"usage.jsonl\"";
    assert!(none.stderr.ends_with(remedy), "{}", none.stderr);
}
