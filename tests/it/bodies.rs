//! Bodies in both directions at once, early answers, 100-continue, trailers.

use std::{
    io::{Read, Write},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use crate::support::{
    DEADLINE, Gate, Watched,
    client::Client,
    edge::{Edge, tenant},
    upstream::{Connection, Upstream, ok},
    wire::Framing,
};

const HOST: &str = "thor.polls.local";
const MIB: usize = 1024 * 1024;

fn thor(upstream: &Upstream) -> Edge {
    Edge::start(&tenant("thor", upstream))
}

/// Bytes that show when some of them are missing, doubled or out of order.
fn pattern(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..length).map(next).collect()
}

#[track_caller]
fn assert_same(received: &[u8], sent: &[u8]) {
    assert_eq!(received.len(), sent.len());
    assert!(received == sent, "the bytes differ");
}

/// Sends back `length` bytes as they come, and not one before.
fn echo_while_it_comes(connection: &mut Connection, length: usize) {
    let mut left = length;
    let mut buffer = vec![0; 64 * 1024];
    while left > 0 {
        let Ok(read @ 1..) = connection.read(&mut buffer) else {
            return;
        };
        connection.send(&buffer[..read]);
        left -= read;
    }
}

#[test]
fn big_bodies_flow_both_ways_at_once() {
    const LENGTH: usize = 20 * MIB;
    let upstream = Upstream::script(|connection| {
        connection.head();
        connection.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n"
        ));
        echo_while_it_comes(connection, LENGTH);
        connection.rest();
    });
    let edge = thor(&upstream);
    let mut client = edge.client();
    let sent = pattern(LENGTH);
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {LENGTH}\r\n\r\n"
    ));
    // The head of the answer is here before the first byte of the body is on its way.
    assert_eq!(client.head().status(), 200);
    let (mut writer, sending) = (client.writer(), sent.clone());
    let sender = thread::spawn(move || writer.write_all(&sending).unwrap());
    let received = client.body(Framing::Length(LENGTH as u64));
    sender.join().unwrap();
    assert_same(&received.bytes, &sent);
    let line = edge.logged("status", 200);
    assert_eq!(
        (&line["bytes_in"], &line["bytes_out"]),
        (&LENGTH.into(), &LENGTH.into())
    );
}

#[test]
fn big_chunked_bodies_arrive_unharmed() {
    let upstream = Upstream::script(|connection| {
        while let Some(request) = connection.request() {
            connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            for chunk in request.body.bytes.chunks(100_003) {
                connection
                    .send([format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
            }
            connection.send("0\r\n\r\n");
        }
    });
    let edge = thor(&upstream);
    let mut client = edge.client();
    let sent = pattern(5 * MIB);
    for _ in 0..2 {
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n"
        ));
        for chunk in sent.chunks(70_001) {
            client.send([format!("{:X}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
        }
        client.send("0\r\n\r\n");
        assert_same(&client.response().body.bytes, &sent);
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn client_that_does_not_read_holds_the_app_back() {
    // More than the sockets between app and client can hold, so that the app can't finish while no one reads.
    const LENGTH: usize = 64 * MIB;
    let written = Arc::new(AtomicUsize::new(0));
    let app_written = Arc::clone(&written);
    let upstream = Upstream::script(move |connection| {
        connection.request();
        connection.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n"
        ));
        let piece = vec![b'x'; MIB];
        for _ in 0..LENGTH / MIB {
            connection.send(&piece);
            app_written.fetch_add(MIB, Ordering::Relaxed);
        }
        connection.rest();
    });
    let edge = thor(&upstream);
    let mut client = edge.client();
    client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    assert_eq!(client.head().status(), 200);
    // Nothing tells that the app is held back but that it gets no further. A busy machine can only hide a fault here.
    let mut before = usize::MAX;
    while before != written.load(Ordering::Relaxed) {
        before = written.load(Ordering::Relaxed);
        thread::sleep(Duration::from_millis(300));
    }
    assert!(
        before < LENGTH,
        "64 MiB were buffered for a client that reads nothing"
    );
    assert!(client.body(Framing::Length(LENGTH as u64)).whole);
}

#[test]
fn early_answer_reaches_a_client_that_is_still_uploading() {
    let upstream = Upstream::script(|connection| {
        connection.head();
        connection.send(
            "HTTP/1.1 413 Too Large\r\nContent-Length: 7\r\nConnection: close\r\n\r\ntoo big",
        );
        connection.rest();
    });
    let edge = thor(&upstream);
    let mut client = edge.client();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {}\r\n\r\n",
        10 * MIB
    ));
    client.send(pattern(1000));
    client.response().expect(413, "too big");
    assert_eq!(edge.logged("status", 413)["tenant"], "thor");
}

#[test]
fn early_answer_of_an_app_that_closes_at_once_is_not_lost() {
    let upstream = Upstream::script(|connection| {
        connection.head();
        connection.send(
            "HTTP/1.1 413 Too Large\r\nContent-Length: 7\r\nConnection: close\r\n\r\ntoo big",
        );
    });
    let edge = thor(&upstream);
    let mut client = edge.client();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {}\r\n\r\n",
        10 * MIB
    ));
    client.response().expect(413, "too big");
}

#[test]
fn upload_goes_on_during_an_early_answer_and_its_connection_is_not_used_again() {
    const LENGTH: usize = 3 * MIB;
    let upstream = Upstream::script(|connection| {
        while let Some(head) = connection.head() {
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nearly");
            assert!(connection.body(&head).whole);
            connection.send("later");
        }
    });
    let edge = thor(&upstream);
    for number in 1..=3 {
        let mut client = edge.client();
        client.send(format!(
            "POST /up HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {LENGTH}\r\n\r\n"
        ));
        assert_eq!(client.head().status(), 200);
        assert_eq!(client.exactly(5), b"early");
        client.send(pattern(LENGTH));
        assert_eq!(client.exactly(5), b"later");
        assert_same(&upstream.last().body.bytes, &pattern(LENGTH));
        // The app was good, but it might have taken the upload for another request.
        assert_eq!(upstream.connections(), number);
        upstream.wait("the end of the connection", |seen| seen.open == 0);
    }
}

#[test]
fn what_is_sent_after_a_refusal_to_go_on_reaches_no_app() {
    let gate = Gate::default();
    let opened = gate.clone();
    let seen = Watched::<Option<Vec<u8>>>::default();
    let app_seen = seen.clone();
    let upstream = Upstream::script(move |connection| {
        connection.head();
        // Not 100, and no end either: the client has time to send all the same.
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nearly");
        opened.wait();
        connection.send("later");
        let rest = connection.rest();
        app_seen.change(|seen| *seen = Some(rest));
    });
    let edge = thor(&upstream);
    let hidden = format!("GET /hidden HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    let mut client = edge.client();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        hidden.len()
    ));
    assert_eq!(client.head().status(), 200);
    assert_eq!(client.exactly(5), b"early");
    client.send(&hidden);
    gate.open();
    assert_eq!(client.exactly(5), b"later");
    client.expect_closed();
    let seen = seen.wait(DEADLINE, Option::is_some);
    assert_eq!(
        seen,
        Some(Vec::new()),
        "the app saw what it had not asked for"
    );
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn many_tiny_chunks_arrive_each_in_its_place() {
    const CHUNKS: usize = 20_000;
    let upstream = Upstream::echo();
    let edge = thor(&upstream);
    let body: Vec<u8> = (b'a'..=b'z').cycle().take(CHUNKS).collect();
    let mut wire = format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n")
        .into_bytes();
    for byte in &body {
        wire.extend_from_slice(&[b'1', b'\r', b'\n', *byte, b'\r', b'\n']);
    }
    wire.extend_from_slice(b"0\r\nX-Sum: 7\r\n\r\n");
    let mut client = edge.client();
    client.send(&wire);
    assert_eq!(client.response_to("POST").status, 200);
    let seen = upstream.last().body;
    assert!(seen.whole);
    assert_same(&seen.bytes, &body);
    assert_eq!(seen.trailers, [("X-Sum".to_owned(), "7".to_owned())]);
    let line = edge.logged("path", "/");
    assert_eq!(line["bytes_in"], CHUNKS);
}

#[test]
fn answer_without_a_length_whose_app_is_killed_does_not_look_whole() {
    // The reset is met by whichever comes first, a read or the upload's next write.
    for _ in 0..20 {
        let gate = Gate::default();
        let opened = gate.clone();
        let upstream = Upstream::script(move |connection| {
            connection.head();
            connection.send("HTTP/1.1 200 OK\r\n\r\nhalf");
            opened.wait();
            // As when it is killed with bytes of the upload unread.
            connection.reset();
        });
        let edge = thor(&upstream);
        let mut client = edge.client();
        client.send(format!(
            "POST /killed HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {}\r\n\r\n",
            10 * MIB
        ));
        client.send(pattern(MIB));
        let head = client.head();
        let mut writer = client.writer();
        let sending = thread::spawn(move || drop(writer.write_all(&pattern(9 * MIB - 1))));
        gate.open();
        let body = client.body(head.response_framing("POST"));
        assert!(!body.whole, "half an answer looked whole");
        assert_eq!(edge.logged("path", "/killed")["error"], "aborted");
        sending.join().unwrap();
    }
}

#[test]
fn half_sent_request_is_never_followed_by_another_on_its_connection() {
    let upstream = Upstream::script(|connection| {
        connection.head();
        connection.send(ok("early"));
        connection.rest();
    });
    let edge = thor(&upstream);
    let mut client = edge.client();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 1000\r\n\r\nhalf"
    ));
    client.response().expect(200, "early");
    drop(client);
    upstream.wait("the end of the half-sent request", |seen| seen.open == 0);
    edge.get(HOST, "/").expect(200, "early");
    assert_eq!(upstream.connections(), 2);
}

#[test]
fn client_waits_for_the_100_of_the_app_itself() {
    let upstream = Upstream::script(|connection| {
        while let Some(head) = connection.head() {
            assert_eq!(head.field("expect"), Some("100-continue"));
            connection.send("HTTP/1.1 100 Continue\r\n\r\n");
            connection.body(&head);
            connection.send(ok("taken"));
        }
    });
    let edge = thor(&upstream);
    let mut client = edge.client();
    for _ in 0..2 {
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: {HOST}\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
        ));
        assert_eq!(client.head().status(), 100);
        client.send("hello");
        let response = client.response();
        response.expect(200, "taken");
        assert!(response.interim.is_empty(), "100 was said twice");
        assert_eq!(upstream.last().body.bytes, b"hello");
    }
}

#[test]
fn body_that_the_app_refuses_is_never_asked_for() {
    for (status, reason) in [
        (417, "Expectation Failed"),
        (413, "Too Large"),
        (401, "Unauthorized"),
        (200, "OK"),
    ] {
        let leftover = Gate::default();
        let app_leftover = leftover.clone();
        let upstream = Upstream::script(move |connection| {
            connection.head();
            connection.send(format!(
                "HTTP/1.1 {status} {reason}\r\nContent-Length: 4\r\n\r\nnope"
            ));
            if !connection.rest().is_empty() {
                app_leftover.open();
            }
        });
        let edge = thor(&upstream);
        let mut client = edge.client();
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: {HOST}\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
        ));
        let response = client.response();
        response.expect(status, "nope");
        assert!(
            response.interim.is_empty(),
            "the edge said 100 for the app: {:?}",
            response.interim
        );
        drop(client);
        upstream.wait("its connection to end", |seen| seen.open == 0);
        assert!(!leftover.is_open(), "a byte came after the head");
    }
}

#[test]
fn app_that_ignores_expect_gets_the_body_of_a_client_that_stops_waiting() {
    let upstream = Upstream::script(|connection| {
        while connection.request().is_some() {
            connection.send(ok("taken"));
        }
    });
    let edge = thor(&upstream);
    let mut client = edge.client();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    ));
    upstream.wait("the head", |seen| seen.requests.len() == 1);
    client.send("hello");
    client.response().expect(200, "taken");
    assert_eq!(upstream.last().body.bytes, b"hello");
}

#[test]
fn body_sent_without_waiting_for_100_arrives() {
    let upstream = Upstream::script(|connection| {
        while let Some(head) = connection.head() {
            connection.send("HTTP/1.1 100 Continue\r\n\r\n");
            connection.body(&head);
            connection.send(ok("taken"));
        }
    });
    let edge = thor(&upstream);
    let mut client = edge.client();
    for _ in 0..2 {
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: {HOST}\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello"
        ));
        client.response().expect(200, "taken");
        assert_eq!(upstream.last().body.bytes, b"hello");
    }
}

#[test]
fn trailers_of_a_request_reach_the_app() {
    let upstream = Upstream::saying("ok");
    let edge = thor(&upstream);
    let mut client = edge.client();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
         5\r\nhello\r\n0\r\nX-Sum: abc\r\nX-Other: 1\r\n\r\n"
    ));
    client.response().expect(200, "ok");
    let trailers = upstream.last().body.trailers;
    let find = |name: &str| {
        trailers
            .iter()
            .find(|trailer| trailer.0.eq_ignore_ascii_case(name))
    };
    assert_eq!(
        find("x-sum").map(|trailer| trailer.1.as_str()),
        Some("abc"),
        "{trailers:?}"
    );
}

#[test]
fn trailers_of_an_answer_reach_a_client_that_takes_them() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: abc\r\n\r\n",
    );
    let edge = thor(&upstream);
    let mut client = edge.client();
    let response = client.get_with(HOST, "/", "TE: trailers\r\nConnection: TE\r\n");
    response.expect(200, "hello");
    let trailers = &response.body.trailers;
    let find = |name: &str| {
        trailers
            .iter()
            .find(|trailer| trailer.0.eq_ignore_ascii_case(name))
    };
    assert_eq!(
        find("x-sum").map(|trailer| trailer.1.as_str()),
        Some("abc"),
        "{trailers:?}"
    );
    // A client that didn't ask gets the body all the same.
    client.get(HOST, "/").expect(200, "hello");
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn bad_chunk_of_a_request_ends_it_and_its_connection() {
    let upstream = Upstream::saying("ok");
    let edge = thor(&upstream);
    let mut client = edge.client();
    client.send(format!(
        "POST /bad HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
    ));
    client.send(format!(
        "zz\r\nGET /smuggled HTTP/1.1\r\nHost: {HOST}\r\n\r\n"
    ));
    assert_eq!(client.response_to("POST").status, 400);
    client.expect_closed();
    upstream.wait("the cut request", |seen| seen.open == 0);
    let requests = upstream.requests();
    assert!(
        requests
            .iter()
            .all(|request| request.target() == "/bad" && !request.body.whole),
        "{requests:?}"
    );
    assert_eq!(edge.logged("path", "/bad")["status"], 400);
}

#[test]
fn client_that_cuts_its_upload_short_leaves_the_app_no_whole_request() {
    for head in [
        "Content-Length: 10\r\n\r\nhello",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ] {
        let upstream = Upstream::saying("ok");
        let edge = thor(&upstream);
        let mut client: Client = edge.client();
        client.send(format!("POST /cut HTTP/1.1\r\nHost: {HOST}\r\n{head}"));
        upstream.wait("the head", |seen| seen.requests.len() == 1);
        drop(client);
        upstream.wait("the end", |seen| seen.open == 0);
        let request = upstream.last();
        assert!(!request.body.whole, "a cut upload of {head:?} looked whole");
        let line = edge.logged("path", "/cut");
        assert_eq!(
            (&line["status"], &line["error"]),
            (&499.into(), &"client_gone".into()),
            "{head:?}"
        );
    }
}

#[test]
fn upload_goes_on_while_the_client_does_not_read_its_answer() {
    let length = 24 * MIB;
    // Answers at once and at length, and reads the upload meanwhile.
    let upstream = Upstream::script(move |connection| {
        connection.head();
        let mut writer = connection.writer();
        let answer = thread::spawn(move || {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
            writer.write_all(head.as_bytes()).unwrap();
            writer.write_all(&pattern(length)).unwrap();
        });
        assert_same(&connection.exactly(length), &pattern(length));
        answer.join().unwrap();
    });
    let edge = thor(&upstream);
    let mut client = edge.client();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {length}\r\n\r\n"
    ));
    client.send(pattern(length));
    assert_same(&client.response().body.bytes, &pattern(length));
}
