//! What has to hold of a run when it is over: whom the log tells of, who asked, and what the client got.

use super::{
    apps::{Book, PLAIN_ANSWER, Seen},
    client::Opening,
    log::Line,
    stage::Outcome,
};
use crate::fuzz::message::{self, Response, all, sole};

/// Requests that the apps have parsed and requests that the edge has counted are the same ones. `distinct` if the edge
/// has named them.
pub(super) fn requests(book: &Book, lines: &[Line], distinct: bool) {
    let mut left: Vec<&Line> = lines.iter().collect();
    for seen in book.seen.borrow().iter() {
        let id = Some(&*seen.request_id);
        let at = left
            .iter()
            .position(|line| line.request_id.as_deref() == id);
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
        let (interim, answer) = self.split(got);
        let said = self.what_was_said();
        assert!(interim <= said.interim + 1, "{shown}");
        let Some(answer) = answer else {
            assert!(first.error.is_some() && lines.len() == 1, "{shown}");
            return;
        };
        let rest = &got[got.len() - answer.behind..];
        let answer = &answer.response;
        if is_page(answer, first) {
            assert!(answer.complete, "{shown}");
            of_line(answer, first);
            return judge_next(rest, lines);
        }
        let Some(answered) = said.answer else {
            panic!("the app has not said that: {shown}");
        };
        assert_eq!(
            [answer.status; 2],
            [answered.status, first.status],
            "{shown}"
        );
        if answer.status == 101 {
            // All that follows is the tunnel's.
            let tunnel = &self.said[self.said.len() - said.behind..];
            assert!(
                rest == tunnel || first.error.is_some() && tunnel.starts_with(rest),
                "{shown}"
            );
            return;
        }
        assert!(answered.body.starts_with(&answer.body), "{shown}");
        if first.error.is_none() {
            assert!(answer.complete && answered.complete, "{shown}");
            assert_eq!(answer.body, answered.body, "{shown}");
            judge_next(rest, lines);
        } else {
            // On a unix socket there is no reset, which is what tells a client of HTTP/1.0.
            let has_length = all(&answer.fields, "content-length").next().is_some();
            let can_tell = self.opening.http11() || has_length;
            assert!(!answer.complete || !can_tell, "it looks whole: {shown}");
            assert_eq!((lines.len(), rest.len()), (1, 0), "{shown}");
        }
    }

    /// How many interim answers the client got, and the final one.
    fn split(&self, got: &[u8]) -> (usize, Option<Found>) {
        let mut rest = got;
        let mut interim = 0;
        loop {
            let response = message::response(rest, self.opening.is_head(), true);
            let Some(response) = response.expect("an answer is HTTP") else {
                return (interim, None);
            };
            rest = &rest[response.length..];
            if response.status == 101 || response.status >= 200 {
                let behind = rest.len();
                return (interim, Some(Found { response, behind }));
            }
            interim += 1;
        }
    }

    /// What others understand of the app's answer, as far as they do.
    fn what_was_said(&self) -> Said {
        let mut rest = self.said;
        let mut interim = 0;
        loop {
            let response = message::response(rest, self.opening.is_head(), self.closes);
            let Ok(Some(response)) = response else {
                let answer = None;
                return Said {
                    interim,
                    answer,
                    behind: 0,
                };
            };
            rest = &rest[response.length..];
            if response.status == 101 || response.status >= 200 {
                let behind = rest.len();
                return Said {
                    interim,
                    answer: Some(response),
                    behind,
                };
            }
            interim += 1;
        }
    }
}

/// The answers to the second and the third request, if they were sent.
fn judge_next(rest: &[u8], lines: &[Line]) {
    let shown = format!("{} {lines:?}", rest.escape_ascii());
    let [_, second, third] = lines else {
        assert_eq!((lines.len(), rest.len()), (1, 0), "{shown}");
        return;
    };
    let (response, rest) = next_final(rest, second).unwrap_or_else(|| panic!("{shown}"));
    of_line(&response, second);
    assert!(response.complete && second.error.is_none(), "{shown}");
    let (response, rest) = next_final(rest, third).unwrap_or_else(|| panic!("{shown}"));
    let plain = message::response(PLAIN_ANSWER, false, false).ok().flatten();
    let plain = plain.unwrap_or_else(|| panic!("a plain answer"));
    assert_eq!(
        (response.status, &response.body),
        (plain.status, &plain.body),
        "{shown}"
    );
    assert_eq!(
        all(&response.fields, "x-app").next(),
        Some(&b"script"[..]),
        "{shown}"
    );
    assert!(third.error.is_none() && rest.is_empty(), "{shown}");
}

/// An answer, and how many bytes follow it.
struct Found {
    response: Response,
    behind: usize,
}

struct Said {
    interim: usize,
    answer: Option<Response>,
    behind: usize,
}
