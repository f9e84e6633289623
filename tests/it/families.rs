//! Names with addresses of both families, or of one: IPv4 and IPv6 are asked for, answered and dialled each by itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::support::{
    Watched,
    dns::{NameServer, Reply},
    edge::{Edge, Setup, tenant_at},
    eventually,
    upstream::{Connection, Unanswering, Upstream, ok},
};

const HOST: &str = "thor.polls.local";
const FOUR: Ipv4Addr = Ipv4Addr::LOCALHOST;
const SIX: Ipv6Addr = Ipv6Addr::LOCALHOST;

fn serve(text: &'static str) -> impl Fn(&mut Connection) + Send + Sync + 'static {
    move |connection| {
        while connection.request().is_some() {
            connection.send(ok(text));
        }
    }
}

/// An app at `address`, on the port of another one if there is any.
fn app(address: impl Into<IpAddr>, port: Option<&str>, text: &'static str) -> Upstream {
    let port = port.map_or(0, |port| port.parse().unwrap());
    Upstream::script_at((address.into(), port).into(), serve(text))
}

fn edge_of(server: &NameServer, port: &str, keys: &str) -> Edge {
    let route = tenant_at("thor", &format!("http://thor_web:{port}"));
    Setup::new(&format!("{}{route}{keys}", server.config())).start()
}

fn six() -> Reply {
    Reply::Any(vec![SIX.into()])
}

#[test]
fn name_that_has_ipv6_alone_is_served() {
    let app = app(SIX, None, "six");
    let none = |_: &str, _: usize| Reply::Addresses(Vec::new());
    let server = NameServer::of_both_families(none, |_| six());
    let edge = edge_of(&server, app.port(), "");
    edge.get(HOST, "/").expect(200, "six");
    let line = edge.logged("path", "/");
    assert_eq!(line["endpoint"], format!("[::1]:{}", app.port()));
}

#[test]
fn family_that_hangs_or_refuses_is_overtaken_by_the_other() {
    // Nobody listens at the other address, or somebody who accepts nobody.
    let six_only = app(SIX, None, "six");
    let full = Unanswering::new();
    let beside_full = app(SIX, Some(full.port().as_str()), "six");
    let four_only = app(FOUR, None, "four");
    for (app, text) in [(six_only, "six"), (beside_full, "six"), (four_only, "four")] {
        let four = |_: &str, _: usize| Reply::Addresses(vec![FOUR]);
        let server = NameServer::of_both_families(four, |_| six());
        let edge = edge_of(&server, app.port(), "timeouts.connect = \"1h\"\n");
        for _ in 0..3 {
            edge.get(HOST, "/").expect(200, text);
        }
    }
}

#[test]
fn addresses_of_one_family_do_not_take_the_turns_of_the_other() {
    let app = app(SIX, None, "six");
    // More addresses that refuse than are dialled for one request.
    let many: Vec<_> = (1..=20)
        .map(|last| Ipv4Addr::new(127, 0, 61, last))
        .collect();
    let server =
        NameServer::of_both_families(move |_, _| Reply::Addresses(many.clone()), |_| six());
    let edge = edge_of(&server, app.port(), "hold = \"0s\"\n");
    for _ in 0..20 {
        edge.get(HOST, "/").expect(200, "six");
    }
}

#[test]
fn family_without_an_answer_costs_a_moment_and_no_request() {
    for answer in [Reply::Silence, Reply::Failure, Reply::NoSuchName] {
        let app = app(FOUR, None, "four");
        let four = |_: &str, _: usize| Reply::Addresses(vec![FOUR]);
        let server = NameServer::of_both_families(four, move |_| answer.clone());
        // It takes longer than this until a silent name server is given up.
        let edge = edge_of(
            &server,
            app.port(),
            "timeouts.connect = \"900ms\"\nhold = \"0s\"\n",
        );
        edge.get(HOST, "/").expect(200, "four");
    }
    let app = app(SIX, None, "six");
    let server = NameServer::of_both_families(|_, _| Reply::Silence, |_| six());
    let edge = edge_of(
        &server,
        app.port(),
        "timeouts.connect = \"900ms\"\nhold = \"0s\"\n",
    );
    edge.get(HOST, "/").expect(200, "six");
}

#[test]
fn family_that_falls_silent_does_not_lose_its_connections() {
    let four = app(FOUR, None, "four");
    let six_app = app(SIX, Some(four.port()), "six");
    let silent = Watched::<bool>::default();
    let is_silent = silent.clone();
    let asked = Watched::<usize>::default();
    let count = asked.clone();
    let server = NameServer::of_both_families(
        move |_, _| {
            if is_silent.get() {
                Reply::Failure
            } else {
                Reply::Addresses(vec![FOUR])
            }
        },
        move |_| {
            count.change(|count| *count += 1);
            six()
        },
    );
    let edge = edge_of(&server, four.port(), "balance = \"round_robin\"\n");
    let mut client = edge.client();
    let mut both = || {
        let answers = [client.get(HOST, "/").text(), client.get(HOST, "/").text()];
        answers.contains(&"four".to_owned()) && answers.contains(&"six".to_owned())
    };
    eventually("both are used", &mut both);
    silent.change(|silent| *silent = true);
    let before = asked.get();
    eventually("further look-ups", || {
        assert!(both(), "an answer for one family took the other away");
        asked.get() > before + 2
    });
    assert_eq!((four.connections(), six_app.connections()), (1, 1));
}
