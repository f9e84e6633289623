//! Getting one request answered by its upstream: a connection, an exchange over it, and another try where that
//! can do no harm. It reaches no upstream but the one it is given.

use std::{borrow::Cow, future::poll_fn, rc::Rc, sync::Arc, time::Duration};

use http::{Method, StatusCode};
use tokio::time::Instant;

use crate::{
    bulkhead::{Bulkhead, Slot},
    client::{Client, Interrupted},
    config::{HostHeader, Policy},
    error::ProxyError,
    headers::{self, BodyLength, Onward},
    http1::{Name, RequestHead},
    limits::gate::Turn,
    request::Asked,
    snapshot::Route,
    telemetry::record::Record,
    upstream::{
        Connection, DialError, Upstream,
        endpoint::Endpoint,
        exchange::Exchange,
        failure::{Failure, Progress},
        outage::{NoWait, Outage},
        pool::Use,
        upload::Upload,
    },
};

/// A request that knows where it is going.
#[derive(Debug)]
pub(crate) struct Outbound<'a> {
    pub(crate) upstream: &'a Arc<Upstream>,
    pub(crate) bulkhead: &'a Arc<Bulkhead>,
    pub(crate) policy: &'a Policy,
    pub(crate) head: &'a RequestHead,
    /// As this upstream shall see it.
    pub(crate) target: Cow<'a, str>,
    /// The Host as the client sent it, and the port that it names.
    pub(crate) authority: &'a [u8],
    pub(crate) port: Option<u16>,
    pub(crate) peer_trusted: bool,
    /// The protocol that the client wants to switch to, if it does.
    pub(crate) upgrade: Option<&'a [u8]>,
}

/// Who sends a request, and what it is called.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sender<'a> {
    /// Who is at the other end of the socket.
    pub(crate) peer: &'a [u8],
    /// Whose request it is.
    pub(crate) client: &'a [u8],
    pub(crate) request_id: &'a [u8],
}

impl<'a> Outbound<'a> {
    /// Of a request whose host leads to `route`.
    #[inline]
    pub(crate) fn new(asked: &'a Asked<'_>, route: &'a Route, peer_trusted: bool) -> Self {
        let (upstream, target) = route.upstream(asked.target);
        Self {
            upstream,
            bulkhead: route.bulkhead(),
            policy: &route.policy,
            head: asked.head,
            target: absolute_path(target),
            authority: asked.host,
            port: asked.authority.port(),
            peer_trusted,
            upgrade: asked.upgrade(),
        }
    }

    /// Whether other requests wait for connections; then they go first.
    fn has_others_before(&self) -> bool {
        self.policy.limits.connections.is_some() && self.bulkhead.is_waited_for_slot()
    }

    /// The head that the app at one of the upstream's origins is sent.
    #[inline]
    pub(crate) fn onward(&'a self, origin: usize, sender: Sender<'a>) -> Onward<'a> {
        Onward {
            head: self.head,
            target: &self.target,
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
            body: body_length(self.head),
            upgrade: self.upgrade,
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
    /// A head, and a body that is still to be relayed.
    Response(Box<Exchange>),
    /// The app has switched protocols.
    Switched(Box<Exchange>),
}

pub(crate) async fn forward(
    client: &mut Client,
    record: &mut Record<'_>,
    outbound: &Outbound<'_>,
) -> Result<Answer, ProxyError> {
    let mut upload = Upload::of(outbound.head, outbound.policy.limits.body_bytes_max);
    let purpose = match (outbound.head.method.is_idempotent(), &upload) {
        (true, None) if outbound.policy.retries > 0 => Use::Repeatable,
        _ => Use::Once,
    };
    let mut tries = 0;
    loop {
        record.attempt();
        let (upstream, worker) = (outbound.upstream, client.session().worker());
        let picked = worker.pick(upstream, outbound.policy.balance, record.client());
        // A pooled connection may have been closed by now, so the second try is on a new one.
        let pooled = match tries {
            0 if !outbound.has_others_before() => {
                worker.pooled(upstream.id(), picked.as_ref(), purpose)
            }
            _ => None,
        };
        let wanted = Wanted {
            endpoint: picked.as_ref(),
            purpose,
        };
        let mut connection = match pooled {
            Some(connection) => connection,
            None => Box::pin(connect_in_turn(client, record, outbound, wanted)).await?,
        };
        record.set_endpoint(connection.endpoint());
        write_head(&mut connection, record, outbound);
        let mut exchange = Exchange::new(connection, upload, outbound.policy.timeouts, client);
        let head = poll_fn(|cx| exchange.poll_head(cx, client, outbound.head, outbound.upgrade));
        let ended = head.await;
        if let Err(Failure::Closed(_)) = &ended {
            exchange.was_dead();
        }
        match ended {
            Ok(()) if exchange.head.status == StatusCode::SWITCHING_PROTOCOLS => {
                return Ok(Answer::Switched(exchange));
            }
            Ok(()) => return Ok(Answer::Response(exchange)),
            Err(failure)
                if tries < outbound.policy.retries
                    && may_retry(&failure, exchange.progress(), &outbound.head.method) =>
            {
                tries += 1;
                upload = exchange.into_upload();
            }
            Err(failure) => return Err(error(failure, &exchange, outbound.policy)),
        }
    }
}

/// What kind of a connection a request needs.
#[derive(Debug, Clone, Copy)]
struct Wanted<'a> {
    endpoint: Option<&'a Arc<Endpoint>>,
    purpose: Use,
}

/// A new connection if the tenant may have one more, else the first that another request is done with, or the room that
/// it leaves.
async fn connect_in_turn(
    client: &mut Client,
    record: &mut Record<'_>,
    outbound: &Outbound<'_>,
    wanted: Wanted<'_>,
) -> Result<Connection, ProxyError> {
    let slot = match outbound.bulkhead.slot() {
        Some(slot) => slot,
        None => match slot(client, record, outbound, wanted).await? {
            Place::Free(slot) => slot,
            Place::Connected(connection) => return Ok(connection),
        },
    };
    let mut connection =
        connect(client, record, outbound, wanted.endpoint.map(Arc::as_ref)).await?;
    connection.takes(slot);
    Ok(connection)
}

/// What the wait for a connection has led to.
enum Place {
    Free(Slot),
    Connected(Connection),
}

async fn slot(
    client: &mut Client,
    record: &mut Record<'_>,
    outbound: &Outbound<'_>,
    wanted: Wanted<'_>,
) -> Result<Place, ProxyError> {
    let after = outbound.policy.limits.queue_wait;
    let worker = Rc::clone(client.session().worker());
    let mut turn = outbound.bulkhead.queue_for_slot(worker.index());
    // Those that are idle, here or elsewhere, make room.
    worker.ask_for_idle();
    client.session().deadline().set(after);
    let began = Instant::now();
    let upstream = outbound.upstream.id();
    let place = loop {
        match client.attend(&mut turn).await {
            Ok(Turn::In) => break Ok(Place::Free(outbound.bulkhead.waited_for_slot())),
            Ok(Turn::Called) => {
                match worker.pooled(upstream, wanted.endpoint, wanted.purpose) {
                    Some(connection) => break Ok(Place::Connected(connection)),
                    // It is none that would do.
                    None => worker.ask_for_idle(),
                }
            }
            Err(Interrupted::Deadline) => break Err(ProxyError::ConnectionsBusy { after }),
            Err(Interrupted::ClientGone) => break Err(ProxyError::ClientGone),
        }
    };
    record.queued(began.elapsed());
    place
}

/// A new connection; while the upstream is away, the wait for its return, within the route's `hold`.
async fn connect(
    client: &mut Client,
    record: &mut Record<'_>,
    outbound: &Outbound<'_>,
    picked: Option<&Endpoint>,
) -> Result<Connection, ProxyError> {
    let (upstream, policy) = (outbound.upstream, outbound.policy);
    let mut outage = upstream.outage();
    // An upstream that comes and goes is waited for as long as one that doesn't come.
    let began = Instant::now();
    loop {
        if let Some(outage) = &outage {
            let most = policy.hold.saturating_sub(began.elapsed());
            wait(client, record, outage, policy.hold, most).await?;
        }
        client.session().turn().await;
        match dial(client, record, outbound, picked).await {
            Ok(connection) => {
                client.session().worker().watch(upstream);
                return Ok(connection);
            }
            // It isn't the upstream that is away.
            Err(error @ (ProxyError::ClientGone | ProxyError::Exhausted { .. })) => {
                return Err(error);
            }
            Err(error) if policy.hold.is_zero() => return Err(error),
            Err(_) => {
                let (away, just_now) = upstream.is_away();
                if just_now {
                    let worker = client.session().worker();
                    worker.probe(upstream, &away, policy.timeouts.connect);
                }
                outage = Some(away);
            }
        }
    }
}

/// Holds a request until its upstream is back, for as long as `hold` says from when it went away, and `most` at most.
async fn wait(
    client: &mut Client,
    record: &mut Record<'_>,
    outage: &Outage,
    hold: Duration,
    most: Duration,
) -> Result<(), ProxyError> {
    let away = |why: NoWait| ProxyError::UpstreamAway { cause: why.into() };
    let left = outage.patience(hold).map_err(away)?;
    client.session().deadline().set(left.min(most));
    let began = Instant::now();
    let waited = client.attend(outage.wait()).await;
    record.held(began.elapsed());
    match waited {
        Ok(turn) => turn.map_err(away),
        Err(Interrupted::Deadline) => Err(away(NoWait::TooLong)),
        Err(Interrupted::ClientGone) => Err(ProxyError::ClientGone),
    }
}

async fn dial(
    client: &mut Client,
    record: &mut Record<'_>,
    outbound: &Outbound<'_>,
    picked: Option<&Endpoint>,
) -> Result<Connection, ProxyError> {
    let after = outbound.policy.timeouts.connect;
    let worker = Rc::clone(client.session().worker());
    client.session().deadline().set(after);
    let dial = outbound.upstream.dial(picked, worker.resolver());
    match client.attend(dial).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(DialError::Unreachable { endpoint, error })) => {
            record.set_endpoint(&endpoint.into());
            Err(ProxyError::UpstreamUnreachable { cause: error })
        }
        Ok(Err(DialError::Exhausted { error })) => Err(ProxyError::Exhausted { cause: error }),
        Ok(Err(away @ (DialError::Unresolved { .. } | DialError::Moved { .. }))) => {
            Err(ProxyError::UpstreamUnresolved {
                cause: away.to_string().into(),
            })
        }
        Ok(Err(out @ DialError::Out { .. })) => Err(ProxyError::UpstreamAway {
            cause: out.to_string().into(),
        }),
        Err(Interrupted::Deadline) => Err(ProxyError::ConnectTimeout { after }),
        Err(Interrupted::ClientGone) => Err(ProxyError::ClientGone),
    }
}

fn write_head(connection: &mut Connection, record: &Record<'_>, outbound: &Outbound<'_>) {
    let sender = Sender {
        peer: &record.session().peer().text,
        client: record.client(),
        request_id: record.request_id().as_bytes(),
    };
    let onward = outbound.onward(connection.origin(), sender);
    headers::write_request(connection.head_buffer(), &onward);
}

/// How the app is told where the body ends: as the client did.
fn body_length(head: &RequestHead) -> BodyLength {
    match head.body.remaining() {
        None => BodyLength::Chunked,
        Some(0) if !head.fields.contains(Name::ContentLength) => BodyLength::None,
        Some(length) => BodyLength::Known(length),
    }
}

/// Only where the app can't have acted on the first try, or acting twice is as good as once (RFC 9110 §9.2.2).
/// A time-out is no licence.
fn may_retry(failure: &Failure, progress: Progress, method: &Method) -> bool {
    let closed = matches!(failure, Failure::Closed(_));
    let repeatable = method.is_idempotent() && !progress.pulled;
    closed && !progress.answered && (!progress.sent || repeatable)
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
        Failure::BodyTooLarge => ProxyError::BodyTooLarge {
            bytes_max: policy.limits.body_bytes_max,
        },
        Failure::ClientGone => ProxyError::ClientGone,
        Failure::ClientBody(_) => ProxyError::BadRequest {
            because: "has a body that is not framed as it should be",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_sent_again() {
        let closed = || Failure::Closed(std::io::ErrorKind::ConnectionReset.into());
        let progress = |sent, pulled, answered| Progress {
            sent,
            pulled,
            answered,
        };
        let unsent = progress(false, false, false);
        let unsent_but_read = progress(false, true, false);
        let head_sent = progress(true, false, false);
        let body_sent = progress(true, true, false);
        let answered = progress(true, false, true);
        for (progress, get, post) in [
            (unsent, true, true),
            (unsent_but_read, true, true),
            (head_sent, true, false),
            (body_sent, false, false),
            (answered, false, false),
        ] {
            assert_eq!(may_retry(&closed(), progress, &Method::GET), get);
            assert_eq!(may_retry(&closed(), progress, &Method::PUT), get);
            assert_eq!(may_retry(&closed(), progress, &Method::POST), post);
            assert_eq!(may_retry(&closed(), progress, &Method::PATCH), post);
            for failure in [
                Failure::UpstreamTimeout,
                Failure::ClientTimeout,
                Failure::ClientGone,
                Failure::BodyTooLarge,
                Failure::TooManyInterim,
                Failure::UnaskedUpgrade,
            ] {
                assert!(!may_retry(&failure, progress, &Method::GET), "{failure}");
            }
        }
    }
}
