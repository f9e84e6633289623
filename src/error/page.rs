//! An error as a response: a page for people, JSON for programs, a line of text for the rest.
//!
//! Pure. Everything that came from the client is escaped for where it stands.

use http::StatusCode;

use super::{Fault, ProxyError};
use crate::{
    date::Date,
    headers::{Persistence, write_persistence},
    html::Escaped,
    http1::write::{end_of_head, field, status_line},
    method,
};

/// An answer of the edge's own.
#[derive(Debug)]
pub(crate) struct Answer<'a> {
    status: StatusCode,
    retry_after: Option<u64>,
    content_type: &'static str,
    request_id: &'a str,
    body: String,
}

/// The response for `error`, in the form that `accept` likes best.
pub(crate) fn render<'a>(
    error: &ProxyError,
    accept: Option<&[u8]>,
    request_id: &'a str,
) -> Answer<'a> {
    let form = Form::negotiate(accept);
    Answer {
        status: error.status(),
        retry_after: error.retry_after(),
        content_type: form.content_type(),
        request_id,
        body: match form {
            Form::Text => text(error, request_id),
            Form::Json => json(error, request_id),
            Form::Html => html(error, request_id),
        },
    }
}

impl Answer<'_> {
    /// Writes the whole of it, or without its body for HEAD; how many bytes of a body that was.
    pub(crate) fn write(
        &self,
        out: &mut Vec<u8>,
        date: Date,
        connection: Persistence,
        with_body: bool,
    ) -> usize {
        let reason = reason(self.status);
        status_line(out, format!("{} {reason}", self.status.as_u16()).as_bytes());
        field(out, b"content-type", self.content_type.as_bytes());
        field(
            out,
            b"content-length",
            self.body.len().to_string().as_bytes(),
        );
        field(out, b"cache-control", b"no-store");
        field(out, b"server", b"hostler");
        field(out, b"x-request-id", self.request_id.as_bytes());
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            // RFC 9110 §15.5.6 demands it.
            field(out, b"allow", method::ALLOW.as_bytes());
        }
        if let Some(seconds) = self.retry_after {
            field(out, b"retry-after", seconds.to_string().as_bytes());
        }
        write_persistence(out, connection);
        field(out, b"date", date.as_bytes());
        end_of_head(out);
        if !with_body {
            return 0;
        }
        out.extend_from_slice(self.body.as_bytes());
        self.body.len()
    }
}

/// In the order of preference among equals: what asks for anything is a program at a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Text,
    Json,
    Html,
}

impl Form {
    const ALL: [Self; 3] = [Self::Text, Self::Json, Self::Html];

    /// RFC 9110 §12.5.1: the highest weight wins; among equals the form that was named, then the one named
    /// first. Where nothing is acceptable, text is sent all the same (§12.4.1).
    pub(crate) fn negotiate(accept: Option<&[u8]>) -> Self {
        let Some(accept) = accept.and_then(|value| str::from_utf8(value).ok()) else {
            return Self::Text;
        };
        let mut best = (Self::Text, Preference::NONE);
        for form in Self::ALL {
            let preference = form.preference(accept);
            if preference.beats(best.1) {
                best = (form, preference);
            }
        }
        best.0
    }

    /// What `accept` says of this form: the word of its most specific range counts.
    fn preference(self, accept: &str) -> Preference {
        let (kind, subkind) = self.media_type();
        let mut most_specific = Preference::NONE;
        for (position, range) in accept.split(',').enumerate() {
            let mut parts = range.split(';').map(str::trim);
            let Some((range_kind, range_subkind)) =
                parts.next().and_then(|range| range.split_once('/'))
            else {
                continue;
            };
            let specificity = if range_kind.eq_ignore_ascii_case(kind)
                && range_subkind.eq_ignore_ascii_case(subkind)
            {
                3
            } else if range_kind.eq_ignore_ascii_case(kind) && range_subkind == "*" {
                2
            } else if range_kind == "*" && range_subkind == "*" {
                1
            } else {
                continue;
            };
            if specificity > most_specific.specificity {
                let weight = weight(parts);
                most_specific = Preference {
                    weight,
                    specificity,
                    position,
                };
            }
        }
        most_specific
    }

    fn media_type(self) -> (&'static str, &'static str) {
        match self {
            Self::Text => ("text", "plain"),
            Self::Json => ("application", "json"),
            Self::Html => ("text", "html"),
        }
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; charset=utf-8",
            Self::Json => "application/json",
            Self::Html => "text/html; charset=utf-8",
        }
    }
}

#[derive(Clone, Copy)]
struct Preference {
    /// Thousandths, since q has three decimals.
    weight: u16,
    /// 3 for the type itself, 2 for `text/*`, 1 for `*/*`, 0 for nothing.
    specificity: u8,
    position: usize,
}

impl Preference {
    const NONE: Self = Self {
        weight: 0,
        specificity: 0,
        position: usize::MAX,
    };

    fn beats(self, other: Self) -> bool {
        let rank = |it: Self| (it.weight, it.specificity, std::cmp::Reverse(it.position));
        self.weight > 0 && rank(self) > rank(other)
    }
}

/// The weight among a range's parameters, in thousandths; 1000 without one, 0 for one that is no number
/// from 0 to 1 (RFC 9110 §12.4.2).
fn weight<'a>(mut parameters: impl Iterator<Item = &'a str>) -> u16 {
    let Some(q) = parameters.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.eq_ignore_ascii_case("q").then_some(value)
    }) else {
        return 1000;
    };
    let (whole, decimals) = q.split_once('.').unwrap_or((q, ""));
    if decimals.len() > 3 || !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
        return 0;
    }
    let thousandths = format!("{decimals:0<3}").parse().unwrap_or(0);
    match whole {
        "0" => thousandths,
        "1" if thousandths == 0 => 1000,
        _ => 0,
    }
}

fn reason(status: StatusCode) -> &'static str {
    status.canonical_reason().unwrap_or("Client Closed Request")
}

fn text(error: &ProxyError, request_id: &str) -> String {
    format!(
        "{} {}: {}\nrequest {request_id}\n",
        error.status().as_u16(),
        error.label(),
        error.message(),
    )
}

fn json(error: &ProxyError, request_id: &str) -> String {
    #[derive(serde::Serialize)]
    struct Body<'a> {
        status: u16,
        error: &'static str,
        message: &'a str,
        request_id: &'a str,
    }
    let body = Body {
        status: error.status().as_u16(),
        error: error.label(),
        message: &error.message(),
        request_id,
    };
    let mut json = serde_json::to_string(&body).expect("strings and a number are JSON");
    json.push('\n');
    json
}

fn html(error: &ProxyError, request_id: &str) -> String {
    let status = error.status();
    let advice = match error.fault() {
        Fault::Client => "Check the address, or ask whoever gave it to you.",
        Fault::Upstream => "The way to the application works; the application itself needs a look.",
        Fault::Edge => "It is neither your request nor the application.",
    };
    format!(
        include_str!("page.html"),
        status = status.as_u16(),
        reason = reason(status),
        message = Escaped(&error.message()),
        advice = advice,
        label = error.label(),
        request_id = Escaped(request_id),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::tests::all;

    #[test]
    fn the_form_follows_accept() {
        use Form::{Html, Json, Text};
        let firefox = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        for (accept, form) in [
            (None, Text),
            (Some("*/*"), Text),
            (Some(""), Text),
            (Some("image/png"), Text),
            (Some(firefox), Html),
            (Some("application/json"), Json),
            (Some("APPLICATION/JSON; charset=utf-8"), Json),
            (Some("application/json, text/plain, */*"), Json),
            (Some("text/plain, application/json"), Text),
            (Some("text/html;q=0.8, application/json;q=0.9"), Json),
            (Some("text/html;q=0.801, application/json;q=0.8"), Html),
            (Some("text/html;q=0, */*"), Text),
            (Some("text/plain;q=0, */*;q=0.1"), Json),
            (Some("text/plain;q=0, application/json;q=0, text/*"), Html),
            (Some("application/*"), Json),
            (Some("text/html;level=1;q=1"), Html),
            (Some("text/html;q=2, application/json;q=0.1"), Json),
            (Some("text/html;q=0.8888, application/json;q=0.1"), Json),
            (Some("text/html;q=-1, application/json;q=0.1"), Json),
            (Some("text;q=1, /, ;;, application/json"), Json),
        ] {
            assert_eq!(
                Form::negotiate(accept.map(str::as_bytes)),
                form,
                "{accept:?}"
            );
        }
        assert_eq!(Form::negotiate(Some(b"text/html\xff")), Text);
    }

    /// Head and body.
    fn rendered(error: &ProxyError, accept: &str, request_id: &str) -> (String, String) {
        let mut out = Vec::new();
        let answer = render(error, Some(accept.as_bytes()), request_id);
        let length = answer.write(&mut out, Date::now(), Persistence::Close, true);
        let body = out.split_off(out.len() - length);
        (
            String::from_utf8(out).unwrap(),
            String::from_utf8(body).unwrap(),
        )
    }

    #[test]
    fn every_error_renders_in_every_form() {
        for (error, status, label, _) in all() {
            for accept in ["text/html", "application/json", "text/plain"] {
                let (head, body) = rendered(&error, accept, "id-1");
                assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
                let has = |line: &str| head.contains(&format!("\r\n{line}"));
                assert!(has(&format!("content-type: {accept}")), "{head}");
                assert!(
                    has(&format!("content-length: {}\r\n", body.len())),
                    "{head}"
                );
                assert!(has("cache-control: no-store\r\n"), "{head}");
                assert!(has("server: hostler\r\n"), "{head}");
                assert!(has("x-request-id: id-1\r\n"), "{head}");
                assert!(has("connection: close\r\n"), "{head}");
                assert_eq!(has("allow: "), status == 405);
                assert_eq!(has("retry-after: 1\r\n"), status == 503);
                for part in [label, "id-1", &status.to_string()] {
                    assert!(body.contains(part), "{part} in {body}");
                }
                assert!(!body.contains("refused"), "a cause in {body}");
            }
        }
    }

    #[test]
    fn head_gets_the_same_without_the_body() {
        let error = ProxyError::TooManyConnections;
        let (mut all, mut head) = (Vec::new(), Vec::new());
        let answer = render(&error, None, "id");
        let date = Date::now();
        let length = answer.write(&mut all, date, Persistence::Persists, true);
        assert_eq!(
            answer.write(&mut head, date, Persistence::Persists, false),
            0
        );
        all.truncate(all.len() - length);
        assert_eq!(all, head);
    }

    #[test]
    fn json_is_the_contract() {
        let error = ProxyError::UnknownHost {
            host: "a\"b".into(),
        };
        let (_, body) = rendered(&error, "application/json", "id-1");
        assert_eq!(
            body,
            concat!(
                r#"{"status":404,"error":"unknown_host","#,
                r#""message":"No application answers for a\"b here.","request_id":"id-1"}"#,
                "\n"
            )
        );
    }

    #[test]
    fn what_the_client_sent_stays_text_in_html() {
        let error = ProxyError::UnknownHost {
            host: "<script>alert('x')</script>".into(),
        };
        let (_, body) = rendered(&error, "text/html", "\"><img src=x>");
        assert!(!body.contains("<script"), "{body}");
        assert!(!body.contains("<img"), "{body}");
        assert!(body.contains("&lt;script&gt;"), "{body}");
    }
}
