//! One request, from its head to the last byte of its response. Every branch that a request can take is here; what the
//! branches need is computed elsewhere.

use std::{future::poll_fn, sync::Arc};

use http::Method;
use tokio::time::Instant;

use crate::{
    bulkhead::Permit,
    client::{Client, Interrupted},
    error::{ProxyError, page},
    forward::{Answer, Outbound, forward},
    headers::{self, BodyLength, Homeward, Persistence},
    http1::{BodyDecoder, Name, RequestHead},
    limits::{self, gate::Full},
    request::Asked,
    snapshot::Route,
    telemetry::record::Record,
    upgrade,
    upstream::exchange::Exchange,
};

/// What becomes of the connection after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    Request,
    Close,
    /// Close, once the client has had a while to stop sending and to read its answer.
    Linger,
}

/// Never fails: whatever goes wrong with a request is a response where there can be one, and a line in the log.
pub(crate) async fn handle(client: &mut Client, head: &RequestHead) -> Next {
    let mut record = Record::begin(client.session(), head);
    let led = lead(client, &mut record, head).await;
    client.session().turn_to_answer().await;
    match led {
        Ok((route, Answer::Response(exchange))) => {
            respond(client, record, head, &route, exchange).await
        }
        Ok((route, Answer::Switched(exchange))) => {
            Box::pin(switch(client, record, &route, exchange)).await;
            Next::Close
        }
        Err(ProxyError::ClientGone) => Next::Close,
        Err(error) => Box::pin(refuse(client, record, head, &error)).await,
    }
}

/// To the app, and back with its answer.
async fn lead<'a>(
    client: &mut Client,
    record: &mut Record<'a>,
    head: &'a RequestHead,
) -> Result<(Arc<Route>, Answer), ProxyError> {
    // 1 read
    let asked = Asked::read(head)?;
    record.set_host(asked.host);
    let session = client.session();
    let worker = session.worker();
    let vouched = worker.vouched(session.peer(), &head.fields);
    if let Some(vouched) = &vouched {
        record.set_client(vouched.client);
        if let Some(id) = vouched.request_id {
            record.keep_request_id(id);
        }
    }

    // 2 route
    let route = worker.route(asked.authority.host());
    let tenant = route.as_deref().map(Route::bulkhead);
    session.turn_to_begin(tenant).await;
    let route = route.ok_or_else(|| asked.unknown_host())?;
    record.set_route(&route);

    // 3 admit
    let limits = &route.policy.limits;
    let from = vouched
        .as_ref()
        .map_or(session.peer().ip, |vouched| vouched.client);
    limits::accept(&route.policy, from, head)?;
    limits::pace(limits, route.bulkhead(), from, || {
        worker.age_at(record.started())
    })?;
    let permit = match route.bulkhead().permit() {
        Some(permit) => permit,
        None => Box::pin(queue(client, record, &route)).await?,
    };
    record.admit(permit);

    // 4 rewrite: what the app is to be told
    let outbound = Outbound::new(&asked, &route, vouched.is_some());
    record.set_upstream(outbound.upstream.id());

    // 5 forward
    let answer = forward(client, record, &outbound).await?;
    Ok((route, answer))
}

/// Waits for others of the tenant's requests to end.
async fn queue(
    client: &mut Client,
    record: &mut Record<'_>,
    route: &Route,
) -> Result<Permit, ProxyError> {
    let limits = &route.policy.limits;
    let turn = route.bulkhead().queue(limits.queue);
    let turn = turn.map_err(|Full| ProxyError::QueueFull)?;
    client.session().deadline().set(limits.queue_wait);
    let began = Instant::now();
    let waited = client.attend(turn).await;
    record.queued(began.elapsed());
    match waited {
        Ok(_) => Ok(route.bulkhead().waited_for()),
        Err(Interrupted::Deadline) => Err(ProxyError::QueueTimeout {
            after: limits.queue_wait,
        }),
        Err(Interrupted::ClientGone) => Err(ProxyError::ClientGone),
    }
}

/// 6 answer: the app's response, to its last byte.
async fn respond(
    client: &mut Client,
    mut record: Record<'_>,
    request: &RequestHead,
    route: &Route,
    mut exchange: Box<Exchange>,
) -> Next {
    let body = body_length(&exchange, request);
    let connection = persistence(client, request, &exchange, body);
    let worker = client.session().worker();
    let date = (!exchange.head.fields.contains(Name::Date)).then(|| worker.date());
    let homeward = Homeward {
        head: &exchange.head,
        body,
        connection,
        date: date.as_ref().map(|date| date.as_bytes()),
        edits: &route.policy.response_headers,
    };
    headers::write_response(client.wire.output(), &homeward);
    record.answered(exchange.head.status.as_u16());
    client.session().begin_response(route.policy.timeouts.idle);
    client.begin_response(body);
    exchange.begin_relay(body);
    if let Err(failure) = poll_fn(|cx| exchange.poll_relay(cx, client)).await {
        record.cut(&failure);
        return Next::Close;
    }
    let early = exchange.upload_is_open();
    if let Some(connection) = exchange.finish(client) {
        record.give_back(connection);
    }
    if client.flush().await.is_err() {
        return Next::Close;
    }
    client.end_response(body);
    record.complete();
    match connection {
        // The client may have been told that the connection persists, but what it still sends is nobody's.
        _ if early => Next::Linger,
        Persistence::Close => client.closing(),
        Persistence::Persists | Persistence::KeepAlive => Next::Request,
    }
}

/// How the client learns where the body ends: as from the app, or by chunks, if it knows them (RFC 9112 §6.1).
fn body_length(exchange: &Exchange, request: &RequestHead) -> BodyLength {
    match (&exchange.head.body, request.http11) {
        (BodyDecoder::Empty, _) => BodyLength::None,
        (BodyDecoder::Length(length), _) => BodyLength::Known(*length),
        (BodyDecoder::Chunked(_) | BodyDecoder::UntilClose, true) => BodyLength::Chunked,
        (BodyDecoder::Chunked(_) | BodyDecoder::UntilClose, false) => BodyLength::UntilClose,
    }
}

fn persistence(
    client: &mut Client,
    request: &RequestHead,
    exchange: &Exchange,
    body: BodyLength,
) -> Persistence {
    let closes = body == BodyLength::UntilClose
        // It may send its body now or not, so what comes next can't be told apart from it (RFC 9110 §10.1.1).
        || exchange.upload_waits()
        || client.is_last_request();
    Persistence::of(request, closes)
}

/// 6 answer: another protocol takes over.
async fn switch(
    client: &mut Client,
    mut record: Record<'_>,
    route: &Route,
    exchange: Box<Exchange>,
) {
    let (policy, head) = (&route.policy, &exchange.head);
    record.answered(head.status.as_u16());
    client.session().begin_response(policy.timeouts.tunnel_idle);
    let protocol = head.upgrade().unwrap_or_default();
    let edits = &policy.response_headers;
    headers::write_switch(client.wire.output(), head, protocol, edits);
    if client.flush().await.is_ok() {
        let idle = policy.timeouts.tunnel_idle;
        upgrade::run(client, record, exchange.into_connection(), idle).await;
    }
}

/// 6 answer: the edge's own, to a request that reached no app, or got none from it.
async fn refuse(
    client: &mut Client,
    mut record: Record<'_>,
    request: &RequestHead,
    error: &ProxyError,
) -> Next {
    let has_body = !request.body.is_end();
    // What follows on the connection is nobody's.
    let ends = has_body || error.closes_connection();
    let connection = Persistence::of(request, ends || client.is_last_request());
    record.failed(error);
    let session = client.session();
    session.begin_response(session.worker().limits().keepalive);
    let accept = request.fields.first(Name::Accept);
    let answer = page::render(error, accept, record.request_id().as_str());
    let with_body = request.method != Method::HEAD;
    let date = session.worker().date();
    let bytes = answer.write(client.wire.output(), date, connection, with_body);
    client.session().count_bytes_out(bytes);
    if client.flush().await.is_err() {
        return Next::Close;
    }
    record.complete();
    match connection {
        Persistence::Close if ends => Next::Linger,
        Persistence::Close => client.closing(),
        Persistence::Persists | Persistence::KeepAlive => Next::Request,
    }
}
