//! One request, from its head to its response's head. Every branch that a request can take is here; what the
//! branches need is computed elsewhere. Below it is only what a request is read with.

use std::{convert::Infallible, rc::Rc, sync::Arc};

use http::{
    HeaderMap, HeaderValue, Method, Request, Response, Uri, Version, header, request::Parts,
};
use hyper::body::{Body as _, Incoming};

use crate::{
    body::Body,
    error::{BadHost, ProxyError, page},
    forward::{Answer, Outbound, forward},
    headers::{self, ConnectionOptions},
    method,
    route::Authority,
    session::Session,
    snapshot::Route,
    telemetry::record::Record,
    upgrade::Tunnel,
    upstream::http1::ResponseHead,
};

/// Never fails: whatever goes wrong with a request is a response, and a line in the log.
pub(crate) async fn handle(
    session: Rc<Session>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let (mut parts, body) = request.into_parts();
    let mut record = Record::begin(
        &session,
        &parts.method,
        &parts.uri,
        parts.headers.get(header::HOST),
    );
    let accept = parts.headers.get(header::ACCEPT).cloned();
    let has_body = !body.is_end_stream();
    let (route, answer) = match lead(&session, &mut record, &mut parts, body).await {
        Ok(led) => led,
        Err(error) => {
            if has_body {
                session.set_answered_early();
            }
            return Ok(refuse(&session, record, &error, accept.as_ref()));
        }
    };
    let policy = &route.policy;
    Ok(match answer {
        Answer::Response(head, exchange) => {
            record.answered(head.status.as_u16());
            session.begin_response(policy.timeouts.idle);
            respond(&route, head, Body::upstream(exchange, record))
        }
        Answer::Switched(head, connection) => {
            record.answered(head.status.as_u16());
            let protocol = head.upgrade.clone();
            session.open_tunnel(Tunnel {
                connection,
                record,
                idle: policy.timeouts.tunnel_idle,
            });
            let mut response = respond(&route, head, Body::empty());
            switch(response.headers_mut(), protocol);
            response
        }
    })
}

/// To the app, and back with its answer.
async fn lead(
    session: &Rc<Session>,
    record: &mut Record,
    parts: &mut Parts,
    body: Incoming,
) -> Result<(Arc<Route>, Answer), ProxyError> {
    // 1 read
    if !method::is_forwarded(&parts.method) {
        return Err(ProxyError::MethodNotAllowed {
            method: parts.method.clone(),
        });
    }
    if !is_path_or_url(&parts.method, &parts.uri) {
        let because = "names a target that is neither a path nor an http URL";
        return Err(ProxyError::BadRequest { because });
    }
    let host = sole_host(&parts.uri, &parts.headers)?;
    let authority =
        Authority::parse(host.as_bytes()).map_err(|_| ProxyError::BadHost(BadHost::Invalid))?;
    let worker = session.worker();
    let peer_trusted = worker.trusts(session.peer().ip);
    if peer_trusted {
        record.set_client(worker.client(session.peer().ip, &parts.headers));
        if let Some(id) = headers::earlier_request_id(&parts.headers) {
            record.keep_request_id(id);
        }
    }

    // 2 route
    let route = worker
        .route(authority.host())
        .ok_or_else(|| ProxyError::UnknownHost {
            host: String::from_utf8_lossy(host.as_bytes()).into(),
        })?;
    let target = parts
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str());
    let (upstream, target) = route.upstream(target);
    record.set_route(&route, upstream);

    // 3 rewrite: what the app is to be told
    let connection = ConnectionOptions::of(&parts.headers);
    let upgrade = upgrade_wanted(parts.version, &connection, &parts.headers);
    let target = absolute_path(target);
    let outbound = Outbound {
        upstream,
        policy: &route.policy,
        method: &parts.method,
        target: &target,
        authority: host.as_bytes(),
        port: authority.port(),
        peer_trusted,
        connection,
        upgrade,
    };

    // 4 forward
    let answer = forward(session, record, &outbound, &mut parts.headers, body).await?;
    Ok((route, answer))
}

/// The app's answer as the client gets it.
fn respond(route: &Route, head: ResponseHead, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    if let Some(reason) = head
        .reason
        .and_then(|reason| hyper::ext::ReasonPhrase::try_from(reason).ok())
    {
        response.extensions_mut().insert(reason);
    }
    headers::edit_response(response.headers_mut(), &route.policy.response_headers);
    response
}

/// The edge's own answer to a request that reached no app, or got none from it.
fn refuse(
    session: &Session,
    mut record: Box<Record>,
    error: &ProxyError,
    accept: Option<&HeaderValue>,
) -> Response<Body> {
    record.failed(error);
    session.begin_response(session.worker().limits().keepalive);
    let (mut head, bytes) = page::render(error, accept, record.request_id()).into_parts();
    if error.closes_connection() {
        head.headers
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Response::from_parts(head, Body::whole(bytes, record))
}

fn switch(headers: &mut HeaderMap, protocol: Option<HeaderValue>) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    if let Some(protocol) = protocol {
        headers.insert(header::UPGRADE, protocol);
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

/// The protocol that a request asks to switch to (RFC 9110 §7.8): only one that its Connection field names, only in
/// HTTP/1.1, and never HTTP/2, which would carry requests that nobody has routed.
fn upgrade_wanted(
    version: Version,
    connection: &ConnectionOptions,
    headers: &HeaderMap,
) -> Option<HeaderValue> {
    let protocol = headers
        .get(header::UPGRADE)
        .filter(|_| version == Version::HTTP_11 && connection.upgrade())?;
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

/// A target whose prefix was taken off, or that never had a path, still begins with a slash.
fn absolute_path(target: &str) -> std::borrow::Cow<'_, str> {
    if target.starts_with('/') || target == "*" {
        target.into()
    } else {
        format!("/{target}").into()
    }
}
