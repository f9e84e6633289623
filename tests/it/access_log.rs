//! One line for each request: its keys, what they mean, and that it is always one line.

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{
    edge::{Edge, Setup, tenant, tenant_at},
    upstream::{Refusing, Upstream, ok},
};

const HOST: &str = "thor.polls.local:8080";

const KEYS: [&str; 17] = [
    "time",
    "tenant",
    "host",
    "method",
    "path",
    "status",
    "bytes_in",
    "bytes_out",
    "duration_ms",
    "upstream_ms",
    "endpoint",
    "attempts",
    "held_ms",
    "queued_ms",
    "client",
    "request_id",
    "error",
];

fn thor(upstream: &Upstream) -> Edge {
    Edge::start(&tenant("thor", upstream))
}

#[test]
fn line_of_a_request_says_all_there_is() {
    let upstream = Upstream::saying("hello");
    let edge = thor(&upstream);
    edge.client()
        .post(HOST, "/polls/1/vote?next=%2F&x=1", "choice=2")
        .expect(200, "hello");
    let line = edge.logged("status", 200);
    for (key, value) in [
        ("tenant", Value::from("thor")),
        ("host", HOST.into()),
        ("method", "POST".into()),
        ("path", "/polls/1/vote?next=%2F&x=1".into()),
        ("bytes_in", 8.into()),
        ("bytes_out", 5.into()),
        ("endpoint", upstream.authority().into()),
        ("attempts", 1.into()),
        ("client", "127.0.0.1".into()),
        ("request_id", upstream.last().field("x-request-id").into()),
        ("error", Value::Null),
    ] {
        assert_eq!(line[key], value, "{key}");
    }
    let (duration, to_head) = (
        line["duration_ms"].as_f64().unwrap(),
        line["upstream_ms"].as_f64().unwrap(),
    );
    assert!(0.0 < to_head && to_head <= duration, "{line}");
    let time: jiff::Timestamp = line["time"].as_str().unwrap().parse().unwrap();
    let age = jiff::Timestamp::now().duration_since(time).as_secs_f64();
    assert!((0.0..60.0).contains(&age), "{line}");
    assert!(
        line["time"]
            .as_str()
            .is_some_and(|time| time.len() == 24 && time.ends_with('Z')),
        "{line}"
    );
}

#[test]
fn keys_stand_in_the_order_that_is_documented() {
    let upstream = Upstream::saying("hello");
    let edge = thor(&upstream);
    edge.get(HOST, "/").expect(200, "hello");
    edge.logged("status", 200);
    let line = edge.access_log().so_far().remove(0);
    let position = |key: &str| line.find(&format!("\"{key}\":"));
    let known: Vec<_> = KEYS
        .iter()
        .map(|key| position(key).unwrap_or_else(|| panic!("no {key} in {line}")))
        .collect();
    assert!(known.is_sorted(), "{line}");
    let value: Value = serde_json::from_str(&line).unwrap();
    for key in value.as_object().unwrap().keys() {
        assert!(KEYS.contains(&key.as_str()), "{key} is in no documentation");
    }
}

#[test]
fn what_is_not_known_is_null() {
    let upstream = Upstream::saying("hello");
    let edge = thor(&upstream);
    assert_eq!(edge.get("ghost.polls.local", "/").status, 404);
    let line = edge.logged("status", 404);
    for key in ["tenant", "upstream_ms", "endpoint"] {
        assert!(line[key].is_null(), "{key}: {line}");
    }
    assert_eq!(
        (&line["attempts"], &line["bytes_in"]),
        (&0.into(), &0.into())
    );
    assert_eq!(line["host"], "ghost.polls.local");
}

#[test]
fn failed_attempts_are_counted_and_name_the_endpoint() {
    let refusing = Refusing::new();
    let route = tenant_at("thor", &refusing.url());
    let edge = Edge::start(&format!("{route}hold = \"0s\"\n"));
    assert_eq!(edge.get(HOST, "/").status, 502);
    let line = edge.logged("status", 502);
    assert!(line["attempts"].as_u64() >= Some(1), "{line}");
    assert!(line["upstream_ms"].is_null(), "{line}");
    assert_eq!(
        line["endpoint"],
        refusing.url().trim_start_matches("http://")
    );
}

#[test]
fn bytes_are_those_of_the_bodies() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
    );
    let edge = thor(&upstream);
    let mut client = edge.client();
    client.send(format!(
        "POST /chunks HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"
    ));
    client.response().expect(200, "hello world");
    let line = edge.logged("path", "/chunks");
    assert_eq!(
        (&line["bytes_in"], &line["bytes_out"]),
        (&7.into(), &11.into())
    );
    client.send(format!("HEAD /head HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    client.response_to("HEAD");
    assert_eq!(edge.logged("path", "/head")["bytes_out"], 0);
}

#[test]
fn each_request_of_a_connection_has_a_line() {
    let upstream = Upstream::saying("ok");
    let edge = thor(&upstream);
    let mut client = edge.client();
    for number in 0..100 {
        client.get(HOST, &format!("/{number}")).expect(200, "ok");
    }
    for number in 0..100 {
        edge.logged("path", format!("/{number}"));
    }
    assert_eq!(edge.access_log().count(), 100);
}

#[test]
fn path_of_a_url_is_what_comes_after_its_host() {
    let upstream = Upstream::saying("ok");
    let edge = thor(&upstream);
    let mut client = edge.client();
    for (target, path) in [
        ("http://thor.polls.local/a?b=http://c/d", "/a?b=http://c/d"),
        ("http://thor.polls.local", "/"),
        ("http://thor.polls.local?a/b", "?a/b"),
        ("/e?f=http://g/h", "/e?f=http://g/h"),
    ] {
        let before = edge.access_log().count();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
        client.response().expect(200, "ok");
        let line = edge.access_log().json_after(before, target, |_| true);
        assert_eq!(line["path"], path, "{target}");
    }
}

#[test]
fn nothing_a_stranger_sends_breaks_out_of_its_line() {
    let upstream = Upstream::saying("ok");
    let mut edge = thor(&upstream);
    for request in [
        &b"GET /\"quoted\"?\"=\\ HTTP/1.1\r\nHost: thor.polls.local\r\n\r\n"[..],
        b"GET /{\"a\":1} HTTP/1.1\r\nHost: thor.polls.local\r\n\r\n",
        b"GET /caf\xc3\xa9\xff HTTP/1.1\r\nHost: thor.polls.local\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: \"thor\\\"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: th\xff\xfer\t\x80\r\n\r\n",
        b"GET /\n{} HTTP/1.1\r\nHost: thor.polls.local\r\n\r\n",
        b"\"\\\x1b[31m\x07\r\n\r\n",
        b"GET /\x1b[31m HTTP/1.1\r\nHost: thor.polls.local\r\n\r\n",
        b"{\"status\":200}\r\n\r\n",
    ] {
        let before = edge.access_log().count();
        let mut client = edge.client();
        client.send(request);
        client.head();
        edge.access_log()
            .json_after(before, "the request", |_| true);
    }
    edge.signal(Signal::TERM);
    edge.wait();
    for line in edge.access_log().all() {
        let value: Value =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        assert!(value["status"].is_number(), "{line}");
        assert!(
            line.bytes().all(|byte| byte >= 0x20 && byte != 0x7f),
            "{line:?}"
        );
    }
}

#[test]
fn line_is_written_when_the_body_has_ended() {
    let gate = crate::support::Gate::default();
    let app_gate = gate.clone();
    let upstream = Upstream::script(move |connection| {
        while let Some(request) = connection.request() {
            if request.target() == "/long" {
                connection.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfirst");
                app_gate.wait();
                connection.send("last");
            } else {
                connection.send(ok("ok"));
            }
        }
    });
    let edge = thor(&upstream);
    let mut client = edge.client();
    client.send(format!("GET /long HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    client.head();
    assert_eq!(client.exactly(5), b"first");
    edge.get(HOST, "/short").expect(200, "ok");
    edge.logged("path", "/short");
    assert_eq!(edge.access_log().count(), 1, "the long one is not over");
    gate.open();
    assert_eq!(client.exactly(4), b"last");
    assert_eq!(edge.logged("path", "/long")["bytes_out"], 9);
}

#[test]
fn text_format_is_a_line_for_people() {
    let upstream = Upstream::saying("hello");
    let preamble =
        "listen = \"127.0.0.1:0\"\nadmin.listen = \"127.0.0.1:0\"\nlog.format = \"text\"\n";
    let setup = Setup::exactly(&format!("{preamble}{}", tenant("thor", &upstream)));
    let edge = setup.start_with_text_log();
    edge.get(HOST, "/polls/?page=2").expect(200, "hello");
    let line = edge
        .access_log()
        .find("the request", |line| Some(line.to_owned()));
    assert!(serde_json::from_str::<Value>(&line).is_err(), "{line}");
    for part in [
        "thor",
        HOST,
        "GET",
        "/polls/?page=2",
        "200",
        upstream.authority(),
        "127.0.0.1",
    ] {
        assert!(line.contains(part), "no {part} in {line}");
    }
}

#[test]
fn text_format_keeps_strangers_in_their_line() {
    let upstream = Upstream::saying("hello");
    let preamble =
        "listen = \"127.0.0.1:0\"\nadmin.listen = \"127.0.0.1:0\"\nlog.format = \"text\"\n";
    let edge =
        Setup::exactly(&format!("{preamble}{}", tenant("thor", &upstream))).start_with_text_log();
    let mut client = edge.client();
    client.send(b"GET /caf\xc3\xa9\xff HTTP/1.1\r\nHost: a\x80\tb\r\n\r\n");
    client.head();
    let line = edge
        .access_log()
        .find("the request", |line| Some(line.to_owned()));
    assert!(line.bytes().all(|byte| byte >= 0x20), "{line:?}");
}

#[test]
fn access_log_that_is_turned_off_is_silent() {
    let upstream = Upstream::saying("hello");
    let mut edge = Edge::start(&format!(
        "log.access = false\n{}",
        tenant("thor", &upstream)
    ));
    edge.get(HOST, "/").expect(200, "hello");
    assert_eq!(edge.get("ghost.polls.local", "/").status, 404);
    edge.signal(Signal::TERM);
    edge.wait();
    assert_eq!(edge.access_log().all(), Vec::<String>::new());
}

#[test]
fn last_lines_are_written_before_the_edge_ends() {
    let upstream = Upstream::saying("ok");
    let mut edge = thor(&upstream);
    let mut client = edge.client();
    for _ in 0..500 {
        client.get(HOST, "/").expect(200, "ok");
    }
    edge.signal(Signal::TERM);
    edge.wait();
    assert_eq!(edge.access_log().all().len(), 500);
}
