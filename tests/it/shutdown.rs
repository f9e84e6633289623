//! SIGTERM: no new connections, what runs may end, and the edge ends with 0.

use std::{thread, time::Duration};

use rustix::process::Signal;

use crate::support::{
    DEADLINE, Gate, Watched,
    client::Client,
    edge::{Edge, tenant},
    upstream::{Upstream, ok},
    websocket::{self, Chat},
    wire::Framing,
};

const HOST: &str = "thor.polls.local";

/// An app that sends half an answer, and the rest when `gate` opens.
fn halting(gate: &Gate) -> Upstream {
    let gate = gate.clone();
    Upstream::script(move |connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfirst");
        gate.wait();
        connection.send("last");
        connection.rest();
    })
}

fn with_grace(grace: &str, upstream: &Upstream) -> Edge {
    Edge::start(&format!(
        "shutdown.grace = \"{grace}\"\n{}",
        tenant("thor", upstream)
    ))
}

fn start_download(edge: &Edge) -> Client {
    let mut client = edge.client();
    client.send(format!("GET /download HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    assert_eq!(client.head().status(), 200);
    assert_eq!(client.exactly(5), b"first");
    client
}

#[test]
fn idle_edge_ends_at_once_and_with_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let upstream = Upstream::saying("ok");
        let mut edge = with_grace("60s", &upstream);
        let mut idle = edge.client();
        idle.get(HOST, "/").expect(200, "ok");
        let silent = edge.client();
        edge.signal(signal);
        assert_eq!(edge.wait().code(), Some(0));
        idle.expect_closed();
        drop(silent);
        for message in ["draining", "drained"] {
            edge.await_event(0, message);
        }
    }
}

#[test]
fn signals_are_heard_as_soon_as_the_edge_says_that_it_serves() {
    let upstream = Upstream::saying("ok");
    for _ in 0..10 {
        let mut edge = with_grace("60s", &upstream);
        edge.signal(Signal::HUP);
        edge.get(HOST, "/").expect(200, "ok");
        edge.signal(Signal::TERM);
        assert_eq!(edge.wait().code(), Some(0));
        let mut edge = with_grace("60s", &upstream);
        edge.signal(Signal::TERM);
        assert_eq!(edge.wait().code(), Some(0));
    }
}

#[test]
fn running_download_ends_before_the_edge_does() {
    let gate = Gate::default();
    let upstream = halting(&gate);
    let mut edge = with_grace("60s", &upstream);
    let mut download = start_download(&edge);
    edge.drain();
    gate.open();
    assert_eq!(download.body(Framing::Length(4)).bytes, b"last");
    download.expect_closed();
    assert_eq!(edge.wait().code(), Some(0));
    edge.await_event(0, "drained");
    let line = edge.logged("path", "/download");
    assert!(line["error"].is_null() && line["bytes_out"] == 9, "{line}");
}

#[test]
fn running_upload_ends_before_the_edge_does() {
    let upstream = Upstream::script(|connection| {
        while connection.request().is_some() {
            connection.send(ok("taken"));
        }
    });
    let mut edge = with_grace("60s", &upstream);
    let mut client = edge.client();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 10\r\n\r\nfirst"
    ));
    upstream.wait("the head", |seen| seen.requests.len() == 1);
    edge.drain();
    client.send("last!");
    client.response().expect(200, "taken");
    assert_eq!(edge.wait().code(), Some(0));
    assert_eq!(upstream.last().body.bytes, b"firstlast!");
}

#[test]
fn clients_that_keep_asking_are_told_to_close_and_lose_no_request() {
    let upstream = Upstream::saying("ok");
    let mut edge = with_grace("60s", &upstream);
    let address = edge.address();
    let asked = Watched::<usize>::default();
    let clients: Vec<_> = (0..16)
        .map(|_| {
            let asked = asked.clone();
            thread::spawn(move || {
                let mut client = Client::connect(address);
                loop {
                    let response = client.get(HOST, "/");
                    response.expect(200, "ok");
                    asked.change(|asked| *asked += 1);
                    if response.head.connection("close") {
                        return client.expect_closed();
                    }
                    // As long as a person's browser takes to think of the next thing to fetch.
                    thread::sleep(Duration::from_millis(1));
                }
            })
        })
        .collect();
    assert!(asked.wait(DEADLINE, |asked| *asked > 200) > 200);
    edge.signal(Signal::TERM);
    for client in clients {
        client.join().unwrap();
    }
    assert_eq!(edge.wait().code(), Some(0));
}

#[test]
fn client_with_a_request_in_flight_is_told_to_close() {
    let gate = Gate::default();
    let app_gate = gate.clone();
    let upstream = Upstream::script(move |connection| {
        connection.request();
        app_gate.wait();
        connection.send(ok("late"));
        connection.rest();
    });
    let mut edge = with_grace("60s", &upstream);
    let mut client = edge.client();
    client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    upstream.wait("the request", |seen| seen.requests.len() == 1);
    edge.drain();
    gate.open();
    let response = client.response();
    response.expect(200, "late");
    assert!(
        response.head.connection("close"),
        "{:?}",
        response.head.fields
    );
    client.expect_closed();
    assert_eq!(edge.wait().code(), Some(0));
}

#[test]
fn client_whose_answer_had_begun_is_answered_once_more_and_told_to_close() {
    let gate = Gate::default();
    let app_gate = gate.clone();
    let upstream = Upstream::script(move |connection| {
        while connection.request().is_some() {
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfirst");
            app_gate.wait();
            connection.send("last");
        }
    });
    let mut edge = with_grace("60s", &upstream);
    let mut client = start_download(&edge);
    edge.drain();
    gate.open();
    assert_eq!(client.body(Framing::Length(4)).bytes, b"last");
    let response = client.get(HOST, "/");
    response.expect(200, "firstlast");
    assert!(
        response.head.connection("close"),
        "{:?}",
        response.head.fields
    );
    client.expect_closed();
    assert_eq!(edge.wait().code(), Some(0));
}

#[test]
fn tunnels_go_on_until_grace_is_over() {
    let upstream = websocket::echo();
    let mut edge = with_grace("1s", &upstream);
    let mut chat = Chat::open(&edge, HOST);
    chat.say("before");
    edge.drain();
    chat.say("still here");
    chat.wait_closed();
    assert_eq!(edge.wait().code(), Some(0));
    upstream.wait("the end of the tunnel", |seen| seen.open == 0);
    assert_eq!(edge.logged("status", 101)["error"], "aborted");
}

#[test]
fn tunnel_that_ends_lets_the_edge_end() {
    let upstream = websocket::echo();
    let mut edge = with_grace("60s", &upstream);
    let mut chat = Chat::open(&edge, HOST);
    edge.drain();
    chat.say("last words");
    chat.close();
    assert_eq!(edge.wait().code(), Some(0));
}

#[test]
fn request_that_outlasts_grace_is_cut() {
    let gate = Gate::default();
    let upstream = halting(&gate);
    let mut edge = with_grace("500ms", &upstream);
    let mut download = start_download(&edge);
    edge.drain();
    let event = edge.await_event(0, "grace over");
    assert_eq!(event["aborted"], 1);
    assert!(!download.body(Framing::Length(4)).whole);
    edge.wait();
    let line = edge.logged("path", "/download");
    assert_eq!(
        (&line["status"], &line["error"]),
        (&200.into(), &"aborted".into())
    );
    gate.open();
}

#[test]
fn answer_that_ends_with_its_connection_does_not_look_whole_when_grace_is_over() {
    let gate = Gate::default();
    let opened = gate.clone();
    let upstream = Upstream::script(move |connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
        opened.wait();
    });
    let mut edge = with_grace("100ms", &upstream);
    let mut old = edge.client();
    old.send(format!("GET / HTTP/1.0\r\nHost: {HOST}\r\n\r\n"));
    assert_eq!(old.head().status(), 200);
    assert_eq!(old.exactly(4), b"half");
    edge.drain();
    let (rest, in_order) = old.rest();
    assert_eq!(
        (rest.len(), in_order),
        (0, false),
        "half an answer looked whole"
    );
    edge.wait();
    gate.open();
}

#[test]
fn second_signal_ends_the_edge_at_once() {
    for second in [Signal::TERM, Signal::INT] {
        let gate = Gate::default();
        let upstream = halting(&gate);
        let mut edge = with_grace("10m", &upstream);
        let mut download = start_download(&edge);
        edge.drain();
        edge.signal(second);
        edge.wait();
        assert!(!download.body(Framing::Length(4)).whole);
        gate.open();
    }
}

#[test]
fn draining_edge_is_alive_and_not_ready() {
    let gate = Gate::default();
    let upstream = halting(&gate);
    let edge = with_grace("60s", &upstream);
    let _download = start_download(&edge);
    edge.drain();
    edge.admin("/healthz").expect(200, "ok\n");
    let ready = edge.admin("/readyz");
    assert_eq!((ready.status, &ready.json()["ready"]), (503, &false.into()));
    gate.open();
}

#[test]
fn socket_of_a_unix_listener_is_removed_in_the_end() {
    let upstream = Upstream::saying("ok");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("edge.sock");
    let preamble = "admin.listen = \"127.0.0.1:0\"\nlog.format = \"json\"\n";
    let config = format!(
        "listen = \"unix:{}\"\n{preamble}{}",
        path.display(),
        tenant("thor", &upstream)
    );
    let mut edge = crate::support::edge::Setup::exactly(&config).start();
    Client::connect_unix(&path).get(HOST, "/").expect(200, "ok");
    edge.signal(Signal::TERM);
    assert_eq!(edge.wait().code(), Some(0));
    assert!(!path.exists());
}
