//! Requests and answers of every framing, from client to app and back.

use crate::support::{
    Gate,
    client::Client,
    edge::{Edge, Setup, tenant, tenant_at},
    upstream::{Refusing, Upstream, ok},
    wire::Framing,
};

const HOST: &str = "thor.polls.local";

fn thor(upstream: &Upstream) -> Edge {
    Edge::start(&tenant("thor", upstream))
}

#[test]
fn get_is_answered_by_length() {
    let upstream = Upstream::saying("hello");
    let edge = thor(&upstream);
    let response = edge.get(HOST, "/");
    response.expect(200, "hello");
    assert_eq!(response.field("content-length"), Some("5"));
    assert!(!response.head.has("transfer-encoding"));
    let request = upstream.last();
    assert_eq!(request.head.start, "GET / HTTP/1.1");
    assert!(!request.head.has("transfer-encoding"), "a GET has no body");
}

#[test]
fn reason_phrase_and_status_of_the_app_reach_the_client() {
    for (status, line) in [
        (418, "418 I'm a teapot"),
        (200, "200 Fine"),
        (599, "599 Odd"),
        (302, "302 "),
    ] {
        let upstream = Upstream::answering(format!("HTTP/1.1 {line}\r\nContent-Length: 0\r\n\r\n"));
        assert_eq!(thor(&upstream).get(HOST, "/").status, status);
    }
}

#[test]
fn answers_without_a_body_leave_the_connection_in_step() {
    let upstream = Upstream::script(|connection| {
        while let Some(request) = connection.request() {
            connection.send(match (request.method(), request.target()) {
                ("HEAD", "/chunked") => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                ("HEAD", _) => "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\nX-Kind: head\r\n\r\n",
                (_, "/204") => "HTTP/1.1 204 No Content\r\n\r\n",
                (_, "/304") => {
                    "HTTP/1.1 304 Not Modified\r\nContent-Length: 1234\r\nETag: \"a\"\r\n\r\n"
                }
                (_, "/empty") => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
                _ => "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlast",
            });
        }
    });
    let edge = thor(&upstream);
    let mut client = edge.client();
    client.send(format!("HEAD / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    let head = client.response_to("HEAD");
    assert_eq!(
        (head.status, head.field("content-length")),
        (200, Some("1234"))
    );
    client.send(format!("HEAD /chunked HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    assert_eq!(client.response_to("HEAD").status, 200);
    assert_eq!(client.get(HOST, "/204").status, 204);
    let not_modified = client.get(HOST, "/304");
    assert_eq!(
        (not_modified.status, not_modified.field("etag")),
        (304, Some("\"a\""))
    );
    client.get(HOST, "/empty").expect(200, "");
    client.get(HOST, "/").expect(200, "last");
    assert_eq!(upstream.connections(), 1, "each answer ended where it ends");
}

#[test]
fn post_by_length_reaches_the_app_by_length() {
    let upstream = Upstream::saying("ok");
    let edge = thor(&upstream);
    edge.client()
        .post(HOST, "/vote", "choice=1")
        .expect(200, "ok");
    let request = upstream.last();
    assert_eq!(request.head.start, "POST /vote HTTP/1.1");
    assert_eq!(request.field("content-length"), Some("8"));
    assert!(!request.head.has("transfer-encoding"));
    assert_eq!(request.body.bytes, b"choice=1");
    edge.client().post(HOST, "/vote", "").expect(200, "ok");
    assert_eq!(
        upstream.last().field("content-length"),
        Some("0"),
        "Django wants a length on an empty POST"
    );
}

#[test]
fn post_by_chunks_reaches_the_app_whole() {
    let upstream = Upstream::saying("ok");
    let edge = thor(&upstream);
    let mut client = edge.client();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n"
    ));
    client.send("5;note=x\r\nhello\r\n1\r\n \r\n");
    client.send("5\r\nworld\r\n0\r\n\r\n");
    client.response().expect(200, "ok");
    let request = upstream.last();
    assert_eq!(request.body.bytes, b"hello world");
    assert!(request.body.whole && !request.head.has("content-length"));
}

#[test]
fn every_registered_method_passes() {
    let upstream = Upstream::saying("ok");
    let edge = thor(&upstream);
    for method in [
        "OPTIONS", "PUT", "DELETE", "PATCH", "PROPFIND", "REPORT", "SEARCH", "PURGE", "TRACE",
        "QUERY",
    ] {
        let mut client = edge.client();
        client.send(format!(
            "{method} / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 0\r\n\r\n"
        ));
        client.response().expect(200, "ok");
        assert_eq!(upstream.last().method(), method);
    }
}

#[test]
fn answer_by_chunks_reaches_the_client_whole() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;ext=\"a\"\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
    );
    let edge = thor(&upstream);
    let mut client = edge.client();
    for _ in 0..3 {
        let response = client.get(HOST, "/");
        response.expect(200, "hello world");
        assert_eq!(response.field("transfer-encoding"), Some("chunked"));
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn answer_until_close_reaches_the_client_whole() {
    let upstream = Upstream::script(|connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\n\r\nuntil the end");
    });
    let edge = thor(&upstream);
    let mut client = edge.client();
    client.get(HOST, "/").expect(200, "until the end");
    client.get(HOST, "/").expect(200, "until the end");
    assert_eq!(upstream.connections(), 2);
}

#[test]
fn first_bytes_of_an_answer_do_not_wait_for_the_last() {
    let upstream = Upstream::script(|connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nevent1\r\n");
        // The second event is sent when the client has told, by another request, that it has the first.
        connection.rest();
    });
    let edge = thor(&upstream);
    let mut client = edge.client();
    client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    assert_eq!(client.head().status(), 200);
    assert_eq!(client.exactly(11), b"6\r\nevent1\r\n");
}

#[test]
fn answer_in_single_bytes_is_put_together() {
    let upstream = Upstream::script(|connection| {
        while connection.request().is_some() {
            for byte in ok("drip").bytes() {
                connection.send([byte]);
            }
        }
    });
    let edge = thor(&upstream);
    let mut client = edge.client();
    for _ in 0..3 {
        client.get(HOST, "/").expect(200, "drip");
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn request_in_single_bytes_is_put_together() {
    let upstream = Upstream::saying("ok");
    let edge = thor(&upstream);
    let mut client = edge.client();
    for byte in
        format!("POST /drip HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 4\r\n\r\nbody").bytes()
    {
        client.send([byte]);
    }
    client.response().expect(200, "ok");
    assert_eq!(
        (
            upstream.last().target(),
            upstream.last().body.bytes.as_slice()
        ),
        ("/drip", &b"body"[..])
    );
}

#[test]
fn http_1_0_client_gets_no_chunks_and_a_close() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    );
    let edge = thor(&upstream);
    let mut client = edge.client();
    client.send(format!("GET / HTTP/1.0\r\nHost: {HOST}\r\n\r\n"));
    let response = client.response();
    response.expect(200, "hello");
    assert!(!response.head.has("transfer-encoding"));
    client.expect_closed();
    assert_eq!(
        upstream.last().head.start,
        "GET / HTTP/1.1",
        "the hop to the app is the edge's own"
    );
}

#[test]
fn http_1_0_client_that_asks_for_keep_alive_gets_it() {
    let upstream = Upstream::saying("ok");
    let edge = thor(&upstream);
    let mut client = edge.client();
    for _ in 0..2 {
        client.send(format!(
            "GET / HTTP/1.0\r\nHost: {HOST}\r\nConnection: keep-alive\r\n\r\n"
        ));
        let response = client.response();
        response.expect(200, "ok");
        assert!(response.head.connection("keep-alive"));
    }
}

#[test]
fn http_1_0_answer_ends_with_the_connection_unless_it_says_keep_alive() {
    let upstream = Upstream::script(|connection| {
        connection.request();
        connection.send("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold");
        connection.rest();
    });
    let edge = thor(&upstream);
    let mut client = edge.client();
    for _ in 0..2 {
        client.get(HOST, "/").expect(200, "old");
    }
    assert_eq!(upstream.connections(), 2);
}

#[test]
fn client_that_says_close_is_closed() {
    let upstream = Upstream::saying("ok");
    let edge = thor(&upstream);
    let mut client = edge.client();
    let response = client.get_with(HOST, "/", "Connection: close\r\n");
    response.expect(200, "ok");
    client.expect_closed();
    assert!(
        !upstream.last().head.connection("close"),
        "the app's connection is another one"
    );
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let upstream = Upstream::echo();
    let edge = thor(&upstream);
    let mut client = edge.client();
    let mut requests = String::new();
    for number in 0..10 {
        requests += &format!(
            "POST /{number} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 2\r\n\r\n#{number}"
        );
    }
    client.send(requests);
    for number in 0..10 {
        let response = client.response();
        assert!(
            response.text().starts_with(&format!("POST /{number} ")),
            "{}",
            response.text()
        );
        assert!(
            response.text().ends_with(&format!("#{number}")),
            "{}",
            response.text()
        );
    }
}

#[test]
fn pipelined_requests_reach_the_tenant_of_each() {
    let (first, second) = (Upstream::saying("thor"), Upstream::saying("potter"));
    let edge = Edge::start(&[tenant("thor", &first), tenant("potter", &second)].concat());
    let mut client = edge.client();
    let tenants = ["thor", "potter", "thor", "thor", "potter"];
    client.send(
        tenants
            .map(|name| format!("GET / HTTP/1.1\r\nHost: {name}.polls.local\r\n\r\n"))
            .concat(),
    );
    for name in tenants {
        client.response().expect(200, name);
    }
}

#[test]
fn empty_line_before_a_request_is_passed_over() {
    let upstream = Upstream::saying("ok");
    let edge = thor(&upstream);
    let mut client = edge.client();
    for _ in 0..2 {
        client.send(format!("\r\nGET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
        client.response().expect(200, "ok");
    }
}

#[test]
fn requests_at_the_same_time_go_to_several_origins() {
    let gate = Gate::default();
    let slow = || {
        let gate = gate.clone();
        Upstream::script(move |connection| {
            while connection.request().is_some() {
                gate.wait();
                connection.send(ok("ok"));
            }
        })
    };
    let (first, second) = (slow(), slow());
    let edge = Edge::start(&format!(
        "[routes.thor]\nhosts = [\"{HOST}\"]\nupstream = [\"{}\", \"{}\"]\n",
        first.url(),
        second.url()
    ));
    let mut clients: Vec<_> = (0..8).map(|_| edge.client()).collect();
    for client in &mut clients {
        client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    }
    for origin in [&first, &second] {
        origin.wait("a request", |seen| !seen.requests.is_empty());
    }
    gate.open();
    for client in &mut clients {
        client.response().expect(200, "ok");
    }
    assert_eq!(first.requests().len() + second.requests().len(), 8);
}

#[test]
fn origin_that_refuses_is_passed_over_for_one_that_does_not() {
    let (refusing, healthy) = (Refusing::new(), Upstream::saying("ok"));
    let edge = Edge::start(&format!(
        "[routes.thor]\nhosts = [\"{HOST}\"]\nupstream = [\"{}\", \"{}\"]\n",
        refusing.url(),
        healthy.url()
    ));
    for _ in 0..20 {
        edge.get(HOST, "/").expect(200, "ok");
        edge.client().post(HOST, "/", "once").expect(200, "ok");
    }
    assert_eq!(healthy.requests().len(), 40);
}

#[test]
fn unix_socket_is_an_upstream() {
    let directory = tempfile::tempdir().unwrap();
    let upstream = Upstream::unix(&directory.path().join("thor.sock"), |connection| {
        while connection.request().is_some() {
            connection.send(ok("by unix"));
        }
    });
    let edge = thor(&upstream);
    let mut client = edge.client();
    for _ in 0..3 {
        client.get(HOST, "/").expect(200, "by unix");
    }
    assert_eq!(
        (upstream.connections(), upstream.last().field("host")),
        (1, Some(HOST))
    );
}

#[test]
fn unix_socket_is_a_listener() {
    let upstream = Upstream::saying("ok");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("edge.sock");
    let preamble = "admin.listen = \"127.0.0.1:0\"\nlog.format = \"json\"\n";
    let listen = format!("listen = [\"unix:{}\", \"127.0.0.1:0\"]\n", path.display());
    let _edge = Setup::exactly(&[&listen, preamble, &tenant("thor", &upstream)].concat()).start();
    let mut client = Client::connect_unix(&path);
    for _ in 0..3 {
        client.get(HOST, "/").expect(200, "ok");
    }
    client.post(HOST, "/", "body").expect(200, "ok");
    assert_eq!(upstream.last().body.bytes, b"body");
}

#[test]
fn unix_listener_takes_the_place_of_a_socket_that_a_killed_edge_left() {
    let upstream = Upstream::saying("ok");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("edge.sock");
    let preamble = "admin.listen = \"127.0.0.1:0\"\nlog.format = \"json\"\n";
    let config = format!(
        "listen = \"unix:{}\"\n{preamble}{}",
        path.display(),
        tenant("thor", &upstream)
    );
    drop(Setup::exactly(&config).start());
    assert!(path.exists(), "a killed edge can't clean up");
    let _edge = Setup::exactly(&config).start();
    Client::connect_unix(&path).get(HOST, "/").expect(200, "ok");
}

#[test]
fn name_is_resolved_when_dialling() {
    let upstream = Upstream::saying("ok");
    let edge = Edge::start(&tenant_at(
        "thor",
        &format!("http://localhost:{}", upstream.port()),
    ));
    edge.get(HOST, "/").expect(200, "ok");
    edge.get(HOST, "/").expect(200, "ok");
}

#[test]
fn interim_answers_do_not_stand_for_the_final_one() {
    let upstream = Upstream::answering(
        "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n\
         HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfinal",
    );
    let edge = thor(&upstream);
    let mut client = edge.client();
    client.get(HOST, "/").expect(200, "final");
    client.get(HOST, "/").expect(200, "final");
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn head_of_a_request_with_many_fields_reaches_the_app_whole() {
    let upstream = Upstream::saying("ok");
    let edge = thor(&upstream);
    let fields: String = (0..90)
        .map(|n| format!("X-Field-{n}: {}\r\n", "v".repeat(200)))
        .collect();
    edge.client().get_with(HOST, "/", &fields).expect(200, "ok");
    let request = upstream.last();
    for number in 0..90 {
        assert_eq!(
            request.field(&format!("x-field-{number}")).map(str::len),
            Some(200)
        );
    }
}

#[test]
fn head_of_an_answer_with_many_fields_reaches_the_client_whole() {
    let fields: String = (0..90)
        .map(|n| format!("Set-Cookie: c{n}={}\r\n", "v".repeat(200)))
        .collect();
    let upstream = Upstream::answering(format!(
        "HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nok"
    ));
    let response = thor(&upstream).get(HOST, "/");
    response.expect(200, "ok");
    assert_eq!(response.head.all("set-cookie").len(), 90);
}

#[test]
fn body_of_an_answer_to_an_old_client_that_lacks_a_length_ends_with_the_close() {
    let upstream = Upstream::script(|connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\n\r\nuntil the end");
    });
    let edge = thor(&upstream);
    let mut client = edge.client();
    client.send(format!("GET / HTTP/1.0\r\nHost: {HOST}\r\n\r\n"));
    let head = client.head();
    assert_eq!(head.response_framing("GET"), Framing::UntilClose);
    assert_eq!(client.rest(), (b"until the end".to_vec(), true));
}
