//! The head of a response, final or interim, as the client gets it.

use http::Method;

use super::{SNAPSHOT, edited, no_hop_by_hop};
use crate::{
    config::HeaderEdits,
    fuzz::{
        message::{self, NamedValue, all, sole},
        rules,
    },
    headers::{self, BodyLength, Homeward, Persistence},
    http1::{BodyDecoder, Name, ResponseHead, fields::FIELDS_MAX},
};

const DATE: &[u8] = b"Sun, 06 Nov 1994 08:49:37 GMT";

/// Whether the client speaks HTTP/1.0.
const OLD_CLIENT: u8 = 2;
/// Whether its connection ends, or if it is an old one, is kept.
const OTHERWISE: u8 = 4;

pub(super) fn run(switches: u8, bytes: &[u8], tenant: &str, method: &Method) {
    let mut head = ResponseHead::default();
    let Ok(Some(length)) = head.parse(bytes, method) else {
        return;
    };
    // Of the head alone, as of one that no body follows.
    let sent = message::response(bytes, true, true).ok().flatten();
    let sent = sent.expect("httparse reads it too");
    assert_eq!(head.status.as_u16(), sent.status);
    rules::check_taken(&bytes[..length], &sent.fields, sent.http11, true);
    let route = SNAPSHOT.tenant(tenant).expect("a tenant of ours");
    let edits = &route.policy.response_headers;
    let mut out = Vec::new();
    let expected = match head.status.as_u16() {
        101 => {
            let Some(protocol) = head.upgrade() else {
                return;
            };
            headers::write_switch(&mut out, &head, protocol, edits);
            let own: [(&str, &[u8]); 2] = [("connection", b"upgrade"), ("upgrade", protocol)];
            model(&sent.fields, &own, false, edits)
        }
        100..200 => {
            headers::write_interim(&mut out, &head);
            model(&sent.fields, &[], false, &HeaderEdits::default())
        }
        _ => write_final(&mut out, &head, &sent, switches, edits),
    };
    let (line, fields) = message::written(&out);
    assert_eq!(line, status_line(&bytes[..length]));
    assert_eq!(fields, expected);
    reads_again(&out, &head, method, &fields);
}

/// Writes a final head; the fields that it must have.
fn write_final(
    out: &mut Vec<u8>,
    head: &ResponseHead,
    sent: &message::Response,
    switches: u8,
    edits: &HeaderEdits,
) -> Vec<NamedValue> {
    let http11 = switches & OLD_CLIENT == 0;
    let body = match (&head.body, http11) {
        (BodyDecoder::Empty, _) => BodyLength::None,
        (BodyDecoder::Length(length), _) => BodyLength::Known(*length),
        (BodyDecoder::Chunked(_) | BodyDecoder::UntilClose, true) => BodyLength::Chunked,
        (BodyDecoder::Chunked(_) | BodyDecoder::UntilClose, false) => BodyLength::UntilClose,
    };
    let connection = match (http11, switches & OTHERWISE == 0) {
        _ if body == BodyLength::UntilClose => Persistence::Close,
        (true, true) => Persistence::Persists,
        (true, false) | (false, true) => Persistence::Close,
        (false, false) => Persistence::KeepAlive,
    };
    let date = (!head.fields.contains(Name::Date)).then_some(DATE);
    let homeward = Homeward {
        head,
        body,
        connection,
        date,
        edits,
    };
    headers::write_response(out, &homeward);

    let mut own: Vec<(&str, &[u8])> = Vec::new();
    if body == BodyLength::Chunked {
        own.push(("transfer-encoding", b"chunked"));
    }
    match connection {
        Persistence::Persists => {}
        Persistence::KeepAlive => own.push(("connection", b"keep-alive")),
        Persistence::Close => own.push(("connection", b"close")),
    }
    own.extend(date.map(|date| ("date", date)));
    let fields = model(&sent.fields, &own, sent.status != 204, edits);
    let lengths = all(&fields, "content-length").count();
    match body {
        BodyLength::Known(known) => {
            // As the app wrote it, which may be with zeros before it.
            let length = str::from_utf8(sole(&fields, "content-length"));
            assert_eq!(length.map(str::parse), Ok(Ok(known)));
        }
        BodyLength::None => assert!(lengths <= 1),
        BodyLength::Chunked | BodyLength::UntilClose => assert_eq!(lengths, 0),
    }
    fields
}

/// All fields that the client gets, in order: from docs/http.md and docs/config.md.
fn model(
    sent: &[NamedValue],
    own: &[(&str, &[u8])],
    length_passes: bool,
    edits: &HeaderEdits,
) -> Vec<NamedValue> {
    let nominated = rules::nominated(sent);
    let mut lengths = 0;
    let mut passes = |(name, _): &&NamedValue| {
        if name == "content-length" {
            lengths += 1;
            return length_passes && lengths == 1;
        }
        !rules::is_hop_by_hop(name) && !nominated.contains(name)
    };
    let mut fields: Vec<NamedValue> = sent.iter().filter(|field| passes(field)).cloned().collect();
    fields.extend(
        own.iter()
            .map(|(name, value)| ((*name).to_owned(), value.to_vec())),
    );
    let kept = |(name, _): &&(&str, &[u8])| rules::is_hop_by_hop(name);
    no_hop_by_hop(
        &fields,
        &own.iter().filter(kept).copied().collect::<Vec<_>>(),
    );
    edited(fields, edits)
}

/// Whoever gets it finds the same status, the same end of the body, and no more fields than there are.
fn reads_again(out: &[u8], head: &ResponseHead, method: &Method, fields: &[NamedValue]) {
    let to_head = method == Method::HEAD;
    let theirs = message::response(out, to_head, false).expect("httparse reads what is written");
    let theirs = theirs.expect("it is whole");
    assert_eq!((theirs.status, theirs.http11), (head.status.as_u16(), true));
    assert_eq!(
        (theirs.fields.len(), theirs.length),
        (fields.len(), out.len())
    );
    if fields.len() <= FIELDS_MAX {
        let mut ours = ResponseHead::default();
        assert_eq!(ours.parse(out, method), Ok(Some(out.len())));
        let ends_alike = match (&head.body, &ours.body) {
            (BodyDecoder::UntilClose, BodyDecoder::Chunked(_)) => true,
            (BodyDecoder::Chunked(_), BodyDecoder::UntilClose) => !theirs.complete,
            (app, client) => app == client,
        };
        assert!(ends_alike, "{:?} {:?}", head.body, ours.body);
    }
}

/// As docs/http.md has it: the edge's version, the app's code and reason.
fn status_line(head: &[u8]) -> Vec<u8> {
    let line = head
        .split(|&byte| byte == b'\n')
        .find(|line| !matches!(line, [] | [b'\r']));
    let line = line
        .and_then(|line| line.strip_suffix(b"\r"))
        .unwrap_or_default();
    let (code, reason) = line[9..].split_at(3);
    let reason = reason.strip_prefix(b" ").unwrap_or(reason);
    [b"HTTP/1.1 ", code, b" ", reason].concat()
}
