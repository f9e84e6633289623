//! What strangers send at the socket: each gets its 4xx and a line in the log, and no app sees a byte.

use crate::support::{
    edge::{Edge, tenant},
    upstream::Upstream,
};

/// Sends `bytes` to a fresh edge's listener and expects `status`, a line with `label`, and an app left alone.
struct Thor {
    edge: Edge,
    upstream: Upstream,
}

impl Thor {
    fn start() -> Self {
        let upstream = Upstream::saying("ok");
        Self {
            edge: Edge::start(&tenant("thor", &upstream)),
            upstream,
        }
    }

    #[track_caller]
    fn refuses(&self, status: u16, label: &str, bytes: &[u8]) {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
        let before = self.edge.access_log().count();
        let mut client = self.edge.client();
        client.send_unwelcome(bytes);
        let head = client
            .try_head()
            .unwrap_or_else(|| panic!("closed without a word after {shown:?}"));
        assert_eq!(head.status(), status, "after {shown:?}");
        let wanted = |line: &serde_json::Value| line["status"] == status && line["error"] == label;
        let what = format!("status {status} and error {label} after {shown:?}");
        let line = self.edge.access_log().json_after(before, &what, wanted);
        assert_eq!(line["client"], "127.0.0.1");
        assert!(
            line["endpoint"].is_null() && line["tenant"].is_null(),
            "{line}"
        );
        assert_eq!(self.upstream.connections(), 0, "the app heard of {shown:?}");
    }

    /// Expects the connection to end behind the answer, so that nothing left in it is read as a request.
    #[track_caller]
    fn refuses_and_closes(&self, status: u16, label: &str, bytes: &[u8]) {
        self.refuses(status, label, bytes);
        let mut client = self.edge.client();
        let follower = b"GET /follower HTTP/1.1\r\nHost: thor.polls.local\r\n\r\n";
        client.send_unwelcome(&[bytes, follower].concat());
        let (rest, _) = client.rest();
        let answers = rest
            .windows(9)
            .filter(|window| window == b"HTTP/1.1 ")
            .count();
        assert!(answers <= 1, "{:?}", String::from_utf8_lossy(&rest));
        assert_eq!(
            self.upstream.connections(),
            0,
            "what followed was taken for a request"
        );
    }
}

#[test]
fn host_that_is_none_or_not_one_is_400() {
    let thor = Thor::start();
    for fields in [
        "",
        "X-Host: thor.polls.local\r\n",
        "Host:\r\n",
        "Host: thor.polls.local\r\nHost: thor.polls.local\r\n",
        "Host: thor.polls.local\r\nHost: potter.polls.local\r\n",
        "Host:\r\nHost: thor.polls.local\r\n",
        "Host: thor polls local\r\n",
        "Host: thor.polls.local potter.polls.local\r\n",
        "Host: thor.polls.local, potter.polls.local\r\n",
        "Host: thor.polls.local,\r\n",
        "Host: thor.polls.local/path\r\n",
        "Host: thor.polls.local?x\r\n",
        "Host: thor.polls.local#x\r\n",
        "Host: user@thor.polls.local\r\n",
        "Host: http://thor.polls.local\r\n",
        "Host: thor.polls.local:port\r\n",
        "Host: thor.polls.local:99999\r\n",
        "Host: thor.polls.local:80:80\r\n",
        "Host: thor..polls.local\r\n",
        "Host: .thor.polls.local\r\n",
        "Host: ..\r\n",
        "Host: thor.polls.local\\\r\n",
        "Host: \"thor.polls.local\"\r\n",
        "Host: <script>\r\n",
        "Host: [::1\r\n",
        "Host: [thor]\r\n",
        "Host: *.polls.local\r\n",
        "Host: %74hor.polls.local\r\n",
    ] {
        thor.refuses(
            400,
            "bad_host",
            format!("GET / HTTP/1.1\r\n{fields}\r\n").as_bytes(),
        );
    }
    thor.refuses(
        400,
        "bad_host",
        b"GET / HTTP/1.1\r\nHost: th\xc3\xb6r.polls.local\r\n\r\n",
    );
    thor.refuses(400, "bad_host", b"GET / HTTP/1.1\r\nHost: thor\xff\r\n\r\n");
    let long = format!("GET / HTTP/1.1\r\nHost: {}.local\r\n\r\n", "a".repeat(5000));
    thor.refuses(400, "bad_host", long.as_bytes());
    thor.refuses(400, "bad_host", b"GET / HTTP/1.0\r\n\r\n");
}

#[test]
fn host_lines_that_agree_with_an_absolute_target_are_still_counted() {
    let thor = Thor::start();
    let target = "GET http://thor.polls.local/ HTTP/1.1\r\n";
    for fields in ["Host: thor.polls.local\r\nHost: potter.polls.local\r\n", ""] {
        thor.refuses(400, "bad_host", format!("{target}{fields}\r\n").as_bytes());
    }
}

#[test]
fn unknown_method_is_405() {
    let thor = Thor::start();
    for method in ["BREW", "get", "GETX", "FOO", "HELLO-WORLD", "X"] {
        let request = format!("{method} / HTTP/1.1\r\nHost: thor.polls.local\r\n\r\n");
        thor.refuses(405, "method_not_allowed", request.as_bytes());
    }
}

#[test]
fn connect_is_405_and_what_follows_is_no_request() {
    let thor = Thor::start();
    for target in [
        "thor.polls.local:443",
        "thor.polls.local:80",
        "thor.polls.local",
    ] {
        // What a hopeful client sends behind is meant for the tunnel, not for the edge.
        let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
        thor.refuses_and_closes(405, "method_not_allowed", request.as_bytes());
    }
}

#[test]
fn target_without_a_path_is_400() {
    let thor = Thor::start();
    // RFC 9112 §3.2.3: an authority alone is for CONNECT, and an asterisk for OPTIONS.
    for target in ["path", "thor.polls.local", "thor.polls.local:80", "*"] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: thor.polls.local\r\n\r\n");
        thor.refuses(400, "bad_request", request.as_bytes());
    }
}

#[test]
fn head_of_64_kilobytes_is_431() {
    let thor = Thor::start();
    let one = format!(
        "GET / HTTP/1.1\r\nHost: thor.polls.local\r\nX-Big: {}\r\n\r\n",
        "x".repeat(64 * 1024)
    );
    thor.refuses_and_closes(431, "headers_too_large", one.as_bytes());
    let many: String = (0..1500)
        .map(|n| format!("X-Field-{n}: {}\r\n", "x".repeat(30)))
        .collect();
    let many = format!("GET / HTTP/1.1\r\nHost: thor.polls.local\r\n{many}\r\n");
    thor.refuses_and_closes(431, "headers_too_large", many.as_bytes());
}

#[test]
fn head_over_the_configured_size_is_431_and_one_under_it_passes() {
    let upstream = Upstream::saying("ok");
    let edge = Edge::start(&format!(
        "limits.headers_bytes_max = \"16KiB\"\n{}",
        tenant("thor", &upstream)
    ));
    let big = |bytes: usize| format!("X-Big: {}\r\n", "x".repeat(bytes));
    edge.client()
        .get_with("thor.polls.local", "/", &big(14 * 1024))
        .expect(200, "ok");
    let mut client = edge.client();
    let request = format!(
        "GET / HTTP/1.1\r\nHost: thor.polls.local\r\n{}\r\n",
        big(20 * 1024)
    );
    client.send_unwelcome(request.as_bytes());
    assert_eq!(client.head().status(), 431);
    edge.logged("error", "headers_too_large");
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn other_versions_of_http_are_505() {
    let thor = Thor::start();
    for version in ["HTTP/3.0", "HTTP/1.2", "HTTP/0.9"] {
        let request = format!("GET / {version}\r\nHost: thor.polls.local\r\n\r\n");
        thor.refuses_and_closes(505, "version_not_supported", request.as_bytes());
    }
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    thor.refuses_and_closes(505, "version_not_supported", preface);
}

#[test]
fn noise_is_400() {
    let thor = Thor::start();
    let noise: Vec<u8> = (0..=255).rev().cycle().take(2000).collect();
    for bytes in [
        &noise,
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"[..],
        b"\0\0\0\0\r\n\r\n",
        b"hello\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/1.1 x\r\nHost: thor.polls.local\r\n\r\n",
        b"GET / FTP/1.1\r\nHost: thor.polls.local\r\n\r\n",
        b"GET  HTTP/1.1\r\nHost: thor.polls.local\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nHost: thor.polls.local\r\n\r\n",
        b"GET /\0 HTTP/1.1\r\nHost: thor.polls.local\r\n\r\n",
        b"G@T / HTTP/1.1\r\nHost: thor.polls.local\r\n\r\n",
    ] {
        thor.refuses_and_closes(400, "bad_request", bytes);
    }
}

#[test]
fn field_that_is_not_one_is_400() {
    let thor = Thor::start();
    for field in [
        "no colon",
        ": no name",
        "Space Name: 1",
        "Space-Before : 1",
        " folded: 1",
        "X: a\0b",
        "X: a\rb",
        "X: a\u{1}b",
        "X: a\u{7f}b",
    ] {
        let request = format!("GET / HTTP/1.1\r\nHost: thor.polls.local\r\n{field}\r\n\r\n");
        thor.refuses_and_closes(400, "bad_request", request.as_bytes());
    }
}

#[test]
fn framing_in_doubt_is_400_and_closes() {
    let thor = Thor::start();
    for fields in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5, 6\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: 5x\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Content-Length:\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding:\r\n",
    ] {
        let request = format!("POST / HTTP/1.1\r\nHost: thor.polls.local\r\n{fields}\r\n0\r\n\r\n");
        thor.refuses_and_closes(400, "bad_request", request.as_bytes());
    }
    thor.refuses_and_closes(
        400,
        "bad_request",
        b"POST / HTTP/1.0\r\nHost: thor.polls.local\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    );
}

#[test]
fn content_length_beside_transfer_encoding_smuggles_nothing() {
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    ] {
        let thor = Thor::start();
        let mut client = thor.edge.client();
        let smuggled = "GET /smuggled HTTP/1.1\r\nHost: thor.polls.local\r\n\r\n";
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: thor.polls.local\r\n{fields}\r\n0\r\n\r\n{smuggled}"
        ));
        assert_eq!(client.response().status, 400);
        client.expect_closed();
        assert_eq!(thor.upstream.connections(), 0);
    }
}

#[test]
fn head_that_takes_too_long_is_408() {
    let upstream = Upstream::saying("ok");
    let edge = Edge::start(&format!(
        "limits.header_read = \"300ms\"\n{}",
        tenant("thor", &upstream)
    ));
    for start in [
        "GET / HTT",
        "GET / HTTP/1.1\r\nHost: thor.polls.local\r\nX-Slow: ",
    ] {
        let mut client = edge.client();
        client.send(start);
        assert_eq!(client.head().status(), 408, "after {start:?}");
        client.rest();
    }
    edge.access_log().json("408", |line| {
        line["status"] == 408 && line["error"] == "header_timeout"
    });
    assert_eq!(upstream.connections(), 0);
    // A head that is late on a connection that has served requests is no better.
    let mut client = edge.client();
    client.get("thor.polls.local", "/").expect(200, "ok");
    client.send("GET /late HTT");
    assert_eq!(client.head().status(), 408);
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn head_that_trickles_is_408_all_the_same() {
    let upstream = Upstream::saying("ok");
    let edge = Edge::start(&format!(
        "limits.header_read = \"500ms\"\n{}",
        tenant("thor", &upstream)
    ));
    let mut client = edge.client();
    client.send("GET / HTTP/1.1\r\nHost: thor.polls.local\r\n");
    let mut writer = client.writer();
    let stop = crate::support::Gate::default();
    let stopped = stop.clone();
    let trickle = std::thread::spawn(move || {
        // Each byte is early enough; all of them are not.
        while !stopped.is_open() && std::io::Write::write_all(&mut writer, b"X-Slow: 1\r\n").is_ok()
        {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    });
    assert_eq!(client.head().status(), 408);
    stop.open();
    trickle.join().unwrap();
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn connection_that_says_nothing_is_no_request() {
    let upstream = Upstream::saying("ok");
    let edge = Edge::start(&tenant("thor", &upstream));
    drop(edge.client());
    edge.get("thor.polls.local", "/").expect(200, "ok");
    edge.logged("status", 200);
    assert_eq!(edge.access_log().count(), 1);
}

#[test]
fn bad_request_in_a_pipeline_ends_it() {
    let thor = Thor::start();
    let mut client = thor.edge.client();
    client.send("GET /good HTTP/1.1\r\nHost: thor.polls.local\r\n\r\nnoise\r\n\r\nGET /behind HTTP/1.1\r\nHost: thor.polls.local\r\n\r\n");
    client.response().expect(200, "ok");
    assert_eq!(client.head().status(), 400);
    client.rest();
    thor.edge.logged("error", "bad_request");
    let requests = thor.upstream.requests();
    assert!(
        requests.iter().all(|request| request.target() == "/good"),
        "{requests:?}"
    );
}

#[test]
fn noise_of_one_client_does_not_disturb_another() {
    let thor = Thor::start();
    let mut client = thor.edge.client();
    for _ in 0..10 {
        thor.edge.client().send_unwelcome(&[0xff; 5000]);
        client.get("thor.polls.local", "/").expect(200, "ok");
    }
}
