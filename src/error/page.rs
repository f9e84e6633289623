//! An error as a response: a page for people, JSON for programs, a line of text for the rest.
//!
//! Pure. Everything that came from the client is escaped for where it stands.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use super::{Fault, ProxyError};
use crate::{html::Escaped, method};

/// The response for `error`, in the form that `accept` likes best.
pub(crate) fn render(
    error: &ProxyError,
    accept: Option<&HeaderValue>,
    request_id: &str,
) -> Response<Bytes> {
    let form = Form::negotiate(accept);
    let body = match form {
        Form::Text => text(error, request_id),
        Form::Json => json(error, request_id),
        Form::Html => html(error, request_id),
    };
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = error.status();
    *response.headers_mut() = headers(error, form, response.body().len(), request_id);
    response
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
    pub(crate) fn negotiate(accept: Option<&HeaderValue>) -> Self {
        let Some(accept) = accept.and_then(|value| value.to_str().ok()) else {
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

    pub(crate) fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Text => "text/plain; charset=utf-8",
            Self::Json => "application/json",
            Self::Html => "text/html; charset=utf-8",
        })
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

fn headers(error: &ProxyError, form: Form, length: usize, request_id: &str) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(header::CONTENT_TYPE, form.content_type());
    headers.insert(header::CONTENT_LENGTH, length.into());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::SERVER, HeaderValue::from_static("hostler"));
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert("x-request-id", id);
    }
    if let ProxyError::MethodNotAllowed { .. } = error {
        // RFC 9110 §15.5.6 demands it.
        headers.insert(header::ALLOW, HeaderValue::from_static(method::ALLOW));
    }
    if error.status() == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    headers
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
    let reason = status.canonical_reason().unwrap_or("Client Closed Request");
    let advice = match error.fault() {
        Fault::Client => "Check the address, or ask whoever gave it to you.",
        Fault::Upstream => "The way to the application works; the application itself needs a look.",
        Fault::Edge => "It is neither your request nor the application.",
    };
    format!(
        include_str!("page.html"),
        status = status.as_u16(),
        reason = reason,
        message = Escaped(&error.message()),
        advice = advice,
        label = error.label(),
        request_id = Escaped(request_id),
    )
}

#[cfg(test)]
mod tests {
    use http::Method;

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
            let value = accept.map(HeaderValue::from_static);
            assert_eq!(Form::negotiate(value.as_ref()), form, "{accept:?}");
        }
        let noise = HeaderValue::from_bytes(b"text/html\xff").unwrap();
        assert_eq!(Form::negotiate(Some(&noise)), Text);
    }

    #[test]
    fn every_error_renders_in_every_form() {
        for (error, status, label, _) in all() {
            for accept in ["text/html", "application/json", "text/plain"] {
                let response = render(&error, Some(&HeaderValue::from_static(accept)), "id-1");
                assert_eq!(response.status().as_u16(), status);
                let headers = response.headers();
                let kind = headers[header::CONTENT_TYPE].to_str().unwrap();
                assert!(kind.starts_with(accept), "{kind}");
                assert_eq!(
                    headers[header::CONTENT_LENGTH].to_str().unwrap(),
                    response.body().len().to_string()
                );
                assert_eq!(headers[header::CACHE_CONTROL], "no-store");
                assert_eq!(headers[header::SERVER], "hostler");
                assert_eq!(headers["x-request-id"], "id-1");
                assert_eq!(headers.contains_key(header::ALLOW), status == 405);
                assert_eq!(headers.contains_key(header::RETRY_AFTER), status == 503);
                let body = std::str::from_utf8(response.body()).unwrap();
                for part in [label, "id-1", &status.to_string()] {
                    assert!(body.contains(part), "{part} in {body}");
                }
                assert!(!body.contains("refused"), "a cause in {body}");
            }
        }
    }

    #[test]
    fn json_is_the_contract() {
        let error = ProxyError::UnknownHost {
            host: "a\"b".into(),
        };
        let accept = HeaderValue::from_static("application/json");
        let response = render(&error, Some(&accept), "id-1");
        assert_eq!(
            response.body(),
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
        let html = HeaderValue::from_static("text/html");
        let response = render(&error, Some(&html), "\"><img src=x>");
        let body = std::str::from_utf8(response.body()).unwrap();
        assert!(!body.contains("<script"), "{body}");
        assert!(!body.contains("<img"), "{body}");
        assert!(body.contains("&lt;script&gt;"), "{body}");
        let connect = ProxyError::MethodNotAllowed {
            method: Method::CONNECT,
        };
        assert_eq!(
            render(&connect, Some(&html), "\n")
                .headers()
                .get("x-request-id"),
            None
        );
    }
}
