//! What becomes of header fields on their way through: which end here, which claims about the client are
//! believed, and what app and client are told. Pure: it reads fields and writes bytes, and knows neither sockets nor time.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::{
    config::HeaderEdits,
    http1::{
        Field, Fields, Name, RequestHead, ResponseHead,
        write::{end_of_head, field, request_line, status_line},
    },
};

/// Everything that the head of a forwarded request is made of.
#[derive(Debug)]
pub(crate) struct Onward<'a> {
    pub(crate) head: &'a RequestHead,
    /// As the app shall see it.
    pub(crate) target: &'a str,
    /// The Host as the client sent it.
    pub(crate) authority: &'a [u8],
    /// The Host that the app is told.
    pub(crate) host: &'a [u8],
    /// The port that the client's Host names.
    pub(crate) port: Option<u16>,
    /// Who is at the other end of the socket.
    pub(crate) peer: &'a [u8],
    /// Whose request it is: the peer, or the one that a trusted peer names.
    pub(crate) client: &'a [u8],
    pub(crate) peer_trusted: bool,
    pub(crate) request_id: &'a [u8],
    pub(crate) body: BodyLength,
    /// The protocol that the client wants to switch to.
    pub(crate) upgrade: Option<&'a [u8]>,
    pub(crate) edits: &'a HeaderEdits,
}

/// How a body is delimited on its way: by us, whatever the sender's own framing was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyLength {
    None,
    Known(u64),
    Chunked,
    /// By the end of the connection: only for a client that knows no better.
    UntilClose,
}

/// Writes the head of a request as the app shall see it.
pub(crate) fn write_request(out: &mut Vec<u8>, onward: &Onward<'_>) {
    let (head, edits) = (onward.head, onward.edits);
    request_line(out, head.method.as_str(), onward.target);
    field(out, b"host", onward.host);
    head.fields.write(out, |field| {
        let passes = match field.name {
            Name::Accept
            | Name::Authorization
            | Name::Cookie
            | Name::Date
            | Name::Expect
            | Name::SetCookie
            | Name::Trailer
            | Name::NoTrailer
            | Name::Other => true,
            Name::Claim => onward.peer_trusted,
            Name::Connection | Name::Te | Name::Upgrade | Name::HopByHop => false,
            // Written by the edge itself; what arrives under the name is never passed on as it is.
            Name::ContentLength
            | Name::Host
            | Name::TransferEncoding
            | Name::XForwardedFor
            | Name::XForwardedHost
            | Name::XForwardedPort
            | Name::XForwardedProto
            | Name::XRealIp
            | Name::XRequestId
            | Name::Twin => false,
        };
        passes && !head.connection.nominates(field.text) && !edits.replaces(field.text)
    });
    write_body_length(out, onward.body);
    if let Some(protocol) = onward.upgrade {
        field(out, b"connection", b"upgrade");
        field(out, b"upgrade", protocol);
    } else if head.connection.te && wants_trailers(&head.fields) {
        // RFC 9110 §10.1.4: TE is hop-by-hop, so it is said anew.
        field(out, b"connection", b"te");
        field(out, b"te", b"trailers");
    }
    write_claims(out, onward);
    write_edits(out, edits);
    end_of_head(out);
}

fn write_body_length(out: &mut Vec<u8>, body: BodyLength) {
    match body {
        BodyLength::None | BodyLength::UntilClose => {}
        BodyLength::Known(length) => {
            let mut digits = itoa::Buffer::new();
            field(out, b"content-length", digits.format(length).as_bytes());
        }
        BodyLength::Chunked => field(out, b"transfer-encoding", b"chunked"),
    }
}

/// What the edge says of the client, in its own words unless the peer is trusted to have said it already.
fn write_claims(out: &mut Vec<u8>, onward: &Onward<'_>) {
    let (edits, fields) = (onward.edits, &onward.head.fields);
    let earlier = |name| fields.first(name).filter(|_| onward.peer_trusted);
    let mut claim = |name: &[u8], value: &[u8]| {
        if !edits.replaces(name) {
            field(out, name, value);
        }
    };
    claim(b"x-real-ip", onward.client);
    if onward.peer_trusted && fields.contains(Name::XForwardedFor) {
        let mut list = Vec::with_capacity(128);
        for value in fields.all(Name::XForwardedFor) {
            list.extend_from_slice(value);
            list.extend_from_slice(b", ");
        }
        list.extend_from_slice(onward.peer);
        claim(b"x-forwarded-for", &list);
    } else {
        claim(b"x-forwarded-for", onward.peer);
    }
    let proto = match earlier(Name::XForwardedProto) {
        Some(b"https") => "https",
        Some(_) | None => "http",
    };
    claim(b"x-forwarded-proto", proto.as_bytes());
    let host = earlier(Name::XForwardedHost);
    claim(b"x-forwarded-host", host.unwrap_or(onward.authority));
    match earlier(Name::XForwardedPort) {
        Some(said) => claim(b"x-forwarded-port", said),
        None => {
            let default = if proto == "https" { 443 } else { 80 };
            let port = onward.port.unwrap_or(default);
            claim(
                b"x-forwarded-port",
                itoa::Buffer::new().format(port).as_bytes(),
            );
        }
    }
    claim(b"x-request-id", onward.request_id);
}

fn write_edits(out: &mut Vec<u8>, edits: &HeaderEdits) {
    for (name, value) in edits.set.iter().chain(&edits.add) {
        field(out, name.as_str().as_bytes(), value.as_bytes());
    }
}

/// Everything that the head of a response to a client is made of.
#[derive(Debug)]
pub(crate) struct Homeward<'a> {
    pub(crate) head: &'a ResponseHead,
    pub(crate) body: BodyLength,
    pub(crate) connection: Persistence,
    /// For an app that gives none (RFC 9110 §6.6.1).
    pub(crate) date: Option<&'a [u8]>,
    pub(crate) edits: &'a HeaderEdits,
}

/// What the client is told of the connection's future.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Persistence {
    /// It goes without saying.
    Persists,
    /// To a client of HTTP/1.0 that has asked for it.
    KeepAlive,
    Close,
}

impl Persistence {
    /// What the client wishes, unless the edge closes (RFC 9112 §9.3).
    pub(crate) fn of(request: &RequestHead, closes: bool) -> Self {
        if closes || !request.keep_alive() {
            Self::Close
        } else if request.http11 {
            Self::Persists
        } else {
            Self::KeepAlive
        }
    }
}

/// Writes the head of a final response as the client shall see it.
pub(crate) fn write_response(out: &mut Vec<u8>, homeward: &Homeward<'_>) {
    let Homeward { head, edits, .. } = homeward;
    // RFC 9110 §8.6: none in a 204. A length that is said twice is passed on once.
    let mut has_length = head.status == http::StatusCode::NO_CONTENT;
    status_line(out, head.status_line());
    head.fields.write(out, |field| {
        let passes = match field.name {
            Name::ContentLength => !std::mem::replace(&mut has_length, true),
            _ => passes_home(head, field),
        };
        passes && !edits.replaces(field.text)
    });
    match homeward.body {
        BodyLength::None | BodyLength::Known(_) | BodyLength::UntilClose => {}
        BodyLength::Chunked => field(out, b"transfer-encoding", b"chunked"),
    }
    write_persistence(out, homeward.connection);
    if let Some(date) = homeward.date.filter(|_| !edits.replaces(b"date")) {
        field(out, b"date", date);
    }
    write_edits(out, edits);
    end_of_head(out);
}

pub(crate) fn write_persistence(out: &mut Vec<u8>, connection: Persistence) {
    match connection {
        Persistence::Persists => {}
        Persistence::KeepAlive => field(out, b"connection", b"keep-alive"),
        Persistence::Close => field(out, b"connection", b"close"),
    }
}

/// Writes the head of an interim response (RFC 9110 §15.2).
pub(crate) fn write_interim(out: &mut Vec<u8>, head: &ResponseHead) {
    status_line(out, head.status_line());
    head.fields.write(out, |field| {
        field.name != Name::ContentLength && passes_home(head, field)
    });
    end_of_head(out);
}

/// Writes the head of a 101: from here on the connection is another protocol's.
pub(crate) fn write_switch(
    out: &mut Vec<u8>,
    head: &ResponseHead,
    protocol: &[u8],
    edits: &HeaderEdits,
) {
    status_line(out, head.status_line());
    head.fields.write(out, |field| {
        field.name != Name::ContentLength && passes_home(head, field) && !edits.replaces(field.text)
    });
    field(out, b"connection", b"upgrade");
    field(out, b"upgrade", protocol);
    write_edits(out, edits);
    end_of_head(out);
}

fn passes_home(head: &ResponseHead, field: Field<'_>) -> bool {
    !field.name.is_hop_by_hop() && !head.connection.nominates(field.text)
}

/// What a trusted peer says of the request that it passes on.
#[derive(Debug)]
pub(crate) struct Vouched<'a> {
    /// Whose request it is.
    pub(crate) client: IpAddr,
    pub(crate) request_id: Option<&'a str>,
}

/// What is believed of a request because of where it comes from; nothing, unless the peer is trusted.
pub(crate) fn vouched<'a>(
    peer: IpAddr,
    fields: &'a Fields,
    trusted: &[IpNet],
) -> Option<Vouched<'a>> {
    let is_trusted = trusted.iter().any(|net| net.contains(&peer));
    is_trusted.then(|| Vouched {
        client: client(peer, fields, trusted),
        request_id: earlier_request_id(fields),
    })
}

/// Whose request it is: going back from the peer through the addresses that X-Forwarded-For lists, the first
/// that isn't trusted. Where all of them are, the one furthest back.
fn client(peer: IpAddr, fields: &Fields, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|net| net.contains(&address));
    let mut client = peer;
    for line in fields.all(Name::XForwardedFor).rev() {
        for hop in line.rsplit(|&byte| byte == b',') {
            if !is_trusted(client) {
                return client;
            }
            // A hop that isn't an address can't be believed, nor can what stands before it.
            let Some(address) = address(hop) else {
                return client;
            };
            client = address;
        }
    }
    client
}

/// The address of one X-Forwarded-For hop; some proxies add a port, some write brackets.
fn address(hop: &[u8]) -> Option<IpAddr> {
    let hop = std::str::from_utf8(hop).ok()?.trim();
    let address = hop.parse().ok().or_else(|| {
        let socket: Option<std::net::SocketAddr> = hop.parse().ok();
        socket.map(|socket| socket.ip())
    });
    let address = address.or_else(|| hop.strip_prefix('[')?.strip_suffix(']')?.parse().ok());
    address.map(|address: IpAddr| address.to_canonical())
}

/// A request id that a trusted proxy gave, if it is one that can be repeated anywhere without harm.
fn earlier_request_id(fields: &Fields) -> Option<&str> {
    let id = str::from_utf8(fields.first(Name::XRequestId)?).ok()?;
    let harmless = id
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:=+/".contains(&byte));
    (harmless && (1..=128).contains(&id.len())).then_some(id)
}

impl HeaderEdits {
    /// Whether fields of this name, as they arrive, give way to an edit.
    #[inline]
    fn replaces(&self, name: &[u8]) -> bool {
        // Hardly any route has edits.
        !(self.remove.is_empty() && self.set.is_empty()) && self.edits(name)
    }

    fn edits(&self, name: &[u8]) -> bool {
        let same =
            |edited: &http::HeaderName| edited.as_str().as_bytes().eq_ignore_ascii_case(name);
        self.remove.iter().any(same) || self.set.iter().any(|(set, _)| same(set))
    }
}

fn wants_trailers(fields: &Fields) -> bool {
    let mut codings = fields
        .all(Name::Te)
        .flat_map(|value| value.split(|&byte| byte == b','));
    codings.any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(fields: &[(&str, &str)]) -> RequestHead {
        let lines: String = fields
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let mut head = RequestHead::default();
        let wire = format!("GET / HTTP/1.1\r\n{lines}\r\n");
        head.parse(wire.as_bytes(), 32 * 1024).unwrap().unwrap();
        head
    }

    /// The fields that the app sees, without the request line, Host and what the edge always adds.
    fn seen(fields: &[(&str, &str)], trusted: bool) -> Vec<String> {
        let mut out = Vec::new();
        write_request(
            &mut out,
            &Onward {
                head: &head(fields),
                target: "/",
                authority: b"thor.polls.local:8080",
                host: b"thor.polls.local:8080",
                port: Some(8080),
                peer: b"192.0.2.1",
                client: b"192.0.2.1",
                peer_trusted: trusted,
                request_id: b"id",
                body: BodyLength::None,
                upgrade: None,
                edits: &HeaderEdits::default(),
            },
        );
        let text = String::from_utf8(out).unwrap();
        let always = [
            "host: thor.polls.local:8080",
            "x-real-ip: 192.0.2.1",
            "x-forwarded-for: 192.0.2.1",
            "x-forwarded-proto: http",
            "x-forwarded-host: thor.polls.local:8080",
            "x-forwarded-port: 8080",
            "x-request-id: id",
        ];
        let lines = text.strip_suffix("\r\n\r\n").unwrap().split("\r\n").skip(1);
        lines
            .filter(|line| !always.contains(line))
            .map(String::from)
            .collect()
    }

    #[test]
    fn a_client_can_claim_nothing_about_itself() {
        for name in [
            "x-real-ip",
            "x-forwarded-for",
            "x-forwarded-proto",
            "x-forwarded-host",
            "x-forwarded-port",
            "x-forwarded-server",
            "x-forwarded",
            "forwarded",
            "x-client-ip",
            "true-client-ip",
            "x_real_ip",
            "x-real_ip",
            "x-forwarded_for",
            "x_forwarded_whatever",
            "x_forwarded_for",
            "true_client_ip",
            "content_length",
            "transfer_encoding",
        ] {
            assert_eq!(
                seen(&[(name, "203.0.113.9")], false),
                Vec::<String>::new(),
                "{name}"
            );
        }
        assert_eq!(
            seen(&[("x_custom", "1"), ("x-other_one", "2")], false),
            ["x_custom: 1", "x-other_one: 2"]
        );
    }

    #[test]
    fn a_trusted_proxy_is_believed_and_the_peer_is_added_to_its_list() {
        let fields = [
            ("x-forwarded-for", "a"),
            ("x-forwarded-for", "b, c"),
            ("forwarded", "for=a"),
        ];
        assert_eq!(
            seen(&fields, true),
            ["forwarded: for=a", "x-forwarded-for: a, b, c, 192.0.2.1"]
        );
        let fields = [
            ("x-forwarded-proto", "https"),
            ("x-forwarded-port", "443"),
            ("x-forwarded-host", "h"),
        ];
        assert_eq!(
            seen(&fields, true),
            [
                "x-forwarded-proto: https",
                "x-forwarded-host: h",
                "x-forwarded-port: 443"
            ]
        );
        for twin in [
            "x_real_ip",
            "x-forwarded_for",
            "x-forwarded_proto",
            "x_client_ip",
        ] {
            assert_eq!(
                seen(&[(twin, "203.0.113.9")], true),
                Vec::<String>::new(),
                "{twin}"
            );
        }
    }

    #[test]
    fn hop_by_hop_fields_end_here_with_those_that_connection_names() {
        let fields = [
            ("connection", "close, x-mine"),
            ("connection", "cookie, authorization, host, x-real-ip"),
            ("x-mine", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "secret"),
            ("te", "gzip"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABkAARAAAAAAAIAAAAA"),
            ("cookie", "a=1"),
            ("authorization", "Token x"),
            ("accept", "*/*"),
        ];
        assert_eq!(
            seen(&fields, false),
            ["cookie: a=1", "authorization: Token x", "accept: */*"]
        );
        let fields = [("connection", "TE"), ("te", "gzip, trailers")];
        assert_eq!(seen(&fields, false), ["connection: te", "te: trailers"]);
    }

    #[test]
    fn the_client_is_the_first_untrusted_address_from_the_right() {
        let trusted: Vec<IpNet> = ["10.0.0.0/8", "fd00::/8"]
            .map(|net| net.parse().unwrap())
            .to_vec();
        for (peer, forwarded, expected) in [
            ("192.0.2.1", &["203.0.113.9"][..], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", &["198.51.100.1, 203.0.113.9"], "203.0.113.9"),
            (
                "10.0.0.1",
                &["198.51.100.1", "203.0.113.9, 10.0.0.2"],
                "203.0.113.9",
            ),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            ("10.0.0.1", &["203.0.113.9, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.9:4711"], "203.0.113.9"),
            ("fd00::1", &["[2001:db8::7]"], "2001:db8::7"),
        ] {
            let fields: Vec<_> = forwarded
                .iter()
                .map(|list| ("x-forwarded-for", *list))
                .collect();
            let found = client(peer.parse().unwrap(), &head(&fields).fields, &trusted);
            assert_eq!(found.to_string(), expected, "{peer} {forwarded:?}");
        }
    }

    #[test]
    fn a_request_id_is_kept_only_if_it_is_harmless() {
        for (id, kept) in [
            ("a-1", true),
            ("", false),
            ("a b", false),
            ("\"x\"", false),
            ("<script>", false),
        ] {
            assert_eq!(
                earlier_request_id(&head(&[("x-request-id", id)]).fields).is_some(),
                kept,
                "{id}"
            );
        }
        assert_eq!(
            earlier_request_id(&head(&[("x-request-id", &"a".repeat(129))]).fields),
            None
        );
    }

    fn response(wire: &str) -> ResponseHead {
        let mut head = ResponseHead::default();
        head.parse(wire.as_bytes(), &http::Method::GET)
            .unwrap()
            .unwrap();
        head
    }

    #[test]
    fn edits_remove_then_set_then_add() {
        let edits = HeaderEdits {
            remove: vec![http::header::SERVER],
            set: vec![(http::header::VARY, http::HeaderValue::from_static("b"))],
            add: vec![(
                http::header::SET_COOKIE,
                http::HeaderValue::from_static("c=3"),
            )],
        };
        let head = response(
            "HTTP/1.1 200 Fine\r\nServer: x\r\nVary: a\r\nSet-Cookie:a=1\r\nvary: z\r\nX-Kept:  1 \r\nX-Too: 2\r\n\r\n",
        );
        let mut out = Vec::new();
        write_response(
            &mut out,
            &Homeward {
                head: &head,
                body: BodyLength::Chunked,
                connection: Persistence::Close,
                date: Some(b"today"),
                edits: &edits,
            },
        );
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "HTTP/1.1 200 Fine\r\nSet-Cookie: a=1\r\nX-Kept: 1\r\nX-Too: 2\r\ntransfer-encoding: chunked\r\n\
             connection: close\r\ndate: today\r\nvary: b\r\nset-cookie: c=3\r\n\r\n"
        );
    }

    #[test]
    fn a_length_is_told_once_and_never_of_a_204() {
        for (status, expected) in [
            ("200 OK", 1),
            ("304 Not Modified", 1),
            ("204 No Content", 0),
        ] {
            let head = response(&format!(
                "HTTP/1.1 {status}\r\nContent-Length: 3\r\ncontent-length: 3\r\nX-A: b\r\nConnection: x-a\r\n\r\n"
            ));
            let mut out = Vec::new();
            write_response(
                &mut out,
                &Homeward {
                    head: &head,
                    body: BodyLength::None,
                    connection: Persistence::Persists,
                    date: None,
                    edits: &HeaderEdits::default(),
                },
            );
            let text = String::from_utf8(out).unwrap().to_ascii_lowercase();
            assert_eq!(text.matches("content-length").count(), expected, "{text}");
            assert!(!text.contains("x-a"), "{text}");
        }
    }
}
