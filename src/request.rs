//! What a request asks for, as far as its head says: a method, a target and a host. Pure: it refuses what is no
//! such thing, and leads nowhere.

use http::{HeaderMap, HeaderValue, Method, Uri, Version, header};

use crate::{
    error::{BadHost, ProxyError},
    headers::ConnectionOptions,
    method,
    route::Authority,
};

/// A request that may be led somewhere.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a Method,
    /// Path and query as the client sent them.
    pub(crate) target: &'a str,
    pub(crate) version: Version,
    /// The Host as the client sent it.
    pub(crate) host: HeaderValue,
    /// The same as it is looked up.
    pub(crate) authority: Authority,
}

impl<'a> Asked<'a> {
    /// # Errors
    /// What the client is told of a request that nobody can answer: a method that isn't forwarded, a target of another
    /// form, no host.
    #[inline]
    pub(crate) fn read(
        method: &'a Method,
        uri: &'a Uri,
        version: Version,
        headers: &HeaderMap,
    ) -> Result<Self, ProxyError> {
        if !method::is_forwarded(method) {
            return Err(ProxyError::MethodNotAllowed {
                method: method.clone(),
            });
        }
        if !is_path_or_url(method, uri) {
            let because = "names a target that is neither a path nor an http URL";
            return Err(ProxyError::BadRequest { because });
        }
        let host = sole_host(uri, headers)?;
        let authority =
            Authority::parse(host.as_bytes()).map_err(|_| ProxyError::BadHost(BadHost::Invalid))?;
        Ok(Self {
            method,
            target: uri.path_and_query().map_or("/", |target| target.as_str()),
            version,
            host,
            authority,
        })
    }

    pub(crate) fn unknown_host(&self) -> ProxyError {
        ProxyError::UnknownHost {
            host: String::from_utf8_lossy(self.host.as_bytes()).into(),
        }
    }

    /// The protocol that the request asks to switch to (RFC 9110 §7.8): only one that its Connection field names, only
    /// in HTTP/1.1, and never HTTP/2, which would carry requests that nobody has routed.
    pub(crate) fn upgrade(
        &self,
        connection: &ConnectionOptions,
        headers: &HeaderMap,
    ) -> Option<HeaderValue> {
        let protocol = headers
            .get(header::UPGRADE)
            .filter(|_| self.version == Version::HTTP_11 && connection.upgrade())?;
        let names_http = protocol
            .as_bytes()
            .split(|&byte| byte == b',')
            .any(|protocol| {
                let name = protocol.trim_ascii();
                name.eq_ignore_ascii_case(b"h2c")
                    || name.len() >= 4 && name[..4].eq_ignore_ascii_case(b"http")
            });
        (!names_http).then(|| protocol.clone())
    }
}

/// The forms that a target may have (RFC 9112 §3.2). hyper takes a bare word for an authority, which is CONNECT's form
/// and would be a second Host.
fn is_path_or_url(method: &Method, uri: &Uri) -> bool {
    match (uri.scheme_str(), uri.authority()) {
        (Some("http" | "https"), Some(_)) => true,
        (None, None) => uri.path() != "*" || method == Method::OPTIONS,
        (Some(_) | None, _) => false,
    }
}

/// The Host of a request: the target's authority if it has one (RFC 9112 §3.2.2), else the one Host field.
fn sole_host(uri: &Uri, headers: &HeaderMap) -> Result<HeaderValue, ProxyError> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next().ok_or(ProxyError::BadHost(BadHost::Missing))?;
    if hosts.next().is_some() {
        return Err(ProxyError::BadHost(BadHost::Repeated));
    }
    let Some(authority) = uri.authority() else {
        return Ok(host.clone());
    };
    HeaderValue::from_str(authority.as_str()).map_err(|_| ProxyError::BadHost(BadHost::Invalid))
}
