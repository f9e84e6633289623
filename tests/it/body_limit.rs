//! How large the body of a request may be, in whichever way it comes.

use crate::support::{
    edge::{Edge, tenant},
    upstream::{Upstream, ok},
};

const HOST: &str = "thor.polls.local";

/// thor takes a thousand bytes, potter as much as tenants take by default.
struct Limited {
    edge: Edge,
    thor: Upstream,
    _potter: Upstream,
}

impl Limited {
    fn start() -> Self {
        Self::of(Upstream::saying("ok"))
    }

    fn of(thor: Upstream) -> Self {
        let potter = Upstream::saying("potter");
        let config = format!(
            "{}limits.body = \"1000B\"\n{}",
            tenant("thor", &thor),
            tenant("potter", &potter)
        );
        Self {
            edge: Edge::start(&config),
            thor,
            _potter: potter,
        }
    }

    #[track_caller]
    fn logged_413(&self) {
        let line = self.edge.logged("status", 413);
        assert_eq!(line["error"], "body_too_large", "{line}");
        assert_eq!(line["tenant"], "thor");
    }
}

/// `size` bytes in chunks of 100.
fn chunks(size: usize) -> String {
    format!("64\r\n{}\r\n", "a".repeat(100)).repeat(size / 100)
}

#[test]
fn body_of_the_limit_passes_and_one_byte_more_is_413() {
    let limited = Limited::start();
    let mut client = limited.edge.client();
    client.post(HOST, "/", &"a".repeat(1000)).expect(200, "ok");
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n",
        chunks(1000)
    ));
    client.response_to("POST").expect(200, "ok");
    let response = client.post(HOST, "/", &"a".repeat(1001));
    assert_eq!(response.status, 413);
    assert_eq!(response.field("connection"), Some("close"));
    assert!(
        response.text().contains("1000 bytes"),
        "{}",
        response.text()
    );
    client.expect_closed();
    limited.logged_413();
    assert_eq!(limited.thor.requests().len(), 2);
}

#[test]
fn length_alone_is_enough_to_refuse_a_body() {
    let limited = Limited::start();
    let mut client = limited.edge.client();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nExpect: 100-continue\r\nContent-Length: 1001\r\n\r\n"
    ));
    let response = client.response_to("POST");
    assert_eq!((response.status, response.interim.len()), (413, 0));
    limited.logged_413();
    assert_eq!(limited.thor.connections(), 0);
}

#[test]
fn chunks_beyond_the_limit_are_413_and_never_a_whole_request() {
    let limited = Limited::of(Upstream::script(|connection| {
        let head = connection.head().unwrap();
        assert!(!connection.body(&head).whole);
    }));
    let mut client = limited.edge.client();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        chunks(500)
    ));
    limited
        .thor
        .wait("the head", |seen| seen.requests.len() == 1);
    client.send_unwelcome(format!("{}0\r\n\r\n", chunks(600)).as_bytes());
    assert_eq!(client.head().status(), 413);
    client.rest();
    limited.logged_413();
    limited.thor.wait("the end", |seen| seen.open == 0);
    let request = limited.thor.last();
    assert!(!request.body.whole, "the app saw a whole request");
    assert!(request.body.bytes.len() <= 1000);
}

#[test]
fn answer_that_has_begun_is_cut_when_the_body_grows_beyond_the_limit() {
    let limited = Limited::of(Upstream::script(|connection| {
        connection.head();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nec");
        connection.rest();
    }));
    let mut client = limited.edge.client();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        chunks(500)
    ));
    assert_eq!(client.head().status(), 200);
    assert_eq!(client.exactly(2), b"ec");
    client.send_unwelcome(chunks(600).as_bytes());
    client.expect_closed();
    let line = limited.edge.logged("error", "body_too_large");
    assert_eq!(line["status"], 200, "{line}");
}

#[test]
fn limit_is_of_one_tenant_and_may_change_while_a_connection_lives() {
    let limited = Limited::start();
    let mut client = limited.edge.client();
    client
        .post("potter.polls.local", "/", &"a".repeat(100_000))
        .expect(200, "potter");
    let config = format!(
        "defaults.limits.body = \"2kB\"\n{}",
        tenant("thor", &limited.thor)
    );
    limited.edge.reload(&config);
    client.post(HOST, "/", &"a".repeat(2000)).expect(200, "ok");
    assert_eq!(client.post(HOST, "/", &"a".repeat(2001)).status, 413);
}

#[test]
fn hundred_mebibytes_are_the_limit_unless_the_route_says_otherwise() {
    let upstream = Upstream::script(|connection| {
        while connection.head().is_some() {
            connection.send(ok("early"));
            connection.rest();
        }
    });
    let edge = Edge::start(&tenant("thor", &upstream));
    let status = |length: u64| {
        let mut client = edge.client();
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {length}\r\n\r\n"
        ));
        client.head().status()
    };
    assert_eq!(status(100 * 1024 * 1024), 200);
    assert_eq!(status(100 * 1024 * 1024 + 1), 413);
}
