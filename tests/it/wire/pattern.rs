//! What is expected, and whether it is what came. It reads bytes that are at hand, and knows no sockets.

use std::fmt::Write as _;

/// What can be said of the bytes that have come so far.
#[derive(Debug)]
pub(super) enum Verdict {
    /// They may become what is expected.
    More,
    /// So many of them are exactly what is expected.
    Match(usize),
    /// The same, but for the line end behind the data of a chunk, which may come together with what follows.
    MatchInChunk(usize),
    Differs(String),
}

/// Replaces what stands for the same bytes in everything that a case sends and expects.
pub(super) fn expand(text: &str, host: &str) -> String {
    let text = text
        .replace(
            "<saw-ok>",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n~date: <date>\r\n\r\nok",
        )
        .replace("<ok>", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        .replace("<get>", "GET / HTTP/1.1\r\nHost: <host>\r\n")
        .replace("<post>", "POST / HTTP/1.1\r\nHost: <host>\r\n")
        .replace(
            "<us>",
            "~host: <host>\r\n~x-forwarded-host: <host>\r\n~x-forwarded-port: 80\r\n<claims>",
        )
        .replace(
            "<claims>",
            "~x-real-ip: 127.0.0.1\r\n~x-forwarded-for: 127.0.0.1\r\n~x-forwarded-proto: http\r\n\
             ~x-request-id: <id>\r\n",
        )
        .replace("<host>", host)
        .replace("<HOST>", &host.to_uppercase())
        .replace("<other>", "other.polls.local");
    repeat(&text)
}

/// Writes `<3*text>` out.
fn repeat(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find('<') {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let repeated = rest[1..].split_once('*').and_then(|(count, tail)| {
            let count: usize = count.parse().ok()?;
            let (text, tail) = tail.split_once('>')?;
            Some((text.repeat(count), tail))
        });
        if let Some((text, tail)) = repeated {
            out.push_str(&text);
            rest = tail;
        } else {
            out.push('<');
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
    out
}

pub(super) fn bytes(text: &str) -> Vec<u8> {
    let byte = |char| u8::try_from(u32::from(char)).expect("one character stands for one byte");
    text.chars().map(byte).collect()
}

fn text(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// For a person to read, shortened where it is long.
pub(super) fn show(bytes: &[u8]) -> String {
    const SHOWN_MAX: usize = 600;
    let mut shown = bytes[..bytes.len().min(SHOWN_MAX)]
        .escape_ascii()
        .to_string();
    if bytes.len() > SHOWN_MAX {
        let _ = write!(shown, "… ({} bytes)", bytes.len());
    }
    shown
}

/// Compares with `expected`: one head and what follows it, or bytes of a body.
pub(super) fn compare(expected: &str, seen: &[u8]) -> Verdict {
    let first_line = expected.split("\r\n").next().unwrap_or_default();
    if !(first_line.starts_with("HTTP/") || first_line.contains(" HTTP/1")) {
        return compare_body(expected, seen, 0);
    }
    let (head, body) = expected.split_once("\r\n\r\n").expect("a head has an end");
    let Some(end) = head_end(seen) else {
        return Verdict::More;
    };
    match compare_head(head, &text(&seen[..end - 4])) {
        Ok(()) => compare_body(body, seen, end),
        Err(difference) => Verdict::Differs(difference),
    }
}

/// Where the body begins.
pub(super) fn head_end(seen: &[u8]) -> Option<usize> {
    let end = seen.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some(end + 4)
}

fn compare_head(expected: &str, seen: &str) -> Result<(), String> {
    let mut difference = String::new();
    let mut seen: Vec<&str> = seen.split("\r\n").collect();
    let mut exact = Vec::new();
    for line in expected.split("\r\n") {
        let Some(own) = line.strip_prefix(['~', '?']) else {
            exact.push(line);
            continue;
        };
        let found = seen.iter().skip(1).position(|seen| is_own(own, seen));
        match found {
            Some(at) => drop(seen.remove(at + 1)),
            None if line.starts_with('~') => {
                let _ = writeln!(difference, "      - {}", show(&bytes(own)));
            }
            None => {}
        }
    }
    if exact.len() == seen.len()
        && exact
            .iter()
            .zip(&seen)
            .all(|(line, seen)| is_line(line, seen))
    {
        return if difference.is_empty() {
            Ok(())
        } else {
            Err(difference)
        };
    }
    // The lines that both have in common at either end say nothing; what is left is shown with its order.
    let pairs = || exact.iter().zip(&seen);
    let same = pairs()
        .take_while(|(line, seen)| is_line(line, seen))
        .count();
    let left = exact.len().min(seen.len()) - same;
    let ends = exact.iter().rev().zip(seen.iter().rev()).take(left);
    let same_end = ends.take_while(|(line, seen)| is_line(line, seen)).count();
    for line in &exact[same..exact.len() - same_end] {
        let _ = writeln!(difference, "      - {}", show(&bytes(line)));
    }
    for line in &seen[same..seen.len() - same_end] {
        let _ = writeln!(difference, "      + {}", show(&bytes(line)));
    }
    Err(difference)
}

/// A line of the edge's own.
fn is_own(expected: &str, seen: &str) -> bool {
    match (expected.split_once(": "), seen.split_once(": ")) {
        (Some((name, value)), Some((seen_name, seen_value))) => {
            name.eq_ignore_ascii_case(seen_name) && is_value(value, seen_value)
        }
        _ => false,
    }
}

fn is_line(expected: &str, seen: &str) -> bool {
    // Whether a blank stands before nothing is all the same.
    is_value(expected, seen)
        || expected
            .strip_suffix(": ")
            .is_some_and(|name| seen.strip_suffix(':') == Some(name))
}

/// Compares text in which one placeholder may stand.
fn is_value(expected: &str, seen: &str) -> bool {
    type Test = fn(&str) -> bool;
    let placeholders: [(&str, Test); 4] = [
        ("<id>", |id| {
            id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())
        }),
        ("<date>", is_date),
        ("<n>", |digits| {
            !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
        }),
        ("<v>", |version| matches!(version, "1.0" | "1.1")),
    ];
    for (placeholder, test) in placeholders {
        if let Some((before, after)) = expected.split_once(placeholder) {
            let rest = seen.strip_prefix(before);
            return rest
                .and_then(|rest| rest.strip_suffix(after))
                .is_some_and(test);
        }
    }
    expected == seen
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 §5.6.7).
fn is_date(text: &str) -> bool {
    let shape: String = text
        .chars()
        .map(|char| match char {
            'A'..='Z' => 'A',
            'a'..='z' => 'a',
            '0'..='9' => '0',
            _ => char,
        })
        .collect();
    shape == "Aaa, 00 Aaa 0000 00:00:00 AAA" && text.ends_with("GMT")
}

/// Compares what begins at `at` with text that may hold `<chunks:…>`.
fn compare_body(expected: &str, seen: &[u8], mut at: usize) -> Verdict {
    let mut rest = expected;
    while !rest.is_empty() {
        let (literal, chunks, next) = match rest.split_once("<chunks:") {
            Some((literal, tail)) => {
                let (data, next) = tail.split_once('>').expect("a placeholder has an end");
                (literal, Some(data), next)
            }
            None => (rest, None, ""),
        };
        let literal = bytes(literal);
        let there = &seen[at..seen.len().min(at + literal.len())];
        if !literal.starts_with(there) {
            return Verdict::Differs(difference(&literal, &seen[at..]));
        }
        if there.len() < literal.len() {
            return Verdict::More;
        }
        at += literal.len();
        if let Some(data) = chunks {
            let data = bytes(data);
            match compare_chunks(&data, &seen[at..]) {
                Verdict::Match(length) => at += length,
                Verdict::MatchInChunk(length) if next.is_empty() => {
                    return Verdict::MatchInChunk(at + length);
                }
                Verdict::MatchInChunk(_) => return Verdict::More,
                other => return other,
            }
        }
        rest = next;
    }
    Verdict::Match(at)
}

/// Whether `seen` begins with chunks that hold `data` and no more (RFC 9112 §7.1).
fn compare_chunks(data: &[u8], seen: &[u8]) -> Verdict {
    let (mut at, mut taken) = (0, 0);
    while taken < data.len() {
        let Some(line_end) = seen[at..].windows(2).position(|window| window == b"\r\n") else {
            return Verdict::More;
        };
        let size = text(&seen[at..at + line_end]);
        let size = usize::from_str_radix(&size, 16)
            .ok()
            .filter(|size| (1..=data.len() - taken).contains(size));
        let Some(size) = size else {
            return Verdict::Differs(difference(&data[taken..], &seen[at..]));
        };
        let chunk = [&data[taken..taken + size], b"\r\n"].concat();
        at += line_end + 2;
        let there = &seen[at..seen.len().min(at + chunk.len())];
        if !chunk.starts_with(there) {
            return Verdict::Differs(difference(&chunk, &seen[at..]));
        }
        if there.len() == size && taken + size == data.len() {
            return Verdict::MatchInChunk(at + size);
        }
        if there.len() < chunk.len() {
            return Verdict::More;
        }
        at += chunk.len();
        taken += size;
    }
    Verdict::Match(at)
}

pub(super) fn difference(expected: &[u8], seen: &[u8]) -> String {
    format!("      - {}\n      + {}\n", show(expected), show(seen))
}

/// Whether these bytes are an answer of the edge's own with `status`: its length declared, and `close` said if and
/// only if the connection is to end.
pub(super) fn compare_error(status: u16, closes: bool, seen: &[u8]) -> Verdict {
    let Some(end) = head_end(seen) else {
        return Verdict::More;
    };
    let head = text(&seen[..end - 4]);
    let mut lines = head.split("\r\n");
    let start = lines.next().unwrap_or_default();
    let fields: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(": ")).collect();
    let all = |name: &str| -> Vec<&str> {
        let named = fields
            .iter()
            .filter(|field| field.0.eq_ignore_ascii_case(name));
        named.map(|field| field.1).collect()
    };
    let is_status = ["1.1", "1.0"]
        .iter()
        .any(|version| start.starts_with(&format!("HTTP/{version} {status} ")));
    let says_close = all("connection") == ["close"];
    let says_nothing = all("connection").is_empty();
    let proper = is_status
        && if closes { says_close } else { says_nothing }
        && all("transfer-encoding").is_empty()
        // RFC 9110 §15.5.6.
        && (status != 405 || all("allow").len() == 1);
    let length = match all("content-length")[..] {
        [length] => length.parse::<usize>().ok().filter(|_| proper),
        _ => None,
    };
    match length {
        Some(length) if seen.len() >= end + length => Verdict::Match(end + length),
        Some(_) => Verdict::More,
        None => {
            let last = if closes {
                ", the last on its connection"
            } else {
                ""
            };
            let expected = format!("an error {status} of the edge's own{last}");
            Verdict::Differs(difference(expected.as_bytes(), seen))
        }
    }
}

#[test]
fn what_is_expected_is_told_from_what_is_not() {
    const HEAD: &str = "GET / HTTP/1.1\r\n~host: a\r\nX-A: 1\r\n?date: <date>\r\nX-B: \r\n\r\n";
    for (expected, seen, matches) in [
        (
            HEAD,
            "GET / HTTP/1.1\r\nX-A: 1\r\nX-B:\r\nHost: a\r\n\r\n",
            true,
        ),
        (
            HEAD,
            "GET / HTTP/1.1\r\nHost: a\r\nx-a: 1\r\nX-B: \r\n\r\n",
            false,
        ),
        (
            HEAD,
            "GET / HTTP/1.1\r\nHost: a\r\nX-B: \r\nX-A: 1\r\n\r\n",
            false,
        ),
        (
            HEAD,
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\nX-A: 1\r\nX-B: \r\n\r\n",
            false,
        ),
        (HEAD, "GET / HTTP/1.1\r\nX-A: 1\r\nX-B: \r\n\r\n", false),
        (
            HEAD,
            "GET / HTTP/1.1\r\nHost: a\r\nX-A:  1\r\nX-B: \r\n\r\n",
            false,
        ),
        (
            "<chunks:hello>0\r\n\r\n",
            "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
            true,
        ),
        ("<chunks:hello>", "5\r\nhello", true),
        ("<chunks:hello>0\r\n\r\n", "6\r\nhello!\r\n0\r\n\r\n", false),
        ("<chunks:hello>0\r\n\r\n", "2\r\nhe\r\n0\r\n\r\n", false),
        ("<chunks:hello>0\r\n\r\n", "5\r\nhello0\r\n\r\n", false),
    ] {
        let verdict = compare(expected, &bytes(seen));
        let found = matches!(verdict, Verdict::Match(_) | Verdict::MatchInChunk(_));
        assert_eq!(found, matches, "{seen:?}: {verdict:?}");
        let cut = compare(expected, &bytes(&seen[..seen.len() / 3]));
        assert!(
            !matches || !matches!(cut, Verdict::Match(_)),
            "{seen:?}: {cut:?}"
        );
    }
    assert_eq!(expand("<3*ab>-<host>", "h"), "ababab-h");
}
