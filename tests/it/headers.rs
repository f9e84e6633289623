//! What the app is told about a request, and the client about an answer.

use crate::support::{
    client::Client,
    edge::{Edge, tenant},
    upstream::{Request, Upstream},
};

/// thor, with an app that answers "ok", behind 127.0.0.2 and 10/8 as trusted proxies. A client of 127.0.0.1 is not trusted.
struct Thor {
    edge: Edge,
    upstream: Upstream,
}

impl Thor {
    fn start() -> Self {
        Self::with_keys("")
    }

    /// `keys` of the route.
    fn with_keys(keys: &str) -> Self {
        let upstream = Upstream::saying("ok");
        let trusted = "trusted_proxies = [\"127.0.0.2/32\", \"10.0.0.0/8\"]\n";
        let edge = Edge::start(&format!("{trusted}{}{keys}", tenant("thor", &upstream)));
        Self { edge, upstream }
    }

    #[track_caller]
    fn receives(&self, fields: &str) -> Request {
        self.receives_from(self.edge.client(), fields)
    }

    #[track_caller]
    fn receives_behind_proxy(&self, fields: &str) -> Request {
        self.receives_from(
            Client::connect_from("127.0.0.2", self.edge.address()),
            fields,
        )
    }

    #[track_caller]
    fn receives_from(&self, mut client: Client, fields: &str) -> Request {
        client
            .get_with("thor.polls.local:8080", "/", fields)
            .expect(200, "ok");
        self.upstream.last()
    }
}

#[test]
fn host_reaches_the_app_as_sent_port_included() {
    let thor = Thor::start();
    for host in [
        "thor.polls.local:8080",
        "thor.polls.local",
        "THOR.polls.local",
        "thor.polls.local.:80",
    ] {
        thor.edge.get(host, "/").expect(200, "ok");
        assert_eq!(thor.upstream.last().field("host"), Some(host));
    }
}

#[test]
fn host_policy_replaces_the_host_the_app_sees() {
    let literal = Thor::with_keys("host = \"internal.example\"\n").receives("");
    assert_eq!(literal.field("host"), Some("internal.example"));
    assert_eq!(
        literal.field("x-forwarded-host"),
        Some("thor.polls.local:8080")
    );
    let preserved = Thor::with_keys("host = \"preserve\"\n").receives("");
    assert_eq!(preserved.field("host"), Some("thor.polls.local:8080"));
    let thor = Thor::with_keys("host = \"upstream\"\n");
    assert_eq!(
        thor.receives("").field("host"),
        Some(thor.upstream.authority())
    );
}

#[test]
fn app_is_told_who_asks_and_how() {
    let thor = Thor::start();
    let request = thor.receives("");
    for (name, value) in [
        ("x-real-ip", "127.0.0.1"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "thor.polls.local:8080"),
        ("x-forwarded-port", "8080"),
    ] {
        assert_eq!(request.field(name), Some(value), "{name}");
    }
}

const CLAIMS: &str = "\
X-Real-IP: 6.6.6.6\r\n\
X-Real-IP: 6.6.6.7\r\n\
X-Forwarded-For: 6.6.6.6, 10.1.1.1\r\n\
X-Forwarded-Proto: https\r\n\
X-Forwarded-Host: evil.example\r\n\
X-Forwarded-Port: 6666\r\n\
X-Request-ID: chosen-by-client\r\n\
Forwarded: for=6.6.6.6;proto=https;host=evil.example\r\n\
X-Client-IP: 6.6.6.6\r\n\
True-Client-IP: 6.6.6.6\r\n\
X_Real_IP: 6.6.6.6\r\n\
X_Forwarded_For: 6.6.6.6\r\n\
X_Forwarded-Proto: https\r\n\
X-Forwarded_Host: evil.example\r\n\
X_Forwarded_Port: 6666\r\n\
X_Request_ID: chosen-by-client\r\n\
X_Client_IP: 6.6.6.6\r\n\
True_Client_IP: 6.6.6.6\r\n";

#[test]
fn nothing_that_a_stranger_claims_about_itself_survives() {
    let thor = Thor::start();
    let request = thor.receives(CLAIMS);
    let head = String::from_utf8(request.head.raw.clone())
        .unwrap()
        .to_lowercase();
    for claim in [
        "6.6.6",
        "10.1.1.1",
        "evil.example",
        "https",
        "6666",
        "chosen-by-client",
        "x_",
        "_client",
    ] {
        assert!(!head.contains(claim), "{claim} reached the app:\n{head}");
    }
    assert_eq!(request.field("x-real-ip"), Some("127.0.0.1"));
    assert_eq!(request.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(request.field("x-forwarded-proto"), Some("http"));
    for gone in ["forwarded", "x-client-ip", "true-client-ip"] {
        assert!(!request.head.has(gone), "{gone} reached the app");
    }
}

#[test]
fn underscore_twins_that_wsgi_folds_together_are_removed_and_others_kept() {
    let request = Thor::start().receives("X_Real_IP: 6.6.6.6\r\nMy_Own_Field: 1\r\n");
    assert!(!request.head.has("x_real_ip"));
    assert_eq!(request.field("my_own_field"), Some("1"));
}

#[test]
fn trusted_proxy_is_believed_and_its_list_extended() {
    let thor = Thor::start();
    let request = thor.receives_behind_proxy(
        "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 203.0.113.9, 10.1.1.1\r\n\
         X-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.example\r\nX-Forwarded-Port: 443\r\n\
         X-Request-ID: from-the-proxy\r\nX-Real-IP: 9.9.9.9\r\n",
    );
    let list = request.head.all("x-forwarded-for").join(", ");
    assert_eq!(list, "6.6.6.6, 203.0.113.9, 10.1.1.1, 127.0.0.2");
    assert_eq!(
        request.field("x-real-ip"),
        Some("203.0.113.9"),
        "the first untrusted from the right"
    );
    for (name, value) in [
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "shop.example"),
        ("x-forwarded-port", "443"),
        ("x-request-id", "from-the-proxy"),
        ("host", "thor.polls.local:8080"),
    ] {
        assert_eq!(request.field(name), Some(value), "{name}");
    }
    assert_eq!(
        thor.edge.logged("request_id", "from-the-proxy")["client"],
        "203.0.113.9"
    );
}

#[test]
fn client_address_is_the_first_untrusted_from_the_right() {
    let thor = Thor::start();
    for (list, client) in [
        ("203.0.113.9", "203.0.113.9"),
        ("6.6.6.6, 203.0.113.9", "203.0.113.9"),
        ("203.0.113.9, 10.0.0.1, 10.9.9.9", "203.0.113.9"),
        ("2001:db8::7, 10.0.0.1", "2001:db8::7"),
        ("10.0.0.1, 10.0.0.2", "10.0.0.1"),
    ] {
        let request = thor.receives_behind_proxy(&format!("X-Forwarded-For: {list}\r\n"));
        assert_eq!(
            request.field("x-real-ip"),
            Some(client),
            "X-Forwarded-For: {list}"
        );
    }
    let request = thor.receives_behind_proxy("");
    assert_eq!(
        request.field("x-real-ip"),
        Some("127.0.0.2"),
        "a proxy that speaks for itself"
    );
    assert_eq!(request.field("x-forwarded-for"), Some("127.0.0.2"));
}

#[test]
fn list_that_is_not_of_addresses_is_no_address() {
    let thor = Thor::start();
    for list in [
        "unknown",
        "203.0.113.9, _hidden",
        ", ,",
        "203.0.113.9, 300.1.1.1",
        "\"",
        "<script>",
    ] {
        let request = thor.receives_behind_proxy(&format!("X-Forwarded-For: {list}\r\n"));
        assert_eq!(
            request.field("x-real-ip"),
            Some("127.0.0.2"),
            "X-Forwarded-For: {list}"
        );
    }
}

#[test]
fn forwarded_of_a_trusted_proxy_reaches_the_app() {
    let request = Thor::start().receives_behind_proxy("Forwarded: for=203.0.113.9\r\n");
    assert_eq!(request.field("forwarded"), Some("for=203.0.113.9"));
}

#[test]
fn each_request_has_an_identifier_of_its_own() {
    let thor = Thor::start();
    let mut client = thor.edge.client();
    let mut seen = std::collections::HashSet::new();
    for _ in 0..20 {
        client.get("thor.polls.local", "/").expect(200, "ok");
        let request = thor.upstream.last();
        let id = request.field("x-request-id").unwrap();
        assert!(
            id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{id}"
        );
        thor.edge.logged("request_id", id);
        assert!(seen.insert(id.to_owned()), "{id} came twice");
    }
}

#[test]
fn hop_by_hop_fields_of_a_request_stay_on_their_hop() {
    let request = Thor::start().receives(
        "Connection: keep-alive, X-Secret\r\nConnection: x-other\r\nX-Secret: 1\r\nX-Other: 1\r\n\
         Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic eA==\r\n\
         Proxy-Authenticate: Basic\r\nTE: gzip\r\nX-Kept: 1\r\n",
    );
    for gone in [
        "x-secret",
        "x-other",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "proxy-authenticate",
        "te",
    ] {
        assert!(!request.head.has(gone), "{gone} reached the app");
    }
    assert_eq!(request.field("x-kept"), Some("1"));
}

#[test]
fn connection_cannot_nominate_away_what_the_app_relies_on() {
    let thor = Thor::start();
    let mut client = thor.edge.client();
    client.send(
        "POST / HTTP/1.1\r\nHost: thor.polls.local\r\n\
         Connection: host, cookie, authorization, content-length, x-real-ip, x-forwarded-for, \
         x-forwarded-proto, x-forwarded-host, x-forwarded-port, x-request-id\r\n\
         Cookie: a=1\r\nAuthorization: Bearer t\r\nContent-Length: 5\r\n\r\nhello",
    );
    client.response().expect(200, "ok");
    let request = thor.upstream.last();
    for (name, value) in [
        ("host", "thor.polls.local"),
        ("cookie", "a=1"),
        ("authorization", "Bearer t"),
        ("content-length", "5"),
        ("x-real-ip", "127.0.0.1"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "thor.polls.local"),
    ] {
        assert_eq!(request.field(name), Some(value), "{name}");
    }
    assert!(request.head.has("x-request-id") && request.head.has("x-forwarded-port"));
    assert_eq!(request.body.bytes, b"hello");
}

#[test]
fn te_trailers_is_the_only_te_that_passes() {
    let thor = Thor::start();
    assert_eq!(
        thor.receives("TE: trailers\r\nConnection: TE\r\n")
            .field("te"),
        Some("trailers")
    );
    assert_eq!(
        thor.receives("TE: gzip, trailers\r\nConnection: TE\r\n")
            .field("te"),
        Some("trailers")
    );
    assert!(
        !thor
            .receives("TE: deflate\r\nConnection: TE\r\n")
            .head
            .has("te")
    );
}

#[test]
fn upgrade_that_is_not_one_is_dropped() {
    let thor = Thor::start();
    for fields in [
        "Upgrade: websocket\r\n",
        "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n",
        "Upgrade: websocket\r\nConnection: keep-alive\r\n",
    ] {
        let request = thor.receives(fields);
        for gone in ["upgrade", "http2-settings"] {
            assert!(
                !request.head.has(gone),
                "{gone} of {fields:?} reached the app"
            );
        }
        assert!(
            !request.head.connection("upgrade"),
            "Connection of {fields:?} reached the app"
        );
    }
}

#[test]
fn fields_of_a_request_keep_their_order_and_their_bytes() {
    let thor = Thor::start();
    let mut client = thor.edge.client();
    client.send(b"GET / HTTP/1.1\r\nHost: thor.polls.local\r\nX-A: 1\r\nX-B: caf\xe9 \xff\r\nX-A: 2\r\nX-A:\t 3 \r\nX-Empty:\r\n\r\n");
    client.response().expect(200, "ok");
    let request = thor.upstream.last();
    assert_eq!(request.head.all("x-a"), ["1", "2", "3"]);
    assert_eq!(request.head.all("x-b"), ["caf\u{e9} \u{ff}"]);
    assert_eq!(request.head.all("x-empty"), [""]);
}

#[test]
fn cookies_of_a_request_reach_the_app_as_sent() {
    let request = Thor::start().receives("Cookie: a=1; b=\"x, y\"\r\nCookie: c=3\r\n");
    assert_eq!(request.head.all("cookie"), ["a=1; b=\"x, y\"", "c=3"]);
}

#[test]
fn request_headers_are_removed_set_and_added() {
    let thor = Thor::with_keys(
        "request_headers = { remove = [\"X-Gone\"], set = { X-Tenant = \"thor\" }, add = { X-List = \"ours\" } }\n",
    );
    let request =
        thor.receives("X-Gone: 1\r\nX-Gone: 2\r\nX-Tenant: a\r\nX-Tenant: b\r\nX-List: theirs\r\n");
    assert!(!request.head.has("x-gone"));
    assert_eq!(request.head.all("x-tenant"), ["thor"]);
    assert_eq!(request.head.all("x-list"), ["theirs", "ours"]);
}

#[test]
fn request_headers_come_after_the_edges_own_rules() {
    let thor = Thor::with_keys(
        "request_headers = { set = { X-Forwarded-Proto = \"https\" }, remove = [\"X-Real-IP\"] }\n",
    );
    let request = thor.receives("");
    assert_eq!(request.field("x-forwarded-proto"), Some("https"));
    assert!(!request.head.has("x-real-ip"));
}

#[test]
fn request_headers_of_defaults_hold_for_every_route() {
    let upstream = Upstream::saying("ok");
    let defaults = "[defaults]\nrequest_headers = { set = { X-Edge = \"hostler\" } }\n";
    let edge = Edge::start(
        &[
            defaults,
            &tenant("thor", &upstream),
            &tenant("potter", &upstream),
        ]
        .concat(),
    );
    for host in ["thor.polls.local", "potter.polls.local"] {
        edge.get(host, "/").expect(200, "ok");
        assert_eq!(upstream.last().field("x-edge"), Some("hostler"));
    }
}

/// thor, with an app that answers with `fields` and no body.
fn answering(fields: &str, keys: &str) -> (Edge, Upstream) {
    let head = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 0\r\n\r\n");
    let head: Vec<u8> = head
        .chars()
        .map(|char| u8::try_from(u32::from(char)).unwrap())
        .collect();
    let upstream = Upstream::answering(head);
    (
        Edge::start(&format!("{}{keys}", tenant("thor", &upstream))),
        upstream,
    )
}

#[test]
fn fields_of_an_answer_keep_their_order_and_their_bytes() {
    let (edge, _upstream) = answering(
        "Set-Cookie: a=1; Expires=Thu, 01 Jan 2026 00:00:00 GMT\r\nX-A: 1\r\nSet-Cookie: b=2; Path=/\r\n\
         X-B: caf\u{e9} \u{ff}\r\nSet-Cookie: a=3\r\nServer: gunicorn\r\nX-Empty:\r\nLocation: /a b\r\n",
        "",
    );
    let response = edge.get("thor.polls.local", "/");
    let cookies = [
        "a=1; Expires=Thu, 01 Jan 2026 00:00:00 GMT",
        "b=2; Path=/",
        "a=3",
    ];
    assert_eq!(response.head.all("set-cookie"), cookies);
    assert_eq!(response.field("x-b"), Some("caf\u{e9} \u{ff}"));
    assert_eq!(response.field("x-empty"), Some(""));
    assert_eq!(response.field("location"), Some("/a b"));
    assert_eq!(response.field("server"), Some("gunicorn"));
}

#[test]
fn hop_by_hop_fields_of_an_answer_stay_on_their_hop() {
    let (edge, _upstream) = answering(
        "Connection: keep-alive, X-Secret\r\nX-Secret: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\n\
         Proxy-Connection: close\r\nUpgrade: h2c\r\nTE: trailers\r\nX-Kept: 1\r\n",
        "",
    );
    let response = edge.get("thor.polls.local", "/");
    for gone in [
        "x-secret",
        "keep-alive",
        "proxy-authenticate",
        "proxy-connection",
        "upgrade",
        "te",
    ] {
        assert!(!response.head.has(gone), "{gone} reached the client");
    }
    assert_eq!(response.field("x-kept"), Some("1"));
}

#[test]
fn connection_of_an_answer_cannot_nominate_away_its_cookies_and_length() {
    let (edge, _upstream) = answering(
        "Connection: set-cookie, content-length\r\nSet-Cookie: a=1\r\n",
        "",
    );
    let response = edge.get("thor.polls.local", "/");
    assert_eq!(response.field("set-cookie"), Some("a=1"));
    assert_eq!(response.field("content-length"), Some("0"));
}

#[test]
fn response_headers_are_removed_set_and_added() {
    let (edge, _upstream) = answering(
        "X-Powered-By: Django\r\nX-Frame-Options: SAMEORIGIN\r\nVary: Cookie\r\n",
        "response_headers = { remove = [\"X-Powered-By\"], set = { X-Frame-Options = \"DENY\" }, add = { Vary = \"Accept\" } }\n",
    );
    let response = edge.get("thor.polls.local", "/");
    assert!(!response.head.has("x-powered-by"));
    assert_eq!(response.head.all("x-frame-options"), ["DENY"]);
    assert_eq!(response.head.all("vary"), ["Cookie", "Accept"]);
}

#[test]
fn date_of_the_operator_is_the_only_one() {
    for (app, edits, dates) in [
        ("", "set = { Date = \"today\" }", vec!["today"]),
        (
            "Date: yesterday\r\n",
            "set = { Date = \"today\" }",
            vec!["today"],
        ),
        ("", "remove = [\"Date\"]", vec![]),
    ] {
        let (edge, _upstream) = answering(app, &format!("response_headers = {{ {edits} }}\n"));
        let response = edge.get("thor.polls.local", "/");
        assert_eq!(response.head.all("date"), dates, "{app:?} {edits}");
    }
}

#[test]
fn edge_does_not_sign_an_answer_of_the_app() {
    let (edge, _upstream) = answering("", "");
    let response = edge.get("thor.polls.local", "/");
    assert!(!response.head.has("server"));
}
