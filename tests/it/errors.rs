//! What clients are told, and the log says, when the app or the client fails; and that no one else notices.

use crate::support::{
    Gate,
    client::{Client, Response},
    edge::{Edge, tenant, tenant_at},
    eventually,
    upstream::{Connection, Refusing, Unanswering, Upstream, ok},
    wire::Framing,
};

const HOST: &str = "thor.polls.local";

/// thor whose app is in trouble, and potter who must not notice.
struct Trouble {
    edge: Edge,
    potter: Upstream,
}

impl Trouble {
    /// `keys` of thor's route.
    fn at(url: &str, keys: &str) -> Self {
        let potter = Upstream::saying("potter");
        let config = format!(
            "{}{keys}{}",
            tenant_at("thor", url),
            tenant("potter", &potter)
        );
        Self {
            edge: Edge::start(&config),
            potter,
        }
    }

    #[track_caller]
    fn check(&self, status: u16, label: &str) {
        let mut client = self.edge.client();
        let response = client.get_with(HOST, "/trouble", "Accept: application/json\r\n");
        assert_eq!(response.status, status);
        assert!(response.body.whole);
        let body = response.json();
        assert_eq!(
            (&body["status"], &body["error"]),
            (&status.into(), &label.into())
        );
        assert_eq!(body["request_id"], response.field("x-request-id").unwrap());
        assert_eq!(response.field("cache-control"), Some("no-store"));
        self.check_logged(status, label);
        client.get("potter.polls.local", "/").expect(200, "potter");
        assert!(
            self.potter
                .requests()
                .iter()
                .all(|request| request.target() == "/"),
            "potter's app got a request of thor"
        );
    }

    #[track_caller]
    fn check_logged(&self, status: u16, label: &str) {
        let line = self.edge.logged("path", "/trouble");
        assert_eq!(
            (&line["status"], &line["error"]),
            (&status.into(), &label.into()),
            "{line}"
        );
        assert_eq!(line["tenant"], "thor");
    }
}

/// What went wrong is told at once, not after the wait for an app that may come back.
const NO_HOLD: &str = "hold = \"0s\"\n";

#[test]
fn app_that_refuses_is_502() {
    Trouble::at(&Refusing::new().url(), NO_HOLD).check(502, "upstream_unreachable");
}

#[test]
fn unix_socket_that_is_not_there_is_502() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("absent.sock");
    Trouble::at(&format!("unix:{}", path.display()), NO_HOLD).check(502, "upstream_unreachable");
}

#[test]
fn name_that_does_not_resolve_is_503() {
    Trouble::at(
        "http://thor_web.invalid:8000",
        &format!("{NO_HOLD}timeouts.connect = \"9s\"\n"),
    )
    .check(503, "upstream_unresolved");
}

#[test]
fn dial_that_hangs_is_504() {
    let keys = format!("{NO_HOLD}timeouts.connect = \"300ms\"\n");
    Trouble::at(&Unanswering::new().url(), &keys).check(504, "connect_timeout");
}

#[test]
fn app_that_does_not_answer_is_504() {
    let upstream = Upstream::hanging();
    let trouble = Trouble::at(upstream.url(), "timeouts.response = \"300ms\"\n");
    trouble.check(504, "response_timeout");
    assert_eq!(
        upstream.requests().len(),
        1,
        "a time-out is no licence to send it again"
    );
    upstream.wait("the end of the connection", |seen| seen.open == 0);
}

#[test]
fn app_that_stops_in_the_middle_of_its_head_is_504() {
    let upstream = Upstream::script(|connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Le");
        connection.rest();
    });
    Trouble::at(upstream.url(), "timeouts.response = \"300ms\"\n").check(504, "response_timeout");
}

#[test]
fn interim_answers_do_not_hold_off_the_response_time_out() {
    let upstream = Upstream::script(|connection| {
        connection.request();
        connection.send("HTTP/1.1 102 Processing\r\n\r\n");
        connection.rest();
    });
    Trouble::at(upstream.url(), "timeouts.response = \"300ms\"\n").check(504, "response_timeout");
}

#[test]
fn app_that_closes_before_it_answers_is_502() {
    fn closes(connection: &mut Connection) {
        connection.request();
    }
    fn resets(connection: &mut Connection) {
        connection.request();
        connection.reset();
    }
    fn closes_in_its_head(connection: &mut Connection) {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Le");
    }
    for script in [closes as fn(&mut Connection), resets, closes_in_its_head] {
        let upstream = Upstream::script(script);
        Trouble::at(upstream.url(), "").check(502, "upstream_closed");
    }
}

#[test]
fn app_that_does_not_speak_http_is_502() {
    let zeros = "0".repeat(300_000);
    let many = "X-Many: 1\r\n".repeat(30_000);
    for garbage in [
        "SSH-2.0-OpenSSH_9.2\r\n",
        "hello, world\r\n\r\n",
        "\0\u{1}\u{2}\u{3}\r\n\r\n",
        "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 2x0 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nBad Name: 1\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1x\r\n\r\na",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\na",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\na",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\na",
        &format!("HTTP/1.1 200 OK\r\nX: {zeros}\r\nContent-Length: 0\r\n\r\n"),
        &format!("HTTP/1.1 200 OK\r\n{many}Content-Length: 0\r\n\r\n"),
    ] {
        let answer = garbage.to_owned();
        let upstream = Upstream::script(move |connection| {
            connection.request();
            connection.send(&answer);
            connection.rest();
        });
        let trouble = Trouble::at(upstream.url(), "");
        let response = trouble.edge.get(HOST, "/trouble");
        assert_eq!(
            response.status,
            502,
            "after {:?}",
            garbage.get(..60).unwrap_or(garbage)
        );
        trouble.check_logged(502, "upstream_invalid");
        upstream.wait("the end of the connection", |seen| seen.open == 0);
    }
}

/// Framings of an answer, and how each says "hello" without an end.
const BEGINNINGS: [(&str, &str); 3] = [
    ("Content-Length: 100\r\n", "hello"),
    ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n"),
    ("", "hello"),
];

/// thor's app begins an answer and, when the client has seen that, does `then`: the client must notice.
#[track_caller]
fn check_cut(
    (fields, hello): (&str, &str),
    (keys, label): (&str, &str),
    then: impl Fn(&mut Connection) + Send + Sync + 'static,
) {
    let (began, beginning) = (
        Gate::default(),
        format!("HTTP/1.1 200 OK\r\n{fields}\r\n{hello}"),
    );
    let app_began = began.clone();
    let upstream = Upstream::script(move |connection| {
        connection.request();
        connection.send(&beginning);
        app_began.wait();
        then(connection);
    });
    let trouble = Trouble::at(upstream.url(), keys);
    let mut client = trouble.edge.client();
    client.send(format!("GET /trouble HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    let head = client.head();
    assert_eq!(head.status(), 200);
    let rest = match head.response_framing("GET") {
        Framing::Length(length) => {
            assert_eq!(client.exactly(5), b"hello");
            Framing::Length(length - 5)
        }
        Framing::Chunked => {
            assert_eq!(client.exactly(10), b"5\r\nhello\r\n");
            Framing::Chunked
        }
        Framing::UntilClose => panic!("an end that can't be told from a cut"),
    };
    began.open();
    assert!(!client.body(rest).whole, "the cut answer looks whole");
    trouble.check_logged(200, label);
    trouble
        .edge
        .get("potter.polls.local", "/")
        .expect(200, "potter");
    upstream.wait("the end of the connection", |seen| seen.open == 0);
}

#[test]
fn answer_that_the_app_closes_in_the_middle_does_not_look_whole() {
    // The third framing has no middle: there, a close is the end.
    for beginning in &BEGINNINGS[..2] {
        check_cut(*beginning, ("", "aborted"), |_| {});
    }
}

#[test]
fn answer_that_the_app_resets_does_not_look_whole() {
    for beginning in BEGINNINGS {
        check_cut(beginning, ("", "aborted"), Connection::reset);
    }
}

#[test]
fn app_that_stops_in_the_middle_of_its_body_is_cut_after_idle() {
    for beginning in BEGINNINGS {
        let idle = ("timeouts.idle = \"300ms\"\n", "idle_timeout");
        check_cut(beginning, idle, |connection| {
            connection.rest();
        });
    }
}

#[test]
fn chunks_that_make_no_sense_cut_the_answer() {
    for chunks in [
        "zz\r\nhello",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "-1\r\n",
        "fffffffffffffffff\r\na",
        "5 5\r\nhello\r\n0\r\n\r\n",
        "0\r\nno trailer\r\n\r\n",
    ] {
        check_cut(BEGINNINGS[1], ("", "aborted"), move |connection| {
            connection.send(chunks);
            connection.rest();
        });
    }
}

#[test]
fn slow_but_steady_answer_outlives_the_time_outs() {
    let upstream = Upstream::script(|connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n");
        for _ in 0..20 {
            // A pause between bytes is what is tested; all of them together are longer than any time-out here.
            std::thread::sleep(std::time::Duration::from_millis(100));
            connection.send(".");
        }
        connection.rest();
    });
    let keys = "timeouts.idle = \"1s\"\ntimeouts.response = \"1s\"\n";
    Trouble::at(upstream.url(), keys)
        .edge
        .get(HOST, "/")
        .expect(200, &".".repeat(20));
}

#[test]
fn client_that_stops_sending_its_body_is_let_go_after_idle() {
    let upstream = Upstream::hanging();
    let trouble = Trouble::at(upstream.url(), "timeouts.idle = \"300ms\"\n");
    let mut client = trouble.edge.client();
    client.send(format!(
        "POST /trouble HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 100\r\n\r\nhello"
    ));
    assert_eq!(client.response_to("POST").status, 408);
    trouble.check_logged(408, "body_timeout");
    upstream.wait("the end of the connection", |seen| seen.open == 0);
}

#[test]
fn client_that_leaves_before_the_answer_is_499() {
    let upstream = Upstream::hanging();
    let trouble = Trouble::at(upstream.url(), "");
    let mut client = trouble.edge.client();
    client.send(format!("GET /trouble HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    upstream.wait("the request", |seen| seen.requests.len() == 1);
    drop(client);
    trouble.check_logged(499, "client_gone");
    upstream.wait("the end of the connection", |seen| seen.open == 0);
}

#[test]
fn client_that_leaves_during_the_answer_ends_it_for_the_app() {
    let upstream = Upstream::script(|connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello");
        connection.rest();
    });
    let trouble = Trouble::at(upstream.url(), "");
    let mut client = trouble.edge.client();
    client.send(format!("GET /trouble HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    assert_eq!(client.head().status(), 200);
    assert_eq!(client.exactly(5), b"hello");
    drop(client);
    trouble.check_logged(200, "client_gone");
    upstream.wait("the end of the connection", |seen| seen.open == 0);
}

#[test]
fn client_that_stops_reading_is_let_go_after_idle() {
    let upstream = Upstream::script(|connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 67108864\r\n\r\n");
        connection.send(vec![b'x'; 64 * 1024 * 1024]);
        connection.rest();
    });
    let trouble = Trouble::at(upstream.url(), "timeouts.idle = \"500ms\"\n");
    let mut client = trouble.edge.client();
    client.send(format!("GET /trouble HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    trouble.check_logged(200, "client_gone");
    upstream.wait("the end of the connection", |seen| seen.open == 0);
    drop(client);
}

#[test]
fn error_answer_leaves_the_connection_in_step() {
    let refusing = Refusing::new();
    let trouble = Trouble::at(&refusing.url(), NO_HOLD);
    let mut client = trouble.edge.client();
    assert_eq!(
        client.post(HOST, "/", "a body that no one takes").status,
        502
    );
    if let Some(response) = next(&mut client) {
        response.expect(200, "potter");
    }
    client = trouble.edge.client();
    client.send(format!("HEAD / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    assert_eq!(client.response_to("HEAD").status, 502);
    client.get("potter.polls.local", "/").expect(200, "potter");
}

/// The edge may close after an error; if it doesn't, the next answer must be that to the next request.
fn next(client: &mut Client) -> Option<Response> {
    client.send_unwelcome(b"GET / HTTP/1.1\r\nHost: potter.polls.local\r\n\r\n");
    client.try_response_to("GET")
}

#[test]
fn app_that_comes_back_is_used_again() {
    let upstream = Upstream::script(|connection| {
        connection.request();
        if connection.number > 1 {
            connection.send(ok("back"));
        }
    });
    let edge = Edge::start(&tenant("thor", &upstream));
    assert_eq!(edge.client().post(HOST, "/", "first").status, 502);
    edge.get(HOST, "/").expect(200, "back");
}

#[test]
fn connections_over_the_limit_are_told_so() {
    let upstream = Upstream::saying("ok");
    let edge = Edge::start(&format!(
        "limits.connections = 2\n{}",
        tenant("thor", &upstream)
    ));
    let mut first = edge.client();
    let mut second = edge.client();
    first.get(HOST, "/").expect(200, "ok");
    second.get(HOST, "/").expect(200, "ok");
    let mut third = edge.client();
    third.send_unwelcome(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes());
    assert_eq!(third.response().status, 503);
    edge.logged("error", "too_many_connections");
    drop(first);
    second.get(HOST, "/").expect(200, "ok");
    eventually("a place that was left is taken", || {
        edge.get(HOST, "/").status == 200
    });
}

#[test]
fn idle_client_is_let_go_after_keepalive() {
    let upstream = Upstream::saying("ok");
    let edge = Edge::start(&format!(
        "limits.keepalive = \"300ms\"\n{}",
        tenant("thor", &upstream)
    ));
    let mut client = edge.client();
    client.get(HOST, "/").expect(200, "ok");
    client.expect_closed();
    assert_eq!(
        edge.access_log().count(),
        1,
        "an idle connection that is closed is no request"
    );
}

#[test]
fn connection_that_says_nothing_is_let_go_after_header_read() {
    let upstream = Upstream::saying("ok");
    let edge = Edge::start(&format!(
        "limits.header_read = \"300ms\"\n{}",
        tenant("thor", &upstream)
    ));
    edge.client().expect_closed();
    assert_eq!(edge.access_log().count(), 0);
}

#[test]
fn connection_carries_as_many_requests_as_it_may() {
    let upstream = Upstream::saying("ok");
    let edge = Edge::start(&format!(
        "limits.keepalive_requests = 3\n{}",
        tenant("thor", &upstream)
    ));
    let mut client = edge.client();
    for last in [false, false, true] {
        let response = client.get(HOST, "/");
        response.expect(200, "ok");
        assert_eq!(response.head.connection("close"), last);
    }
    client.expect_closed();
    // Those that are sent behind the last are nobody's.
    let mut client = edge.client();
    client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n").repeat(5));
    for _ in 0..3 {
        client.response().expect(200, "ok");
    }
    client.expect_closed();
    assert_eq!(upstream.requests().len(), 6);
}

#[test]
fn client_that_is_one_too_many_gets_to_read_why() {
    let upstream = Upstream::saying("ok");
    let edge = Edge::start(&format!(
        "limits.connections = 1\n{}",
        tenant("thor", &upstream)
    ));
    let mut first = edge.client();
    first.get(HOST, "/").expect(200, "ok");
    let before = edge.access_log().count();
    let mut second = edge.client();
    // It is told before it has said anything; that it goes on to ask must not cost it the answer.
    edge.access_log()
        .json_after(before, "503", |line| line["status"] == 503);
    for _ in 0..10 {
        second.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    }
    let response = second.response();
    assert_eq!(response.status, 503);
    assert!(response.body.whole);
    second.close_writing();
    second.expect_closed();
}

#[test]
fn pages_of_errors_name_no_upstream_and_no_cause() {
    let refusing = Refusing::new();
    let trouble = Trouble::at(&refusing.url(), NO_HOLD);
    for accept in ["text/html", "application/json", "text/plain"] {
        let response = trouble
            .edge
            .client()
            .get_with(HOST, "/", &format!("Accept: {accept}\r\n"));
        assert!(response.field("content-type").unwrap().starts_with(accept));
        assert!(
            response
                .text()
                .contains(response.field("x-request-id").unwrap())
        );
        for secret in ["127.0.0.1", "refused", "potter"] {
            assert!(
                !response.text().contains(secret),
                "{accept} tells {secret}: {}",
                response.text()
            );
        }
    }
}
