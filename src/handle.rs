//! One request, from its head to its response's head. Every branch that a request can take is here; what the
//! branches need is computed elsewhere. Below it is only what an answer is made with.

use std::{convert::Infallible, rc::Rc, sync::Arc};

use http::{HeaderMap, HeaderValue, Request, Response, header, request::Parts};
use hyper::body::{Body as _, Incoming};

use crate::{
    body::Body,
    error::{ProxyError, page},
    forward::{Answer, Outbound, forward},
    headers,
    request::Asked,
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
            let closes = has_body || error.closes_connection();
            return Ok(refuse(&session, record, &error, accept.as_ref(), closes));
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
    let asked = Asked::read(&parts.method, &parts.uri, parts.version, &parts.headers)?;
    record.set_host(&asked.host);
    let worker = session.worker();
    let vouched = worker.vouched(session.peer().ip, &parts.headers);
    if let Some(vouched) = &vouched {
        record.set_client(vouched.client);
        if let Some(id) = vouched.request_id {
            record.keep_request_id(id);
        }
    }

    // 2 route
    let route = worker
        .route(asked.authority.host())
        .ok_or_else(|| asked.unknown_host())?;

    // 3 rewrite: what the app is to be told
    let outbound = Outbound::new(&asked, &route, &parts.headers, vouched.is_some());
    record.set_route(&route, outbound.upstream.id());

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
    closes: bool,
) -> Response<Body> {
    record.failed(error);
    session.begin_response(session.worker().limits().keepalive);
    let (mut head, bytes) = page::render(error, accept, record.request_id()).into_parts();
    if closes {
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
