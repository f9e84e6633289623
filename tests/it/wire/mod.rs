//! The wire, exactly: what the client sends and the app answers, byte for byte, and what each of them gets to see.
//!
//! A case is data: a conversation between a raw client and a raw app with the edge in between, and the section of the
//! RFC that it is about. The tables are the modules below, `docs/http.md` is the same in words, `run` plays the cases,
//! and `pattern` compares. No case sleeps: that nothing more comes is shown by the end of the connection, or by a
//! further request that is answered next.
//!
//! Text stands for bytes, one character for each (Latin-1). In it
//! - `<host>` is the case's own host, `<HOST>` the same in capitals, `<other>` a tenant that answers "ok" to anything;
//! - `<get>`, `<post>` begin a request to `<host>`; `<us>` is what the edge adds to it;
//! - `<ok>` is an app's plain answer, `<saw-ok>` the same as the client sees it;
//! - `<300*text>` is `text` 300 times;
//! - in what is expected, `<id>` is a request id, `<date>` a date, `<n>` a number, `<v>` 1.0 or 1.1, and
//!   `<chunks:text>` any chunks that hold `text` together, without the last one.
//!
//! An expected field line stands for exactly itself and for its place among the others. One that begins with `~` is
//! the edge's own: it has to be there once, wherever the edge puts it and in whichever case it writes the name
//! (RFC 9110 §5.1, §5.3); one that begins with `?` may be there.

mod answers;
mod bodies;
mod chunks;
mod connections;
mod expect;
mod fields;
mod framing;
mod hosts;
mod limits;
mod pattern;
mod run;
mod targets;
mod upgrades;

/// One conversation.
#[derive(Debug)]
pub(super) struct Case {
    /// What is special about it.
    name: &'static str,
    /// RFC and section.
    rfc: &'static str,
    talk: Talk,
}

/// The conversations that most cases have, and the rest step by step.
#[derive(Debug)]
enum Talk {
    Refused(u16, &'static str),
    Reaches(&'static str, &'static str),
    Answered(&'static str, &'static str),
    BadAnswer(&'static str),
    Steps(&'static [Step]),
}

/// Who does what next. Whoever sees something sees that and, before it, nothing else.
#[derive(Debug, Clone, Copy)]
enum Step {
    Client(&'static str),
    ClientSees(&'static str),
    /// An answer of the edge's own, which keeps the connection.
    Error(u16),
    /// An answer of the edge's own that announces the end of the connection.
    LastError(u16),
    /// The client's connection ends.
    Closed,
    /// It ends so that even a client that reads until the end can tell that something is missing.
    Cut,
    /// A further request on the client's connection is answered next.
    Kept,
    ClientHalfCloses,
    ClientLeaves,
    App(&'static str),
    AppSees(&'static str),
    /// The edge opens a further connection to the app. The first one needs no step.
    AppAccepts,
    /// The edge closes the connection to the app.
    AppClosed,
    /// It closes it within a chunked body: what it may have sent before that doesn't end the body.
    AppAborted,
    AppHalfCloses,
    AppLeaves,
    AppResets,
}

/// The edge answers `status`, closes, takes nothing behind it for a request, and the app hears of nothing.
const fn refused(name: &'static str, rfc: &'static str, status: u16, sent: &'static str) -> Case {
    let talk = Talk::Refused(status, sent);
    Case { name, rfc, talk }
}

/// The app sees `seen` of what is sent, and its plain answer comes back.
const fn reaches(
    name: &'static str,
    rfc: &'static str,
    sent: &'static str,
    seen: &'static str,
) -> Case {
    let talk = Talk::Reaches(sent, seen);
    Case { name, rfc, talk }
}

/// The client sees `seen` of what the app answers to a plain request, and its connection is kept.
const fn answered(
    name: &'static str,
    rfc: &'static str,
    answer: &'static str,
    seen: &'static str,
) -> Case {
    let talk = Talk::Answered(answer, seen);
    Case { name, rfc, talk }
}

/// What the app answers is not passed on: the client gets 502 and keeps its connection, the app loses its own.
const fn bad_answer(name: &'static str, rfc: &'static str, answer: &'static str) -> Case {
    let talk = Talk::BadAnswer(answer);
    Case { name, rfc, talk }
}

const fn steps(name: &'static str, rfc: &'static str, steps: &'static [Step]) -> Case {
    let talk = Talk::Steps(steps);
    Case { name, rfc, talk }
}

impl Case {
    fn steps(&self) -> Vec<Step> {
        use Step::{App, AppClosed, AppSees, Client, ClientSees, Closed, Error, Kept, LastError};
        match self.talk {
            Talk::Refused(status, sent) => vec![
                Client(sent),
                Client("GET /smuggled HTTP/1.1\r\nHost: <host>\r\n\r\n"),
                LastError(status),
                Closed,
            ],
            Talk::Reaches(sent, seen) => vec![
                Client(sent),
                AppSees(seen),
                App("<ok>"),
                ClientSees("<saw-ok>"),
                Kept,
            ],
            Talk::Answered(answer, seen) => vec![
                Client("<get>\r\n"),
                AppSees("GET / HTTP/1.1\r\n<us>\r\n"),
                App(answer),
                ClientSees(seen),
                Kept,
            ],
            Talk::BadAnswer(answer) => vec![
                Client("<get>\r\n"),
                AppSees("GET / HTTP/1.1\r\n<us>\r\n"),
                App(answer),
                Error(502),
                AppClosed,
                Kept,
            ],
            Talk::Steps(steps) => steps.to_vec(),
        }
    }
}

#[test]
fn document_has_every_section_that_a_case_is_about() {
    let document = include_str!("../../../docs/http.md");
    let tables = [
        answers::CASES,
        bodies::CASES,
        chunks::CASES,
        connections::CASES,
        expect::CASES,
        fields::CASES,
        framing::CASES,
        hosts::CASES,
        limits::CASES,
        targets::CASES,
        upgrades::CASES,
    ];
    let cases = tables.into_iter().flatten();
    let is_named = |section: &str| {
        document.match_indices(section).any(|(at, _)| {
            let after = &document[at + section.len()..];
            !after.starts_with(|next: char| next.is_ascii_digit())
                && !after
                    .strip_prefix('.')
                    .is_some_and(|rest| rest.starts_with(|next: char| next.is_ascii_digit()))
        })
    };
    let missing: Vec<_> = cases
        .filter(|case| !is_named(case.rfc))
        .map(|case| format!("RFC {}: {}", case.rfc, case.name))
        .collect();
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn request_lines() {
    run::play(targets::CASES);
}

#[test]
fn fields_of_requests() {
    run::play(fields::CASES);
}

#[test]
fn hosts_of_requests() {
    run::play(hosts::CASES);
}

#[test]
fn framing_of_requests() {
    run::play(framing::CASES);
}

#[test]
fn chunks_of_requests() {
    run::play(chunks::CASES);
}

#[test]
fn limits_of_heads() {
    run::play_with("limits.headers_bytes_max = \"8KiB\"\n", limits::CASES);
}

#[test]
fn interim_answers() {
    run::play(expect::CASES);
}

#[test]
fn heads_of_answers() {
    run::play(answers::CASES);
}

#[test]
fn bodies_of_answers() {
    run::play(bodies::CASES);
}

#[test]
fn lives_of_connections() {
    run::play(connections::CASES);
}

#[test]
fn upgraded_connections() {
    run::play(upgrades::CASES);
}
