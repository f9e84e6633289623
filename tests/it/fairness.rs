//! Where the edge itself is what there is too little of, a tenant that asks for little gets it at once.

use std::{
    io::{Read as _, Write as _},
    net::Shutdown,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::support::{
    client::Client,
    edge::{Edge, tenant},
    eventually,
    upstream::Upstream,
};

const CONNECTIONS: usize = 100;
const REQUESTS_EACH: usize = 200;

/// An edge with one worker, so that all have to share it.
fn on_one_core(config: String) -> Edge {
    let start = move || {
        let allowed = sched_getaffinity(None).unwrap();
        let mut one = CpuSet::new();
        one.set(
            (0..CpuSet::MAX_CPU)
                .find(|core| allowed.is_set(*core))
                .unwrap(),
        );
        // Of this thread alone, and of what it starts.
        sched_setaffinity(None, &one).unwrap();
        Edge::start(&config)
    };
    thread::spawn(start).join().unwrap()
}

/// Sends request after request on each connection, waits for none, and takes what comes.
struct Flood {
    over: Arc<AtomicBool>,
    answers: thread::JoinHandle<usize>,
}

impl Flood {
    fn begin(edge: &Edge, host: &str) -> Self {
        let requests = format!("HEAD / HTTP/1.1\r\nHost: {host}\r\n\r\n").repeat(REQUESTS_EACH);
        let clients: Vec<_> = (0..CONNECTIONS).map(|_| edge.client()).collect();
        for client in &clients {
            client.writer().write_all(requests.as_bytes()).unwrap();
        }
        let over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&over);
        let answers = thread::spawn(move || {
            let answers = clients.into_iter().map(answers).sum();
            ends.store(true, Ordering::Release);
            answers
        });
        Self { over, answers }
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }
}

/// How many heads come on a connection.
fn answers(mut client: Client) -> usize {
    (0..REQUESTS_EACH).map_while(|_| client.try_head()).count()
}

/// How many of potter's requests, one after the other, are answered before the last of the flood's.
fn answered_during(flood: Flood, edge: &Edge) -> usize {
    let mut potter = edge.client();
    while !flood.is_over() {
        potter.get("potter.polls.local", "/").expect(200, "potter");
    }
    assert_eq!(flood.answers.join().unwrap(), CONNECTIONS * REQUESTS_EACH);
    edge.drain();
    let lines = edge.access_log().all();
    let is_potters = |line: &String| line.contains("\"tenant\":\"potter\"");
    let last = lines.iter().rposition(|line| !is_potters(line)).unwrap();
    lines[..last].iter().filter(|line| is_potters(line)).count()
}

#[test]
fn a_flood_that_is_refused_costs_another_tenant_a_round_and_not_the_whole_queue() {
    let (thor, potter) = (Upstream::saying("thor"), Upstream::saying("potter"));
    let thor = tenant("thor", &thor) + "limits.rate = \"1/s burst 1\"\n";
    let edge = on_one_core(format!("{thor}{}", tenant("potter", &potter)));
    let flood = Flood::begin(&edge, "thor.polls.local");
    let answered = answered_during(flood, &edge);
    println!("thor: {answered}");
    assert!(answered > 12, "{answered} of potter's were answered");
}

#[test]
fn a_flood_of_unknown_hosts_costs_a_tenant_a_round_and_not_the_whole_queue() {
    let potter = Upstream::saying("potter");
    let edge = on_one_core(tenant("potter", &potter));
    let flood = Flood::begin(&edge, "nobody.polls.local");
    let answered = answered_during(flood, &edge);
    println!("nobody: {answered}");
    assert!(answered > 12, "{answered} of potter's were answered");
}

/// Sends without end what an app has to answer with, and takes without end what that sends: how much has come each way during
/// a flood on the same tenant, which leaves little of its share to this connection.
fn moved_during_a_flood(request: &str, answer: &'static str) -> [usize; 2] {
    let up = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&up);
    let thor = Upstream::script(move |connection| {
        connection.head();
        connection.send(answer);
        let mut writer = connection.writer();
        let sends = thread::spawn(move || while writer.write_all(&[b'a'; 64 * 1024]).is_ok() {});
        let mut bytes = vec![0; 64 * 1024];
        while let Ok(1..) = connection.read(&mut bytes).inspect(|read| {
            counted.fetch_add(*read, Ordering::Relaxed);
        }) {}
        sends.join().unwrap();
    });
    let limits = "limits = { rate = \"1/s burst 1\", body = \"1 TiB\" }\n";
    let edge = on_one_core(tenant("thor", &thor) + limits);
    let mut client = edge.client();
    client.send(request);
    let (mut writer, closes) = (client.writer(), client.writer());
    let sends = thread::spawn(move || while writer.write_all(&[b'c'; 64 * 1024]).is_ok() {});
    client.head();
    let flood = Flood::begin(&edge, "thor.polls.local");
    let (up_before, mut down) = (up.load(Ordering::Relaxed), 0);
    while !flood.is_over() {
        down += client.exactly(4 * 1024).len();
    }
    let up = up.load(Ordering::Relaxed) - up_before;
    closes.shutdown(Shutdown::Both).unwrap();
    sends.join().unwrap();
    [up, down]
}

#[track_caller]
fn about_as_much(moved: [usize; 2]) {
    println!("up and down: {moved:?}");
    let [up, down] = moved;
    assert!(up > down / 3 && down > up / 3, "{up} up, {down} down");
}

#[test]
fn both_directions_of_a_tunnel_get_on_where_it_has_to_wait_for_its_turn() {
    about_as_much(moved_during_a_flood(
        "GET / HTTP/1.1\r\nHost: thor.polls.local\r\nConnection: Upgrade\r\nUpgrade: bytes\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: bytes\r\n\r\n",
    ));
}

#[test]
fn both_bodies_of_an_exchange_get_on_where_it_has_to_wait_for_its_turn() {
    about_as_much(moved_during_a_flood(
        "POST / HTTP/1.1\r\nHost: thor.polls.local\r\nContent-Length: 999999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n",
    ));
}

#[test]
fn a_tenant_that_hoards_connections_makes_room_for_others() {
    let (thor, potter) = (Upstream::saying("thor"), Upstream::saying("potter"));
    let tenants = [tenant("thor", &thor), tenant("potter", &potter)].concat();
    let edge = on_one_core(format!("limits.connections = 128\n{tenants}"));
    let asks = |host: &str, text: &str| {
        let mut client = edge.client();
        client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let response = client.try_response_to("GET")?;
        (response.text() == text).then_some(client)
    };
    let hoard: Vec<_> = (0..128)
        .map_while(|_| asks("thor.polls.local", "thor"))
        .collect();
    assert!(hoard.len() > 120, "{} of thor's", hoard.len());
    let mut guests = Vec::new();
    eventually("potter's clients are let in", || {
        guests.extend(asks("potter.polls.local", "potter"));
        guests.len() == 40
    });
    for guest in &mut guests {
        guest.get("potter.polls.local", "/").expect(200, "potter");
    }
}
