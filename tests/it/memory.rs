//! What a flood had in use is given back.

use crate::support::{
    client::Client,
    edge::{Edge, tenant},
    eventually,
    upstream::{Upstream, ok},
};

const CLIENTS: usize = 250;
/// Each brings so much, and the edge keeps it for as long as there is no answer.
const COOKIE_BYTES: usize = 12 * 1024;
/// So much at least is asked of the edge, so that the figures say something.
const GROWTH_KIB: usize = 2_048;
/// What is left may be the allocator's tables, and what it keeps for each thread.
const LEFT_PART: usize = 4;

/// One who asks for what is never answered.
fn hanging(edge: &Edge) -> Client {
    let mut client = edge.client();
    let cookie = "c".repeat(COOKIE_BYTES);
    client.send(format!(
        "GET /never HTTP/1.1\r\nHost: thor.polls.local\r\nCookie: {cookie}\r\n\r\n"
    ));
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
    let edge = Edge::start(&tenant("thor", &thor));
    edge.get("thor.polls.local", "/").expect(200, "thor");
    let before = edge.resident_kib();
    let clients: Vec<Client> = (0..CLIENTS).map(|_| hanging(&edge)).collect();
    thor.wait("all of them", |seen| seen.requests.len() > CLIENTS);
    let growth = edge.resident_kib() - before;
    assert!(growth > GROWTH_KIB, "it grew by {growth} KiB");
    drop(clients);
    eventually("the memory is given back", || {
        edge.resident_kib() < before + growth / LEFT_PART
    });
    edge.get("thor.polls.local", "/").expect(200, "thor");
}
