//! Who leaves, in whichever phase, is missed at once: the other side hears of it, and nothing is kept for it. Every
//! time-out is far away in these tests, so that it can't be one that ends things.

use std::{io::Write as _, time::Duration};

use crate::support::{
    Gate,
    client::Client,
    edge::{Edge, tenant, tenant_at},
    upstream::{Connection, Refusing, Unanswering, Upstream, ok},
};

const HOST: &str = "thor.polls.local";
const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: foo/1\r\n";
const SWITCH: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: foo/1\r\n\r\n";

/// More than all buffers on the way hold, and less than a tenant takes.
const BODY: usize = 64 * 1024 * 1024;

fn edge_of(upstream: &Upstream) -> Edge {
    Edge::start(&tenant("thor", upstream))
}

fn post(length: usize) -> String {
    format!("POST /left HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {length}\r\n\r\n")
}

/// An app that reads a head, answers it, and reads nothing more until the gate is opened: what the edge has given the
/// system for it stands before the end of the connection.
fn takes_nothing(answer: &'static str) -> (Upstream, Gate) {
    let gate = Gate::default();
    let opened = gate.clone();
    let upstream = Upstream::script(move |connection| {
        connection.head();
        connection.send(answer);
        opened.wait();
        connection.rest();
    });
    (upstream, gate)
}

/// Leaves as a process does that is killed: by a reset, if there is anything that it hasn't read, or if it is told so.
fn leave(client: Client, reset: bool) {
    if reset {
        client.writer().set_linger(Some(Duration::ZERO)).unwrap();
    }
    drop(client);
}

/// Sends until the edge takes no more: its buffers, and those of the system, are full all the way to the app.
fn fill(client: &Client) {
    let mut writer = client.writer();
    writer
        .set_write_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    while writer.write(&[b'a'; 64 * 1024]).is_ok() {}
}

#[track_caller]
fn logged_as_gone(edge: &Edge) {
    let line = edge.logged("path", "/left");
    assert_eq!(line["error"], "client_gone", "{line}");
    assert_eq!(line["status"], 499, "{line}");
}

#[test]
fn client_that_leaves_while_the_app_takes_nothing_of_its_upload() {
    let (upstream, gate) = takes_nothing("");
    let edge = edge_of(&upstream);
    let mut client = edge.client();
    client.send(post(BODY));
    fill(&client);
    // An end in good order would stand behind what can't be sent, and be nobody's to see.
    leave(client, true);
    logged_as_gone(&edge);
    gate.open();
    upstream.wait("the end", |seen| seen.open == 0);
}

#[test]
fn client_that_leaves_while_its_large_request_waits_for_the_app() {
    let app = Refusing::new();
    let edge = Edge::start(&format!("{}hold = \"1h\"\n", tenant_at("thor", &app.url())));
    let mut client = edge.client();
    client.send(post(BODY));
    // More than the edge reads ahead, and less than the system takes for it.
    client.send([b'a'; 40 * 1024]);
    edge.await_event(0, "upstream is away");
    leave(client, false);
    logged_as_gone(&edge);
    let app = app.come_up(|connection| {
        while connection.request().is_some() {
            connection.send(ok("back"));
        }
    });
    edge.get(HOST, "/came").expect(200, "back");
    assert!(
        app.requests()
            .iter()
            .all(|request| request.target() == "/came")
    );
}

#[test]
fn client_that_leaves_while_the_app_is_dialled() {
    let app = Unanswering::new();
    let edge = Edge::start(&format!(
        "{}timeouts.connect = \"1h\"\n",
        tenant_at("thor", &app.url())
    ));
    let mut client = edge.client();
    client.send(format!("GET /left HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    app.wait_for_a_dial();
    leave(client, false);
    logged_as_gone(&edge);
}

#[test]
fn client_that_leaves_while_it_waits_to_be_told_to_send() {
    let upstream = Upstream::script(|connection| {
        connection.head();
        connection.rest();
    });
    let edge = edge_of(&upstream);
    let mut client = edge.client();
    client.send(format!(
        "POST /left HTTP/1.1\r\nHost: {HOST}\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    ));
    upstream.wait("the head", |seen| seen.requests.len() == 1);
    leave(client, false);
    upstream.wait("the end", |seen| seen.open == 0);
    logged_as_gone(&edge);
}

#[test]
fn client_that_leaves_without_reading_its_answer() {
    let upstream = Upstream::script(|connection| {
        connection.head();
        connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        // Until the edge is gone: it takes no more than fits.
        while connection
            .write_all(format!("1000\r\n{}\r\n", "a".repeat(0x1000)).as_bytes())
            .is_ok()
        {}
    });
    let edge = edge_of(&upstream);
    let mut client = edge.client();
    client.send(format!("GET /left HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    assert_eq!(client.head().status(), 200);
    leave(client, true);
    upstream.wait("the end", |seen| seen.open == 0);
    let line = edge.logged("path", "/left");
    assert_eq!(
        (&line["status"], &line["error"]),
        (&200.into(), &"client_gone".into())
    );
}

#[test]
fn client_that_leaves_a_tunnel_whose_app_takes_nothing() {
    let (upstream, gate) = takes_nothing(SWITCH);
    let edge = edge_of(&upstream);
    let mut client = edge.client();
    client.send(format!(
        "GET /left HTTP/1.1\r\nHost: {HOST}\r\n{UPGRADE}\r\n"
    ));
    assert_eq!(client.head().status(), 101);
    fill(&client);
    leave(client, true);
    let line = edge.logged("path", "/left");
    assert_eq!(line["error"], "aborted", "{line}");
    gate.open();
    upstream.wait("the end", |seen| seen.open == 0);
}

#[test]
fn app_that_leaves_during_the_upload() {
    fn closes(connection: &mut Connection) {
        connection.head();
        connection.exactly(1024);
    }
    fn resets(connection: &mut Connection) {
        closes(connection);
        connection.reset();
    }
    for script in [closes, resets] {
        let upstream = Upstream::script(script);
        let edge = edge_of(&upstream);
        let mut client = edge.client();
        client.send(post(BODY));
        client.send([b'a'; 2048]);
        let response = client.response_to("POST");
        assert_eq!(response.status, 502, "{}", response.text());
        assert_eq!(edge.logged("path", "/left")["error"], "upstream_closed");
        client.expect_closed();
        assert_eq!(upstream.connections(), 1, "it was sent twice");
    }
}

#[test]
fn app_that_leaves_a_tunnel_whose_client_takes_nothing() {
    let upstream = Upstream::script(|connection| {
        connection.head();
        connection.send(SWITCH);
        let mut writer = connection.writer();
        writer
            .set_write_timeout(Some(Duration::from_millis(300)))
            .unwrap();
        while writer.write(&[b'a'; 64 * 1024]).is_ok() {}
        connection.reset();
    });
    let edge = edge_of(&upstream);
    let mut client = edge.client();
    client.send(format!(
        "GET /left HTTP/1.1\r\nHost: {HOST}\r\n{UPGRADE}\r\n"
    ));
    assert_eq!(client.head().status(), 101);
    upstream.wait("its reset", |seen| seen.connections == 1 && seen.open == 0);
    // Without a byte having been read.
    let line = edge.logged("path", "/left");
    assert_eq!(line["error"], "aborted", "{line}");
}
