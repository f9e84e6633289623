//! What becomes of header fields on their way through: which end here, which claims about the client are
//! believed, and what the app is told. Pure: it reads maps and writes bytes, and knows neither sockets nor time.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use ipnet::IpNet;

use crate::{
    config::HeaderEdits,
    upstream::http1::request::{end_of_head, field, request_line},
};

const X_FORWARDED_FOR: &str = "x-forwarded-for";
const X_FORWARDED_PROTO: &str = "x-forwarded-proto";
const X_FORWARDED_HOST: &str = "x-forwarded-host";
const X_FORWARDED_PORT: &str = "x-forwarded-port";
const X_REQUEST_ID: &str = "x-request-id";

/// Fields that one message may name as its neighbour's alone. Each is looked for among all the others; nobody who
/// means it names more.
const NOMINATED_MAX: usize = 32;

/// Everything that the head of a forwarded request is made of.
#[derive(Debug)]
pub(crate) struct Onward<'a> {
    pub(crate) method: &'a Method,
    pub(crate) target: &'a str,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) connection: &'a ConnectionOptions,
    /// The Host as the client sent it.
    pub(crate) authority: &'a [u8],
    /// The Host that the app is told.
    pub(crate) host: &'a [u8],
    /// The port that the client's Host names.
    pub(crate) port: Option<u16>,
    /// Who is at the other end of the socket.
    pub(crate) peer: &'a str,
    /// Whose request it is: the peer, or the one that a trusted peer names.
    pub(crate) client: &'a str,
    pub(crate) peer_trusted: bool,
    pub(crate) request_id: &'a str,
    pub(crate) body: BodyLength,
    /// The protocol that the client wants to switch to.
    pub(crate) upgrade: Option<&'a HeaderValue>,
    pub(crate) edits: &'a HeaderEdits,
}

/// How a request's body is delimited on the way to the app: by us, whatever the client's own framing was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyLength {
    None,
    Known(u64),
    Chunked,
}

/// Writes the head of a request as the app shall see it.
pub(crate) fn write_request(out: &mut Vec<u8>, onward: &Onward<'_>) {
    request_line(out, onward.method.as_str(), onward.target);
    field(out, "host", onward.host);
    for (name, value) in onward.headers {
        let name = name.as_str();
        let passes = match kind(name) {
            Kind::EndToEnd => true,
            Kind::Claim => onward.peer_trusted,
            Kind::HopByHop | Kind::Ours => false,
        };
        if passes && !onward.connection.nominates(name) && !onward.edits.replaces(name) {
            field(out, name, value.as_bytes());
        }
    }
    write_framing(out, onward);
    write_claims(out, onward);
    for (name, value) in onward.edits.set.iter().chain(&onward.edits.add) {
        field(out, name.as_str(), value.as_bytes());
    }
    end_of_head(out);
}

fn write_framing(out: &mut Vec<u8>, onward: &Onward<'_>) {
    match onward.body {
        BodyLength::None => {}
        BodyLength::Known(length) => {
            field(
                out,
                "content-length",
                itoa::Buffer::new().format(length).as_bytes(),
            );
        }
        BodyLength::Chunked => field(out, "transfer-encoding", b"chunked"),
    }
    if let Some(protocol) = onward.upgrade {
        field(out, "connection", b"upgrade");
        field(out, "upgrade", protocol.as_bytes());
    } else if onward.connection.te && wants_trailers(onward.headers) {
        // RFC 9110 §10.1.4: TE is hop-by-hop, so it is said anew.
        field(out, "connection", b"te");
        field(out, "te", b"trailers");
    }
}

/// What the edge says of the client, in its own words unless the peer is trusted to have said it already.
fn write_claims(out: &mut Vec<u8>, onward: &Onward<'_>) {
    let edits = onward.edits;
    let earlier = |name| onward.headers.get(name).filter(|_| onward.peer_trusted);
    let mut claim = |name: &str, value: &[u8]| {
        if !edits.replaces(name) {
            field(out, name, value);
        }
    };
    claim("x-real-ip", onward.client.as_bytes());
    if onward.peer_trusted && onward.headers.contains_key(X_FORWARDED_FOR) {
        let mut list = Vec::with_capacity(128);
        for value in onward.headers.get_all(X_FORWARDED_FOR) {
            list.extend_from_slice(value.as_bytes());
            list.extend_from_slice(b", ");
        }
        list.extend_from_slice(onward.peer.as_bytes());
        claim(X_FORWARDED_FOR, &list);
    } else {
        claim(X_FORWARDED_FOR, onward.peer.as_bytes());
    }
    let proto = if earlier(X_FORWARDED_PROTO).is_some_and(|said| said == "https") {
        "https"
    } else {
        "http"
    };
    claim(X_FORWARDED_PROTO, proto.as_bytes());
    match earlier(X_FORWARDED_HOST) {
        Some(said) => claim(X_FORWARDED_HOST, said.as_bytes()),
        None => claim(X_FORWARDED_HOST, onward.authority),
    }
    match earlier(X_FORWARDED_PORT) {
        Some(said) => claim(X_FORWARDED_PORT, said.as_bytes()),
        None => {
            let default = if proto == "https" { 443 } else { 80 };
            let port = onward.port.unwrap_or(default);
            claim(
                X_FORWARDED_PORT,
                itoa::Buffer::new().format(port).as_bytes(),
            );
        }
    }
    claim(X_REQUEST_ID, onward.request_id.as_bytes());
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
    headers: &'a HeaderMap,
    trusted: &[IpNet],
) -> Option<Vouched<'a>> {
    let is_trusted = trusted.iter().any(|net| net.contains(&peer));
    is_trusted.then(|| Vouched {
        client: client(peer, headers, trusted),
        request_id: earlier_request_id(headers),
    })
}

/// Whose request it is: going back from the peer through the addresses that X-Forwarded-For lists, the first
/// that isn't trusted. Where all of them are, the one furthest back.
fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|net| net.contains(&address));
    let mut client = peer;
    for line in headers.get_all(X_FORWARDED_FOR).iter().rev() {
        for hop in line.as_bytes().rsplit(|&byte| byte == b',') {
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
fn earlier_request_id(headers: &HeaderMap) -> Option<&str> {
    let id = headers.get(X_REQUEST_ID)?.to_str().ok()?;
    let harmless = id
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:=+/".contains(&byte));
    (harmless && (1..=128).contains(&id.len())).then_some(id)
}

/// Applies a route's `response_headers`.
pub(crate) fn edit_response(headers: &mut HeaderMap, edits: &HeaderEdits) {
    for name in &edits.remove {
        headers.remove(name);
    }
    for (name, value) in &edits.set {
        headers.insert(name, value.clone());
    }
    for (name, value) in &edits.add {
        headers.append(name, value.clone());
    }
}

impl HeaderEdits {
    /// Whether fields of this name, as they arrive, give way to an edit.
    fn replaces(&self, name: &str) -> bool {
        self.remove.iter().any(|removed| removed == name)
            || self.set.iter().any(|(set, _)| set == name)
    }
}

/// What the Connection fields of one message say (RFC 9110 §7.6.1).
#[derive(Debug, Default)]
pub(crate) struct ConnectionOptions {
    close: bool,
    keep_alive: bool,
    upgrade: bool,
    te: bool,
    /// Further fields that the sender meant for its neighbour alone.
    nominated: Vec<HeaderName>,
}

impl ConnectionOptions {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut options = Self::default();
        for value in headers.get_all(header::CONNECTION) {
            options.read(value);
        }
        options
    }

    pub(crate) fn read(&mut self, value: &HeaderValue) {
        for option in value.as_bytes().split(|&byte| byte == b',') {
            let option = option.trim_ascii();
            match option.len() {
                2 if option.eq_ignore_ascii_case(b"te") => self.te = true,
                5 if option.eq_ignore_ascii_case(b"close") => self.close = true,
                7 if option.eq_ignore_ascii_case(b"upgrade") => self.upgrade = true,
                10 if option.eq_ignore_ascii_case(b"keep-alive") => self.keep_alive = true,
                _ => self.nominate(option),
            }
        }
    }

    /// A nomination may not take away what the edge or the app must be able to rely on: `Connection: host` or
    /// `Connection: authorization` is an attack, not a wish.
    fn nominate(&mut self, option: &[u8]) {
        if self.nominated.len() < NOMINATED_MAX
            && let Ok(name) = HeaderName::from_bytes(option)
            && !matches!(kind(name.as_str()), Kind::Ours)
            && ![header::COOKIE, header::SET_COOKIE, header::AUTHORIZATION].contains(&name)
        {
            self.nominated.push(name);
        }
    }

    fn nominates(&self, name: &str) -> bool {
        self.nominated.iter().any(|nominated| nominated == name)
    }

    pub(crate) fn remove_nominated(&self, headers: &mut HeaderMap) {
        for name in &self.nominated {
            headers.remove(name);
        }
    }

    /// Whether the connection outlives the message (RFC 9112 §9.3).
    pub(crate) fn keep_alive(&self, http11: bool) -> bool {
        !self.close && (http11 || self.keep_alive)
    }

    pub(crate) fn upgrade(&self) -> bool {
        self.upgrade
    }
}

/// Fields that concern one connection and end here, in either direction. `Trailer` isn't among them: what it
/// announces is relayed.
pub(crate) fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(kind(name.as_str()), Kind::HopByHop) || name == header::TRANSFER_ENCODING
}

/// Whether a field may follow a body (RFC 9110 §6.5.1): none that frames, routes, authenticates or modifies the request.
pub(crate) fn may_be_trailer(name: &HeaderName) -> bool {
    matches!(kind(name.as_str()), Kind::EndToEnd)
        && ![
            header::AUTHORIZATION,
            header::CACHE_CONTROL,
            header::CONTENT_ENCODING,
            header::CONTENT_RANGE,
            header::CONTENT_TYPE,
            header::COOKIE,
            header::EXPECT,
            header::MAX_FORWARDS,
            header::RANGE,
            header::SET_COOKIE,
            header::TRAILER,
        ]
        .contains(name)
}

fn wants_trailers(headers: &HeaderMap) -> bool {
    let codings = headers
        .get_all(header::TE)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
    codings
        .into_iter()
        .any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    EndToEnd,
    HopByHop,
    /// Says something about the client that only a trusted proxy may say.
    Claim,
    /// Written by the edge itself; what arrives under the name is never passed on as it is.
    Ours,
}

/// Sorts a request's field by its name, which is in lower case.
fn kind(name: &str) -> Kind {
    match name.as_bytes() {
        b"host" | b"content-length" | b"transfer-encoding" => Kind::Ours,
        b"te"
        | b"connection"
        | b"upgrade"
        | b"keep-alive"
        | b"proxy-connection"
        | b"proxy-authenticate"
        | b"proxy-authorization"
        | b"proxy-authentication-info"
        | b"http2-settings" => Kind::HopByHop,
        b"forwarded"
        | b"client-ip"
        | b"true-client-ip"
        | b"cf-connecting-ip"
        | b"cf-connecting-ipv6"
        | b"fastly-client-ip"
        | b"front-end-https" => Kind::Claim,
        // WSGI and CGI fold X_Real_IP and X-Real-IP into one variable, so a twin could stand in for ours.
        bytes if bytes.contains(&b'_') => twin_kind(name),
        [b'x', b'-', rest @ ..] => extension_kind(rest),
        _ => Kind::EndToEnd,
    }
}

/// The same for what follows `x-`.
fn extension_kind(rest: &[u8]) -> Kind {
    match rest {
        b"real-ip" | b"forwarded-for" | b"forwarded-proto" | b"forwarded-host"
        | b"forwarded-port" | b"request-id" => Kind::Ours,
        [b'f', b'o', b'r', b'w', b'a', b'r', b'd', b'e', b'd', ..] => Kind::Claim,
        b"client-ip"
        | b"cluster-client-ip"
        | b"original-forwarded-for"
        | b"originating-ip"
        | b"remote-ip"
        | b"remote-addr"
        | b"scheme"
        | b"url-scheme" => Kind::Claim,
        _ => Kind::EndToEnd,
    }
}

#[cold]
fn twin_kind(name: &str) -> Kind {
    match kind(&name.replace('_', "-")) {
        Kind::EndToEnd => Kind::EndToEnd,
        Kind::HopByHop | Kind::Claim | Kind::Ours => Kind::Ours,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                value.parse().unwrap(),
            );
        }
        headers
    }

    /// The fields that the app sees, without the request line, Host and what the edge always adds.
    fn seen(fields: &[(&str, &str)], trusted: bool) -> Vec<String> {
        let headers = map(fields);
        let mut out = Vec::new();
        write_request(
            &mut out,
            &Onward {
                method: &Method::GET,
                target: "/",
                headers: &headers,
                connection: &ConnectionOptions::of(&headers),
                authority: b"thor.polls.local:8080",
                host: b"thor.polls.local:8080",
                port: Some(8080),
                peer: "192.0.2.1",
                client: "192.0.2.1",
                peer_trusted: trusted,
                request_id: "id",
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
            let found = client(peer.parse().unwrap(), &map(&fields), &trusted);
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
                earlier_request_id(&map(&[("x-request-id", id)])).is_some(),
                kept,
                "{id}"
            );
        }
        assert_eq!(
            earlier_request_id(&map(&[("x-request-id", &"a".repeat(129))])),
            None
        );
    }

    #[test]
    fn edits_remove_then_set_then_add() {
        let edits = HeaderEdits {
            remove: vec![header::SERVER],
            set: vec![(header::VARY, HeaderValue::from_static("b"))],
            add: vec![(header::SET_COOKIE, HeaderValue::from_static("c=3"))],
        };
        let mut headers = map(&[
            ("server", "x"),
            ("vary", "a"),
            ("vary", "z"),
            ("set-cookie", "a=1"),
        ]);
        edit_response(&mut headers, &edits);
        let cookies: Vec<_> = headers.get_all("set-cookie").iter().collect();
        assert_eq!(
            (headers.get("server"), &headers["vary"], cookies.len()),
            (None, &"b".parse().unwrap(), 2)
        );
    }
}
