//! What each tenant may take of the edge, at the exact boundary, and how it gets it back.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{
    Gate,
    client::Client,
    edge::{Edge, Setup, tenant},
    eventually,
    upstream::{Connection, Refusing, Upstream, ok},
    websocket::{self, Chat},
};

const HOST: &str = "thor.polls.local";

/// thor with limits, and potter, whom they are no concern of.
struct Limited {
    edge: Edge,
    thor: Upstream,
    potter: Upstream,
}

impl Limited {
    fn start(thor: Upstream, limits: &str) -> Self {
        let potter = Upstream::saying("potter");
        Self {
            edge: Edge::start(&config(&thor, limits, &potter)),
            thor,
            potter,
        }
    }

    fn config(&self, limits: &str) -> String {
        config(&self.thor, limits, &self.potter)
    }

    /// What the edge says of thor.
    fn now(&self) -> Value {
        now(&self.edge)
    }

    /// A request of thor that has come to the app.
    fn in_flight(&self, method: &str, path: &str) -> Client {
        let before = self.thor.requests().len();
        let client = self.send(method, path);
        self.thor
            .wait("the request", |seen| seen.requests.len() > before);
        client
    }

    /// One that waits at the edge.
    fn queued(&self, path: &str) -> Client {
        let before = self.now()["queued"].as_u64();
        let client = self.send("GET", path);
        eventually("it is queued", || self.now()["queued"].as_u64() > before);
        client
    }

    fn send(&self, method: &str, path: &str) -> Client {
        let mut client = self.edge.client();
        client.send(format!("{method} {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
        client
    }

    #[track_caller]
    fn is_full(&self) {
        let response = self.edge.get(HOST, "/");
        let told = response.text();
        assert_eq!(response.status, 503, "{told}");
        assert_eq!(response.field("retry-after"), Some("1"));
        assert!(told.contains("queue_full"), "{told}");
        self.edge
            .get("potter.polls.local", "/")
            .expect(200, "potter");
    }

    /// Nothing is in flight or waits any more, and the next request is served.
    #[track_caller]
    fn is_free(&self) {
        eventually("the permit is given back", || self.now()["in_flight"] == 0);
        assert_eq!(self.now()["queued"], 0);
    }
}

fn config(thor: &Upstream, limits: &str, potter: &Upstream) -> String {
    format!(
        "{}{limits}\n{}",
        tenant("thor", thor),
        tenant("potter", potter)
    )
}

fn now(edge: &Edge) -> Value {
    edge.admin("/routes?tenant=thor").json()["routes"][0].clone()
}

/// Answers once it is let, and keeps the connection.
fn held(gate: &Gate) -> Upstream {
    let gate = gate.clone();
    Upstream::script(move |connection| {
        while connection.request().is_some() {
            gate.wait();
            connection.send(ok("thor"));
        }
    })
}

#[test]
fn as_many_requests_as_the_limit_are_in_flight_and_the_next_is_503() {
    let gate = Gate::default();
    let limited = Limited::start(held(&gate), "limits = { requests = 3, queue = 0 }");
    let clients: Vec<_> = (0..3).map(|_| limited.in_flight("GET", "/")).collect();
    assert_eq!(limited.now()["in_flight"], 3);
    limited.is_full();
    let line = limited.edge.logged("error", "queue_full");
    assert_eq!(
        (&line["tenant"], &line["status"]),
        (&"thor".into(), &503.into())
    );
    assert_eq!(line["attempts"], 0, "it has cost the app nothing");
    gate.open();
    for mut client in clients {
        client.response().expect(200, "thor");
    }
    limited.is_free();
    limited.edge.get(HOST, "/").expect(200, "thor");
}

#[test]
fn as_many_wait_as_the_queue_takes_and_are_served_in_their_order() {
    let gate = Gate::default();
    let limited = Limited::start(held(&gate), "limits = { requests = 1, queue = 2 }");
    let mut first = limited.in_flight("GET", "/first");
    let mut waiting = [limited.queued("/second"), limited.queued("/third")];
    limited.is_full();
    gate.open();
    first.response().expect(200, "thor");
    for client in &mut waiting {
        client.response().expect(200, "thor");
    }
    let seen = limited.thor.requests();
    let order: Vec<_> = seen.iter().map(|request| request.target()).collect();
    assert_eq!(order, ["/first", "/second", "/third"]);
    let line = limited.edge.logged("path", "/third");
    assert!(line["queued_ms"].as_f64() > Some(0.0), "{line}");
    assert!(limited.edge.logged("path", "/first")["queued_ms"].is_null());
    limited.is_free();
}

#[test]
fn who_waits_for_too_long_is_503_and_leaves_its_place() {
    let gate = Gate::default();
    let limits = "limits = { requests = 1, queue = 1, queue_wait = \"300ms\" }";
    let limited = Limited::start(held(&gate), limits);
    let mut first = limited.in_flight("GET", "/");
    let began = Instant::now();
    let mut waiting = limited.queued("/waits");
    let response = waiting.response();
    assert_eq!(response.status, 503);
    assert!(began.elapsed() >= Duration::from_millis(300));
    let line = limited.edge.logged("path", "/waits");
    assert_eq!(line["error"], "queue_timeout");
    assert!(line["queued_ms"].as_f64() >= Some(300.0), "{line}");
    assert_eq!(limited.now()["queued"], 0);
    gate.open();
    first.response().expect(200, "thor");
    waiting.get(HOST, "/").expect(200, "thor");
    limited.is_free();
}

#[test]
fn who_leaves_the_queue_makes_room_in_it() {
    let gate = Gate::default();
    let limited = Limited::start(held(&gate), "limits = { requests = 1, queue = 1 }");
    let mut first = limited.in_flight("GET", "/");
    drop(limited.queued("/leaves"));
    eventually("it has left", || limited.now()["queued"] == 0);
    assert_eq!(
        limited.edge.logged("path", "/leaves")["error"],
        "client_gone"
    );
    let mut second = limited.queued("/");
    gate.open();
    first.response().expect(200, "thor");
    second.response().expect(200, "thor");
    assert_eq!(limited.thor.requests().len(), 2);
    limited.is_free();
}

#[test]
fn permit_is_held_to_the_last_byte_of_the_response() {
    let gate = Gate::default();
    let rest = gate.clone();
    let thor = Upstream::script(move |connection| {
        while connection.request().is_some() {
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst");
            rest.wait();
            connection.send(" last");
        }
    });
    let limited = Limited::start(thor, "limits = { requests = 1, queue = 0 }");
    let mut client = limited.in_flight("GET", "/");
    assert_eq!(client.head().status(), 200);
    assert_eq!(client.exactly(5), b"first");
    limited.is_full();
    gate.open();
    assert_eq!(client.exactly(5), b" last");
    limited.is_free();
}

#[test]
fn permit_is_held_to_the_end_of_a_tunnel() {
    let limited = Limited::start(websocket::echo(), "limits = { requests = 1, queue = 0 }");
    let mut chat = Chat::open(&limited.edge, HOST);
    chat.say("hello");
    assert_eq!(limited.now()["in_flight"], 1);
    limited.is_full();
    chat.close();
    limited.is_free();
}

#[test]
fn permit_is_given_back_when_the_client_leaves() {
    let limited = Limited::start(Upstream::hanging(), "limits = { requests = 1, queue = 0 }");
    for _ in 0..3 {
        let client = limited.in_flight("GET", "/");
        limited.is_full();
        drop(client);
        limited.is_free();
    }
}

#[test]
fn permit_is_given_back_when_the_client_leaves_in_the_middle_of_a_response() {
    let thor = Upstream::script(|connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst");
        connection.rest();
    });
    let limited = Limited::start(thor, "limits = { requests = 1, queue = 0 }");
    let mut client = limited.in_flight("GET", "/");
    client.head();
    drop(client);
    limited.is_free();
}

#[test]
fn permit_is_given_back_when_the_app_fails() {
    type Script = fn(&mut Connection);
    let scripts: [(Script, Option<u16>); 4] = [
        (|connection| drop(connection.request()), Some(502)),
        (
            |connection| {
                connection.request();
                connection.send("nonsense\r\n\r\n");
            },
            Some(502),
        ),
        (
            |connection| {
                connection.request();
                connection.rest();
            },
            Some(504),
        ),
        // Cut off in the middle of its body.
        (
            |connection| {
                connection.request();
                connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst");
            },
            None,
        ),
    ];
    for (script, status) in scripts {
        let limits = "limits = { requests = 1, queue = 0 }\ntimeouts.response = \"200ms\"";
        let limited = Limited::start(Upstream::script(script), limits);
        for _ in 0..2 {
            let mut client = limited.send("POST", "/");
            match status {
                Some(status) => assert_eq!(client.response_to("POST").status, status),
                None => assert_eq!(client.head().status(), 200),
            }
            limited.is_free();
        }
    }
}

#[test]
fn permit_is_given_back_when_there_is_no_app() {
    let app = Refusing::new();
    let potter = Upstream::saying("potter");
    let route = format!(
        "[routes.thor]\nhosts = \"{HOST}\"\nupstream = \"{}\"\nhold = \"0s\"\nlimits = {{ requests = 1, queue = 0 }}\n",
        app.url()
    );
    let edge = Edge::start(&[route, tenant("potter", &potter)].concat());
    for _ in 0..3 {
        assert_eq!(edge.get(HOST, "/").status, 502);
        eventually("the permit is given back", || now(&edge)["in_flight"] == 0);
    }
}

#[test]
fn permit_is_given_back_when_a_handler_panics() {
    let thor = Upstream::script(|connection| {
        while let Some(request) = connection.request() {
            match request.target() {
                "/panic" => connection
                    .send("HTTP/1.1 200 OK\r\nX-Clock: fails\r\nContent-Length: 0\r\n\r\n"),
                _ => connection.send(ok("thor")),
            }
        }
    });
    let potter = Upstream::saying("potter");
    let limits = "limits = { requests = 1, queue = 0, connections = 1 }";
    let edge = Setup::new(&config(&thor, limits, &potter))
        .with_failing_clock()
        .start();
    let mut kept = edge.client();
    kept.get(HOST, "/").expect(200, "thor");
    let is_free = || eventually("the permit is given back", || now(&edge)["in_flight"] == 0);
    for _ in 0..3 {
        is_free();
        let mut client = edge.client();
        client.send(format!("GET /panic HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
        assert!(client.try_head().is_none(), "the handler has panicked");
        is_free();
        // Whoever was there before is still served, and so is thor.
        kept.get(HOST, "/").expect(200, "thor");
        kept.get("potter.polls.local", "/").expect(200, "potter");
    }
    assert_eq!(edge.logged("path", "/panic")["error"], "aborted");
    let told = edge.await_event(0, "panicked");
    let thread = told["thread"].as_str().unwrap();
    assert!(thread.starts_with("worker-"), "{told}");
}

#[test]
fn limits_survive_reloads_and_a_new_one_counts_for_what_is_in_flight() {
    let gate = Gate::default();
    let limited = Limited::start(held(&gate), "limits = { requests = 2, queue = 1 }");
    let mut in_flight = vec![limited.in_flight("GET", "/"), limited.in_flight("GET", "/")];
    // Something else changes.
    let same = limited.config("limits = { requests = 2, queue = 1 }\nretries = 0");
    limited.edge.reload(&same);
    assert_eq!(limited.now()["in_flight"], 2);
    let waiting = limited.queued("/waits");
    limited.is_full();
    // One more may be in flight, and the one that waits is it.
    limited
        .edge
        .reload(&limited.config("limits = { requests = 3, queue = 1 }"));
    limited
        .thor
        .wait("the one that waited", |seen| seen.requests.len() == 3);
    in_flight.push(waiting);
    // Fewer may be than are.
    limited
        .edge
        .reload(&limited.config("limits = { requests = 1, queue = 0 }"));
    limited.is_full();
    gate.open();
    for mut client in in_flight {
        client.response().expect(200, "thor");
    }
    limited.is_free();
    limited.edge.get(HOST, "/").expect(200, "thor");
}

#[test]
fn rate_lets_so_many_through_at_once_and_the_next_is_429() {
    let limited = Limited::start(Upstream::saying("thor"), "limits.rate = \"3/h\"");
    for _ in 0..3 {
        limited.edge.get(HOST, "/").expect(200, "thor");
    }
    let refused = || {
        let response = limited.edge.get(HOST, "/refused");
        assert_eq!(response.status, 429);
        // A third of an hour.
        assert_eq!(response.field("retry-after"), Some("1200"));
        assert!(response.text().contains("rate_limited"));
    };
    refused();
    limited
        .edge
        .reload(&limited.config("limits.rate = \"3/h\"\nretries = 0"));
    refused();
    limited
        .edge
        .get("potter.polls.local", "/")
        .expect(200, "potter");
    assert_eq!(
        limited.edge.logged("path", "/refused")["error"],
        "rate_limited"
    );
    assert_eq!(limited.thor.requests().len(), 3);
    limited.edge.reload(&limited.config(""));
    limited.edge.get(HOST, "/").expect(200, "thor");
}

#[test]
fn rate_comes_back_with_time() {
    let limited = Limited::start(Upstream::saying("thor"), "limits.rate = \"10/s burst 1\"");
    limited.edge.get(HOST, "/").expect(200, "thor");
    let began = Instant::now();
    let mut refused = 0;
    while limited.edge.get(HOST, "/").status == 429 {
        refused += 1;
        assert!(began.elapsed() < Duration::from_secs(5));
    }
    assert!(refused > 0);
    assert_eq!(limited.thor.requests().len(), 2);
}

#[test]
fn each_client_has_a_rate_of_its_own() {
    let limits = "limits.rate_per_client = \"2/h\"";
    let limited = Limited::start(Upstream::saying("thor"), limits);
    let ask = |from: &str| {
        let mut client = Client::connect_from(from, limited.edge.address());
        client.get(HOST, "/").status
    };
    assert_eq!(
        [ask("127.0.0.2"), ask("127.0.0.2"), ask("127.0.0.2")],
        [200, 200, 429]
    );
    assert_eq!(
        [ask("127.0.0.3"), ask("127.0.0.3"), ask("127.0.0.3")],
        [200, 200, 429]
    );
    let line = limited.edge.logged("status", 429);
    assert_eq!(line["error"], "client_rate_limited");
}

#[test]
fn client_behind_a_trusted_proxy_is_the_one_that_it_names() {
    let thor = Upstream::saying("thor");
    let route = tenant("thor", &thor);
    let edge = Edge::start(&format!(
        "trusted_proxies = \"127.0.0.1\"\n{route}limits.rate_per_client = \"1/h\"\ndeny = \"192.0.2.0/28\"\n"
    ));
    let ask = |client: &str| {
        let mut proxy = edge.client();
        let fields = format!("X-Forwarded-For: {client}\r\n");
        proxy.get_with(HOST, "/", &fields).status
    };
    assert_eq!([ask("192.0.2.77"), ask("192.0.2.77")], [200, 429]);
    assert_eq!([ask("192.0.2.78"), ask("192.0.2.15")], [200, 403]);
    assert_eq!(thor.requests().len(), 2);
}

#[test]
fn only_clients_that_are_allowed_and_not_denied_are_let_in() {
    let keys = "allow = [\"127.0.0.0/29\"]\ndeny = [\"127.0.0.3\"]";
    let limited = Limited::start(Upstream::saying("thor"), keys);
    for (from, status) in [
        ("127.0.0.2", 200),
        ("127.0.0.3", 403),
        ("127.0.0.7", 200),
        ("127.0.0.8", 403),
    ] {
        let mut client = Client::connect_from(from, limited.edge.address());
        assert_eq!(client.get(HOST, "/").status, status, "{from}");
    }
    let line = limited.edge.logged("status", 403);
    assert_eq!(
        (&line["error"], &line["tenant"]),
        (&"forbidden".into(), &"thor".into())
    );
    let mut stranger = Client::connect_from("127.0.0.9", limited.edge.address());
    stranger
        .get("potter.polls.local", "/")
        .expect(200, "potter");
    assert_eq!(limited.thor.requests().len(), 2);
}

#[test]
fn as_many_connections_as_the_limit_and_the_next_request_waits_for_one() {
    let gate = Gate::default();
    let limits = "limits = { connections = 2, queue_wait = \"300ms\" }";
    let limited = Limited::start(held(&gate), limits);
    let mut clients = vec![limited.in_flight("GET", "/"), limited.in_flight("GET", "/")];
    let response = limited.edge.get(HOST, "/refused");
    assert_eq!(response.status, 503);
    let line = limited.edge.logged("path", "/refused");
    assert_eq!(line["error"], "connections_busy");
    assert!(line["queued_ms"].as_f64() >= Some(300.0), "{line}");
    assert_eq!(limited.thor.connections(), 2);
    let longer = limited.config("limits = { connections = 2 }");
    limited.edge.reload(&longer);
    clients.push(limited.send("GET", "/third"));
    eventually("it is taken in", || limited.now()["in_flight"] == 3);
    assert_eq!(limited.thor.requests().len(), 2);
    gate.open();
    for client in &mut clients {
        client.response().expect(200, "thor");
    }
    assert!(limited.now()["connections"].as_u64() <= Some(2));
}

#[test]
fn connections_that_stand_when_a_limit_comes_count() {
    let gate = Gate::default();
    let limited = Limited::start(held(&gate), "");
    let mut clients = vec![limited.in_flight("GET", "/"), limited.in_flight("GET", "/")];
    assert_eq!(limited.now()["connections"], 2);
    let limits = "limits = { connections = 2, queue_wait = \"300ms\" }";
    limited.edge.reload(&limited.config(limits));
    assert_eq!(limited.edge.get(HOST, "/").status, 503);
    assert_eq!(
        limited.edge.logged("status", 503)["error"],
        "connections_busy"
    );
    gate.open();
    for client in &mut clients {
        client.response().expect(200, "thor");
    }
}

/// Whichever worker has the one connection, idle by now, and whichever has the request.
#[test]
fn idle_connections_count_and_make_room() {
    let limited = Limited::start(Upstream::saying("thor"), "limits.connections = 1");
    for _ in 0..50 {
        limited.edge.get(HOST, "/").expect(200, "thor");
        assert!(limited.now()["connections"].as_u64() <= Some(1));
    }
    assert_eq!(limited.thor.requests().len(), 50);
}

#[test]
fn one_connection_carries_the_requests_of_many_clients() {
    let limited = Limited::start(Upstream::saying("thor"), "limits.connections = 1");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = limited.edge.client();
                for _ in 0..50 {
                    client.get(HOST, "/").expect(200, "thor");
                }
            });
        }
    });
    assert_eq!(limited.thor.requests().len(), 400);
    eventually("all but the idle one are gone", || {
        limited.thor.seen().open <= 1
    });
    // Most of them are handed on, and not closed to make room.
    assert!(
        limited.thor.connections() < 300,
        "{}",
        limited.thor.connections()
    );
}
