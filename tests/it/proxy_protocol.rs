//! Who the client is, by the word of a proxy that passes connections on and not requests.

use crate::support::{
    client::Client,
    edge::{Edge, tenant},
    upstream::{Request, Upstream},
};

const HOST: &str = "thor.polls.local";
const GET: &str = "GET / HTTP/1.1\r\nHost: thor.polls.local\r\n\r\n";
const V1: &str = "PROXY TCP4 192.0.2.7 127.0.0.1 4711 8080\r\n";

/// Version 2, of a client that has 192.0.2.8.
fn v2() -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend([192, 0, 2, 8, 127, 0, 0, 1, 18, 103, 31, 144]);
    header
}

/// thor behind 127.0.0.2, which passes connections on. A client of 127.0.0.1 comes by itself.
struct Thor {
    edge: Edge,
    upstream: Upstream,
}

impl Thor {
    fn start() -> Self {
        Self::with_keys("")
    }

    /// `keys` of the top level.
    fn with_keys(keys: &str) -> Self {
        let upstream = Upstream::saying("ok");
        let edge = Edge::start(&format!(
            "trusted_proxies = [\"127.0.0.2\", \"10.0.0.0/8\"]\nproxy_protocol = true\n{keys}{}",
            tenant("thor", &upstream)
        ));
        Self { edge, upstream }
    }

    fn proxy(&self) -> Client {
        Client::connect_from("127.0.0.2", self.edge.address())
    }

    /// What the app sees of a request with these fields, behind this header.
    #[track_caller]
    fn receives(&self, header: impl AsRef<[u8]>, fields: &str) -> Request {
        let mut proxy = self.proxy();
        proxy.send(header);
        proxy.get_with(HOST, "/", fields).expect(200, "ok");
        self.upstream.last()
    }

    /// The connection is refused, and the app hears nothing of it.
    #[track_caller]
    fn refuses(&self, mut client: Client, sent: &[u8], label: &str) {
        let before = self.edge.access_log().count();
        client.send_unwelcome(sent);
        client.send_unwelcome(GET.as_bytes());
        assert_eq!(client.head().status(), 400, "{}", sent.escape_ascii());
        client.rest();
        let line = self
            .edge
            .access_log()
            .json_after(before, label, |line| line["status"] == 400);
        assert_eq!(line["error"], label, "{}", sent.escape_ascii());
        assert_eq!(self.upstream.connections(), 0);
    }
}

fn claims(request: &Request) -> [Option<&str>; 2] {
    ["x-real-ip", "x-forwarded-for"].map(|name| request.field(name))
}

#[test]
fn app_and_log_are_told_the_client_that_the_header_names() {
    let thor = Thor::start();
    assert_eq!(claims(&thor.receives(V1, "")), [Some("192.0.2.7"); 2]);
    assert_eq!(claims(&thor.receives(v2(), "")), [Some("192.0.2.8"); 2]);
    let six = "PROXY TCP6 2001:db8::7 ::1 4711 8080\r\n";
    assert_eq!(claims(&thor.receives(six, "")), [Some("2001:db8::7"); 2]);
    for client in ["192.0.2.7", "192.0.2.8", "2001:db8::7"] {
        assert_eq!(thor.edge.logged("client", client)["status"], 200);
    }
}

#[test]
fn header_is_for_all_requests_of_its_connection_and_may_come_in_pieces() {
    let thor = Thor::start();
    let mut proxy = thor.proxy();
    for byte in V1.bytes() {
        proxy.send([byte]);
    }
    proxy.get(HOST, "/1").expect(200, "ok");
    proxy.get(HOST, "/2").expect(200, "ok");
    // A second one is no request.
    proxy.send_unwelcome(V1.as_bytes());
    proxy.send_unwelcome(GET.as_bytes());
    assert_eq!(proxy.head().status(), 400);
    let requests = thor.upstream.requests();
    let seen: Vec<_> = requests.iter().map(claims).collect();
    assert_eq!(seen, [[Some("192.0.2.7"); 2]; 2]);
    // And all at once.
    let mut proxy = thor.proxy();
    proxy.send([&v2(), GET.as_bytes(), GET.as_bytes()].concat());
    proxy.response().expect(200, "ok");
    proxy.response().expect(200, "ok");
    assert_eq!(claims(&thor.upstream.last()), [Some("192.0.2.8"); 2]);
}

#[test]
fn client_that_is_named_is_no_more_believed_than_one_that_comes_by_itself() {
    let thor = Thor::start();
    let fields = "X-Forwarded-For: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n";
    let request = thor.receives(V1, fields);
    assert_eq!(claims(&request), [Some("192.0.2.7"); 2]);
    assert_eq!(request.field("forwarded"), None);
    // Unless it is a trusted proxy itself.
    let request = thor.receives("PROXY TCP4 10.0.0.9 127.0.0.1 1 2\r\n", fields);
    assert_eq!(
        claims(&request),
        [Some("6.6.6.6"), Some("6.6.6.6, 10.0.0.9")]
    );
}

#[test]
fn proxy_that_names_nobody_asks_for_itself_and_does_not_vouch_for_others() {
    let thor = Thor::start();
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    for header in [&b"PROXY UNKNOWN\r\n"[..], local] {
        let request = thor.receives(header, "X-Forwarded-For: 6.6.6.6\r\n");
        assert_eq!(claims(&request), [Some("127.0.0.2"); 2]);
    }
}

#[test]
fn connection_of_a_trusted_proxy_without_a_header_is_400() {
    let thor = Thor::start();
    thor.refuses(thor.proxy(), b"", "bad_proxy_header");
    thor.refuses(
        thor.proxy(),
        b"PROXY TCP4 thor potter 1 2\r\n",
        "bad_proxy_header",
    );
    // As large as its length says, and larger than any can be.
    let mut huge = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff".to_vec();
    huge.resize(16 + 0xffff, b'\0');
    thor.refuses(thor.proxy(), &huge, "bad_proxy_header");
}

#[test]
fn header_of_somebody_else_is_400() {
    let thor = Thor::start();
    thor.refuses(thor.edge.client(), V1.as_bytes(), "bad_request");
    thor.refuses(thor.edge.client(), &v2(), "bad_request");
    // Who comes by itself needs none.
    thor.edge.get(HOST, "/").expect(200, "ok");
    assert_eq!(claims(&thor.upstream.last()), [Some("127.0.0.1"); 2]);
}

#[test]
fn header_that_does_not_come_whole_in_time_is_408() {
    let thor = Thor::with_keys("limits.header_read = \"300ms\"\n");
    let mut proxy = thor.proxy();
    proxy.send(&V1[..20]);
    assert_eq!(proxy.head().status(), 408);
    assert_eq!(thor.edge.logged("status", 408)["error"], "header_timeout");
    // Who says nothing, or nothing behind its header, is let go without a word.
    thor.proxy().expect_closed();
    let mut proxy = thor.proxy();
    proxy.send(V1);
    proxy.expect_closed();
    assert_eq!(thor.edge.access_log().count(), 1);
    assert_eq!(thor.upstream.connections(), 0);
}

#[test]
fn header_is_expected_from_the_reload_on_that_wants_it() {
    let upstream = Upstream::saying("ok");
    let trusted = "trusted_proxies = \"127.0.0.2\"\n";
    let routes = tenant("thor", &upstream);
    let edge = Edge::start(&format!("{trusted}{routes}"));
    let proxy = || Client::connect_from("127.0.0.2", edge.address());
    let mut before = proxy();
    before.get(HOST, "/").expect(200, "ok");
    edge.reload(&format!("{trusted}proxy_protocol = true\n{routes}"));
    before.get(HOST, "/").expect(200, "ok");
    let mut after = proxy();
    after.send(V1);
    after.get(HOST, "/").expect(200, "ok");
    assert_eq!(claims(&upstream.last()), [Some("192.0.2.7"); 2]);
}
