//! An edge that runs out of file descriptors: who is connected goes on, who isn't waits, and nobody has to help.

use std::collections::BTreeSet;

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::support::{
    Gate,
    client::Client,
    edge::{Edge, tenant},
    eventually,
    upstream::Upstream,
    wire::Framing,
};

const HOST: &str = "thor.polls.local";

/// From now on the edge gets no more than so many descriptors beyond those that it has.
fn allow(edge: &Edge, more: usize) {
    let entries = std::fs::read_dir(format!("/proc/{}/fd", edge.pid())).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let open: BTreeSet<u64> = names.map(|name| name.parse().unwrap()).collect();
    // The limit is on the number that a descriptor has, and free ones below it are taken first.
    let limit = (0..).filter(|number| !open.contains(number)).nth(more);
    let limits = Rlimit {
        current: limit,
        maximum: limit,
    };
    let pid = Pid::from_raw(edge.pid().try_into().unwrap());
    prlimit(pid, Resource::Nofile, limits).unwrap();
}

#[test]
fn edge_without_descriptors_serves_who_is_connected_and_recovers_by_itself() {
    let gate = Gate::default();
    let opened = gate.clone();
    let upstream = Upstream::script(move |connection| {
        while let Some(request) = connection.request() {
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc");
            if request.target() == "/slow" {
                opened.wait();
            }
            connection.send("def");
        }
    });
    let edge = Edge::start(&tenant("thor", &upstream));
    let mut connected = edge.client();
    connected.send(format!("GET /slow HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    assert_eq!(connected.head().status(), 200);
    assert_eq!(connected.exactly(3), b"abc");
    allow(&edge, 4);
    let before = edge.events().count();
    // The system completes them, whether or not the edge accepts.
    let mut waiting: Vec<Client> = (0..12).map(|_| edge.client()).collect();
    edge.await_event(before, "can't accept connections");
    gate.open();
    assert_eq!(connected.body(Framing::Length(3)).bytes, b"def");
    assert_eq!(connected.get("nobody.example", "/").status, 404);
    // Those who were let in leave, and the last one gets its turn.
    let mut last = waiting.pop().unwrap();
    last.send(format!("GET /last HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    drop(waiting);
    last.response().expect(200, "abcdef");
    edge.get(HOST, "/after").expect(200, "abcdef");
    let lines = edge.events().so_far();
    let complaints = lines.iter().filter(|line| line.contains("can't accept"));
    // It waits longer each time: whoever tried again at once would say so thousands of times.
    assert!((1..100).contains(&complaints.count()), "{lines:?}");
}

#[test]
fn dial_without_a_descriptor_fails_its_request_at_once_and_says_nothing_about_the_app() {
    let upstream = Upstream::saying("ok");
    let edge = Edge::start(&tenant("thor", &upstream));
    let [mut one, mut two] = [edge.client(), edge.client()];
    // Both are accepted once they have been answered: by the edge itself, so that no app's connection is open.
    for client in [&mut one, &mut two] {
        assert_eq!(client.get("nobody.example", "/").status, 404);
    }
    allow(&edge, 0);
    let refused = one.get(HOST, "/");
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert_eq!(edge.logged("status", 503)["error"], "exhausted");
    assert_eq!(two.get("nobody.example", "/").status, 404);
    drop(one);
    eventually("there is room for a dial", || {
        two.get(HOST, "/").status == 200
    });
    let events = edge.events().so_far();
    assert!(
        !events
            .iter()
            .any(|event| event.contains("upstream is away")),
        "{events:?}"
    );
}
