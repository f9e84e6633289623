//! Whose word about the client is believed: fields of any content, from peers that are trusted and from strangers.

use std::{net::IpAddr, sync::LazyLock};

use ipnet::IpNet;

use super::{
    message::{self, NamedValue, all, sole},
    rules,
};
use crate::{
    config::HeaderEdits,
    headers::{self, BodyLength, Onward},
    http1::RequestHead,
};

const HEAD_BYTES_MAX: usize = 64 * 1024;
const HOST: &str = "thor.test:8080";
const PORT: u16 = 8080;
/// The edge's own name for the request.
const OURS: &str = "0123456789abcdef0123456789abcdef";

static TRUSTED: LazyLock<Vec<IpNet>> = LazyLock::new(|| {
    let nets = ["10.0.0.0/8", "192.0.2.7/32", "fd00::/8", "::1/128"];
    nets.map(|net| net.parse().expect("a network")).into()
});

/// Half of them are trusted.
static PEERS: LazyLock<[IpAddr; 8]> = LazyLock::new(|| {
    let peers = [
        "10.0.0.1",
        "11.0.0.1",
        "192.0.2.7",
        "192.0.2.8",
        "fd00::1",
        "2001:db8::1",
        "::1",
        "127.0.0.1",
    ];
    peers.map(|peer| peer.parse().expect("an address"))
});

/// The first byte picks the peer, the rest are the lines of its fields.
pub fn run(data: &[u8]) {
    let Some((&pick, lines)) = data.split_first() else {
        return;
    };
    let peer = PEERS[usize::from(pick) % PEERS.len()];
    let wire = [
        b"GET / HTTP/1.1\r\nHost: ",
        HOST.as_bytes(),
        b"\r\n",
        lines,
        b"\r\n\r\n",
    ]
    .concat();
    let mut head = RequestHead::default();
    if !matches!(head.parse(&wire, HEAD_BYTES_MAX), Ok(Some(_))) {
        return;
    }
    let sent = message::request(&wire)
        .ok()
        .flatten()
        .expect("httparse reads it too");
    let is_trusted = TRUSTED.iter().any(|net| net.contains(&peer));
    let vouched = headers::vouched(peer, &head.fields, &TRUSTED);
    assert_eq!(vouched.is_some(), is_trusted, "{peer}");
    let mut client = peer;
    let mut request_id = OURS;
    if let Some(vouched) = &vouched {
        assert_eq!(vouched.client, oracle(peer, &sent.fields));
        client = vouched.client;
        if let Some(id) = vouched.request_id {
            let said = all(&sent.fields, "x-request-id").next();
            assert_eq!(said, Some(id.as_bytes()));
            let harmless = |c: char| c.is_ascii_graphic() && !"\"'<>\\&".contains(c);
            assert!(!id.is_empty() && id.chars().all(harmless), "{id:?}");
            request_id = id;
        }
    }
    let (peer, client) = (peer.to_string(), client.to_string());
    let mut out = Vec::new();
    let onward = Onward {
        head: &head,
        target: head.target(),
        authority: HOST.as_bytes(),
        host: HOST.as_bytes(),
        port: Some(PORT),
        peer: peer.as_bytes(),
        client: client.as_bytes(),
        peer_trusted: is_trusted,
        request_id: request_id.as_bytes(),
        body: BodyLength::None,
        upgrade: None,
        edits: &HeaderEdits::default(),
    };
    headers::write_request(&mut out, &onward);
    judge(&out, &sent.fields, &onward);
}

/// The app is told who the client is in the edge's words, and in a stranger's not at all.
fn judge(out: &[u8], sent: &[NamedValue], onward: &Onward<'_>) {
    let (_, told) = message::written(out);
    let earlier = |name: &str| {
        all(sent, name)
            .filter(|_| onward.peer_trusted)
            .collect::<Vec<_>>()
    };
    let mut addresses = earlier("x-forwarded-for");
    addresses.push(onward.peer);
    assert_eq!(sole(&told, "x-forwarded-for"), addresses.join(&b", "[..]));
    assert_eq!(sole(&told, "x-real-ip"), onward.client);
    assert_eq!(sole(&told, "x-request-id"), onward.request_id);
    assert_eq!(sole(&told, "host"), HOST.as_bytes());
    let first = |name: &str| earlier(name).first().copied();
    let https = first("x-forwarded-proto") == Some(b"https");
    let proto: &[u8] = if https { b"https" } else { b"http" };
    assert_eq!(sole(&told, "x-forwarded-proto"), proto);
    let host = first("x-forwarded-host").unwrap_or(HOST.as_bytes());
    assert_eq!(sole(&told, "x-forwarded-host"), host);
    let port = PORT.to_string();
    let port = first("x-forwarded-port").unwrap_or(port.as_bytes());
    assert_eq!(sole(&told, "x-forwarded-port"), port);
    for (name, value) in &told {
        assert!(!rules::is_twin(name), "{name}");
        if rules::is_claim(name) {
            assert!(onward.peer_trusted, "{name} of a stranger");
            assert!(
                sent.iter()
                    .any(|field| field == &(name.clone(), value.clone()))
            );
        }
    }
}

/// Going back through all that is listed, the first that isn't trusted; whoever can't be read, and those before, can't
/// be believed.
fn oracle(peer: IpAddr, sent: &[NamedValue]) -> IpAddr {
    let lines: Vec<_> = all(sent, "x-forwarded-for").collect();
    let list = String::from_utf8_lossy(&lines.join(&b","[..])).into_owned();
    let mut chain = vec![peer];
    if !lines.is_empty() {
        let hops: Vec<_> = list.split(',').rev().map(address).collect();
        chain.extend(hops.into_iter().map_while(|hop| hop));
    }
    let stranger = chain
        .iter()
        .find(|hop| !TRUSTED.iter().any(|net| net.contains(*hop)));
    *stranger.or(chain.last()).expect("the peer is one")
}

/// An address as proxies write it: alone, with a port, in brackets.
fn address(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim();
    let bracketed = hop.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let address = match bracketed {
        Some((address, port)) => {
            let fine = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
            address.parse().ok().filter(|_| fine)
        }
        None => hop.parse().ok().or_else(|| {
            let (address, port) = hop.split_once(':')?;
            let address: std::net::Ipv4Addr = address.parse().ok().filter(|_| is_port(port))?;
            Some(address.into())
        }),
    };
    address.map(|address: IpAddr| address.to_canonical())
}

fn is_port(digits: &str) -> bool {
    digits.chars().all(|c| c.is_ascii_digit()) && digits.parse::<u16>().is_ok()
}
