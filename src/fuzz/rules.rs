//! What a head may hold, which fields end at the edge, which it writes itself, what Connection may nominate:
//! docs/http.md once more, as lists. It knows nothing of `http1`, with which it is compared.

use super::message::{NamedValue, all};

/// RFC 9110 §7.6.1, and those that browsers and proxies have added.
const HOP_BY_HOP: [&str; 10] = [
    "connection",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// What an app is told by the edge and by nobody else.
const OWN: [&str; 8] = [
    "content-length",
    "host",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-real-ip",
    "x-request-id",
];

/// What only a trusted proxy may say, beside everything else that begins with `x-forwarded`.
const CLAIMS: [&str; 15] = [
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "client-ip",
    "fastly-client-ip",
    "forwarded",
    "front-end-https",
    "true-client-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-original-forwarded-for",
    "x-originating-ip",
    "x-remote-addr",
    "x-remote-ip",
    "x-scheme",
    "x-url-scheme",
];

/// What must arrive whatever a sender wishes, beside what the edge writes.
const PROTECTED: [&str; 4] = ["authorization", "cookie", "set-cookie", "transfer-encoding"];

/// Words of Connection that say something about the connection and nominate nothing.
const OPTIONS: [&str; 4] = ["close", "keep-alive", "te", "upgrade"];

/// So many nominations are heeded.
const NOMINATED_MAX: usize = 32;

/// More fields than this are refused, and longer lengths.
const FIELDS_MAX: usize = 128;
const LENGTH_DIGITS_MAX: usize = 18;

/// A head that was taken has nothing that docs/http.md refuses: neither what two readers could see in two ways, nor more
/// than there may be. Of a response the same length may stand there twice.
pub(super) fn check_taken(head: &[u8], fields: &[NamedValue], http11: bool, is_response: bool) {
    let shown = head.escape_ascii();
    assert_ne!(head.first(), Some(&b'\n'), "{shown}");
    let ends = |pair: &[u8]| (pair[0] == b'\r') == (pair[1] == b'\n');
    assert!(head.windows(2).all(ends), "a line ends otherwise: {shown}");
    let control = |byte: &u8| matches!(byte, 0..=8 | 0xb | 0xc | 0xe..=0x1f | 0x7f);
    assert!(!head.iter().any(control), "control bytes: {shown}");
    assert!(fields.len() <= FIELDS_MAX, "too many fields: {shown}");

    let lengths: Vec<_> = all(fields, "content-length").collect();
    let codings: Vec<_> = all(fields, "transfer-encoding").collect();
    assert!(lengths.is_empty() || codings.is_empty(), "both: {shown}");
    assert!(lengths.len() <= 1 || is_response, "two lengths: {shown}");
    for length in lengths {
        let digits = length.iter().all(u8::is_ascii_digit);
        assert!(
            digits && (1..=LENGTH_DIGITS_MAX).contains(&length.len()),
            "{shown}"
        );
    }
    assert!(codings.len() <= usize::from(http11), "{shown}");
    assert!(
        codings
            .iter()
            .all(|coding| coding.eq_ignore_ascii_case(b"chunked")),
        "{shown}"
    );
}

/// All names are in lower case.
pub(super) fn is_hop_by_hop(name: &str) -> bool {
    HOP_BY_HOP.contains(&name)
}

pub(super) fn is_own(name: &str) -> bool {
    OWN.contains(&name)
}

pub(super) fn is_claim(name: &str) -> bool {
    CLAIMS.contains(&name) || name.starts_with("x-forwarded") && !is_own(name)
}

/// Whether CGI and WSGI would take the name for one that ends at the edge, or that it writes.
pub(super) fn is_twin(name: &str) -> bool {
    let meant = name.replace('_', "-");
    name.contains('_') && (is_hop_by_hop(&meant) || is_own(&meant) || is_claim(&meant))
}

/// The fields that a message's Connection fields take away.
pub(super) fn nominated<'a>(fields: impl IntoIterator<Item = &'a NamedValue>) -> Vec<String> {
    let lists = fields
        .into_iter()
        .filter(|(name, _)| name == "connection")
        .map(|(_, value)| String::from_utf8_lossy(value).to_ascii_lowercase());
    let names: Vec<String> = lists
        .flat_map(|list| {
            list.split(',')
                .map(|name| name.trim().to_owned())
                .collect::<Vec<_>>()
        })
        .collect();
    let nominable = |name: &String| {
        let name = name.as_str();
        !name.is_empty()
            && !OPTIONS.contains(&name)
            && !PROTECTED.contains(&name)
            && !is_own(name)
            && !is_twin(name)
    };
    names
        .into_iter()
        .filter(nominable)
        .take(NOMINATED_MAX)
        .collect()
}
