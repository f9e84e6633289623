//! Which of several endpoints gets a request, and what is counted of each.

use std::{collections::HashMap, net::Ipv4Addr};

use crate::support::{
    Gate, Watched,
    client::Client,
    dns::{NameServer, Reply},
    edge::{Edge, Setup, tenant_at},
    eventually,
    upstream::{Connection, Upstream, ok},
    websocket::{self, Chat},
};

const HOST: &str = "thor.polls.local";

/// Answers each request with the address that it came to.
fn named(name: &'static str) -> impl Fn(&mut Connection) + Send + Sync + 'static {
    move |connection| {
        while connection.request().is_some() {
            connection.send(ok(name));
        }
    }
}

/// Replicas on one port of 127.0.`net`.1, .2 and so on, each answering its last number.
fn replicas(net: u8, names: &[&'static str]) -> Vec<Upstream> {
    let mut apps: Vec<Upstream> = Vec::new();
    for (last, name) in (1..).zip(names) {
        let port = apps.first().map_or(0, |app| app.port().parse().unwrap());
        apps.push(Upstream::script_at(
            ([127, 0, net, last], port).into(),
            named(name),
        ));
    }
    apps
}

/// One name for the first `count` of some replicas, which may change.
fn edge_of(apps: &[Upstream], net: u8, count: &Watched<usize>, keys: &str) -> (Edge, NameServer) {
    let count = count.clone();
    let server = NameServer::script(move |_, _| {
        let lasts = 1..=u8::try_from(count.get()).unwrap();
        Reply::Addresses(lasts.map(|last| Ipv4Addr::new(127, 0, net, last)).collect())
    });
    let route = tenant_at("thor", &format!("http://thor_web:{}", apps[0].port()));
    let edge = Setup::new(&format!("{}{route}{keys}", server.config())).start();
    (edge, server)
}

fn counted(count: usize) -> Watched<usize> {
    let watched = Watched::default();
    watched.change(|value| *value = count);
    watched
}

/// What `/routes` says of the endpoints of thor, by their addresses.
#[track_caller]
fn in_flight(edge: &Edge) -> HashMap<String, u64> {
    let told = edge.admin("/routes?tenant=thor").json();
    let endpoints = told["routes"][0]["upstreams"][0]["endpoints"]
        .as_array()
        .unwrap();
    let of = |endpoint: &serde_json::Value| {
        let address = endpoint["address"].as_str().unwrap().to_owned();
        (address, endpoint["in_flight"].as_u64().unwrap())
    };
    endpoints.iter().map(of).collect()
}

/// Waits until nothing is in flight, anywhere.
#[track_caller]
fn nothing_is_in_flight(edge: &Edge) {
    eventually("nothing is in flight", || {
        in_flight(edge).values().all(|count| *count == 0)
    });
}

#[test]
fn round_robin_gives_each_its_turn() {
    let apps = replicas(21, &["1", "2", "3"]);
    let (edge, _server) = edge_of(&apps, 21, &counted(3), "balance = \"round_robin\"\n");
    let mut client = edge.client();
    // The first finds out that there are three.
    assert_eq!(client.get(HOST, "/").status, 200);
    let mut answers = HashMap::new();
    for _ in 0..30 {
        *answers.entry(client.get(HOST, "/").text()).or_insert(0) += 1;
    }
    assert_eq!(
        answers,
        HashMap::from([1, 2, 3].map(|name| (name.to_string(), 10)))
    );
    nothing_is_in_flight(&edge);
}

#[test]
fn origins_of_a_list_are_balanced_from_the_first_request_on() {
    let apps = replicas(22, &["1", "2", "3", "4"]);
    let urls: Vec<_> = apps
        .iter()
        .map(|app| format!("\"{}\"", app.url()))
        .collect();
    let edge = Edge::start(&format!(
        "[routes.thor]\nhosts = \"{HOST}\"\nupstream = [{}]\nbalance = \"round_robin\"\n",
        urls.join(", ")
    ));
    for _ in 0..40 {
        assert_eq!(edge.get(HOST, "/").status, 200);
    }
    for app in &apps {
        assert_eq!(app.requests().len(), 10);
    }
}

#[test]
fn endpoint_whose_requests_hang_is_avoided() {
    let gate = Gate::default();
    let app_gate = gate.clone();
    let slow = Upstream::script_at(([127, 0, 23, 1], 0).into(), move |connection| {
        while connection.request().is_some() {
            app_gate.wait();
            connection.send(ok("1"));
        }
    });
    let port = slow.port().parse().unwrap();
    let quick = Upstream::script_at(([127, 0, 23, 2], port).into(), named("2"));
    let urls = format!("[\"{}\", \"{}\"]", slow.url(), quick.url());
    let edge = Edge::start(&format!(
        "[routes.thor]\nhosts = \"{HOST}\"\nupstream = {urls}\n"
    ));
    // Sooner or later one is drawn for the slow one.
    let mut hanging = Vec::new();
    eventually("one hangs", || {
        let mut client = edge.client();
        client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
        hanging.push(client);
        eventually("it has come", || {
            slow.requests().len() + quick.requests().len() == hanging.len()
        });
        !slow.requests().is_empty()
    });
    // And then, of two, always the other.
    for _ in 0..100 {
        edge.get(HOST, "/").expect(200, "2");
    }
    assert_eq!(slow.requests().len(), 1);
    assert_eq!(in_flight(&edge)[slow.authority()], 1);
    gate.open();
    for client in &mut hanging {
        assert_eq!(client.response().status, 200);
    }
    nothing_is_in_flight(&edge);
}

/// Which of the replicas each of so many clients is led to.
fn led(edge: &Edge, clients: u8) -> Vec<String> {
    let ask = |last| {
        let mut client = Client::connect_from(&format!("127.0.99.{last}"), edge.address());
        let first = client.get(HOST, "/").text();
        for _ in 0..3 {
            client.get(HOST, "/").expect(200, &first);
        }
        first
    };
    (1..=clients).map(ask).collect()
}

#[test]
fn client_keeps_its_endpoint_and_one_more_moves_only_its_share() {
    let apps = replicas(24, &["1", "2", "3"]);
    let count = counted(2);
    let keys = "balance = \"client_ip\"\n";
    let (edge, _server) = edge_of(&apps, 24, &count, keys);
    edge.get(HOST, "/");
    let before = led(&edge, 60);
    assert!(before.contains(&"1".to_owned()) && before.contains(&"2".to_owned()));
    assert_eq!(led(&edge, 60), before);

    // Another process, and the same choice.
    let (restarted, _other_server) = edge_of(&apps, 24, &count, keys);
    restarted.get(HOST, "/");
    assert_eq!(led(&restarted, 60), before);

    count.change(|count| *count = 3);
    eventually("the third is used", || {
        for last in 1..=60 {
            let mut client = Client::connect_from(&format!("127.0.99.{last}"), edge.address());
            client.get(HOST, "/");
        }
        !apps[2].requests().is_empty()
    });
    let after = led(&edge, 60);
    let moved: Vec<_> = before
        .iter()
        .zip(&after)
        .filter(|(one, other)| one != other)
        .collect();
    assert!(moved.iter().all(|(_, now)| *now == "3"), "{moved:?}");
    // A third is expected; of 60 fair draws fewer than 5 or more than 40 are one in a million.
    assert!(
        (5..=40).contains(&moved.len()),
        "{} of 60 moved",
        moved.len()
    );
}

#[test]
fn client_is_the_one_that_a_trusted_proxy_names() {
    let apps = replicas(25, &["1", "2"]);
    let route = tenant_at("thor", &format!("http://thor_web:{}", apps[0].port()));
    let server = NameServer::script(|_, _| {
        Reply::Addresses(vec![
            Ipv4Addr::new(127, 0, 25, 1),
            Ipv4Addr::new(127, 0, 25, 2),
        ])
    });
    let config = format!(
        "trusted_proxies = \"127.0.0.1\"\n{}{route}balance = \"client_ip\"\n",
        server.config()
    );
    let edge = Setup::new(&config).start();
    edge.get(HOST, "/");
    let mut client = edge.client();
    let mut used: Vec<_> = (1..=40)
        .map(|last| {
            let field = format!("X-Forwarded-For: 192.0.2.{last}\r\n");
            let first = client.get_with(HOST, "/", &field).text();
            client.get_with(HOST, "/", &field).expect(200, &first);
            first
        })
        .collect();
    used.sort_unstable();
    used.dedup();
    assert_eq!(used, ["1", "2"]);
}

#[test]
fn endpoint_that_is_down_costs_no_request_under_any_policy() {
    for (net, balance) in [
        (26, "least_requests"),
        (27, "round_robin"),
        (28, "client_ip"),
    ] {
        let mut apps = replicas(net, &["1", "2", "3"]);
        let keys = format!("balance = \"{balance}\"\n");
        let (edge, _server) = edge_of(&apps, net, &counted(3), &keys);
        edge.get(HOST, "/");
        let down = apps.pop().unwrap().go_down();
        for _ in 0..50 {
            assert_eq!(edge.get(HOST, "/").status, 200, "{balance}");
        }
        drop(down);
    }
}

#[test]
fn replica_that_appears_is_used_and_one_that_goes_is_not() {
    let apps = replicas(29, &["1", "2"]);
    let count = counted(1);
    let (edge, _server) = edge_of(&apps, 29, &count, "");
    let mut client = edge.client();
    client.get(HOST, "/").expect(200, "1");
    count.change(|count| *count = 2);
    eventually("the second is used", || client.get(HOST, "/").text() == "2");
    count.change(|count| *count = 1);
    eventually("the second is known to be gone", || {
        in_flight(&edge).len() == 1
    });
    for _ in 0..20 {
        client.get(HOST, "/").expect(200, "1");
    }
}

#[test]
fn nothing_stays_in_flight_however_a_request_ends() {
    // By its path the app answers, hangs, breaks off, or switches.
    let upstream = Upstream::script(|connection| {
        while let Some(request) = connection.request() {
            match request.target() {
                "/hang" => drop(connection.rest()),
                "/break" => return,
                "/cut" => {
                    connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\ncut");
                    return;
                }
                "/endless" => {
                    connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nmore");
                    connection.rest();
                }
                _ => connection.send(ok("ok")),
            }
        }
    });
    let route = tenant_at("thor", upstream.url());
    let edge = Edge::start(&format!(
        "{route}timeouts.response = \"300ms\"\nretries = 0\n"
    ));
    let mut client = edge.client();
    client.get(HOST, "/").expect(200, "ok");
    client.post(HOST, "/", "body").expect(200, "ok");
    nothing_is_in_flight(&edge);
    for (path, status) in [("/hang", 504), ("/break", 502)] {
        assert_eq!(edge.get(HOST, path).status, status);
        nothing_is_in_flight(&edge);
    }
    let mut cut = edge.client();
    cut.send(format!("GET /cut HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    cut.rest();
    nothing_is_in_flight(&edge);
    let mut leaving = edge.client();
    leaving.send(format!("GET /endless HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    leaving.head();
    assert_eq!(in_flight(&edge)[upstream.authority()], 1);
    drop(leaving);
    nothing_is_in_flight(&edge);
}

#[test]
fn tunnel_is_in_flight_until_it_ends() {
    let upstream = websocket::echo();
    let edge = Edge::start(&tenant_at("thor", upstream.url()));
    let mut chat = Chat::open(&edge, HOST);
    chat.say("hello");
    assert_eq!(in_flight(&edge)[upstream.authority()], 1);
    chat.close();
    nothing_is_in_flight(&edge);
}
