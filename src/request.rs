//! What a request asks for, as far as its head says: a method, a target and a host. Pure: it refuses what is no
//! such thing, and leads nowhere.

use http::Method;

use crate::{
    error::{BadHost, ProxyError},
    http1::{Name, RequestHead},
    method,
    route::Authority,
};

/// A request that may be led somewhere.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) head: &'a RequestHead,
    /// Path and query as the client sent them.
    pub(crate) target: &'a str,
    /// The Host as the client sent it.
    pub(crate) host: &'a [u8],
    /// The same as it is looked up.
    pub(crate) authority: Authority,
}

impl<'a> Asked<'a> {
    /// # Errors
    /// What the client is told of a request that nobody can answer: a method that isn't forwarded, a target of another
    /// form, no host.
    #[inline]
    pub(crate) fn read(head: &'a RequestHead) -> Result<Self, ProxyError> {
        if !method::is_forwarded(&head.method) {
            return Err(ProxyError::MethodNotAllowed {
                method: head.method.clone(),
            });
        }
        let (authority, target) = split(&head.method, head.target()).ok_or({
            let because = "names a target that is neither a path nor an http URL";
            ProxyError::BadRequest { because }
        })?;
        let host = sole_host(authority, head)?;
        let authority =
            Authority::parse(host).map_err(|_| ProxyError::BadHost(BadHost::Invalid))?;
        Ok(Self {
            head,
            target,
            host,
            authority,
        })
    }

    pub(crate) fn unknown_host(&self) -> ProxyError {
        ProxyError::UnknownHost {
            host: String::from_utf8_lossy(self.host).into(),
        }
    }

    /// The protocol that the request asks to switch to (RFC 9110 §7.8): only one that its Connection field names, only
    /// in HTTP/1.1 and without a body, and never HTTP/2, which would carry requests that nobody has routed.
    pub(crate) fn upgrade(&self) -> Option<&'a [u8]> {
        let may = self.head.http11 && self.head.connection.upgrade() && self.head.body.is_end();
        let protocol = self.head.fields.first(Name::Upgrade).filter(|_| may)?;
        let mut protocols = self.head.fields.all(Name::Upgrade).flat_map(listed);
        let names_http = protocols.any(|name| {
            name.eq_ignore_ascii_case(b"h2c")
                || name.len() >= 4 && name[..4].eq_ignore_ascii_case(b"http")
        });
        (!names_http).then_some(protocol)
    }
}

/// The members of a list, as fields hold them (RFC 9110 §5.6.1).
pub(crate) fn listed(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|&byte| byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty())
}

/// Path and query of a target; of one that nobody serves, all of it.
pub(crate) fn path<'a>(method: &Method, target: &'a str) -> &'a str {
    split(method, target).map_or(target, |(_, path)| path)
}

/// A target's authority, if it has one, and its path and query, as they were sent. None for forms that nobody serves
/// (RFC 9112 §3.2): the authority alone is CONNECT's, and would be a second Host.
fn split<'a>(method: &Method, target: &'a str) -> Option<(Option<&'a str>, &'a str)> {
    if target.starts_with('/') || target == "*" && method == Method::OPTIONS {
        return Some((None, target));
    }
    let (scheme, rest) = target.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    // RFC 9112 §3.2.4: OPTIONS for a whole server, as one proxy says it to the next.
    let path = match path {
        "" if method == Method::OPTIONS => "*",
        "" => "/",
        path => path,
    };
    Some((Some(authority), path))
}

/// The Host of a request: the target's authority if it has one (RFC 9112 §3.2.2), else the one Host field.
fn sole_host<'a>(
    authority: Option<&'a str>,
    head: &'a RequestHead,
) -> Result<&'a [u8], ProxyError> {
    let mut hosts = head.fields.all(Name::Host);
    let host = hosts.next().ok_or(ProxyError::BadHost(BadHost::Missing))?;
    if hosts.next().is_some() {
        return Err(ProxyError::BadHost(BadHost::Repeated));
    }
    Ok(authority.map_or(host, str::as_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_paths_or_urls() {
        for (method, target, expected) in [
            ("GET", "/a?b", Some((None, "/a?b"))),
            ("GET", "//a", Some((None, "//a"))),
            ("GET", "*", None),
            ("OPTIONS", "*", Some((None, "*"))),
            ("GET", "http://h:1/a", Some((Some("h:1"), "/a"))),
            ("GET", "HTTPS://h", Some((Some("h"), "/"))),
            ("GET", "http://h?a", Some((Some("h"), "?a"))),
            ("OPTIONS", "http://h", Some((Some("h"), "*"))),
            ("GET", "http:///a", Some((Some(""), "/a"))),
            ("GET", "h:80", None),
            ("GET", "a/b", None),
            ("GET", "ftp://h/", None),
        ] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(split(&method, target), expected, "{method} {target}");
        }
    }
}
