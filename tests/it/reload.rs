//! Changes of proxy.toml that are taken up live: what changes, what doesn't, and who notices.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::support::{
    Gate,
    client::Client,
    edge::{Edge, Setup, tenant, tenant_at},
    eventually,
    upstream::{Upstream, ok},
    websocket::{self, Chat},
};

const HOST: &str = "thor.polls.local";
const POTTER: &str = "potter.polls.local";

/// Asks for `host` on one connection until told to stop; returns how many answers were not 200.
fn ask_until(stop: &AtomicBool, mut client: Client, host: &str, asked: &AtomicUsize) -> usize {
    let mut errors = 0;
    while !stop.load(Ordering::Relaxed) {
        client.send_unwelcome(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
        match client.try_response_to("GET") {
            Some(response) if response.status == 200 && response.body.whole => {}
            Some(_) => errors += 1,
            // The connection is lost: that is one error, and there is no asking on it any more.
            None => return errors + 1,
        }
        asked.fetch_add(1, Ordering::Relaxed);
        // Asking without a pause would leave the edge no core to reload on.
        thread::sleep(Duration::from_millis(10));
    }
    errors
}

#[test]
fn added_tenant_is_live_within_2_s_of_the_save_50_times_in_a_row_and_costs_no_one_a_request() {
    const ROUNDS: usize = 50;
    let (thor, potter, added) = (
        Upstream::saying("thor"),
        Upstream::saying("potter"),
        Upstream::saying("added"),
    );
    let mut config = [tenant("thor", &thor), tenant("potter", &potter)].concat();
    let edge = Edge::start(&config);
    let (stop, asked) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let askers: Vec<_> = (0..16)
        .map(|number| {
            let (stop, asked, client) = (Arc::clone(&stop), Arc::clone(&asked), edge.client());
            let host = if number % 2 == 0 { HOST } else { POTTER };
            thread::spawn(move || ask_until(&stop, client, host, &asked))
        })
        .collect();
    let mut worst = Duration::ZERO;
    for round in 0..ROUNDS {
        config += &tenant(&format!("added{round}"), &added);
        edge.save(&config);
        let saved = Instant::now();
        let host = format!("added{round}.polls.local");
        eventually("the added tenant answers", || {
            edge.get(&host, "/").status == 200
        });
        worst = worst.max(saved.elapsed());
    }
    stop.store(true, Ordering::Relaxed);
    let errors: usize = askers.into_iter().map(|asker| asker.join().unwrap()).sum();
    println!(
        "worst of {ROUNDS}: {worst:?}; {} requests meanwhile",
        asked.load(Ordering::Relaxed)
    );
    assert_eq!(errors, 0, "of {} requests", asked.load(Ordering::Relaxed));
    assert!(worst <= Duration::from_secs(2), "{worst:?}");
}

#[test]
fn sighup_takes_up_what_was_saved() {
    let (thor, potter) = (Upstream::saying("thor"), Upstream::saying("potter"));
    let edge = Edge::start(&tenant("thor", &thor));
    assert_eq!(edge.get(POTTER, "/").status, 404);
    edge.reload(&[tenant("thor", &thor), tenant("potter", &potter)].concat());
    edge.get(POTTER, "/").expect(200, "potter");
    edge.reload(&tenant("thor", &thor));
    assert_eq!(edge.get(POTTER, "/").status, 404);
    edge.get(HOST, "/").expect(200, "thor");
}

#[test]
fn sighup_with_nothing_new_is_harmless() {
    let thor = Upstream::saying("thor");
    let edge = Edge::start(&tenant("thor", &thor));
    let mut client = edge.client();
    for _ in 0..20 {
        edge.signal(Signal::HUP);
        client.get(HOST, "/").expect(200, "thor");
    }
    assert_eq!(thor.connections(), 1);
}

#[test]
fn readyz_tells_what_is_served() {
    let thor = Upstream::saying("thor");
    let edge = Edge::start(&tenant("thor", &thor));
    let ready = edge.admin("/readyz");
    assert_eq!(ready.status, 200);
    let before = ready.json();
    assert_eq!(
        (&before["ready"], &before["routes"]),
        (&true.into(), &1.into())
    );
    assert!(before["last_reload_error"].is_null());
    edge.reload(&[tenant("thor", &thor), tenant("potter", &thor)].concat());
    let after = edge.admin("/readyz").json();
    assert_eq!(after["routes"], 2);
    assert!(
        after["generation"].as_u64() > before["generation"].as_u64(),
        "{before} then {after}"
    );
}

#[test]
fn healthz_says_ok() {
    let edge = Edge::start("");
    edge.admin("/healthz").expect(200, "ok\n");
    assert_eq!(edge.admin("/nothing-here").status, 404);
}

#[test]
fn file_with_mistakes_changes_nothing_and_is_taken_up_when_fixed() {
    let (thor, potter) = (Upstream::saying("thor"), Upstream::saying("potter"));
    let good = tenant("thor", &thor);
    let edge = Edge::start(&good);
    let mut client = edge.client();
    client.get(HOST, "/").expect(200, "thor");

    let bad = [
        &good,
        &tenant("potter", &potter),
        "upstraem = \"http://potter:1\"\nhosts = 7\n",
    ]
    .concat();
    let event = edge.reload_in_vain(&bad);
    let said = event["errors"]
        .as_str()
        .unwrap_or_else(|| panic!("no errors in {event}"));
    assert!(said.contains("proxy.toml:"), "{said}");
    client.get(HOST, "/").expect(200, "thor");
    assert_eq!(client.get(POTTER, "/").status, 404);
    let ready = edge.admin("/readyz");
    assert_eq!((ready.status, &ready.json()["routes"]), (200, &1.into()));
    assert_eq!(ready.json()["last_reload_error"], said);

    let checked = Setup::new(&bad).output(&["check", "proxy.toml"]);
    assert_eq!(checked.code, Some(1));
    for line in checked.stderr.lines().filter(|line| line.contains("^")) {
        assert!(
            said.contains(line.trim_end()),
            "check says\n{}\nand the log\n{said}",
            checked.stderr
        );
    }

    edge.reload(&[good, tenant("potter", &potter)].concat());
    client.get(POTTER, "/").expect(200, "potter");
    assert!(edge.admin("/readyz").json()["last_reload_error"].is_null());
}

#[test]
fn file_that_is_gone_changes_nothing() {
    let thor = Upstream::saying("thor");
    let edge = Edge::start(&tenant("thor", &thor));
    let before = edge.events().count();
    std::fs::remove_file(edge.directory().join("proxy.toml")).unwrap();
    edge.await_event(before, "configuration rejected");
    edge.get(HOST, "/").expect(200, "thor");
    edge.reload(&[tenant("thor", &thor), tenant("potter", &thor)].concat());
    edge.get(POTTER, "/").expect(200, "thor");
}

#[test]
fn listener_that_did_not_change_is_not_touched() {
    let thor = Upstream::saying("thor");
    let edge = Edge::start(&tenant("thor", &thor));
    let mut clients: Vec<_> = (0..4).map(|_| edge.client()).collect();
    let listening = edge.listening();
    for round in 0..5 {
        edge.reload(
            &[
                tenant("thor", &thor),
                tenant(&format!("added{round}"), &thor),
            ]
            .concat(),
        );
        for client in &mut clients {
            client.get(HOST, "/").expect(200, "thor");
        }
    }
    assert_eq!(edge.listening(), listening, "a listener was announced anew");
}

/// A configuration with these listeners, without the usual preamble.
fn listening_on(addresses: &str, routes: &str) -> String {
    format!("listen = {addresses}\nadmin.listen = \"127.0.0.1:0\"\nlog.format = \"json\"\n{routes}")
}

#[test]
fn listener_is_added_and_removed_while_the_other_serves() {
    let thor = Upstream::saying("thor");
    let routes = tenant("thor", &thor);
    let edge = Setup::exactly(&listening_on("\"127.0.0.1:0\"", &routes)).start();
    let mut stays = edge.client();
    stays.get(HOST, "/").expect(200, "thor");

    edge.reload_exactly(&listening_on("[\"127.0.0.1:0\", \"127.0.0.2:0\"]", &routes));
    let added = edge
        .listening()
        .into_iter()
        .find(|address| address.starts_with("127.0.0.2:"));
    let added = added
        .unwrap_or_else(|| panic!("not among {:?}", edge.listening()))
        .parse()
        .unwrap();
    let mut on_added = Client::connect(added);
    on_added.get(HOST, "/").expect(200, "thor");
    stays.get(HOST, "/").expect(200, "thor");

    edge.reload_exactly(&listening_on("\"127.0.0.1:0\"", &routes));
    eventually("the removed listener refuses", || {
        Client::try_connect(added).is_err()
    });
    stays.get(HOST, "/").expect(200, "thor");
    edge.get(HOST, "/").expect(200, "thor");
}

#[test]
fn listener_may_be_widened_to_every_address_of_its_port() {
    let thor = Upstream::saying("thor");
    let routes = tenant("thor", &thor);
    let edge = Setup::exactly(&listening_on("\"127.0.0.1:0\"", &routes)).start();
    let port = edge.address().port();
    edge.reload_exactly(&listening_on(&format!("\"0.0.0.0:{port}\""), &routes));
    edge.get(HOST, "/").expect(200, "thor");
    let elsewhere = ([127, 0, 0, 2], port).into();
    Client::connect(elsewhere)
        .get(HOST, "/")
        .expect(200, "thor");
}

#[test]
fn admin_listener_may_be_widened_too() {
    let config = |admin: &str| {
        format!("listen = \"127.0.0.1:0\"\nadmin.listen = \"{admin}\"\nlog.format = \"json\"\n")
    };
    let edge = Setup::exactly(&config("127.0.0.1:0")).start();
    let port = edge.admin_address().port();
    edge.reload_exactly(&config(&format!("0.0.0.0:{port}")));
    let elsewhere = ([127, 0, 0, 2], port).into();
    let answer = Client::connect(elsewhere).get("localhost", "/healthz");
    answer.expect(200, "ok\n");
}

#[test]
fn admin_listener_moves_and_leaves_the_public_one_alone() {
    let thor = Upstream::saying("thor");
    let config = |admin: &str| {
        let routes = tenant("thor", &thor);
        format!(
            "listen = \"127.0.0.1:0\"\nadmin.listen = \"{admin}\"\nlog.format = \"json\"\n{routes}"
        )
    };
    let edge = Setup::exactly(&config("127.0.0.1:0")).start();
    let mut client = edge.client();
    client.get(HOST, "/").expect(200, "thor");
    edge.reload_exactly(&config("127.0.0.2:0"));
    let moved = edge.events().json("the new address", |event| {
        event["message"] == "admin listening"
            && event["address"].as_str().unwrap().starts_with("127.0.0.2:")
    });
    let moved = moved["address"].as_str().unwrap().parse().unwrap();
    Client::connect(moved)
        .get("localhost", "/healthz")
        .expect(200, "ok\n");
    client.get(HOST, "/").expect(200, "thor");
}

#[test]
fn request_on_a_listener_that_is_removed_ends_in_peace() {
    let gate = Gate::default();
    let thor = halting(&gate);
    let routes = tenant("thor", &thor);
    let edge = Setup::exactly(&listening_on("[\"127.0.0.1:0\", \"127.0.0.2:0\"]", &routes)).start();
    let removed = edge
        .listening()
        .into_iter()
        .find(|address| address.starts_with("127.0.0.2:"))
        .unwrap();
    let mut download = Download::start(Client::connect(removed.parse().unwrap()));
    edge.reload_exactly(&listening_on("\"127.0.0.1:0\"", &routes));
    eventually("the removed listener refuses", || {
        Client::try_connect(removed.parse().unwrap()).is_err()
    });
    gate.open();
    download.finish();
}

#[test]
fn listener_that_cannot_be_bound_changes_nothing() {
    let thor = Upstream::saying("thor");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let edge = Setup::exactly(&listening_on("\"127.0.0.1:0\"", &tenant("thor", &thor))).start();
    let before = edge.events().count();
    let routes = [tenant("thor", &thor), tenant("potter", &thor)].concat();
    edge.save_file(
        "proxy.toml",
        &listening_on(&format!("[\"127.0.0.1:0\", \"{address}\"]"), &routes),
    );
    edge.signal(Signal::HUP);
    let event = edge.await_event(before, "configuration rejected");
    assert!(
        event["errors"].as_str().unwrap().contains(&address),
        "{event}"
    );
    edge.get(HOST, "/").expect(200, "thor");
    assert_eq!(edge.get(POTTER, "/").status, 404);
}

/// Whether `change` leaves thor's pooled connection in use. The pool gives up what has been idle for a moment, and
/// that a busy machine can be: one time out of several is enough to show it.
fn keeps_connection(edge: &Edge, thor: &Upstream, change: impl Fn()) -> bool {
    let mut client = edge.client();
    (0..5).any(|_| {
        client.get(HOST, "/").expect(200, "thor");
        let before = thor.connections();
        change();
        client.get(HOST, "/").expect(200, "thor");
        thor.connections() == before
    })
}

#[test]
fn pool_of_a_tenant_survives_the_change_of_another() {
    let (thor, potter) = (Upstream::saying("thor"), Upstream::saying("potter"));
    let own = tenant("thor", &thor);
    let both = [own.clone(), tenant("potter", &potter)].concat();
    let edge = Edge::start(&both);
    assert!(keeps_connection(&edge, &thor, || {
        edge.reload(&format!("{both}timeouts.response = \"7s\"\n"));
        edge.reload(&both);
    }));
    assert!(keeps_connection(&edge, &thor, || {
        edge.reload(&own);
        edge.reload(&both);
    }));
}

#[test]
fn pool_of_a_tenant_survives_the_change_of_its_own_policy() {
    let thor = Upstream::saying("thor");
    let own = tenant("thor", &thor);
    let edge = Edge::start(&own);
    assert!(keeps_connection(&edge, &thor, || {
        edge.reload(&format!("{own}host = \"internal.example\"\n"));
        edge.reload(&own);
    }));
}

#[test]
fn pool_of_a_removed_tenant_is_closed() {
    let (thor, potter) = (Upstream::saying("thor"), Upstream::saying("potter"));
    let edge = Edge::start(&[tenant("thor", &thor), tenant("potter", &potter)].concat());
    edge.client().get(POTTER, "/").expect(200, "potter");
    edge.reload(&tenant("thor", &thor));
    potter.wait("the end of its pool", |seen| seen.open == 0);
}

#[test]
fn tenant_that_moves_is_asked_at_its_new_upstream() {
    let (old, new) = (Upstream::saying("old"), Upstream::saying("new"));
    let edge = Edge::start(&tenant("thor", &old));
    let mut client = edge.client();
    client.get(HOST, "/").expect(200, "old");
    edge.reload(&tenant("thor", &new));
    for _ in 0..10 {
        client.get(HOST, "/").expect(200, "new");
        edge.get(HOST, "/").expect(200, "new");
    }
}

#[test]
fn hosts_that_change_sides_are_never_mixed_up() {
    let (thor, potter) = (Upstream::saying("thor"), Upstream::saying("potter"));
    let straight = [tenant("thor", &thor), tenant("potter", &potter)].concat();
    let crossed = [tenant("thor", &potter), tenant("potter", &thor)].concat();
    let edge = Edge::start(&straight);
    let mut clients: Vec<_> = (0..4).map(|_| edge.client()).collect();
    for round in 0..10 {
        let (config, answer) = if round % 2 == 0 {
            (&crossed, "potter")
        } else {
            (&straight, "thor")
        };
        edge.reload(config);
        for client in &mut clients {
            client.get(HOST, "/").expect(200, answer);
        }
    }
}

#[test]
fn policy_that_changes_holds_for_the_next_request() {
    let thor = Upstream::saying("thor");
    let edge = Edge::start(&tenant("thor", &thor));
    let mut client = edge.client();
    client.get(HOST, "/").expect(200, "thor");
    let keys = "response_headers = { set = { X-New = \"1\" } }\nrequest_headers = { set = { X-App = \"1\" } }\n";
    edge.reload(&format!("{}{keys}", tenant("thor", &thor)));
    assert_eq!(client.get(HOST, "/").field("x-new"), Some("1"));
    assert_eq!(thor.last().field("x-app"), Some("1"));
}

#[test]
fn trusted_proxies_that_change_hold_for_the_next_request() {
    let thor = Upstream::saying("thor");
    let edge = Edge::start(&tenant("thor", &thor));
    let mut client = edge.client();
    let claim = "X-Forwarded-For: 203.0.113.9\r\n";
    client.get_with(HOST, "/", claim).expect(200, "thor");
    assert_eq!(thor.last().field("x-real-ip"), Some("127.0.0.1"));
    edge.reload(&format!(
        "trusted_proxies = [\"127.0.0.0/8\"]\n{}",
        tenant("thor", &thor)
    ));
    edge.client().get_with(HOST, "/", claim).expect(200, "thor");
    assert_eq!(thor.last().field("x-real-ip"), Some("203.0.113.9"));
}

/// An app that echoes WebSockets, and otherwise sends half an answer and the rest when `gate` opens.
fn halting(gate: &Gate) -> Upstream {
    let gate = gate.clone();
    Upstream::script(move |connection| {
        // The first byte tells: a WebSocket's own handshake must be read by its own code.
        if connection.number == 1 {
            connection.request();
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfirst");
            gate.wait();
            connection.send("last");
            connection.rest();
        } else {
            websocket::serve(connection);
        }
    })
}

/// A download of which the first half has come.
struct Download(Client);

impl Download {
    fn start(mut client: Client) -> Self {
        client.send(format!("GET /download HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
        assert_eq!(client.head().status(), 200);
        assert_eq!(client.exactly(5), b"first");
        Self(client)
    }

    fn finish(&mut self) {
        assert_eq!(self.0.exactly(4), b"last");
    }
}

/// Runs a download and a WebSocket of thor through the reloads to `configs`, which are made from thor's own lines.
#[track_caller]
fn check_undisturbed(configs: impl FnOnce(&str) -> Vec<String>) -> Edge {
    let gate = Gate::default();
    let (thor, potter) = (halting(&gate), Upstream::saying("potter"));
    let own = tenant("thor", &thor);
    let edge = Edge::start(&[own.clone(), tenant("potter", &potter)].concat());
    let mut download = Download::start(edge.client());
    let mut chat = Chat::open(&edge, HOST);
    chat.say("before");
    for config in configs(&own) {
        edge.reload(&config);
        chat.say("after a reload");
    }
    gate.open();
    download.finish();
    chat.say("at last");
    chat.close();
    edge.logged("status", 101);
    let line = edge.logged("path", "/download");
    assert_eq!(
        (&line["bytes_out"], &line["tenant"]),
        (&9.into(), &"thor".into())
    );
    assert!(line["error"].is_null(), "{line}");
    edge
}

#[test]
fn download_and_websocket_survive_a_tenant_that_is_added() {
    check_undisturbed(|own| {
        let potter = tenant_at("potter", "http://127.0.0.1:1");
        let added = tenant_at("added", "http://127.0.0.1:1");
        vec![[own, &potter, &added].concat()]
    });
}

#[test]
fn download_and_websocket_survive_another_tenant_that_is_removed() {
    check_undisturbed(|own| vec![own.to_owned()]);
}

#[test]
fn download_and_websocket_survive_the_removal_of_their_own_tenant() {
    let edge = check_undisturbed(|_| vec![tenant_at("potter", "http://127.0.0.1:1")]);
    assert_eq!(edge.get(HOST, "/").status, 404);
}

#[test]
fn download_and_websocket_survive_twenty_reloads_in_a_row() {
    check_undisturbed(|own| {
        (0..20)
            .map(|round| {
                format!(
                    "{own}{}",
                    tenant_at(&format!("added{round}"), "http://127.0.0.1:1")
                )
            })
            .collect()
    });
}

#[test]
fn request_that_waits_for_its_answer_survives_a_reload() {
    let gate = Gate::default();
    let app_gate = gate.clone();
    let thor = Upstream::script(move |connection| {
        while connection.request().is_some() {
            app_gate.wait();
            connection.send(ok("patience"));
        }
    });
    let edge = Edge::start(&tenant("thor", &thor));
    let mut client = edge.client();
    client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    thor.wait("the request", |seen| seen.requests.len() == 1);
    edge.reload(&tenant_at("potter", "http://127.0.0.1:1"));
    gate.open();
    client.response().expect(200, "patience");
}
