//! An app that is away costs its users a short wait, and nobody else anything.

use std::{net::Ipv4Addr, thread};

use crate::support::{
    Watched,
    dns::{NameServer, Reply},
    edge::{Edge, Setup, tenant, tenant_at},
    eventually,
    upstream::{Connection, Refusing, Upstream, ok},
};

const HOST: &str = "thor.polls.local";

fn away(app: &Refusing, keys: &str) -> Edge {
    let edge = Edge::start(&format!("{}{keys}", tenant_at("thor", &app.url())));
    assert_eq!(edge.listening().len(), 1);
    edge
}

fn serve(connection: &mut Connection) {
    while connection.request().is_some() {
        connection.send(ok("back"));
    }
}

#[test]
fn request_waits_for_its_app_and_is_answered_when_that_is_back() {
    let app = Refusing::new();
    let edge = away(&app, "");
    let mut client = edge.client();
    client.send(format!("GET /waits HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    let event = edge.await_event(0, "upstream is away");
    assert_eq!(event["upstream"], app.url());
    let app = app.come_up(serve);
    client.response().expect(200, "back");
    edge.await_event(0, "upstream is back");
    let line = edge.logged("path", "/waits");
    assert!(line["held_ms"].as_f64() > Some(0.0), "{line}");
    assert!(line["error"].is_null(), "{line}");
    assert_eq!(app.requests().len(), 1);
}

#[test]
fn post_waits_with_its_body_and_is_sent_once() {
    let app = Refusing::new();
    let edge = away(&app, "");
    let mut client = edge.client();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 4\r\n\r\nvote"
    ));
    edge.await_event(0, "upstream is away");
    let app = app.come_up(serve);
    client.response().expect(200, "back");
    assert_eq!(app.requests().len(), 1);
    assert_eq!(app.last().body.bytes, b"vote");
}

#[test]
fn all_who_wait_are_answered_each_once() {
    let app = Refusing::new();
    let edge = away(&app, "");
    let mut clients: Vec<_> = (0..100).map(|_| edge.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(format!("GET /{number} HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    }
    edge.await_event(0, "upstream is away");
    let app = app.come_up(serve);
    for client in &mut clients {
        client.response().expect(200, "back");
    }
    let mut targets: Vec<_> = app.requests();
    targets.sort_by_key(|request| request.target().to_owned());
    targets.dedup_by_key(|request| request.target().to_owned());
    assert_eq!((app.requests().len(), targets.len()), (100, 100));
}

#[test]
fn app_that_stays_away_is_503_at_once_after_the_hold_and_is_said_once() {
    let app = Refusing::new();
    let edge = away(&app, "hold = \"300ms\"\n");
    for number in 0..20 {
        let response = edge.get(HOST, &format!("/{number}"));
        assert_eq!(response.status, 503);
        assert_eq!(response.field("retry-after"), Some("1"));
        let line = edge.logged("path", format!("/{number}"));
        assert_eq!(line["error"], "upstream_away", "{line}");
        // The hold is counted from when the app went away, and not for each request.
        assert_eq!(line["held_ms"].is_null(), number > 0, "{line}");
    }
    let events = edge.events().so_far();
    let said = |event: &&String| event.contains("upstream is away");
    assert_eq!(events.iter().filter(said).count(), 1, "{events:?}");
    let _app = app.come_up(serve);
    edge.await_event(0, "upstream is back");
    edge.get(HOST, "/").expect(200, "back");
}

#[test]
fn those_beyond_the_queue_are_503_at_once_and_the_others_wait_on() {
    const QUEUE: usize = 512;
    const BEYOND: usize = 40;
    let app = Refusing::new();
    let edge = away(&app, "hold = \"1h\"\nlimits.requests = 1000\n");
    let mut clients: Vec<_> = (0..QUEUE + BEYOND).map(|_| edge.client()).collect();
    for client in &mut clients {
        client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    }
    eventually("those beyond are told", || {
        edge.access_log().count() == BEYOND
    });
    assert_eq!(edge.logged("path", "/")["error"], "upstream_away");
    let _app = app.come_up(serve);
    let statuses = clients.iter_mut().map(|client| client.response().status);
    let statuses: Vec<_> = statuses.collect();
    let told = |status| statuses.iter().filter(|told| **told == status).count();
    assert_eq!((told(200), told(503)), (QUEUE, BEYOND));
}

#[test]
fn tenant_that_is_away_costs_another_nothing() {
    let app = Refusing::new();
    let potter = Upstream::saying("potter");
    let config = [tenant_at("thor", &app.url()), tenant("potter", &potter)].concat();
    let edge = Edge::start(&config);
    let mut waiting = edge.client();
    waiting.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    edge.await_event(0, "upstream is away");
    for _ in 0..50 {
        edge.get("potter.polls.local", "/").expect(200, "potter");
    }
}

#[test]
fn name_that_has_no_answer_at_first_is_waited_for() {
    for missing in [Reply::NoSuchName, Reply::Failure, Reply::Silence] {
        let app = Upstream::script_at(([127, 0, 0, 4], 0).into(), serve);
        let exists = Watched::<bool>::default();
        let does_exist = exists.clone();
        let reply = missing.clone();
        let server = NameServer::script(move |_, _| {
            if does_exist.get() {
                Reply::Addresses(vec![Ipv4Addr::new(127, 0, 0, 4)])
            } else {
                reply.clone()
            }
        });
        let route = tenant_at("thor", &format!("http://thor_web:{}", app.port()));
        let edge = Setup::new(&format!("{}{route}", server.config())).start();
        let mut client = edge.client();
        client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
        edge.await_event(0, "upstream is away");
        exists.change(|exists| *exists = true);
        client.response().expect(200, "back");
        let line = edge.logged("path", "/");
        assert!(line["held_ms"].as_f64() > Some(0.0), "{missing:?}: {line}");
    }
}

#[test]
fn pooled_connections_go_on_while_names_have_no_answer() {
    let app = Upstream::script_at(([127, 0, 0, 5], 0).into(), serve);
    let silent = Watched::<bool>::default();
    let is_silent = silent.clone();
    let server = NameServer::script(move |_, _| {
        if is_silent.get() {
            Reply::Silence
        } else {
            Reply::Addresses(vec![Ipv4Addr::new(127, 0, 0, 5)])
        }
    });
    let route = tenant_at("thor", &format!("http://thor_web:{}", app.port()));
    let edge = Setup::new(&format!("{}{route}", server.config())).start();
    let mut client = edge.client();
    client.get(HOST, "/").expect(200, "back");
    silent.change(|silent| *silent = true);
    // Until the edge has looked for the name in vain: that must not make it give up what it has.
    let before = server.asked().len();
    eventually("look-ups in vain", || {
        client.get(HOST, "/").expect(200, "back");
        server.asked().len() > before + 2
    });
    assert_eq!(app.connections(), 1);
}

#[test]
fn client_that_leaves_while_it_waits_is_499_and_its_request_is_never_sent() {
    let app = Refusing::new();
    let edge = away(&app, "");
    let mut client = edge.client();
    client.send(format!("GET /left HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    edge.await_event(0, "upstream is away");
    drop(client);
    let line = edge.logged("path", "/left");
    assert_eq!(
        (&line["status"], &line["error"]),
        (&499.into(), &"client_gone".into())
    );
    let app = app.come_up(serve);
    edge.get(HOST, "/came").expect(200, "back");
    assert!(
        app.requests()
            .iter()
            .all(|request| request.target() == "/came")
    );
}

#[test]
fn restarts_of_an_app_fail_no_get() {
    let began = Watched::<usize>::default();
    // An address of its own, which no other test's connection is given while the app is down.
    let mut app = Refusing::at(([127, 0, 0, 6], 0).into()).ok();
    let url = app.as_ref().map(Refusing::url).unwrap();
    let edge = Edge::start(&tenant_at("thor", &url));
    let address = edge.address();
    let done = Watched::<bool>::default();
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (began, done) = (began.clone(), done.clone());
            thread::spawn(move || {
                while !done.get() {
                    let mut client = crate::support::client::Client::connect(address);
                    client.get(HOST, "/").expect(200, "back");
                    began.change(|began| *began += 1);
                }
            })
        })
        .collect();
    for round in 1..=5 {
        let running = app.take().unwrap().come_up(|connection| {
            if connection.request().is_some() {
                connection
                    .send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nback");
            }
        });
        let enough = round * 20;
        assert!(began.wait(crate::support::DEADLINE, |began| *began >= enough) >= enough);
        app = Some(running.go_down());
    }
    done.change(|done| *done = true);
    let _last = app.take().unwrap().come_up(serve);
    for client in clients {
        client.join().unwrap();
    }
}
