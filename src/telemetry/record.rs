//! What is known of one request. Dropping it writes the request's one log line, so no way out of the code can
//! forget to.

use std::{io, net::IpAddr, rc::Rc, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{access_log::Line, request_id::RequestId};
use crate::{
    bulkhead::Permit,
    config::{TenantLimits, Timeouts},
    error::{Fault, ProxyError},
    http1::{Name, RequestHead},
    request,
    session::{IpText, Peer, Session},
    snapshot::Route,
    upstream::{Connection, UpstreamId, failure::Failure},
    worker::Worker,
};

#[derive(Debug)]
pub(crate) struct Record<'a> {
    session: Rc<Session>,
    started: Instant,
    head: &'a RequestHead,
    /// What it is routed by, which a target can name against the Host field.
    host: Option<&'a [u8]>,
    request_id: RequestId,
    route: Option<Arc<Route>>,
    upstream: Option<UpstreamId>,
    /// The client, where it is another than the peer.
    client: Option<IpText>,
    endpoint: Option<Rc<str>>,
    attempts: u32,
    /// How long the request waited for an upstream that was away.
    held: Option<Duration>,
    /// How long it waited for other requests of its tenant to end.
    queued: Option<Duration>,
    /// While it is in flight.
    permit: Option<Permit>,
    answered_after: Option<Duration>,
    status: u16,
    /// What went wrong, by its label.
    error: Option<&'static str>,
    /// Whether the client was sent all that there was for it. If not, and nothing else went wrong, it has left.
    complete: bool,
}

impl<'a> Record<'a> {
    pub(crate) fn begin(session: &Rc<Session>, head: &'a RequestHead) -> Self {
        session.begin_request();
        Self {
            session: Rc::clone(session),
            started: Instant::now(),
            head,
            host: head.fields.first(Name::Host),
            request_id: session.worker().request_id(),
            route: None,
            upstream: None,
            client: None,
            endpoint: None,
            attempts: 0,
            held: None,
            queued: None,
            permit: None,
            answered_after: None,
            status: ProxyError::ClientGone.status().as_u16(),
            error: None,
            complete: false,
        }
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    pub(crate) fn request_id(&self) -> &RequestId {
        &self.request_id
    }

    pub(crate) fn keep_request_id(&mut self, id: &str) {
        self.request_id = RequestId::Kept(id.into());
    }

    pub(crate) fn set_host(&mut self, host: &'a [u8]) {
        self.host = Some(host);
    }

    pub(crate) fn set_route(&mut self, route: &Arc<Route>) {
        self.route = Some(Arc::clone(route));
    }

    pub(crate) fn set_upstream(&mut self, upstream: UpstreamId) {
        self.upstream = Some(upstream);
    }

    pub(crate) fn set_client(&mut self, client: IpAddr) {
        if client != self.session.peer().ip {
            self.client = Some(IpText::new(client));
        }
    }

    /// Its address, as text.
    pub(crate) fn client(&self) -> &[u8] {
        self.client.as_deref().unwrap_or(&self.session.peer().text)
    }

    /// One more try.
    pub(crate) fn attempt(&mut self) {
        self.attempts += 1;
        self.endpoint = None;
    }

    /// The request has waited for its upstream.
    pub(crate) fn held(&mut self, wait: Duration) {
        self.held = Some(self.held.unwrap_or_default() + wait);
    }

    /// The request has waited for others.
    pub(crate) fn queued(&mut self, wait: Duration) {
        self.queued = Some(self.queued.unwrap_or_default() + wait);
    }

    /// It is in flight from now on, until this record is dropped.
    pub(crate) fn admit(&mut self, permit: Permit) {
        self.permit = Some(permit);
    }

    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// What the try at hand goes to.
    pub(crate) fn set_endpoint(&mut self, endpoint: &Rc<str>) {
        self.endpoint = Some(Rc::clone(endpoint));
    }

    /// The head of the app's response is here.
    pub(crate) fn answered(&mut self, status: u16) {
        self.status = status;
        self.answered_after = Some(self.started.elapsed());
    }

    /// The edge answers instead of the app.
    pub(crate) fn failed(&mut self, error: &ProxyError) {
        self.status = error.status().as_u16();
        self.went_wrong(error);
    }

    fn went_wrong(&mut self, error: &ProxyError) {
        self.error = Some(error.label());
        tracing::debug!(
            tenant = self.route.as_ref().map(|route| &**route.tenant()),
            request_id = self.request_id.as_str(),
            fault = ?error.fault(),
            %error,
            "request failed"
        );
    }

    /// The response was cut off after its head; the status is out, so this is for the log alone.
    pub(crate) fn cut(mut self, failure: &Failure) {
        self.went_wrong(&match failure {
            Failure::ClientBody(_) | Failure::ClientGone => ProxyError::ClientGone,
            Failure::ClientTimeout => ProxyError::ClientGone,
            Failure::BodyTooLarge => ProxyError::BodyTooLarge {
                bytes_max: self.limits().body_bytes_max,
            },
            Failure::UpstreamTimeout => ProxyError::IdleTimeout {
                after: self.timeouts().idle,
            },
            Failure::Closed(_)
            | Failure::InvalidHead(_)
            | Failure::InvalidBody(_)
            | Failure::UnaskedUpgrade
            | Failure::TooManyInterim => ProxyError::Aborted {
                fault: Fault::Upstream,
                cause: Some(failure.to_string().into()),
            },
        });
    }

    /// A tunnel ended otherwise than by both sides closing it.
    pub(crate) fn tunnel_failed(mut self, cause: io::Error) {
        self.went_wrong(&match cause.kind() {
            io::ErrorKind::TimedOut => ProxyError::IdleTimeout {
                after: self.timeouts().tunnel_idle,
            },
            _ => ProxyError::Aborted {
                fault: Fault::Upstream,
                cause: Some(cause.into()),
            },
        });
    }

    fn timeouts(&self) -> Timeouts {
        let route = self.route.as_ref();
        route.map_or_else(Timeouts::default, |route| route.policy.timeouts)
    }

    fn limits(&self) -> TenantLimits {
        let route = self.route.as_ref();
        route.map_or_else(TenantLimits::default, |route| route.policy.limits)
    }

    /// The upstream connection may carry another request.
    pub(crate) fn give_back(&self, connection: Connection) {
        if let Some(upstream) = self.upstream {
            self.session.worker().give_back(upstream, connection);
        }
    }

    /// The last byte is on its way to the client.
    pub(crate) fn complete(mut self) {
        self.complete = true;
    }
}

/// The line of a request that was never read.
pub(crate) fn turned_away(
    worker: &Worker,
    peer: &Peer,
    request_id: &RequestId,
    error: &ProxyError,
) {
    tracing::debug!(client = %peer.ip, request_id = request_id.as_str(), %error, "turned away");
    worker.over(
        None,
        &Line {
            tenant: None,
            host: None,
            method: None,
            path: None,
            status: error.status().as_u16(),
            bytes_in: 0,
            bytes_out: 0,
            duration: Duration::ZERO,
            upstream: None,
            endpoint: None,
            attempts: 0,
            held: None,
            queued: None,
            client: &peer.text,
            request_id: Some(request_id.as_bytes()),
            error: Some(error.label()),
        },
    );
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        if !self.complete && self.error.is_none() {
            self.went_wrong(
                &if self.session.worker().is_ending() || std::thread::panicking() {
                    ProxyError::Aborted {
                        fault: Fault::Edge,
                        cause: None,
                    }
                } else {
                    ProxyError::ClientGone
                },
            );
        }
        let (bytes_in, bytes_out) = self.session.bytes();
        self.session.end_request();
        let line = Line {
            tenant: self.route.as_ref().map(|route| &**route.tenant()),
            host: self.host,
            method: Some(self.head.method.as_str()),
            path: Some(request::path(&self.head.method, self.head.target())),
            status: self.status,
            bytes_in,
            bytes_out,
            duration: self.started.elapsed(),
            upstream: self.answered_after,
            endpoint: self.endpoint.as_deref(),
            attempts: self.attempts,
            held: self.held,
            queued: self.queued,
            client: self.client(),
            request_id: Some(self.request_id.as_bytes()),
            error: self.error,
        };
        self.session.worker().over(self.route.as_deref(), &line);
    }
}
