//! What is sent again and what is not, judged at the app: which requests came, how often, and with which body.
//!
//! A request that was not sent may be tried again, whatever it is. One that was sent, and whose connection closed
//! before a byte came back, may if it is idempotent and nothing of its body was taken. Nothing else is sent twice.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use crate::support::{
    Gate, Watched,
    dns::{NameServer, Reply},
    edge::{Edge, Setup, tenant, tenant_at},
    upstream::{Connection, Refusing, Unanswering, Upstream, ok},
};

/// What a client sends at once, and what it sends when its request comes to the app again.
struct Sent {
    what: &'static str,
    method: &'static str,
    fields: &'static str,
    at_once: &'static str,
    later: &'static str,
    /// Whether the body ends with what is sent at once.
    whole: bool,
    /// Whether it may be sent again after the app has closed without a byte.
    repeatable: bool,
}

impl Sent {
    const fn of(what: &'static str, method: &'static str, fields: &'static str) -> Self {
        Self {
            what,
            method,
            fields,
            at_once: "",
            later: "",
            whole: true,
            repeatable: false,
        }
    }

    const fn repeatable(self) -> Self {
        Self {
            repeatable: true,
            ..self
        }
    }

    const fn at_once(self, at_once: &'static str) -> Self {
        Self { at_once, ..self }
    }

    const fn later(self, later: &'static str) -> Self {
        Self {
            later,
            whole: false,
            ..self
        }
    }

    fn host(&self) -> String {
        format!("{}.polls.local", self.what)
    }

    fn beginning(&self) -> String {
        let (method, fields, at_once) = (self.method, self.fields, self.at_once);
        let host = self.host();
        format!("{method} /tried HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n{at_once}")
    }
}

const FOUR: &str = "Content-Length: 4\r\n";
const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";
const VOTE_IN_CHUNKS: &str = "4\r\nvote\r\n0\r\n\r\n";

const REQUESTS: [Sent; 14] = [
    Sent::of("get", "GET", "").repeatable(),
    Sent::of("delete", "DELETE", "").repeatable(),
    Sent::of("put-empty", "PUT", "Content-Length: 0\r\n").repeatable(),
    Sent::of("put-unread", "PUT", FOUR)
        .later("vote")
        .repeatable(),
    Sent::of("put-unread-chunks", "PUT", CHUNKED)
        .later(VOTE_IN_CHUNKS)
        .repeatable(),
    Sent::of("get-body", "GET", FOUR).at_once("vote"),
    Sent::of("put-body", "PUT", FOUR).at_once("vote"),
    Sent::of("put-half", "PUT", FOUR).at_once("vo").later("te"),
    Sent::of("post-empty", "POST", "Content-Length: 0\r\n"),
    Sent::of("post-unread", "POST", FOUR).later("vote"),
    Sent::of("post-body", "POST", FOUR).at_once("vote"),
    Sent::of("post-chunks", "POST", CHUNKED).at_once(VOTE_IN_CHUNKS),
    Sent::of("post-half", "POST", FOUR)
        .at_once("vo")
        .later("te"),
    Sent::of("patch-body", "PATCH", FOUR).at_once("vote"),
];

/// What the app says to a request before it fails it.
const NOTHING: &str = "";
const INTERIM: &str = "HTTP/1.1 102 Processing\r\n\r\n";
const HALF_A_HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Le";
const HALF_A_BODY: &str = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello";

/// How it fails the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Close,
    Reset,
    Hang,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Answered by a second try where one is allowed, else 502 `upstream_closed`.
    AgainIfRepeatable,
    Closed,
    /// 504 or, where it is the client's bytes that are missing, 408.
    TimedOut,
    /// The client has 200 and half of a body, and sees that it is half.
    Cut,
}

/// The app fails the first try of each request, on a new connection and on one from the pool. `retries` leaves room for
/// more tries than one.
#[track_caller]
fn check(says: &'static str, end: End, outcome: Outcome) {
    for pooled in [false, true] {
        let cells: Vec<_> = REQUESTS
            .iter()
            .map(|sent| Cell::new(sent, says, end))
            .collect();
        let time_outs = match end {
            End::Hang => "timeouts.response = \"300ms\"\ntimeouts.idle = \"300ms\"\n",
            End::Close | End::Reset => "",
        };
        let routes = cells.iter().map(|cell| {
            let route = tenant(cell.sent.what, &cell.app);
            format!("{route}retries = 3\n{time_outs}")
        });
        let edge = Edge::start(&routes.collect::<String>());
        thread::scope(|scope| {
            for cell in &cells {
                scope.spawn(|| cell.check(&edge, pooled, outcome));
            }
        });
    }
}

/// One request, and an app that fails its first try and would answer the second.
struct Cell {
    sent: &'static Sent,
    app: Upstream,
    /// The client has what the app said.
    told: Gate,
}

impl Cell {
    fn new(sent: &'static Sent, says: &'static str, end: End) -> Self {
        let told = Gate::default();
        let app_told = told.clone();
        let tries = AtomicUsize::new(0);
        let app = Upstream::script(move |connection| {
            while let Some(head) = connection.head() {
                let warm = head.start.contains(" /warm ");
                if warm || tries.fetch_add(1, Ordering::Relaxed) > 0 {
                    connection.body(&head);
                    connection.send(ok(if warm { "warm" } else { "again" }));
                    continue;
                }
                if sent.whole {
                    connection.body(&head);
                } else {
                    connection.exactly(sent.at_once.len());
                }
                connection.send(says);
                if says == HALF_A_BODY {
                    app_told.wait();
                }
                match end {
                    End::Close => {}
                    End::Reset => connection.reset(),
                    End::Hang => drop(connection.rest()),
                }
                return;
            }
        });
        Self { sent, app, told }
    }

    fn tries(&self) -> usize {
        let requests = self.app.requests();
        let tried = requests.iter().filter(|request| is_try(request));
        tried.count()
    }

    fn check(&self, edge: &Edge, pooled: bool, outcome: Outcome) {
        let (sent, what) = (self.sent, self.sent.what);
        let mut client = edge.client();
        if pooled {
            client.get(&sent.host(), "/warm").expect(200, "warm");
        }
        client.send(sent.beginning());
        let outcome = match outcome {
            Outcome::AgainIfRepeatable if !sent.repeatable => Outcome::Closed,
            other => other,
        };
        let (status, label, tries) = match outcome {
            Outcome::AgainIfRepeatable => {
                self.app.wait("another try", |seen| {
                    seen.requests.iter().filter(|seen| is_try(seen)).count() == 2
                });
                client.send(sent.later);
                client.response_to(sent.method).expect(200, "again");
                let body = if sent.later.is_empty() { "" } else { "vote" };
                assert_eq!(self.app.last().body.bytes, body.as_bytes(), "{what}");
                (200, None, 2)
            }
            Outcome::Closed => {
                assert_eq!(client.response_to(sent.method).status, 502, "{what}");
                (502, Some("upstream_closed"), 1)
            }
            Outcome::TimedOut => {
                let (status, label) = if sent.whole {
                    (504, "response_timeout")
                } else {
                    (408, "body_timeout")
                };
                assert_eq!(client.response_to(sent.method).status, status, "{what}");
                (status, Some(label), 1)
            }
            Outcome::Cut => {
                assert_eq!(client.head().status(), 200, "{what}");
                assert_eq!(client.exactly(5), b"hello", "{what}");
                self.told.open();
                client.expect_closed();
                (200, None, 1)
            }
        };
        let host = sent.host();
        let line = edge.access_log().json(what, |line| {
            line["host"] == *host && line["path"] == "/tried"
        });
        assert_eq!(line["status"], status, "{line}");
        assert_eq!(line["attempts"], tries, "{line}");
        if outcome == Outcome::Cut {
            assert!(line["error"].is_string(), "{line}");
        } else {
            assert_eq!(line["error"].as_str(), label, "{line}");
        }
        assert_eq!(self.tries(), tries, "{what}");
    }
}

fn is_try(request: &crate::support::upstream::Request) -> bool {
    request.target() == "/tried"
}

#[test]
fn close_without_a_byte_is_tried_again_where_that_does_no_harm() {
    check(NOTHING, End::Close, Outcome::AgainIfRepeatable);
}

#[test]
fn reset_without_a_byte_is_tried_again_where_that_does_no_harm() {
    check(NOTHING, End::Reset, Outcome::AgainIfRepeatable);
}

#[test]
fn time_out_is_no_licence_to_send_again() {
    check(NOTHING, End::Hang, Outcome::TimedOut);
}

#[test]
fn interim_answer_has_been_an_answer() {
    check(INTERIM, End::Close, Outcome::Closed);
    check(INTERIM, End::Reset, Outcome::Closed);
    check(INTERIM, End::Hang, Outcome::TimedOut);
}

#[test]
fn head_that_is_cut_short_has_been_an_answer() {
    check(HALF_A_HEAD, End::Close, Outcome::Closed);
    check(HALF_A_HEAD, End::Reset, Outcome::Closed);
    check(HALF_A_HEAD, End::Hang, Outcome::TimedOut);
}

#[test]
fn body_that_is_cut_short_is_not_asked_for_again() {
    check(HALF_A_BODY, End::Close, Outcome::Cut);
    check(HALF_A_BODY, End::Reset, Outcome::Cut);
    check(HALF_A_BODY, End::Hang, Outcome::Cut);
}

#[test]
fn idempotent_methods_and_no_others_are_sent_again() {
    // RFC 9110 §9.2.2
    let again = ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"];
    let never = ["POST", "PATCH", "PURGE", "LOCK", "COPY"];
    let app = Upstream::script(|connection| {
        connection.request();
    });
    let edge = Edge::start(&format!("{}retries = 2\n", tenant("thor", &app)));
    for (methods, tries) in [(&again[..], 3), (&never[..], 1)] {
        for method in methods {
            let mut client = edge.client();
            let path = format!("/{method}");
            client.send(format!("{method} {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
            assert_eq!(client.response_to(method).status, 502, "{method}");
            assert_eq!(edge.logged("path", path.as_str())["attempts"], tries);
            assert_eq!(times(&app, &path), tries, "{method}");
        }
    }
}

const HOST: &str = "thor.polls.local";

/// How often the app saw the request for `path`.
fn times(app: &Upstream, path: &str) -> usize {
    let requests = app.requests();
    let same = requests.iter().filter(|request| request.target() == path);
    same.count()
}

/// The app closes without a byte so many times, and would then answer.
#[track_caller]
fn check_retries(key: &str, retries: usize, closes: usize, pooled: bool) {
    let tries = AtomicUsize::new(0);
    let app = Upstream::script(move |connection| {
        while let Some(request) = connection.request() {
            if request.target() == "/tried" && tries.fetch_add(1, Ordering::Relaxed) < closes {
                return;
            }
            connection.send(ok("answered"));
        }
    });
    let edge = Edge::start(&format!("{}{key}", tenant("thor", &app)));
    let mut client = edge.client();
    if pooled {
        client.get(HOST, "/warm").expect(200, "answered");
    }
    let response = client.get(HOST, "/tried");
    let what = format!("{key:?}, {closes} closes, pooled: {pooled}");
    assert_eq!(response.status == 200, closes <= retries, "{what}");
    let line = edge.logged("path", "/tried");
    let expected = 1 + closes.min(retries);
    assert_eq!(line["attempts"], expected, "{what}: {line}");
    assert_eq!(times(&app, "/tried"), expected, "{what}");
}

#[test]
fn request_is_tried_as_often_as_its_route_says() {
    let keys = [
        ("", 1),
        ("retries = 0\n", 0),
        ("retries = 1\n", 1),
        ("retries = 3\n", 3),
        ("[defaults]\nretries = 3\n", 3),
    ];
    for (key, retries) in keys {
        for closes in 0..=retries + 1 {
            for pooled in [false, true] {
                check_retries(key, retries, closes, pooled);
            }
        }
    }
}

#[test]
fn second_try_is_on_a_new_connection_however_many_the_app_has_forgotten() {
    let gate = Gate::default();
    let all_at_once = gate.clone();
    let app = Upstream::script(move |connection| {
        while let Some(request) = connection.request() {
            let old = connection.number <= 16;
            match request.target() {
                "/warm" if old => all_at_once.wait(),
                _ if old => return,
                _ => {}
            }
            connection.send(ok("ok"));
        }
    });
    let edge = Edge::start(&tenant("thor", &app));
    // So many that one worker at least has several in its pool.
    let mut clients: Vec<_> = (0..16).map(|_| edge.client()).collect();
    for client in &mut clients {
        client.send(format!("GET /warm HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    }
    app.wait("all at once", |seen| seen.requests.len() == 16);
    gate.open();
    for client in &mut clients {
        client.response().expect(200, "ok");
    }
    for client in &mut clients {
        client.get(HOST, "/tried").expect(200, "ok");
    }
}

#[test]
fn post_that_the_app_has_seen_is_never_sent_again() {
    for reset in [false, true] {
        let app = Upstream::script(move |connection| {
            while let Some(request) = connection.request() {
                if request.method() == "POST" {
                    if reset {
                        connection.reset();
                    }
                    return;
                }
                connection.send(ok("warm"));
            }
        });
        let edge = Edge::start(&format!("{}retries = 10\n", tenant("thor", &app)));
        for pooled in [false, true] {
            let mut client = edge.client();
            if pooled {
                client.get(HOST, "/warm").expect(200, "warm");
            }
            let path = format!("/{pooled}");
            assert_eq!(client.post(HOST, &path, "vote").status, 502);
            let line = edge.logged("path", path.as_str());
            assert_eq!(
                (&line["error"], &line["attempts"]),
                (&"upstream_closed".into(), &1.into())
            );
            assert_eq!(times(&app, &path), 1, "the vote was counted twice");
        }
    }
}

/// An app that closes on the first request with an Expect, after it has said `says`, and takes the second.
fn expecting(says: &'static str) -> Upstream {
    Upstream::script(move |connection| {
        let Some(head) = connection.head() else {
            return;
        };
        if connection.number == 1 {
            connection.send(says);
            return;
        }
        connection.send("HTTP/1.1 100 Continue\r\n\r\n");
        connection.body(&head);
        connection.send(ok("taken"));
    })
}

const EXPECT: &str = "Expect: 100-continue\r\nContent-Length: 4\r\n\r\n";

#[test]
fn put_that_waits_for_100_is_sent_again_before_its_body_is_asked_for() {
    let app = expecting("");
    let edge = Edge::start(&tenant("thor", &app));
    let mut client = edge.client();
    client.send(format!("PUT /tried HTTP/1.1\r\nHost: {HOST}\r\n{EXPECT}"));
    assert_eq!(client.head().status(), 100);
    client.send("vote");
    client.response_to("PUT").expect(200, "taken");
    assert_eq!(times(&app, "/tried"), 2);
    assert_eq!(app.last().body.bytes, b"vote");
}

#[test]
fn what_the_app_has_said_100_to_or_is_not_idempotent_is_not_sent_again() {
    let go_on = "HTTP/1.1 100 Continue\r\n\r\n";
    for (method, says) in [("PUT", go_on), ("POST", ""), ("POST", go_on)] {
        let app = expecting(says);
        let edge = Edge::start(&format!("{}retries = 3\n", tenant("thor", &app)));
        let mut client = edge.client();
        client.send(format!(
            "{method} /tried HTTP/1.1\r\nHost: {HOST}\r\n{EXPECT}"
        ));
        assert_eq!(client.response_to(method).status, 502, "{method} {says:?}");
        assert_eq!(edge.logged("path", "/tried")["error"], "upstream_closed");
        assert_eq!(app.requests().len(), 1, "{method} {says:?}");
    }
}

/// An address at which nobody answers a dial, until its app comes up.
enum Down {
    Refusing(Refusing),
    Unanswering(Unanswering),
}

impl Down {
    fn both() -> [Self; 2] {
        [
            Self::Refusing(Refusing::new()),
            Self::Unanswering(Unanswering::new()),
        ]
    }

    fn url(&self) -> String {
        match self {
            Self::Refusing(down) => down.url(),
            Self::Unanswering(down) => down.url(),
        }
    }

    /// Waits until the edge has dialled in vain, or does so now.
    fn wait_for_a_dial(&self, edge: &Edge) {
        match self {
            Self::Refusing(_) => drop(edge.await_event(0, "upstream is away")),
            Self::Unanswering(down) => down.wait_for_a_dial(),
        }
    }

    fn come_up(self) -> Upstream {
        let serve = |connection: &mut Connection| {
            while let Some(head) = connection.head() {
                connection.body(&head);
                connection.send(ok("up"));
            }
        };
        match self {
            Self::Refusing(down) => down.come_up(serve),
            Self::Unanswering(down) => down.come_up(serve),
        }
    }
}

#[test]
fn what_could_not_be_dialled_is_told_how_its_dial_ended_and_never_sent() {
    for down in Down::both() {
        let routes = REQUESTS.iter().map(|sent| {
            let route = tenant_at(sent.what, &down.url());
            format!("{route}hold = \"0s\"\nretries = 3\ntimeouts.connect = \"300ms\"\n")
        });
        let edge = Edge::start(&routes.collect::<String>());
        let expected = match down {
            Down::Refusing(_) => (502, "upstream_unreachable"),
            Down::Unanswering(_) => (504, "connect_timeout"),
        };
        let answered = |sent: &Sent| {
            let mut client = edge.client();
            client.send(sent.beginning());
            let status = client.response_to(sent.method).status;
            let host = sent.host();
            let line = edge.access_log().json(&host, |line| line["host"] == *host);
            let label = line["error"].as_str().unwrap().to_owned();
            assert_eq!((status, label.as_str()), expected, "{line}");
        };
        thread::scope(|scope| {
            for sent in &REQUESTS {
                scope.spawn(|| answered(sent));
            }
        });
        let app = down.come_up();
        let mut client = edge.client();
        client.get("get.polls.local", "/after").expect(200, "up");
        assert_eq!(times(&app, "/tried"), 0);
    }
}

#[test]
fn what_could_not_be_dialled_at_first_is_sent_once_whatever_it_is() {
    thread::scope(|scope| {
        for sent in &REQUESTS {
            for down in Down::both() {
                scope.spawn(move || {
                    let keys = "hold = \"60s\"\ntimeouts.connect = \"60s\"\n";
                    let edge = Edge::start(&format!("{}{keys}", tenant_at(sent.what, &down.url())));
                    let mut client = edge.client();
                    client.send(sent.beginning());
                    down.wait_for_a_dial(&edge);
                    let app = down.come_up();
                    client.send(sent.later);
                    client.response_to(sent.method).expect(200, "up");
                    let bodies: Vec<_> = app.requests().into_iter().map(|seen| seen.body).collect();
                    assert_eq!(bodies.len(), 1, "{}", sent.what);
                    let body = match sent.fields {
                        FOUR | CHUNKED => "vote",
                        _ => "",
                    };
                    assert_eq!(bodies[0].bytes, body.as_bytes(), "{}", sent.what);
                });
            }
        }
    });
}

/// An app that holds what it is sent until the gate opens, and then closes without a byte.
fn closing_at(gate: &Gate) -> impl Fn(&mut Connection) + Send + Sync + 'static {
    let gate = gate.clone();
    move |connection| {
        if connection.request().is_some() {
            gate.wait();
        }
    }
}

#[test]
fn second_try_waits_for_an_app_that_went_away_with_the_first() {
    for (method, tried) in [("GET", 1), ("POST", 0)] {
        let gate = Gate::default();
        // Its socket lets another one bind its address while a connection is left.
        let app = Refusing::new().come_up(closing_at(&gate));
        let edge = Edge::start(&tenant("thor", &app));
        let mut client = edge.client();
        client.send(format!("{method} /tried HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
        app.wait("the first try", |seen| seen.requests.len() == 1);
        let app = app.go_down();
        gate.open();
        let app = if tried > 0 {
            edge.await_event(0, "upstream is away");
            let app = Down::Refusing(app).come_up();
            client.response_to(method).expect(200, "up");
            app
        } else {
            assert_eq!(client.response_to(method).status, 502);
            let app = Down::Refusing(app).come_up();
            edge.get(HOST, "/after").expect(200, "up");
            app
        };
        assert_eq!(times(&app, "/tried"), tried, "{method}");
    }
}

#[test]
fn second_try_goes_to_the_right_tenant_though_another_has_the_address_by_then() {
    let (old, new) = (Ipv4Addr::new(127, 0, 0, 7), Ipv4Addr::new(127, 0, 0, 8));
    let gate = Gate::default();
    let leaked = Watched::<Vec<u8>>::default();
    let (first, others) = (closing_at(&gate), leaked.clone());
    // Thor's own is the first to be connected to there; from then on the address is another tenant's.
    let app = Upstream::script_at((old, 0).into(), move |connection| {
        if connection.number == 1 {
            return first(connection);
        }
        let bytes = connection.first_bytes();
        connection.send(ok("potter"));
        others.change(|leaked| leaked.extend(bytes));
    });
    let port: u16 = app.port().parse().unwrap();
    let thor = Upstream::script_at((new, port).into(), |connection| {
        connection.request();
        connection.send(ok("thor"));
    });
    let moved = Arc::new(AtomicUsize::new(0));
    let has_moved = Arc::clone(&moved);
    let server = NameServer::script(move |_, _| {
        let is_at = [old, new][has_moved.load(Ordering::Relaxed)];
        Reply::Addresses(vec![is_at])
    });
    let route = tenant_at("thor", &format!("http://thor_web:{port}"));
    let edge = Setup::new(&format!("{}{route}", server.config())).start();
    let mut client = edge.client();
    client.send(format!("GET /tried HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    app.wait("the first try", |seen| seen.requests.len() == 1);
    moved.store(1, Ordering::Relaxed);
    gate.open();
    client.response().expect(200, "thor");
    assert_eq!(edge.logged("path", "/tried")["attempts"], 2);
    assert_eq!(leaked.get(), Vec::<u8>::new());
    assert_eq!(times(&thor, "/tried"), 1);
}
