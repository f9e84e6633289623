//! Any head of a request and any head of a response, through the parser and out again as the other side gets them.

mod request;
mod response;

use std::{collections::HashMap, sync::LazyLock};

use super::{fixed_config, message::NamedValue, rules};
use crate::{config::HeaderEdits, snapshot::Snapshot};

/// A tenant without edits, one with them, one whose app goes by another name.
const CONFIG: &str = r#"
[routes.plain]
hosts = ["plain.test", "[::1]"]
upstream = "http://127.0.0.1:8000"

[routes.edited]
hosts = ["edited.test", "*.edited.test"]
upstream = "http://[::1]:8000"
host = "upstream"
paths = [
    { prefix = "/api", upstream = "http://127.0.0.1:8001", strip = true },
    { prefix = "/static/", upstream = "http://127.0.0.1:8002", strip = true },
    { prefix = "/media", upstream = "http://127.0.0.1:8003" },
]
request_headers.remove = ["Cookie", "X-Debug", "X-Real-IP", "Forwarded"]
request_headers.set = { X-Tenant = "edited", X-Forwarded-Proto = "https" }
request_headers.add = { X-More = ["a", "b"] }
response_headers.remove = ["Server", "X-Debug"]
response_headers.set = { Vary = "Cookie", Date = "today" }
response_headers.add = { Set-Cookie = "edge=1", Link = ["</a>", "</b>"] }

[routes.named]
hosts = "named.test"
upstream = "http://127.0.0.1:8004"
host = "app.internal:8080"
request_headers.set = { Authorization = "Basic eDp5" }
"#;

static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(|| Snapshot::first(&fixed_config(CONFIG)));

/// The first byte is a set of switches; then a request's head, and behind it a response's, or a response's alone.
pub fn run(data: &[u8]) {
    let Some((&switches, bytes)) = data.split_first() else {
        return;
    };
    if bytes.starts_with(b"HTTP/") {
        return response::run(switches, bytes, "plain", &http::Method::GET);
    }
    let mut head = crate::http1::RequestHead::default();
    let Ok(Some(length)) = head.parse(bytes, HEAD_BYTES_MAX) else {
        return;
    };
    let tenant = request::run(switches, &head, &bytes[..length]).unwrap_or("plain");
    response::run(switches, &bytes[length..], tenant, &head.method);
}

const HEAD_BYTES_MAX: usize = 32 * 1024;

/// What an operator's edits leave of what arrived; what they put there comes last.
fn edited(fields: Vec<NamedValue>, edits: &HeaderEdits) -> Vec<NamedValue> {
    let put = |(name, value): &(http::HeaderName, http::HeaderValue)| {
        (name.as_str().to_owned(), value.as_bytes().to_vec())
    };
    let set: Vec<_> = edits.set.iter().map(put).collect();
    let gone = |name: &str| {
        edits.remove.iter().any(|removed| removed == name) || set.iter().any(|(set, _)| set == name)
    };
    let mut left: Vec<_> = fields.into_iter().filter(|(name, _)| !gone(name)).collect();
    left.extend(set.iter().cloned());
    left.extend(edits.add.iter().map(put));
    left
}

/// Nothing that concerns one connection alone is passed on, but what the edge says of its own.
fn no_hop_by_hop(fields: &[NamedValue], own: &[(&str, &[u8])]) {
    let mut left: HashMap<_, _> = own.iter().copied().collect();
    for (name, value) in fields.iter().filter(|(name, _)| rules::is_hop_by_hop(name)) {
        assert_eq!(left.remove(&**name), Some(&**value), "{name}");
    }
    assert!(left.is_empty(), "{left:?} is missing");
}
