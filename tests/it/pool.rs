//! Connections to the apps: kept, used again, and never trusted to be alive.

use crate::support::{
    Gate,
    edge::{Edge, tenant},
    upstream::{Upstream, ok},
};

const HOST: &str = "thor.polls.local";

fn thor(upstream: &Upstream) -> Edge {
    Edge::start(&tenant("thor", upstream))
}

#[test]
fn requests_one_after_another_share_a_connection() {
    let upstream = Upstream::echo();
    let edge = thor(&upstream);
    let mut client = edge.client();
    // Few enough that the connection doesn't grow too old meanwhile.
    for number in 0..10 {
        assert_eq!(client.get(HOST, &format!("/{number}")).status, 200);
        assert_eq!(client.post(HOST, &format!("/{number}"), "body").status, 200);
    }
    assert_eq!((upstream.connections(), upstream.requests().len()), (1, 20));
}

#[test]
fn requests_at_the_same_time_have_connections_of_their_own() {
    let gate = Gate::default();
    let app_gate = gate.clone();
    let upstream = Upstream::script(move |connection| {
        while connection.request().is_some() {
            app_gate.wait();
            connection.send(ok("ok"));
        }
    });
    let edge = thor(&upstream);
    let mut clients: Vec<_> = (0..8).map(|_| edge.client()).collect();
    for client in &mut clients {
        client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    }
    upstream.wait("8 requests at once", |seen| seen.requests.len() == 8);
    gate.open();
    for client in &mut clients {
        client.response().expect(200, "ok");
    }
    assert_eq!(upstream.connections(), 8);
}

#[test]
fn tenants_of_one_client_never_share_a_connection() {
    let (first, second) = (Upstream::echo(), Upstream::echo());
    let edge = Edge::start(&[tenant("thor", &first), tenant("potter", &second)].concat());
    let mut client = edge.client();
    for _ in 0..5 {
        for name in ["thor", "potter"] {
            let response = client.get(&format!("{name}.polls.local"), "/");
            assert!(response.text().contains(&format!("{name}.polls.local\r\n")));
        }
    }
    assert_eq!((first.connections(), second.connections()), (1, 1));
    assert!(
        first
            .requests()
            .iter()
            .all(|request| request.field("host") == Some(HOST))
    );
}

#[test]
fn app_that_says_close_is_dialled_again() {
    let upstream = Upstream::script(|connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
        connection.rest();
    });
    let edge = thor(&upstream);
    let mut client = edge.client();
    for number in 1..=5 {
        let response = client.get(HOST, "/");
        response.expect(200, "ok");
        assert!(
            !response.head.connection("close"),
            "the client's connection is another one"
        );
        assert_eq!(upstream.connections(), number);
    }
    upstream.wait("all closed", |seen| seen.open == 0);
}

#[test]
fn connection_that_the_app_closed_while_it_was_idle_costs_no_request() {
    let upstream = Upstream::script(|connection| {
        connection.request();
        connection.send(ok("ok"));
    });
    let edge = thor(&upstream);
    let mut client = edge.client();
    for _ in 0..10 {
        client.get(HOST, "/").expect(200, "ok");
        upstream.wait("its close", |seen| seen.open == 0);
        client.post(HOST, "/", "body").expect(200, "ok");
        upstream.wait("its close", |seen| seen.open == 0);
    }
    assert_eq!(
        (upstream.connections(), upstream.requests().len()),
        (20, 20)
    );
}

#[test]
fn connection_that_is_idle_is_closed_before_apps_do_it() {
    let upstream = Upstream::saying("ok");
    let edge = thor(&upstream);
    edge.client().get(HOST, "/").expect(200, "ok");
    let idle = std::time::Instant::now();
    upstream.wait("the end of the connection", |seen| seen.open == 0);
    // Node closes after 5 s, gunicorn after 2: this is below both, with room for a busy machine.
    assert!(idle.elapsed() < std::time::Duration::from_secs(4));
}

#[test]
fn bytes_that_nobody_asked_for_spoil_a_connection() {
    let sent = Gate::default();
    let app_sent = sent.clone();
    let upstream = Upstream::script(move |connection| {
        if connection.number == 1 {
            connection.request();
            connection.send([ok("first"), ok("planted")].concat());
            app_sent.open();
            connection.rest();
        }
        while connection.request().is_some() {
            connection.send(ok("second"));
        }
    });
    let edge = thor(&upstream);
    let mut client = edge.client();
    client.get(HOST, "/").expect(200, "first");
    sent.wait();
    client.get(HOST, "/").expect(200, "second");
}

#[test]
fn answer_behind_a_body_without_end_is_not_taken_for_the_next() {
    // The app says 2 bytes and sends more: what is left over belongs to no request.
    let upstream = Upstream::script(|connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 500 Planted\r\nContent-Length: 0\r\n\r\n");
        connection.rest();
    });
    let edge = thor(&upstream);
    let mut client = edge.client();
    for _ in 0..5 {
        client.get(HOST, "/").expect(200, "ok");
    }
}
