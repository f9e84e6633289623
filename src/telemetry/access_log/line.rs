//! One line of the access log: its fields, and how they are written as JSON or text.
//!
//! Pure, and allocates nothing but what the buffer it writes to may need. What a client sent is
//! escaped: no request can end a line, add a field, or reach a terminal's controls.

use std::{
    io::Write,
    time::{Duration, SystemTime},
};

use jiff::Timestamp;

use crate::telemetry::Format;

/// What is known of a request when it is over. Its fields are written in this order.
#[derive(Debug, Clone)]
pub(crate) struct Line<'a> {
    pub(crate) tenant: Option<&'a str>,
    /// As sent.
    pub(crate) host: Option<&'a [u8]>,
    /// None where the request could not be read.
    pub(crate) method: Option<&'a str>,
    /// With the query, as sent; None where the request could not be read.
    pub(crate) path: Option<&'a str>,
    pub(crate) status: u16,
    /// Of the request's body, from the client.
    pub(crate) bytes_in: u64,
    /// Of the response's body, to the client.
    pub(crate) bytes_out: u64,
    pub(crate) duration: Duration,
    /// To the head of the upstream's response.
    pub(crate) upstream: Option<Duration>,
    pub(crate) endpoint: Option<&'a str>,
    pub(crate) attempts: u32,
    /// How long it waited for an upstream that was away.
    pub(crate) held: Option<Duration>,
    /// How long it waited for other requests of its tenant.
    pub(crate) queued: Option<Duration>,
    pub(crate) client: &'a [u8],
    /// None where the request could not be read.
    pub(crate) request_id: Option<&'a [u8]>,
    pub(crate) error: Option<&'static str>,
}

impl Line<'_> {
    /// Appends the line and its end to `out`. `now` is when the request was over.
    pub(crate) fn write(
        &self,
        format: Format,
        now: UnixMillis,
        clock: &mut Clock,
        out: &mut Vec<u8>,
    ) {
        match format {
            Format::Json => self.write_json(now, clock, out),
            Format::Text => self.write_text(now, clock, out),
        }
        out.push(b'\n');
    }

    fn write_json(&self, now: UnixMillis, clock: &mut Clock, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"time":""#);
        clock.write(now, out);
        out.extend_from_slice(br#"","tenant":"#);
        json_or_null(self.tenant.map(str::as_bytes), out);
        out.extend_from_slice(br#","host":"#);
        json_or_null(self.host, out);
        out.extend_from_slice(br#","method":"#);
        json_or_null(self.method.map(str::as_bytes), out);
        out.extend_from_slice(br#","path":"#);
        json_or_null(self.path.map(str::as_bytes), out);
        out.extend_from_slice(br#","status":"#);
        integer(self.status, out);
        out.extend_from_slice(br#","bytes_in":"#);
        integer(self.bytes_in, out);
        out.extend_from_slice(br#","bytes_out":"#);
        integer(self.bytes_out, out);
        out.extend_from_slice(br#","duration_ms":"#);
        millis(self.duration, out);
        out.extend_from_slice(br#","upstream_ms":"#);
        match self.upstream {
            Some(upstream) => millis(upstream, out),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(br#","endpoint":"#);
        json_or_null(self.endpoint.map(str::as_bytes), out);
        out.extend_from_slice(br#","attempts":"#);
        integer(self.attempts, out);
        out.extend_from_slice(br#","held_ms":"#);
        match self.held {
            Some(held) => millis(held, out),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(br#","queued_ms":"#);
        match self.queued {
            Some(queued) => millis(queued, out),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(br#","client":"#);
        json_string(self.client, out);
        out.extend_from_slice(br#","request_id":"#);
        json_or_null(self.request_id, out);
        out.extend_from_slice(br#","error":"#);
        json_or_null(self.error.map(str::as_bytes), out);
        out.push(b'}');
    }

    /// For eyes: what one looks for first, in columns; then the address asked for; then the rest.
    fn write_text(&self, now: UnixMillis, clock: &mut Clock, out: &mut Vec<u8>) {
        clock.write(now, out);
        out.push(b' ');
        integer(self.status, out);
        out.push(b' ');
        right(11, out, |out| {
            millis(self.duration, out);
            out.extend_from_slice(b"ms");
        });
        out.push(b' ');
        left(12, out, |out| {
            plain_or_dash(self.tenant.map(str::as_bytes), out)
        });
        out.push(b' ');
        left(7, out, |out| {
            plain_or_dash(self.method.map(str::as_bytes), out);
        });
        out.push(b' ');
        plain_or_dash(self.host, out);
        plain_or_dash(self.path.map(str::as_bytes), out);
        out.extend_from_slice(b"  in=");
        integer(self.bytes_in, out);
        out.extend_from_slice(b" out=");
        integer(self.bytes_out, out);
        if let Some(upstream) = self.upstream {
            out.extend_from_slice(b" upstream=");
            millis(upstream, out);
            out.extend_from_slice(b"ms");
        }
        if let Some(endpoint) = self.endpoint {
            out.extend_from_slice(b" endpoint=");
            plain(endpoint.as_bytes(), out);
        }
        if self.attempts != 1 {
            out.extend_from_slice(b" attempts=");
            integer(self.attempts, out);
        }
        if let Some(held) = self.held {
            out.extend_from_slice(b" held=");
            millis(held, out);
            out.extend_from_slice(b"ms");
        }
        if let Some(queued) = self.queued {
            out.extend_from_slice(b" queued=");
            millis(queued, out);
            out.extend_from_slice(b"ms");
        }
        out.extend_from_slice(b" client=");
        plain(self.client, out);
        if let Some(id) = self.request_id {
            out.extend_from_slice(b" id=");
            plain(id, out);
        }
        if let Some(error) = self.error {
            out.extend_from_slice(b" error=");
            out.extend_from_slice(error.as_bytes());
        }
    }
}

/// Milliseconds since 1970, UTC.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UnixMillis(pub(crate) u64);

impl UnixMillis {
    pub(crate) fn now() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        // A clock before 1970 is wrong anyway.
        let millis = since.unwrap_or_default().as_millis();
        Self(u64::try_from(millis).unwrap_or(u64::MAX))
    }
}

/// Writes times, and remembers the second that it wrote last: most lines share it.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    second: Option<u64>,
    /// `2026-10-05T12:04:05.`
    text: Vec<u8>,
}

impl Clock {
    /// RFC 3339, UTC, milliseconds.
    fn write(&mut self, UnixMillis(unix_ms): UnixMillis, out: &mut Vec<u8>) {
        let second = unix_ms / 1000;
        if self.second != Some(second) {
            self.second = Some(second);
            self.text.clear();
            // Beyond the year 9999 the clock is wrong, and which wrong year is printed is no matter.
            let time = i64::try_from(second)
                .ok()
                .and_then(|second| Timestamp::from_second(second).ok())
                .unwrap_or(Timestamp::UNIX_EPOCH);
            let _ = write!(self.text, "{time}");
            self.text.pop(); // The Z.
            self.text.push(b'.');
        }
        out.extend_from_slice(&self.text);
        three_digits(unix_ms % 1000, out);
        out.push(b'Z');
    }
}

fn integer(value: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Milliseconds with three decimals.
fn millis(duration: Duration, out: &mut Vec<u8>) {
    let micros = duration.as_micros();
    integer(micros / 1000, out);
    out.push(b'.');
    three_digits(u64::from(duration.subsec_micros()) % 1000, out);
}

fn three_digits(value: u64, out: &mut Vec<u8>) {
    for unit in [100, 10, 1] {
        out.push(b'0' + (value / unit % 10) as u8);
    }
}

fn json_or_null(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    match bytes {
        Some(bytes) => json_string(bytes, out),
        None => out.extend_from_slice(b"null"),
    }
}

/// A JSON string (RFC 8259 §7) of any bytes. What is not UTF-8 becomes U+FFFD, as JSON can hold nothing
/// else without being taken for a character that was not sent.
fn json_string(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let is_plain = |byte: &u8| matches!(byte, 0x20..=0x7e) && !matches!(byte, b'"' | b'\\');
    if bytes.iter().all(is_plain) {
        out.extend_from_slice(bytes);
    } else {
        for chunk in bytes.utf8_chunks() {
            for character in chunk.valid().chars() {
                json_character(character, out);
            }
            if !chunk.invalid().is_empty() {
                json_character(char::REPLACEMENT_CHARACTER, out);
            }
        }
    }
    out.push(b'"');
}

fn json_character(character: char, out: &mut Vec<u8>) {
    match character {
        '"' => out.extend_from_slice(br#"\""#),
        '\\' => out.extend_from_slice(br"\\"),
        // DEL and C1 need no escape in JSON, but terminals obey them.
        _ if character.is_control() => {
            let _ = write!(out, "\\u{:04x}", u32::from(character));
        }
        _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

fn plain_or_dash(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    plain(bytes.unwrap_or(b"-"), out);
}

/// Any bytes as one word of visible ASCII: everything else, and the backslash, as `\xNN`.
fn plain(bytes: &[u8], out: &mut Vec<u8>) {
    for &byte in bytes {
        if matches!(byte, 0x21..=0x7e) && byte != b'\\' {
            out.push(byte);
        } else {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
}

/// Fills up what `write` writes with spaces to `width`.
fn left(width: usize, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    write(out);
    out.resize(out.len().max(start + width), b' ');
}

/// As [`left`], with the spaces in front.
fn right(width: usize, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    write(out);
    let missing = (start + width).saturating_sub(out.len());
    out.resize(out.len() + missing, b' ');
    out[start..].rotate_right(missing);
}

#[cfg(test)]
impl Line<'static> {
    /// A line with every field, for the tests of this module and its neighbours.
    pub(crate) fn example() -> Self {
        Self {
            tenant: Some("thor"),
            host: Some(b"thor.polls.local:8080"),
            method: Some("GET"),
            path: Some("/polls/?page=2"),
            status: 200,
            bytes_in: 0,
            bytes_out: 1234,
            duration: Duration::from_micros(12_034),
            upstream: Some(Duration::from_micros(9_900)),
            endpoint: Some("10.0.0.3:8000"),
            attempts: 1,
            held: Some(Duration::from_millis(250)),
            queued: Some(Duration::from_millis(5)),
            client: b"192.0.2.7",
            request_id: Some(b"0123456789abcdef0123456789abcdef"),
            error: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn json_is_the_contract() {
        check_json(
            &Line::example(),
            concat!(
                r#"{"time":"2026-09-21T14:13:20.042Z","tenant":"thor","#,
                r#""host":"thor.polls.local:8080","method":"GET","path":"/polls/?page=2","#,
                r#""status":200,"bytes_in":0,"bytes_out":1234,"duration_ms":12.034,"#,
                r#""upstream_ms":9.900,"endpoint":"10.0.0.3:8000","attempts":1,"held_ms":250.000,"queued_ms":5.000,"#,
                r#""client":"192.0.2.7","request_id":"0123456789abcdef0123456789abcdef","#,
                r#""error":null}"#,
            ),
        );
        check_json(
            &Line {
                tenant: None,
                host: None,
                method: None,
                path: None,
                status: 400,
                upstream: None,
                endpoint: None,
                attempts: 0,
                held: None,
                queued: None,
                client: b"unix",
                request_id: None,
                error: Some("bad_host"),
                ..Line::example()
            },
            concat!(
                r#"{"time":"2026-09-21T14:13:20.042Z","tenant":null,"#,
                r#""host":null,"method":null,"path":null,"#,
                r#""status":400,"bytes_in":0,"bytes_out":1234,"duration_ms":12.034,"#,
                r#""upstream_ms":null,"endpoint":null,"attempts":0,"held_ms":null,"queued_ms":null,"#,
                r#""client":"unix","request_id":null,"#,
                r#""error":"bad_host"}"#,
            ),
        );
    }

    #[test]
    fn text_is_one_line_of_columns() {
        let mut line = Line::example();
        assert_eq!(
            written(&line, Format::Text),
            "2026-09-21T14:13:20.042Z 200    12.034ms thor         GET     \
             thor.polls.local:8080/polls/?page=2  in=0 out=1234 upstream=9.900ms \
             endpoint=10.0.0.3:8000 held=250.000ms queued=5.000ms client=192.0.2.7 id=0123456789abcdef0123456789abcdef\n"
        );
        line.host = Some(b"a b\n\x1b[31m\xff\\");
        line.duration = Duration::from_secs(123_456_789);
        line.error = Some("bad_host");
        line.attempts = 2;
        assert_eq!(
            written(&line, Format::Text),
            "2026-09-21T14:13:20.042Z 200 123456789000.000ms thor         GET     \
             a\\x20b\\x0a\\x1b[31m\\xff\\x5c/polls/?page=2  in=0 out=1234 upstream=9.900ms \
             endpoint=10.0.0.3:8000 attempts=2 held=250.000ms queued=5.000ms client=192.0.2.7 \
             id=0123456789abcdef0123456789abcdef error=bad_host\n"
        );
    }

    #[test]
    fn json_strings_hold_any_bytes() {
        for (bytes, json) in [
            (b"plain".as_slice(), r#""plain""#),
            (b"", r#""""#),
            (br#"a"b\c"#, r#""a\"b\\c""#),
            (b"\0\n\t\x1b\x7f", r#""\u0000\u000a\u0009\u001b\u007f""#),
            (
                "über/\u{9b}\u{1f600}".as_bytes(),
                "\"über/\\u009b\u{1f600}\"",
            ),
            (b"a\xffb\xc3", "\"a\u{fffd}b\u{fffd}\""),
        ] {
            let mut out = Vec::new();
            json_string(bytes, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), json);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_request_is_one_line_of_json(
            host: Vec<u8>,
            path: String,
            method: String,
            time in 0_u64..u64::MAX,
            seconds: u32,
        ) {
            let line = Line {
                host: Some(&host),
                path: Some(&path),
                method: Some(&method),
                duration: Duration::from_secs(seconds.into()),
                ..Line::example()
            };
            let json = written_at(UnixMillis(time), &line, Format::Json);
            proptest::prop_assert_eq!(json.matches('\n').count(), 1);
            let value: Value = serde_json::from_str(&json).unwrap();
            proptest::prop_assert_eq!(value["host"].as_str().unwrap(), &*String::from_utf8_lossy(&host));
            proptest::prop_assert_eq!(&value["path"], &path);
            proptest::prop_assert_eq!(&value["method"], &method);
            let text = written(&line, Format::Text);
            proptest::prop_assert!(text.trim_end().bytes().all(|byte| matches!(byte, 0x20..=0x7e)));
        }
    }

    #[test]
    fn the_clock_keeps_its_second_and_leaves_it() {
        let mut clock = Clock::default();
        for (unix_ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (999, "1970-01-01T00:00:00.999Z"),
            (1000, "1970-01-01T00:00:01.000Z"),
            (951_782_400_007, "2000-02-29T00:00:00.007Z"),
            (1_790_000_000_042, "2026-09-21T14:13:20.042Z"),
            (u64::MAX, "1970-01-01T00:00:00.615Z"),
        ] {
            let mut out = Vec::new();
            clock.write(UnixMillis(unix_ms), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }

    fn check_json(line: &Line<'_>, expected: &str) {
        let json = written(line, Format::Json);
        assert_eq!(json, format!("{expected}\n"));
        serde_json::from_str::<Value>(&json).unwrap();
    }

    fn written(line: &Line<'_>, format: Format) -> String {
        written_at(UnixMillis(1_790_000_000_042), line, format)
    }

    fn written_at(now: UnixMillis, line: &Line<'_>, format: Format) -> String {
        let mut out = Vec::new();
        line.write(format, now, &mut Clock::default(), &mut out);
        String::from_utf8(out).unwrap()
    }
}
