//! WebSockets and other upgrades: asked for, granted, refused, and never granted unasked.

use crate::support::{
    edge::{Edge, tenant},
    upstream::{Upstream, ok},
    websocket::{self, Chat},
};

const HOST: &str = "thor.polls.local";
const ASK: &str = "Connection: Upgrade\r\nUpgrade: foo/1\r\n";
const GRANT: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: foo/1\r\n\r\n";

fn thor(upstream: &Upstream) -> Edge {
    Edge::start(&tenant("thor", upstream))
}

#[test]
fn websocket_echoes_through_the_edge() {
    let upstream = websocket::echo();
    let edge = thor(&upstream);
    let mut chat = Chat::open(&edge, HOST);
    for number in 0..100 {
        chat.say(&format!("message {number}"));
    }
    chat.say_bytes(vec![0xA5; 1024 * 1024]);
    chat.close();
    upstream.wait("the end of the tunnel", |seen| seen.open == 0);
    let line = edge.logged("status", 101);
    assert_eq!(
        (&line["tenant"], &line["path"], &line["error"]),
        (&"thor".into(), &"/chat".into(), &().into())
    );
    assert!(line["bytes_in"].as_u64() > Some(1024 * 1024), "{line}");
    assert!(line["bytes_out"].as_u64() > Some(1024 * 1024), "{line}");
}

#[test]
fn websockets_of_two_tenants_stay_apart() {
    let (first, second) = (websocket::echo(), websocket::echo());
    let edge = Edge::start(&[tenant("thor", &first), tenant("potter", &second)].concat());
    let mut chats = [
        Chat::open(&edge, HOST),
        Chat::open(&edge, "potter.polls.local"),
    ];
    for number in 0..10 {
        for chat in &mut chats {
            chat.say(&format!("message {number}"));
        }
    }
    assert_eq!((first.connections(), second.connections()), (1, 1));
}

#[test]
fn upgrade_reaches_the_app_with_the_fields_that_ask_for_it() {
    let upstream = Upstream::script(|connection| {
        connection.head();
        connection.send(GRANT);
        connection.rest();
    });
    let edge = thor(&upstream);
    let mut client = edge.client();
    client.send(format!(
        "GET /up HTTP/1.1\r\nHost: {HOST}\r\nX-Real-IP: 6.6.6.6\r\n{ASK}\r\n"
    ));
    let head = client.head();
    assert_eq!((head.status(), head.field("upgrade")), (101, Some("foo/1")));
    assert!(head.connection("upgrade"));
    let request = upstream.last();
    assert_eq!(
        (request.field("upgrade"), request.field("host")),
        (Some("foo/1"), Some(HOST))
    );
    assert!(request.head.connection("upgrade"));
    assert_eq!(
        request.field("x-real-ip"),
        Some("127.0.0.1"),
        "the rules for fields hold here too"
    );
}

#[test]
fn tunnel_carries_bytes_that_came_with_the_heads() {
    let upstream = Upstream::script(|connection| {
        connection.head();
        connection.send(format!("{GRANT}welcome"));
        assert_eq!(connection.exactly(5), b"early");
        connection.send("thanks");
        assert_eq!(connection.exactly(4), b"more");
        connection.send("done");
        connection.rest();
    });
    let edge = thor(&upstream);
    let mut client = edge.client();
    client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{ASK}\r\nearly"));
    assert_eq!(client.head().status(), 101);
    assert_eq!(client.exactly(13), b"welcomethanks");
    client.send("more");
    assert_eq!(client.exactly(4), b"done");
}

#[test]
fn end_of_one_direction_of_a_tunnel_leaves_the_other_open() {
    let upstream = Upstream::script(|connection| {
        connection.head();
        connection.send(GRANT);
        let said = connection.rest();
        connection.send(said.repeat(2));
    });
    let edge = thor(&upstream);
    let mut client = edge.client();
    client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{ASK}\r\n"));
    assert_eq!(client.head().status(), 101);
    client.send("twice");
    client.close_writing();
    assert_eq!(client.rest(), (b"twicetwice".to_vec(), true));
    assert_eq!(edge.logged("status", 101)["bytes_out"], 10);
}

#[test]
fn app_that_leaves_a_tunnel_ends_it() {
    let upstream = Upstream::script(|connection| {
        connection.head();
        connection.send(format!("{GRANT}bye"));
    });
    let edge = thor(&upstream);
    let mut client = edge.client();
    client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{ASK}\r\n"));
    assert_eq!(client.head().status(), 101);
    assert_eq!(client.exactly(3), b"bye");
    client.expect_closed();
}

#[test]
fn client_that_leaves_a_tunnel_ends_it() {
    let upstream = Upstream::script(|connection| {
        connection.head();
        connection.send(GRANT);
        connection.rest();
    });
    let edge = thor(&upstream);
    let mut client = edge.client();
    client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{ASK}\r\n"));
    assert_eq!(client.head().status(), 101);
    drop(client);
    upstream.wait("the end of the tunnel", |seen| seen.open == 0);
}

#[test]
fn silent_tunnel_ends_after_tunnel_idle() {
    let upstream = Upstream::script(|connection| {
        connection.head();
        connection.send(GRANT);
        connection.rest();
    });
    let edge = Edge::start(&format!(
        "{}timeouts.tunnel_idle = \"500ms\"\n",
        tenant("thor", &upstream)
    ));
    let mut client = edge.client();
    client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{ASK}\r\n"));
    assert_eq!(client.head().status(), 101);
    client.expect_closed();
    upstream.wait("the end of the tunnel", |seen| seen.open == 0);
}

#[test]
fn tunnel_outlives_the_time_outs_of_requests() {
    let upstream = websocket::echo();
    let keys = "timeouts.response = \"300ms\"\ntimeouts.idle = \"300ms\"\n";
    let edge = Edge::start(&format!("{}{keys}", tenant("thor", &upstream)));
    let mut chat = Chat::open(&edge, HOST);
    // Being idle for longer than the time-outs is what is tested.
    std::thread::sleep(std::time::Duration::from_millis(1500));
    chat.say("still here");
}

#[test]
fn upgrade_that_the_app_refuses_is_an_answer_like_any_other() {
    let upstream = Upstream::script(|connection| {
        while let Some(request) = connection.request() {
            connection.send(match request.target() {
                "/found" => {
                    "HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 5\r\n\r\nlogin"
                        .to_owned()
                }
                "/chunked" => {
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"
                        .to_owned()
                }
                _ => ok("no socket here"),
            });
        }
    });
    let edge = thor(&upstream);
    let mut client = edge.client();
    client
        .get_with(HOST, "/", ASK)
        .expect(200, "no socket here");
    client.get_with(HOST, "/found", ASK).expect(302, "login");
    client.get_with(HOST, "/chunked", ASK).expect(200, "body");
    client.get(HOST, "/").expect(200, "no socket here");
}

#[test]
fn switch_that_nobody_asked_for_is_a_bad_answer() {
    for ask in ["", "Upgrade: foo/1\r\n", "Connection: Upgrade\r\n"] {
        let upstream = Upstream::script(|connection| {
            connection.head();
            connection.send(format!("{GRANT}planted"));
            connection.rest();
        });
        let edge = thor(&upstream);
        let response = edge.client().get_with(HOST, "/", ask);
        assert_eq!(response.status, 502, "{ask:?}");
        assert!(!response.text().contains("planted"));
        assert_eq!(edge.logged("path", "/")["error"], "upstream_invalid");
        upstream.wait("the end of the connection", |seen| seen.open == 0);
    }
}

#[test]
fn h2c_is_not_tunnelled() {
    let upstream = Upstream::saying("plain");
    let edge = thor(&upstream);
    let fields =
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n";
    edge.client()
        .get_with(HOST, "/", fields)
        .expect(200, "plain");
    assert!(!upstream.last().head.has("upgrade"));
}

#[test]
fn upgrade_from_http_1_0_is_not_one() {
    let upstream = Upstream::saying("plain");
    let edge = thor(&upstream);
    let mut client = edge.client();
    client.send(format!("GET / HTTP/1.0\r\nHost: {HOST}\r\n{ASK}\r\n"));
    client.response().expect(200, "plain");
    assert!(
        !upstream.last().head.has("upgrade"),
        "RFC 9110 §7.8: ignored in HTTP/1.0"
    );
}

#[test]
fn connection_of_a_tunnel_is_not_used_again() {
    let upstream = Upstream::script(|connection| {
        let Some(head) = connection.head() else {
            return;
        };
        if head.has("upgrade") {
            connection.send(GRANT);
            connection.rest();
            return;
        }
        connection.send(ok("plain"));
        connection.rest();
    });
    let edge = thor(&upstream);
    let mut client = edge.client();
    client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{ASK}\r\n"));
    assert_eq!(client.head().status(), 101);
    edge.get(HOST, "/").expect(200, "plain");
    assert_eq!(upstream.connections(), 2);
}
