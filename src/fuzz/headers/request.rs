//! The head of a request, as the app gets it.

use std::borrow::Cow;

use super::{HEAD_BYTES_MAX, SNAPSHOT, edited, no_hop_by_hop};
use crate::{
    config::HostHeader,
    forward::{Outbound, Sender},
    fuzz::{
        message::{self, NamedValue, all, sole},
        rules,
    },
    headers::{self, BodyLength, Onward},
    http1::{BodyDecoder, RequestHead, fields::FIELDS_MAX},
    request::Asked,
    snapshot::Route,
};

const PEER: &[u8] = b"192.0.2.1";
const CLIENT: &[u8] = b"203.0.113.9";
const REQUEST_ID: &[u8] = b"0123456789abcdef0123456789abcdef";

/// Whether the peer is trusted.
const TRUSTED: u8 = 1;

/// The tenant whose request it is, if it is one.
pub(super) fn run(switches: u8, head: &RequestHead, wire: &[u8]) -> Option<&'static str> {
    let sent = message::request(wire)
        .ok()
        .flatten()
        .expect("httparse reads it too");
    assert_eq!(
        (head.method.as_str(), head.target()),
        (&*sent.method, &*sent.target)
    );
    rules::check_taken(wire, &sent.fields, sent.http11, false);
    assert!(!sent.target.contains('#'), "{}", sent.target);
    let asked = Asked::read(head).ok()?;
    let hosts: Vec<_> = all(&sent.fields, "host").collect();
    assert_eq!(hosts.len(), 1, "one Host");
    let route = SNAPSHOT.route(asked.authority.host())?;
    let outbound = Outbound::new(&asked, route, switches & TRUSTED != 0);
    let sender = Sender {
        peer: PEER,
        client: CLIENT,
        request_id: REQUEST_ID,
    };
    let onward = outbound.onward(0, sender);
    let mut out = Vec::new();
    headers::write_request(&mut out, &onward);
    judge(&out, &sent, &onward);
    check_target(asked.target, onward.target, route);
    check_host(asked.host, onward.host, route);
    Some(tenant(route))
}

fn tenant(route: &Route) -> &'static str {
    let known = ["plain", "edited", "named"];
    let found = known.into_iter().find(|known| **known == **route.tenant());
    found.expect("there are three")
}

fn judge(out: &[u8], sent: &message::Request, onward: &Onward<'_>) {
    let (line, fields) = message::written(out);
    let expected = format!("{} {} HTTP/1.1", sent.method, onward.target);
    assert_eq!(line, expected.as_bytes());
    assert_eq!(fields, model(sent, onward));
    assert_eq!(sole(&fields, "host"), onward.host);

    let theirs = message::request(out)
        .ok()
        .flatten()
        .expect("httparse reads what is written");
    assert_eq!(
        (&*theirs.method, &*theirs.target),
        (&*sent.method, onward.target)
    );
    assert_eq!(
        (theirs.fields.len(), theirs.length),
        (fields.len(), out.len())
    );

    // The edge adds some of its own, with which there may be more than the next one takes.
    if fields.len() <= FIELDS_MAX {
        let mut ours = RequestHead::default();
        assert_eq!(ours.parse(out, 2 * HEAD_BYTES_MAX), Ok(Some(out.len())));
        assert!(ours.http11 && ours.body == onward.head.body);
    }
    let mut own: Vec<(&str, &[u8])> = Vec::new();
    if onward.head.body == BodyDecoder::chunked() {
        own.push(("transfer-encoding", b"chunked"));
    }
    if let Some(protocol) = onward.upgrade {
        assert!(onward.head.http11 && onward.head.body.is_end());
        own.extend([("connection", &b"upgrade"[..]), ("upgrade", protocol)]);
    } else if wants_trailers(&sent.fields) {
        own.extend([("connection", &b"te"[..]), ("te", b"trailers")]);
    }
    no_hop_by_hop(&fields, &own);
}

/// All fields that the app gets, in order: from docs/http.md and docs/config.md.
fn model(sent: &message::Request, onward: &Onward<'_>) -> Vec<NamedValue> {
    let nominated = rules::nominated(&sent.fields);
    let passes = |(name, _): &&NamedValue| {
        let ends = rules::is_hop_by_hop(name) || rules::is_own(name) || rules::is_twin(name);
        let foreign = rules::is_claim(name) && !onward.peer_trusted;
        !ends && !foreign && !nominated.contains(name)
    };
    let mut fields: Vec<NamedValue> = sent.fields.iter().filter(passes).cloned().collect();
    let mut say = |name: &str, value: &[u8]| fields.push((name.to_owned(), value.to_vec()));
    match (
        &onward.head.body,
        all(&sent.fields, "content-length").next(),
    ) {
        (BodyDecoder::Chunked(_), _) => say("transfer-encoding", b"chunked"),
        (BodyDecoder::Length(length), _) => say("content-length", length.to_string().as_bytes()),
        (BodyDecoder::Empty, Some(_)) => say("content-length", b"0"),
        (BodyDecoder::Empty, None) => assert_eq!(onward.body, BodyLength::None),
        (BodyDecoder::UntilClose, _) => panic!("a request ends"),
    }
    if let Some(protocol) = onward.upgrade {
        say("connection", b"upgrade");
        say("upgrade", protocol);
    } else if wants_trailers(&sent.fields) {
        say("connection", b"te");
        say("te", b"trailers");
    }
    let earlier = |name: &'static str| all(&sent.fields, name).filter(|_| onward.peer_trusted);
    say("x-real-ip", CLIENT);
    let addresses: Vec<_> = earlier("x-forwarded-for").chain([PEER]).collect();
    say("x-forwarded-for", &addresses.join(&b", "[..]));
    let https = earlier("x-forwarded-proto").next() == Some(b"https");
    say("x-forwarded-proto", if https { b"https" } else { b"http" });
    let host = earlier("x-forwarded-host").next();
    say("x-forwarded-host", host.unwrap_or(onward.authority));
    let port = onward
        .port
        .unwrap_or(if https { 443 } else { 80 })
        .to_string();
    let said = earlier("x-forwarded-port").next();
    say("x-forwarded-port", said.unwrap_or(port.as_bytes()));
    say("x-request-id", REQUEST_ID);
    let mut all = vec![("host".to_owned(), onward.host.to_vec())];
    all.extend(edited(fields, onward.edits));
    all
}

/// RFC 9110 §10.1.4: TE concerns the connection, so Connection has to name it.
fn wants_trailers(fields: &[NamedValue]) -> bool {
    let listed = |list: &str, word: &str| {
        all(fields, list).any(|value| {
            let mut members = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
            members.any(|member| member.eq_ignore_ascii_case(word.as_bytes()))
        })
    };
    listed("connection", "te") && listed("te", "trailers")
}

/// Forwarded byte for byte, but for a prefix that is taken off.
fn check_target(asked: &str, told: &str, route: &Route) {
    if asked == "*" {
        return assert_eq!(told, "*");
    }
    assert!(told.starts_with('/'), "{told}");
    let stripped = ["/api", "/static"].into_iter().find_map(|prefix| {
        let rest = asked
            .strip_prefix(prefix)
            .filter(|_| tenant(route) == "edited")?;
        let below = rest.starts_with('/');
        let ends = rest.is_empty() || rest.starts_with('?');
        (below || ends && prefix == "/api").then_some(rest)
    });
    let expected: Cow<'_, str> = match stripped.unwrap_or(asked) {
        path if path.starts_with('/') => path.into(),
        rest => format!("/{rest}").into(),
    };
    assert_eq!(told, expected);
}

fn check_host(asked: &[u8], told: &[u8], route: &Route) {
    let expected = match &route.policy.host {
        HostHeader::Preserve => asked,
        HostHeader::Upstream => {
            let origins: [&[u8]; 4] = [
                b"[::1]:8000",
                b"127.0.0.1:8001",
                b"127.0.0.1:8002",
                b"127.0.0.1:8003",
            ];
            return assert!(origins.contains(&told), "{}", told.escape_ascii());
        }
        HostHeader::Literal(host) => host.as_bytes(),
    };
    assert_eq!(told, expected);
}
