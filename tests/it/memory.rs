//! What a flood had in use is given back.

use std::fs;

use crate::support::{
    client::Client,
    edge::{Edge, tenant},
    eventually,
    upstream::{Upstream, ok},
};

const CLIENTS: usize = 1_000;
/// So much at least is asked of the edge, so that the figures say something.
const GROWTH_KIB: usize = 2_048;
/// What is left may be the allocator's tables, and what it keeps for each thread.
const LEFT_PART: usize = 4;

fn resident_kib(edge: &Edge) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", edge.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.unwrap()
        .trim()
        .strip_suffix(" kB")
        .unwrap()
        .parse()
        .unwrap()
}

/// One who asks for what is never answered.
fn hanging(edge: &Edge) -> Client {
    let mut client = edge.client();
    client.send("GET /never HTTP/1.1\r\nHost: thor.polls.local\r\n\r\n");
    client
}

#[test]
fn memory_of_a_flood_is_given_back_soon_after() {
    let thor = Upstream::script(|connection| {
        while let Some(request) = connection.request() {
            if request.target() == "/never" {
                connection.rest();
            }
            connection.send(ok("thor"));
        }
    });
    let edge = Edge::start(
        &(tenant("thor", &thor) + "limits = { requests = 1000, connections = 1000 }\n"),
    );
    edge.get("thor.polls.local", "/").expect(200, "thor");
    let before = resident_kib(&edge);
    let clients: Vec<Client> = (0..CLIENTS).map(|_| hanging(&edge)).collect();
    thor.wait("all of them", |seen| seen.requests.len() > CLIENTS);
    let growth = resident_kib(&edge) - before;
    assert!(growth > GROWTH_KIB, "it grew by {growth} KiB");
    drop(clients);
    eventually("the memory is given back", || {
        resident_kib(&edge) < before + growth / LEFT_PART
    });
    edge.get("thor.polls.local", "/").expect(200, "thor");
}
