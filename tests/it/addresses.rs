//! The right tenant or none: what the edge does while names and addresses change hands.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};

use crate::support::{
    Watched,
    dns::{NameServer, Reply},
    edge::{Edge, Setup, tenant_at},
    eventually,
    upstream::{Upstream, ok},
};

const HOST: &str = "thor.polls.local";
/// Where thor's container was; another tenant's has the address now.
const OLD: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// Where thor's container is.
const NEW: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

/// Another tenant's app at `OLD` and thor's at `NEW`, on the same port, as containers of one image are.
struct Swapped {
    /// What the other tenant's app has read, for each of its connections.
    leaked: Watched<Vec<Vec<u8>>>,
    other: Upstream,
    thor: Upstream,
}

impl Swapped {
    fn new() -> Self {
        let leaked = Watched::<Vec<Vec<u8>>>::default();
        let other_leaked = leaked.clone();
        let other = Upstream::script_at((OLD, 0).into(), move |connection| {
            let bytes = connection.first_bytes();
            connection.send(ok("potter"));
            other_leaked.change(|leaked| leaked.push(bytes));
        });
        let port = other.port().parse().unwrap();
        let thor = Upstream::script_at((NEW, port).into(), |connection| {
            connection.request();
            connection
                .send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nthor");
        });
        Self {
            leaked,
            other,
            thor,
        }
    }

    fn edge(&self, server: &NameServer, keys: &str) -> Edge {
        let route = tenant_at("thor", &format!("http://thor_web:{}", self.thor.port()));
        Setup::new(&format!("{}{route}{keys}", server.config())).start()
    }

    /// That the other tenant's app was dialled `connections` times and never saw a byte.
    #[track_caller]
    fn leaks_nothing(&self, connections: usize) {
        let leaked = self.leaked.wait(crate::support::DEADLINE, |leaked| {
            leaked.len() == connections
        });
        assert_eq!(leaked, vec![Vec::<u8>::new(); connections]);
        assert_eq!(self.other.connections(), connections);
    }
}

fn at(address: Ipv4Addr) -> Reply {
    Reply::Addresses(vec![address])
}

#[test]
fn address_that_has_moved_by_the_time_the_connection_stands_gets_no_byte() {
    let apps = Swapped::new();
    let server = NameServer::script(|_, before| at(if before == 0 { OLD } else { NEW }));
    let edge = apps.edge(&server, "");
    edge.client().get(HOST, "/").expect(200, "thor");
    apps.leaks_nothing(1);
    let line = edge.logged("path", "/");
    assert_eq!(line["endpoint"], format!("{NEW}:{}", apps.thor.port()));
}

#[test]
fn a_post_goes_to_its_own_tenant_or_nowhere() {
    let apps = Swapped::new();
    let server = NameServer::script(|_, before| at(if before == 0 { OLD } else { NEW }));
    let edge = apps.edge(&server, "");
    edge.client().post(HOST, "/", "secret").expect(200, "thor");
    apps.leaks_nothing(1);
    assert_eq!(apps.thor.last().body.bytes, b"secret");
}

#[test]
fn address_that_keeps_moving_is_given_up_after_a_bounded_number_of_dials() {
    let apps = Swapped::new();
    // Before each dial the old address, after it another.
    let server = NameServer::script(|_, before| at(if before % 2 == 0 { OLD } else { NEW }));
    let edge = apps.edge(&server, "hold = \"0s\"\n");
    let response = edge.client().get(HOST, "/");
    assert_eq!(response.status, 503, "{}", response.text());
    apps.leaks_nothing(16);
    assert_eq!(apps.thor.connections(), 0);
}

#[test]
fn name_without_an_answer_when_the_connection_stands_means_no_request() {
    for gone in [
        Reply::NoSuchName,
        Reply::Failure,
        Reply::Addresses(Vec::new()),
    ] {
        let apps = Swapped::new();
        let answer = gone.clone();
        let server = NameServer::script(move |_, before| match before {
            0 => at(OLD),
            _ => answer.clone(),
        });
        let edge = apps.edge(&server, "hold = \"0s\"\ntimeouts.connect = \"8s\"\n");
        assert_eq!(edge.client().get(HOST, "/").status, 503, "{gone:?}");
        apps.leaks_nothing(1);
    }
}

#[test]
fn silence_when_the_connection_stands_means_no_request() {
    let apps = Swapped::new();
    let server = NameServer::script(|_, before| if before == 0 { at(OLD) } else { Reply::Silence });
    let edge = apps.edge(&server, "hold = \"0s\"\ntimeouts.connect = \"500ms\"\n");
    assert_eq!(edge.client().get(HOST, "/").status, 504);
    apps.leaks_nothing(1);
}

#[test]
fn names_that_are_silent_cost_other_names_nothing() {
    let apps = Swapped::new();
    let server = NameServer::script(|name, _| match name {
        "thor_web" => at(NEW),
        _ => Reply::Silence,
    });
    let potter = tenant_at("potter", "http://potter_web:8000");
    let edge = apps.edge(&server, &format!("{potter}timeouts.connect = \"5s\"\n"));
    let mut waiting: Vec<_> = (0..8).map(|_| edge.client()).collect();
    for client in &mut waiting {
        client.send("GET / HTTP/1.1\r\nHost: potter.polls.local\r\n\r\n");
    }
    for _ in 0..20 {
        edge.client().get(HOST, "/").expect(200, "thor");
    }
}

#[test]
fn ttl_is_not_believed() {
    let apps = Swapped::new();
    let moved = Watched::<bool>::default();
    let has_moved = moved.clone();
    let server = NameServer::script(move |_, _| at(if has_moved.get() { OLD } else { NEW }));
    let edge = apps.edge(&server, "");
    edge.client().get(HOST, "/").expect(200, "thor");
    // The server said 600 s. That the container at `OLD` is thor's own now, its name says.
    moved.change(|moved| *moved = true);
    edge.client().get(HOST, "/").expect(200, "potter");
}

#[test]
fn route_that_asks_not_to_verify_takes_the_first_answer() {
    let apps = Swapped::new();
    let server = NameServer::script(|_, before| at(if before == 0 { OLD } else { NEW }));
    let edge = apps.edge(&server, "verify_address = false\n");
    edge.client().get(HOST, "/").expect(200, "potter");
    assert_eq!(server.asked(), ["thor_web"]);
}

#[test]
fn literal_address_is_never_looked_up() {
    let thor = Upstream::saying("thor");
    let server = NameServer::script(|_, _| Reply::NoSuchName);
    let config = format!("{}{}", server.config(), tenant_at("thor", thor.url()));
    let edge = Setup::new(&config).start();
    edge.client().get(HOST, "/").expect(200, "thor");
    assert_eq!(server.asked(), Vec::<String>::new());
}

#[test]
fn dial_that_hangs_is_dropped_when_its_address_is_no_longer_the_one_to_dial() {
    let thor = Upstream::script_at((NEW, 0).into(), |connection| {
        connection.request();
        connection.send(ok("thor"));
    });
    // Its queue of connections is full, so that a SYN is dropped, as by a container that is gone.
    let port = thor.port().parse().unwrap();
    let full = Full::listen((OLD, port).into());
    // Thor's container is gone from `OLD`; its name says so a moment after the dial.
    let server = NameServer::script(|_, before| at(if before < 2 { OLD } else { NEW }));
    let route = tenant_at("thor", &format!("http://thor_web:{port}"));
    let keys = "timeouts.connect = \"60s\"\n";
    let edge = Setup::new(&format!("{}{route}{keys}", server.config())).start();
    edge.client().get(HOST, "/").expect(200, "thor");
    drop(full);
}

#[test]
fn one_of_many_addresses_that_hangs_is_overtaken_by_the_next() {
    let thor = Upstream::script_at((NEW, 0).into(), |connection| {
        connection.request();
        connection.send(ok("thor"));
    });
    let port = thor.port().parse().unwrap();
    let full = Full::listen((OLD, port).into());
    let server = NameServer::script(|_, _| Reply::Addresses(vec![OLD, NEW]));
    let route = tenant_at("thor", &format!("http://thor_web:{port}"));
    let keys = "timeouts.connect = \"60s\"\n";
    let edge = Setup::new(&format!("{}{route}{keys}", server.config())).start();
    for _ in 0..4 {
        edge.client().get(HOST, "/").expect(200, "thor");
    }
    drop(full);
}

#[test]
fn thirteen_addresses_are_all_used() {
    let addresses: Vec<Ipv4Addr> = (1..=13)
        .map(|last| Ipv4Addr::new(127, 0, 1, last))
        .collect();
    let mut apps: Vec<Upstream> = Vec::new();
    for address in &addresses {
        let port = apps.first().map_or(0, |app| app.port().parse().unwrap());
        apps.push(Upstream::script_at((*address, port).into(), |connection| {
            connection.request();
            connection.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
        }));
    }
    let answer = addresses;
    let server = NameServer::script(move |_, _| Reply::Addresses(answer.clone()));
    let route = tenant_at("thor", &format!("http://thor_web:{}", apps[0].port()));
    let edge = Setup::new(&format!("{}{route}", server.config())).start();
    eventually("all of them are used", || {
        edge.client().get(HOST, "/").expect(200, "ok");
        apps.iter().all(|app| app.connections() > 0)
    });
}

#[test]
fn address_that_is_added_is_used_under_steady_load() {
    let serve = |connection: &mut crate::support::upstream::Connection| {
        while connection.request().is_some() {
            connection.send(ok("thor"));
        }
    };
    let one = Upstream::script_at((OLD, 0).into(), serve);
    let port = one.port().parse().unwrap();
    let other = Upstream::script_at((NEW, port).into(), serve);
    let scaled = Watched::<bool>::default();
    let is_scaled = scaled.clone();
    let server = NameServer::script(move |_, _| {
        Reply::Addresses(if is_scaled.get() {
            vec![OLD, NEW]
        } else {
            vec![OLD]
        })
    });
    let route = tenant_at("thor", &format!("http://thor_web:{port}"));
    let edge = Setup::new(&format!("{}{route}", server.config())).start();
    let mut client = edge.client();
    client.get(HOST, "/").expect(200, "thor");
    scaled.change(|scaled| *scaled = true);
    // No pause in which the pool's connections could grow too old by lying idle.
    eventually("the other address is used", || {
        client.get(HOST, "/").expect(200, "thor");
        other.connections() > 0
    });
}

/// A listener that accepts nobody and whose queue is full.
struct Full {
    _listener: Socket,
    _waiting: Vec<TcpStream>,
}

impl Full {
    fn listen(address: SocketAddr) -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&address.into()).unwrap();
        listener.listen(0).unwrap();
        let short = std::time::Duration::from_millis(200);
        let connect = || TcpStream::connect_timeout(&address, short).ok();
        let waiting = std::iter::from_fn(connect).take(64).collect();
        Self {
            _listener: listener,
            _waiting: waiting,
        }
    }
}
