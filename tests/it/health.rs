//! Health checks: what is asked, what an answer does, and what an endpoint that is out gets.

use std::net::Ipv4Addr;

use crate::support::{
    Watched,
    dns::{NameServer, Reply},
    edge::{Edge, Setup, tenant, tenant_at},
    eventually,
    upstream::{Connection, Upstream, ok},
};

const HOST: &str = "thor.polls.local";
const OFTEN: &str = "health = { path = \"/healthz\", interval = \"100ms\", healthy = 2 }\n";

/// Says its name, and is as healthy as `healthy` says.
fn app(
    healthy: &Watched<bool>,
    name: &'static str,
) -> impl Fn(&mut Connection) + Send + Sync + 'static {
    let healthy = healthy.clone();
    move |connection| {
        while let Some(request) = connection.request() {
            match (request.target(), healthy.get()) {
                ("/healthz", false) => {
                    connection.send("HTTP/1.1 503 Ill\r\nContent-Length: 0\r\n\r\n");
                }
                ("/healthz", true) => connection.send(ok("fine")),
                _ => connection.send(ok(name)),
            }
        }
    }
}

fn well(value: bool) -> Watched<bool> {
    let watched = Watched::default();
    watched.change(|healthy| *healthy = value);
    watched
}

fn checks(upstream: &Upstream) -> usize {
    let requests = upstream.requests();
    let checks = requests
        .iter()
        .filter(|request| request.target() == "/healthz");
    checks.count()
}

#[test]
fn endpoint_that_is_ill_is_put_out_and_comes_back_when_it_is_well() {
    let (first_well, second_well) = (well(true), well(true));
    let first = Upstream::script(app(&first_well, "1"));
    let second = Upstream::script(app(&second_well, "2"));
    let edge = Edge::start(&format!(
        "[routes.thor]\nhosts = \"{HOST}\"\nupstream = [\"{}\", \"{}\"]\nbalance = \"round_robin\"\n{OFTEN}",
        first.url(),
        second.url()
    ));
    first.wait("a check", |seen| !seen.requests.is_empty());
    assert_eq!(first.requests()[0].field("host"), Some(HOST));
    let skip = edge.events().count();
    second_well.change(|well| *well = false);
    let event = edge.await_event(skip, "endpoint is unhealthy");
    assert_eq!(event["endpoint"], second.authority());
    assert_eq!(event["reason"], "the app answered 503");
    assert_eq!(event["level"], "WARN");
    for _ in 0..20 {
        edge.get(HOST, "/").expect(200, "1");
    }
    let told = edge.admin("/routes?tenant=thor").json();
    let endpoints = &told["routes"][0]["upstreams"][0]["endpoints"];
    let of = |index: usize| {
        (
            endpoints[index]["address"].clone(),
            endpoints[index]["state"].clone(),
        )
    };
    assert_eq!(of(1), (second.authority().into(), "out".into()));
    assert_eq!(of(0), (first.authority().into(), "up".into()));
    assert_eq!(
        endpoints[1]["last_error"],
        "health check: the app answered 503"
    );

    second_well.change(|well| *well = true);
    edge.await_event(skip, "endpoint is healthy again");
    eventually("it is used again", || edge.get(HOST, "/").text() == "2");
    let said = |message: &str| {
        let events = edge.events().so_far();
        events
            .iter()
            .filter(|event| event.contains(message))
            .count()
    };
    assert_eq!(said("endpoint is unhealthy"), 1);
    assert_eq!(said("endpoint is healthy again"), 1);
    let logged = edge.access_log().so_far();
    assert!(
        !logged.iter().any(|line| line.contains("/healthz")),
        "checks are in the access log"
    );
}

#[test]
fn one_bad_answer_puts_nobody_out() {
    // Each third check is good.
    let answered = Watched::<usize>::default();
    let app_answered = answered.clone();
    let upstream = Upstream::script(move |connection| {
        while let Some(request) = connection.request() {
            if request.target() != "/healthz" {
                connection.send(ok("ok"));
                continue;
            }
            let number = app_answered.change(|number| {
                *number += 1;
                *number
            });
            if number % 3 == 0 {
                connection
                    .send("HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n");
            } else {
                connection.send("HTTP/1.1 500 Ill\r\nContent-Length: 0\r\n\r\n");
            }
        }
    });
    let edge = Edge::start(&format!("{}{OFTEN}", tenant("thor", &upstream)));
    assert!(answered.wait(crate::support::DEADLINE, |number| *number >= 9) >= 9);
    edge.get(HOST, "/").expect(200, "ok");
    assert!(
        !edge
            .events()
            .so_far()
            .iter()
            .any(|event| event.contains("unhealthy"))
    );
}

#[test]
fn app_whose_endpoints_are_all_out_is_away_until_a_check_passes() {
    let is_well = well(true);
    let upstream = Upstream::script(app(&is_well, "thor"));
    let route = tenant("thor", &upstream);
    let edge = Edge::start(&format!("{route}{OFTEN}hold = \"1s\"\n"));
    edge.get(HOST, "/").expect(200, "thor");
    is_well.change(|well| *well = false);
    edge.await_event(0, "endpoint is unhealthy");
    let event = edge.await_event(0, "upstream is away");
    assert!(
        event["reason"]
            .as_str()
            .unwrap()
            .contains("health checks fail"),
        "{event}"
    );
    let before = upstream.requests().len() - checks(&upstream);
    eventually("the hold is over", || {
        let response = edge.get(HOST, "/late");
        assert_eq!(response.status, 503);
        edge.logged("path", "/late")["error"] == "upstream_away"
    });
    let told = edge.admin("/routes?tenant=thor").json();
    assert!(
        told["routes"][0]["upstreams"][0]["away_ms"].is_u64(),
        "{told}"
    );
    assert_eq!(
        upstream.requests().len() - checks(&upstream),
        before,
        "it was sent a request"
    );
    is_well.change(|well| *well = true);
    edge.await_event(0, "upstream is back");
    edge.get(HOST, "/").expect(200, "thor");
}

#[test]
fn request_waits_for_a_check_to_pass() {
    let is_well = well(false);
    let upstream = Upstream::script(app(&is_well, "thor"));
    let edge = Edge::start(&format!("{}{OFTEN}", tenant("thor", &upstream)));
    edge.await_event(0, "upstream is away");
    let mut client = edge.client();
    client.send(format!("GET /waits HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    is_well.change(|well| *well = true);
    client.response().expect(200, "thor");
}

#[test]
fn silence_and_refusal_are_no_health() {
    let hanging = Upstream::hanging();
    let silent = Upstream::script(|connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\nX-Never: ends");
        connection.rest();
    });
    let garbage = Upstream::script(|connection| {
        connection.request();
        connection.send("SSH-2.0-OpenSSH\r\n\r\n");
    });
    let endless = Upstream::script(|connection| {
        connection.request();
        connection.send("HTTP/1.1 100 Continue\r\n\r\n".repeat(100));
        connection.rest();
    });
    let large = Upstream::script(|connection| {
        connection.request();
        connection.send(format!(
            "HTTP/1.1 200 OK\r\nX: {}\r\n\r\n",
            "x".repeat(100_000)
        ));
        connection.rest();
    });
    for upstream in [&hanging, &silent, &garbage, &endless, &large] {
        let keys =
            "health = { path = \"/\", interval = \"100ms\", timeout = \"200ms\", unhealthy = 2 }\n";
        let edge = Edge::start(&format!("{}{keys}", tenant("thor", upstream)));
        edge.await_event(0, "endpoint is unhealthy");
    }
}

#[test]
fn check_never_reaches_the_app_that_has_the_address_now() {
    let old = Ipv4Addr::new(127, 0, 31, 2);
    let new = Ipv4Addr::new(127, 0, 31, 3);
    let is_well = well(true);
    let leaked = Watched::<Vec<Vec<u8>>>::default();
    let thor = Upstream::script_at((new, 0).into(), app(&is_well, "thor"));
    let port = thor.port().parse().unwrap();
    let other_leaked = leaked.clone();
    let other = Upstream::script_at((old, port).into(), move |connection| {
        let bytes = connection.first_bytes();
        other_leaked.change(|leaked| leaked.push(bytes));
    });
    // Each look-up that a dial goes by says where thor was; each that the check makes says where it is.
    let swapped = Watched::<bool>::default();
    let is_swapped = swapped.clone();
    let server = NameServer::script(move |_, before| {
        let address = if is_swapped.get() && before % 2 == 0 {
            old
        } else {
            new
        };
        Reply::Addresses(vec![address])
    });
    let route = tenant_at("thor", &format!("http://thor_web:{port}"));
    let edge = Setup::new(&format!("{}{route}{OFTEN}", server.config())).start();
    thor.wait("checks", |seen| seen.requests.len() >= 2);
    swapped.change(|swapped| *swapped = true);
    eventually("the other was dialled", || other.connections() >= 3);
    swapped.change(|swapped| *swapped = false);
    edge.get(HOST, "/").expect(200, "thor");
    other.wait("its connections' end", |seen| seen.open == 0);
    let leaked = leaked.get();
    assert!(leaked.iter().all(Vec::is_empty), "{leaked:?}");
    assert_eq!(other.requests().len(), 0);
}

#[test]
fn reload_keeps_what_is_known_and_ends_the_checks_of_what_is_gone() {
    let is_well = well(false);
    let (thor, potter) = (
        Upstream::script(app(&is_well, "thor")),
        Upstream::saying("ok"),
    );
    let route = format!("{}{OFTEN}", tenant("thor", &thor));
    let edge = Edge::start(&route);
    edge.await_event(0, "endpoint is unhealthy");
    edge.reload(&format!("{route}{}{OFTEN}", tenant("potter", &potter)));
    potter.wait("a check of the new route", |seen| !seen.requests.is_empty());
    let told = edge.admin("/routes?tenant=thor").json();
    assert_eq!(
        told["routes"][0]["upstreams"][0]["endpoints"][0]["state"],
        "out"
    );
    edge.reload(&tenant("potter", &potter));
    eventually("nobody is asked any more", || {
        let before = (checks(&thor), checks(&potter));
        std::thread::sleep(std::time::Duration::from_millis(500));
        (checks(&thor), checks(&potter)) == before
    });
}

#[test]
fn routes_tells_of_all_or_of_one() {
    let (thor, potter) = (Upstream::saying("thor"), Upstream::saying("potter"));
    let edge = Edge::start(&[tenant("thor", &thor), tenant("potter", &potter)].concat());
    edge.get(HOST, "/").expect(200, "thor");
    let in_flight = |told: &serde_json::Value| {
        told["routes"][1]["upstreams"][0]["endpoints"][0]["in_flight"].clone()
    };
    eventually("the request is over", || {
        in_flight(&edge.admin("/routes").json()) == 0
    });
    let told = edge.admin("/routes").json();
    assert_eq!(told["generation"], 1);
    let tenants = [0, 1].map(|index| told["routes"][index]["tenant"].clone());
    assert_eq!(tenants, ["potter", "thor"]);
    assert_eq!(
        told["routes"][0]["upstreams"][0]["endpoints"],
        serde_json::json!([])
    );
    let expected = serde_json::json!([{
        "origin": thor.url(),
        "address": thor.authority(),
        "state": "up",
        "in_flight": 0,
        "failures": 0,
        "aside_ms": 0,
        "last_error": null,
        "last_error_ms_ago": null,
    }]);
    assert_eq!(told["routes"][1]["upstreams"][0]["endpoints"], expected);
    let one = edge.admin("/routes?tenant=thor").json();
    assert_eq!(one["routes"], serde_json::json!([told["routes"][1]]));
    assert_eq!(edge.admin("/routes?tenant=nobody").status, 404);
    assert_eq!(edge.admin("/routes?x").status, 400);
}
