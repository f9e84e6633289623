//! Getting one request answered by its upstream: a connection, an exchange over it, and another try where that
//! can do no harm. It reaches no upstream but the one it is given.

use std::{
    borrow::Cow,
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use hyper::body::{Body, Incoming};
use tokio::time::Instant;

use crate::{
    config::{HostHeader, Policy},
    error::ProxyError,
    headers::{self, BodyLength, ConnectionOptions, Onward},
    request::Asked,
    session::Session,
    snapshot::Route,
    telemetry::record::Record,
    upstream::{
        Connection, DialError, Upstream,
        exchange::{Exchange, Failure},
        http1::ResponseHead,
        outage::{NoWait, Outage},
        upload::Upload,
    },
};

/// A request that knows where it is going.
#[derive(Debug)]
pub(crate) struct Outbound<'a> {
    pub(crate) upstream: &'a Arc<Upstream>,
    pub(crate) policy: &'a Policy,
    pub(crate) method: &'a Method,
    /// As this upstream shall see it.
    pub(crate) target: Cow<'a, str>,
    /// The Host as the client sent it, and the port that it names.
    pub(crate) authority: &'a [u8],
    pub(crate) port: Option<u16>,
    pub(crate) peer_trusted: bool,
    pub(crate) connection: ConnectionOptions,
    /// The protocol that the client wants to switch to, if it does.
    pub(crate) upgrade: Option<HeaderValue>,
}

/// Who sends a request, and what it is called.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sender<'a> {
    /// Who is at the other end of the socket.
    pub(crate) peer: &'a str,
    /// Whose request it is.
    pub(crate) client: &'a str,
    pub(crate) request_id: &'a str,
}

impl<'a> Outbound<'a> {
    /// Of a request whose host leads to `route`.
    #[inline]
    pub(crate) fn new(
        asked: &'a Asked<'_>,
        route: &'a Route,
        headers: &HeaderMap,
        peer_trusted: bool,
    ) -> Self {
        let (upstream, target) = route.upstream(asked.target);
        let connection = ConnectionOptions::of(headers);
        let upgrade = asked.upgrade(&connection, headers);
        Self {
            upstream,
            policy: &route.policy,
            method: asked.method,
            target: absolute_path(target),
            authority: asked.host.as_bytes(),
            port: asked.authority.port(),
            peer_trusted,
            connection,
            upgrade,
        }
    }

    /// The head that the app at one of the upstream's origins is sent.
    #[inline]
    pub(crate) fn onward(
        &'a self,
        origin: usize,
        sender: Sender<'a>,
        headers: &'a HeaderMap,
        body: BodyLength,
    ) -> Onward<'a> {
        Onward {
            method: self.method,
            target: &self.target,
            headers,
            connection: &self.connection,
            authority: self.authority,
            host: match &self.policy.host {
                HostHeader::Preserve => self.authority,
                HostHeader::Upstream => self.upstream.authority(origin).as_bytes(),
                HostHeader::Literal(host) => host.as_bytes(),
            },
            port: self.port,
            peer: sender.peer,
            client: sender.client,
            peer_trusted: self.peer_trusted,
            request_id: sender.request_id,
            body,
            upgrade: self.upgrade.as_ref(),
            edits: &self.policy.request_headers,
        }
    }
}

/// A target whose prefix was taken off, or that never had a path, still begins with a slash.
fn absolute_path(target: &str) -> Cow<'_, str> {
    if target.starts_with('/') || target == "*" {
        target.into()
    } else {
        format!("/{target}").into()
    }
}

/// What the app answered.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A head, and a body that is still to be read from the exchange.
    Response(ResponseHead, Exchange),
    /// The app has switched protocols.
    Switched(ResponseHead, Connection),
}

/// `headers` are the request's; their memory goes to the response's.
pub(crate) async fn forward(
    session: &Rc<Session>,
    record: &mut Record,
    outbound: &Outbound<'_>,
    headers: &mut HeaderMap,
    body: Incoming,
) -> Result<Answer, ProxyError> {
    let length = body_length(&body, headers);
    let has_body = !matches!(length, BodyLength::None | BodyLength::Known(0));
    let mut upload = has_body.then(|| Upload::new(body, length, expects_continue(headers)));
    let mut tries = 0;
    loop {
        record.attempt();
        // A pooled connection may have been closed by now, so the second try is on a new one.
        let pooled = match tries {
            0 => session.worker().pooled(outbound.upstream),
            _ => None,
        };
        let mut connection = match pooled {
            Some(connection) => connection,
            None => connect(session, record, outbound).await?,
        };
        record.set_endpoint(connection.endpoint());
        write_head(&mut connection, record, outbound, headers, length);
        let mut exchange = Exchange::new(connection, upload, outbound.policy.timeouts, session);
        let head = poll_fn(|cx| {
            exchange.poll_head(
                cx,
                session,
                outbound.method,
                outbound.upgrade.is_some(),
                headers,
            )
        });
        match head.await {
            Ok(head) if head.status == StatusCode::SWITCHING_PROTOCOLS => {
                return Ok(Answer::Switched(head, exchange.into_parts().0));
            }
            Ok(head) => return Ok(Answer::Response(head, exchange)),
            Err(failure)
                if tries < outbound.policy.retries
                    && may_retry(&failure, &exchange, outbound.method) =>
            {
                tries += 1;
                upload = exchange.into_parts().1;
            }
            Err(failure) => return Err(error(failure, &exchange, outbound.policy)),
        }
    }
}

/// A new connection; while the upstream is away, the wait for its return, within the route's `hold`.
async fn connect(
    session: &Session,
    record: &mut Record,
    outbound: &Outbound<'_>,
) -> Result<Connection, ProxyError> {
    let (upstream, policy) = (outbound.upstream, outbound.policy);
    let mut outage = upstream.outage();
    // An upstream that comes and goes is waited for as long as one that doesn't come.
    let began = Instant::now();
    loop {
        if let Some(outage) = &outage {
            let hold = policy.hold.saturating_sub(began.elapsed());
            wait(session, record, outage, hold).await?;
        }
        match dial(session, record, outbound).await {
            Ok(connection) => {
                session.worker().watch(upstream);
                return Ok(connection);
            }
            Err(error) if policy.hold.is_zero() => return Err(error),
            Err(_) => {
                let (away, just_now) = upstream.is_away();
                if just_now {
                    session
                        .worker()
                        .probe(upstream, &away, policy.timeouts.connect);
                }
                outage = Some(away);
            }
        }
    }
}

/// Holds a request until its upstream is back, for as long as `hold` says from when it went away.
async fn wait(
    session: &Session,
    record: &mut Record,
    outage: &Outage,
    hold: Duration,
) -> Result<(), ProxyError> {
    let away = |why: NoWait| ProxyError::UpstreamAway { cause: why.into() };
    let left = outage.patience(hold).map_err(away)?;
    session.deadline().set(left);
    let began = Instant::now();
    let mut turn = pin!(outage.wait());
    let waited = poll_fn(|cx| match turn.as_mut().poll(cx) {
        Poll::Ready(turn) => Poll::Ready(turn),
        Poll::Pending if session.deadline().passed() => Poll::Ready(Err(NoWait::TooLong)),
        Poll::Pending => Poll::Pending,
    });
    let waited = waited.await;
    record.held(began.elapsed());
    waited.map_err(away)
}

async fn dial(
    session: &Session,
    record: &mut Record,
    outbound: &Outbound<'_>,
) -> Result<Connection, ProxyError> {
    let after = outbound.policy.timeouts.connect;
    session.deadline().set(after);
    let mut dial = pin!(outbound.upstream.dial(session.worker().resolver()));
    let dialled = poll_fn(|cx| match dial.as_mut().poll(cx) {
        Poll::Ready(dialled) => Poll::Ready(Some(dialled)),
        Poll::Pending if session.deadline().passed() => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    });
    match dialled.await {
        Some(Ok(connection)) => Ok(connection),
        Some(Err(DialError::Unreachable { endpoint, error })) => {
            record.set_endpoint(&endpoint.into());
            Err(ProxyError::UpstreamUnreachable { cause: error })
        }
        Some(Err(away @ (DialError::Unresolved { .. } | DialError::Moved { .. }))) => {
            Err(ProxyError::UpstreamUnresolved {
                cause: away.to_string().into(),
            })
        }
        None => Err(ProxyError::ConnectTimeout { after }),
    }
}

fn write_head(
    connection: &mut Connection,
    record: &Record,
    outbound: &Outbound<'_>,
    headers: &HeaderMap,
    length: BodyLength,
) {
    let sender = Sender {
        peer: &record.session().peer().text,
        client: record.client(),
        request_id: record.request_id(),
    };
    let onward = outbound.onward(connection.origin(), sender, headers, length);
    headers::write_request(connection.head_buffer(), &onward);
}

/// By what hyper has understood, never by what the client's fields say.
pub(crate) fn body_length(body: &Incoming, headers: &HeaderMap) -> BodyLength {
    match body.size_hint().exact() {
        None => BodyLength::Chunked,
        Some(0) if !headers.contains_key(header::CONTENT_LENGTH) => BodyLength::None,
        Some(length) => BodyLength::Known(length),
    }
}

/// RFC 9110 §10.1.1
fn expects_continue(headers: &HeaderMap) -> bool {
    headers
        .get(header::EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// Only where the app can't have acted on the first try, or acting twice is as good as once (RFC 9110 §9.2.2).
/// A time-out is no licence.
fn may_retry(failure: &Failure, exchange: &Exchange, method: &Method) -> bool {
    let closed = matches!(failure, Failure::Closed(_));
    let repeatable = method.is_idempotent() && exchange.upload_is_untouched();
    closed && !exchange.has_answer() && (!exchange.has_sent() || repeatable)
}

fn error(failure: Failure, exchange: &Exchange, policy: &Policy) -> ProxyError {
    match failure {
        Failure::Closed(error) => ProxyError::UpstreamClosed { cause: Some(error) },
        Failure::InvalidHead(_)
        | Failure::InvalidBody(_)
        | Failure::UnaskedUpgrade
        | Failure::TooManyInterim => ProxyError::UpstreamInvalid {
            cause: failure.to_string().into(),
        },
        Failure::UpstreamTimeout if exchange.upload_is_open() => ProxyError::IdleTimeout {
            after: policy.timeouts.idle,
        },
        Failure::UpstreamTimeout => ProxyError::ResponseTimeout {
            after: policy.timeouts.response,
        },
        Failure::ClientTimeout => ProxyError::BodyTimeout {
            after: policy.timeouts.idle,
        },
        Failure::ClientBody(error) if is_cut(&error) => ProxyError::ClientGone,
        Failure::ClientBody(_) => ProxyError::BadRequest {
            because: "has a body that is not framed as it should be",
        },
    }
}

/// Whether a client's body ended because the client left, and not because it was wrong. hyper says it by an error of
/// the socket's kind, somewhere below its own.
fn is_cut(error: &hyper::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let mut causes =
        std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    error.is_incomplete_message()
        || causes.any(|cause| {
            cause.downcast_ref::<std::io::Error>().is_some_and(|error| {
                matches!(
                    error.kind(),
                    BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
                )
            })
        })
}
