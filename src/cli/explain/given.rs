//! The request that is asked about: what is typed, what a client would send, and how the edge reads it. It knows no
//! route.

use std::{net::IpAddr, str::FromStr};

use clap::Args;
use http::{HeaderName, HeaderValue, Method, uri::PathAndQuery};

use crate::{
    error::ProxyError,
    http1::{BadHead, RequestHead},
};

#[derive(Debug, Args)]
pub(in crate::cli) struct Given {
    /// As in a browser's address bar
    pub(super) url: Url,
    /// A header of the request, as often as there are some; Host replaces that of the URL
    #[arg(long = "header", value_name = "NAME: VALUE")]
    headers: Vec<Field>,
    /// The address that the request comes from
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub(super) from: IpAddr,
    #[arg(long, default_value = "GET")]
    pub(super) method: Method,
    #[arg(long)]
    pub(super) json: bool,
}

/// A URL, cut into what a client sends of it.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Url {
    /// As it was typed.
    pub(super) text: String,
    host: HeaderValue,
    target: String,
}

#[derive(Debug, Clone)]
struct Field {
    /// As it was typed.
    name: String,
    value: HeaderValue,
}

impl Given {
    /// The request as the edge reads it, or why it doesn't.
    pub(super) fn read(&self, headers_bytes_max: usize) -> Result<RequestHead, ProxyError> {
        let mut head = RequestHead::default();
        match head.parse(&self.bytes(), headers_bytes_max) {
            Ok(Some(_)) => Ok(head),
            // It ends in an empty line, so what is missing can only be room.
            Ok(None) => Err(BadHead::TooLarge),
            Err(bad) => Err(bad),
        }
        .map_err(|bad| ProxyError::of_head(bad, headers_bytes_max))
    }

    /// The head of the request as a client sends it.
    fn bytes(&self) -> Vec<u8> {
        let line = format!("{} {} HTTP/1.1\r\n", self.method, self.url.target);
        let mut bytes = line.into_bytes();
        let mut field = |name: &str, value: &HeaderValue| {
            for part in [name.as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                bytes.extend_from_slice(part);
            }
        };
        let is_host = |field: &Field| field.name.eq_ignore_ascii_case("host");
        if !self.headers.iter().any(is_host) {
            field("Host", &self.url.host);
        }
        for Field { name, value } in &self.headers {
            field(name, value);
        }
        bytes.extend_from_slice(b"\r\n");
        bytes
    }
}

impl FromStr for Url {
    type Err = String;

    /// What browsers make of an address: no fragment, A-labels, a path that is at least `/`.
    fn from_str(text: &str) -> Result<Self, String> {
        let rest = match text.split_once("://") {
            Some((scheme, rest)) if ["http", "https"].contains(&&*scheme.to_ascii_lowercase()) => {
                rest
            }
            Some((scheme, _)) => return Err(format!("write http:// instead of {scheme}://")),
            None => text,
        };
        let rest = rest.split('#').next().unwrap_or(rest);
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.is_empty() {
            return Err("it names no host, as http://thor.polls.local/ does".to_owned());
        }
        if let Some((user, _)) = authority.rsplit_once('@') {
            return Err(format!("leave out `{user}@`: it is no part of a Host"));
        }
        let host = HeaderValue::from_str(&ascii(authority)?)
            .map_err(|_| format!("`{}` can't be sent as a Host", authority.escape_debug()))?;
        Ok(Self {
            text: text.to_owned(),
            host,
            target: encoded(target)?,
        })
    }
}

/// A host and perhaps a port, with the host as it is sent.
fn ascii(authority: &str) -> Result<String, String> {
    if authority.is_ascii() {
        return Ok(authority.to_owned());
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, format!(":{port}")),
        None => (authority, String::new()),
    };
    let host = idna::domain_to_ascii_cow(host.as_bytes(), idna::AsciiDenyList::EMPTY)
        .map_err(|_| format!("`{host}` is no international host name"))?;
    Ok(format!("{host}{port}"))
}

/// A path and query as they are sent.
fn encoded(target: &str) -> Result<String, String> {
    let mut encoded = String::with_capacity(target.len() + 1);
    if !target.starts_with('/') {
        encoded.push('/');
    }
    for byte in target.bytes() {
        match byte {
            b' ' | 0x80.. => encoded.push_str(&format!("%{byte:02X}")),
            _ => encoded.push(char::from(byte)),
        }
    }
    match PathAndQuery::from_str(&encoded) {
        Ok(_) => Ok(encoded),
        Err(_) => Err(format!("`{}` is no path", target.escape_debug())),
    }
}

impl FromStr for Field {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text
            .split_once(':')
            .ok_or("write a name, a colon and a value: \"X-Real-IP: 192.0.2.1\"")?;
        HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| format!("`{}` is no name of a header", name.escape_debug()))?;
        let value = HeaderValue::from_str(value.trim())
            .map_err(|_| "a value is visible ASCII, on one line".to_owned())?;
        Ok(Self {
            name: name.to_owned(),
            value,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_sent_as_browsers_send_it() {
        let check = |text: &str, host: &str, target: &str| {
            let url: Url = text.parse().unwrap();
            assert_eq!((url.host.to_str().unwrap(), &*url.target), (host, target));
        };
        check("http://thor.polls.local", "thor.polls.local", "/");
        check("HTTPS://Thor.local:8080/a?b#c", "Thor.local:8080", "/a?b");
        check("thor.polls.local/polls/", "thor.polls.local", "/polls/");
        check(
            "thor.polls.local:8080?page=2",
            "thor.polls.local:8080",
            "/?page=2",
        );
        check(
            "http://bücher.example:80/ü x",
            "xn--bcher-kva.example:80",
            "/%C3%BC%20x",
        );
        check("http://[::1]:8080/", "[::1]:8080", "/");
        // Whether that is a host is for the edge to say.
        check("http://a b/", "a b", "/");
    }

    #[test]
    fn what_is_no_url() {
        let check = |text: &str, part: &str| {
            let error = Url::from_str(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        };
        check("", "names no host");
        check("/polls/", "names no host");
        check("http:///polls/", "names no host");
        check("ftp://thor.polls.local/", "http://");
        check("http://me@thor.polls.local/", "`me@`");
        check("http://thor.polls.local\r\nX: y/", "\\r\\n");
        check("http://thor.polls.local/\r\nX: y", "\\r\\n");
        check("http://xn--\u{fc}/", "international");
    }

    #[test]
    fn what_is_no_header() {
        let check = |text: &str, part: &str| {
            let error = Field::from_str(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        };
        check("X-Real-IP", "a colon");
        check("X Real: 1", "`X Real`");
        check(": 1", "``");
        check("X: a\r\nY: b", "one line");
    }
}
