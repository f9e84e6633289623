//! What has to hold of a run when it is over: whom the log tells of, who asked, and what the client got.

use super::{
    apps::{Book, PLAIN_ANSWER, Seen},
    client::Opening,
    log::Line,
    stage::Outcome,
};
use crate::fuzz::message::{self, Malformed, Response, all, sole};

/// Requests that the apps have parsed and requests that the edge has counted are the same ones. `distinct` if the edge
/// has named them.
pub(super) fn requests(book: &Book, lines: &[Line], distinct: bool) {
    let mut left: Vec<&Line> = lines.iter().collect();
    for seen in book.seen.borrow().iter() {
        let id = Some(&*seen.request_id);
        let at = left.iter().position(|line| {
            // Of several of one name, one that may be it.
            let reached = line.attempts > 0 && line.tenant.as_deref() == Some(seen.tenant);
            line.request_id.as_deref() == id && (distinct || reached)
        });
        let at = at.unwrap_or_else(|| panic!("nobody has counted {seen:?}: {lines:?}"));
        same(seen, left.remove(at));
        let again = left.iter().any(|line| line.request_id.as_deref() == id);
        assert!(!again || !distinct, "counted twice: {seen:?}: {lines:?}");
    }
    let unseen = left
        .iter()
        .filter(|line| line.attempts > 0 && line.error.is_none())
        .count();
    let refused = book.refused.get();
    assert!(
        unseen <= refused,
        "counted, and nobody has got it: {left:?}, {refused} refused"
    );
}

fn same(seen: &Seen, line: &Line) {
    let told = format!("{seen:?} {line:?}");
    assert_eq!(line.tenant.as_deref(), Some(seen.tenant), "{told}");
    assert_eq!(line.method.as_deref(), Some(&*seen.method), "{told}");
    // A URL without a path, which apps get with one.
    let path = line.path.as_deref().unwrap_or_default();
    let slash = if path.starts_with('?') { "/" } else { "" };
    assert_eq!(format!("{slash}{path}"), seen.target, "{told}");
    assert!(line.attempts > 0, "{told}");
    assert!(leads_to(&seen.host, seen.tenant), "{told}");
    assert!(seen.complete || line.error.is_some(), "{told}");
    assert!(!seen.complete || seen.body_bytes == line.bytes_in, "{told}");
}

fn leads_to(host: &str, tenant: &str) -> bool {
    let name = host.split(':').next().unwrap_or(host).to_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(&name);
    let own = format!("{tenant}.test");
    name == own || tenant == "thor" && name.ends_with(".thor.test")
}

/// What the edge has counted is what a client means that sends this, as others read it: the same requests in the same
/// order. There may be fewer of them, for the edge is stricter and then reads on no more.
pub(super) fn sent(bytes: &[u8], lines: &[Line]) {
    let meant = message::requests(bytes);
    for (number, line) in lines.iter().enumerate() {
        let (Some(method), Some(path)) = (&line.method, &line.path) else {
            continue;
        };
        let told = format!("{line:?} {meant:?}");
        let Some((request, body)) = meant.get(number) else {
            panic!("nobody has sent that: {told}");
        };
        assert_eq!(method, &request.method, "{told}");
        // A URL may have no path, and then an app gets one.
        let added = !request.target.starts_with('/') && matches!(&**path, "/" | "*");
        assert!(added || request.target.ends_with(path), "{told}");
        // An app that refuses a request leaves its body unread.
        if line.error.is_none() && line.status == 200 {
            let bytes = body.map(|bytes| bytes as u64);
            assert_eq!(bytes, Some(line.bytes_in), "{told}");
        }
    }
}

/// The client gets one answer for each line, in order, each whole, and nothing besides. Apps answer all that they get.
pub(super) fn responses(got: &[u8], lines: &[Line]) {
    let shown = got.escape_ascii();
    let mut rest = got;
    for (number, line) in lines.iter().enumerate() {
        let Some((response, after)) = next_final(rest, line) else {
            let left = line.error.as_deref() == Some("client_gone") && number + 1 == lines.len();
            assert!(left, "no answer for {line:?}: {shown}");
            return;
        };
        assert!(response.complete, "{shown}");
        of_line(&response, line);
        rest = after;
    }
    assert!(rest.is_empty(), "an answer that no line tells of: {shown}");
}

/// The answer of a line, and what follows it. Interim ones before it are the edge's or an app's 100.
fn next_final<'a>(got: &'a [u8], line: &Line) -> Option<(Response, &'a [u8])> {
    let to_head = line.method.as_deref() == Some("HEAD");
    let mut rest = got;
    loop {
        let response = message::response(rest, to_head, false).expect("an answer is HTTP")?;
        rest = &rest[response.length..];
        if response.status != 100 {
            return Some((response, rest));
        }
    }
}

fn of_line(response: &Response, line: &Line) {
    let told = format!("{response:?} {line:?}");
    assert_eq!(response.status, line.status, "{told}");
    // What is answered to no request isn't counted.
    let bytes = line.method.as_ref().map_or(0, |_| response.body.len());
    assert_eq!(bytes as u64, line.bytes_out, "{told}");
    let mine = line.request_id.as_deref().unwrap_or_default().as_bytes();
    match all(&response.fields, "x-app").next() {
        Some(app) => {
            assert!(line.error.is_none(), "{told}");
            assert_eq!(
                line.tenant.as_deref().map(str::as_bytes),
                Some(app),
                "{told}"
            );
            assert_eq!(
                sole(&response.fields, "x-id"),
                mine,
                "another's answer: {told}"
            );
        }
        None if is_ours(response) => {
            assert!(line.error.is_some(), "{told}");
            assert_eq!(sole(&response.fields, "x-request-id"), mine, "{told}");
        }
        // hyper's own, to what it can't parse.
        None => assert!(line.error.is_none() && line.attempts > 0, "{told}"),
    }
}

/// Whether it is an answer of the edge's own.
fn is_ours(response: &Response) -> bool {
    all(&response.fields, "server").any(|server| server == b"hostler")
}

/// Whether the edge has answered in the place of an app that gave no answer.
fn is_page(response: &Response, line: &Line) -> bool {
    let labels = [
        "upstream_closed",
        "upstream_invalid",
        "response_timeout",
        "body_timeout",
    ];
    let label = line.error.as_deref().unwrap_or_default();
    labels.contains(&label) || label == "idle_timeout" && line.status == 504 && is_ours(response)
}

/// What an app said to the first of three requests.
pub(super) struct Answered<'a> {
    pub(super) opening: &'a Opening,
    pub(super) said: &'a [u8],
    pub(super) closes: bool,
}

impl Answered<'_> {
    /// The client has got that answer, or one that can't be taken for it; the next two are as if nothing had been.
    pub(super) fn judge(&self, outcome: &Outcome) {
        let (lines, got) = (&outcome.lines, &outcome.got);
        let shown = format!("{} {lines:?}", got.escape_ascii());
        let first = lines.first().unwrap_or_else(|| panic!("no line: {shown}"));
        requests(&outcome.book, &lines[1..], true);
        let to_head = self.opening.is_head();
        let said = Found::in_front_of(self.said, to_head, self.closes);
        let got = Found::in_front_of(got, to_head, true);
        // One 100 may be the edge's own.
        assert!(got.interim <= said.interim + 1, "{shown}");
        let Some(answer) = got.answer.expect("an answer is HTTP") else {
            assert!(first.error.is_some() && lines.len() == 1, "{shown}");
            return;
        };
        assert_eq!(answer.fault, None, "{shown}");
        if is_page(&answer, first) {
            assert!(answer.complete, "{shown}");
            of_line(&answer, first);
            return judge_next(got.behind, lines);
        }
        let Ok(Some(original)) = said.answer else {
            panic!("the app has not said that: {shown}");
        };
        assert_eq!(answer.status, original.status, "{shown}");
        assert_eq!(answer.status, first.status, "{shown}");
        if answer.status == 101 {
            let cut = first.error.is_some() && said.behind.starts_with(got.behind);
            assert!(
                cut || got.behind == said.behind,
                "not the tunnel's: {shown}"
            );
            return;
        }
        assert!(original.body.starts_with(&answer.body), "{shown}");
        if first.error.is_none() {
            assert!(answer.complete && original.complete, "{shown}");
            assert_eq!(answer.body, original.body, "{shown}");
            return judge_next(got.behind, lines);
        }
        // On a unix socket there is no reset, which is what tells a client of HTTP/1.0.
        let has_length = all(&answer.fields, "content-length").next().is_some();
        let can_tell = self.opening.http11() || has_length;
        assert!(!answer.complete || !can_tell, "it looks whole: {shown}");
        assert!(lines.len() == 1 && got.behind.is_empty(), "{shown}");
    }
}

/// A final answer, or the head of a tunnel, if there is one, and what stands around it.
struct Found<'a> {
    interim: usize,
    answer: Result<Option<Response>, Malformed>,
    behind: &'a [u8],
}

impl<'a> Found<'a> {
    /// `closed` if nothing will follow the bytes.
    fn in_front_of(bytes: &'a [u8], to_head: bool, closed: bool) -> Self {
        let (mut interim, mut behind) = (0, bytes);
        let answer = loop {
            let response = match message::response(behind, to_head, closed) {
                Ok(Some(response)) => response,
                none => break none,
            };
            behind = &behind[response.length..];
            if response.status == 101 || response.status >= 200 {
                break Ok(Some(response));
            }
            interim += 1;
        };
        Self {
            interim,
            answer,
            behind,
        }
    }
}

/// The answers to the second and the third request, if they were sent.
fn judge_next(got: &[u8], lines: &[Line]) {
    let shown = format!("{} {lines:?}", got.escape_ascii());
    let [_, second, third] = lines else {
        assert!(lines.len() == 1 && got.is_empty(), "{shown}");
        return;
    };
    let (response, rest) = next_final(got, second).unwrap_or_else(|| panic!("{shown}"));
    of_line(&response, second);
    assert!(response.complete && second.error.is_none(), "{shown}");
    let (response, rest) = next_final(rest, third).unwrap_or_else(|| panic!("{shown}"));
    let plain = message::response(PLAIN_ANSWER, false, false).ok().flatten();
    let plain = plain.expect("a plain answer");
    assert_eq!(response.status, plain.status, "{shown}");
    assert_eq!(response.body, plain.body, "{shown}");
    let mut app = all(&response.fields, "x-app");
    assert_eq!(app.next(), Some(&b"script"[..]), "{shown}");
    assert!(third.error.is_none() && rest.is_empty(), "{shown}");
}
