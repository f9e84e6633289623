//! What can go wrong with a request: its status, its name in the log, whose fault it is, and what
//! the client is told.
//!
//! Pure. It never tells a client a cause, an address or another tenant's name: causes are for the
//! log, through `Display`. [`page`] renders an error as a response.

pub(crate) mod page;
mod words;

use std::{error::Error, io, time::Duration};

use http::{Method, StatusCode};

use self::words::rounded_up;
use crate::http1::BadHead;

/// A failed request. After the head of a response it can only be [`ProxyError::Aborted`] or
/// [`ProxyError::ClientGone`], since there is no status left to send.
#[derive(Debug)]
pub(crate) enum ProxyError {
    BadHost(BadHost),
    /// The request is not HTTP as RFC 9112 has it. The words end the sentence "the request …".
    BadRequest {
        because: &'static str,
    },
    MethodNotAllowed {
        method: Method,
    },
    /// The host as the client sent it.
    UnknownHost {
        host: Box<str>,
    },
    /// HTTP, of a version that isn't spoken here.
    VersionNotSupported,
    /// The request line alone is longer than a head may be.
    TargetTooLong {
        bytes_max: usize,
    },
    HeadersTooLarge {
        bytes_max: usize,
    },
    TooManyHeaders,
    HeaderTimeout {
        after: Duration,
    },
    /// The client stopped sending its request's body.
    BodyTimeout {
        after: Duration,
    },
    /// A connection from a trusted proxy doesn't begin as it has to.
    BadProxyHeader,
    BodyTooLarge {
        bytes_max: u64,
    },
    TooManyConnections,
    /// The route doesn't let this client in.
    Forbidden,
    /// The tenant is asked too often.
    RateLimited {
        wait: Duration,
    },
    /// This client asks the tenant too often.
    ClientRateLimited {
        wait: Duration,
    },
    /// As many of the tenant's requests wait as may.
    QueueFull,
    /// The request has waited for as long as it may for others of its tenant to end.
    QueueTimeout {
        after: Duration,
    },
    /// The same, for a connection to its app.
    ConnectionsBusy {
        after: Duration,
    },
    /// The edge has nothing left to dial an upstream with.
    Exhausted {
        cause: io::Error,
    },
    /// The upstream's name has no address now.
    UpstreamUnresolved {
        cause: Cause,
    },
    /// It can't be reached, and the request has waited for it as long as it may.
    UpstreamAway {
        cause: Cause,
    },
    /// No connection: refused, or the network failed.
    UpstreamUnreachable {
        cause: io::Error,
    },
    ConnectTimeout {
        after: Duration,
    },
    ResponseTimeout {
        after: Duration,
    },
    /// The connection ended before the head of a response.
    UpstreamClosed {
        cause: Option<io::Error>,
    },
    /// What the upstream sent is not HTTP.
    UpstreamInvalid {
        cause: Cause,
    },
    /// No byte moved, either way, for the time that a body may pause.
    IdleTimeout {
        after: Duration,
    },
    /// The client left before its response was complete. For the log only.
    ClientGone,
    /// The response was cut short after its head. For the log only.
    Aborted {
        fault: Fault,
        cause: Option<Cause>,
    },
}

/// What is wrong with the request's host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadHost {
    Missing,
    Repeated,
    Invalid,
}

/// Who has to act so that it does not happen again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Client,
    Upstream,
    Edge,
}

/// Why, in the words of whatever failed.
pub(crate) type Cause = Box<dyn Error + Send + Sync>;

/// Every [`ProxyError::label`], and whether it is the client's fault.
pub(crate) const LABELS: [(&str, bool); 30] = [
    ("bad_host", true),
    ("bad_request", true),
    ("method_not_allowed", true),
    ("unknown_host", true),
    ("version_not_supported", true),
    ("target_too_long", true),
    ("headers_too_large", true),
    ("too_many_headers", true),
    ("header_timeout", true),
    ("body_timeout", true),
    ("bad_proxy_header", true),
    ("body_too_large", true),
    ("too_many_connections", false),
    ("forbidden", true),
    ("rate_limited", true),
    ("client_rate_limited", true),
    ("queue_full", false),
    ("queue_timeout", false),
    ("connections_busy", false),
    ("exhausted", false),
    ("upstream_unresolved", false),
    ("upstream_away", false),
    ("upstream_unreachable", false),
    ("connect_timeout", false),
    ("response_timeout", false),
    ("upstream_closed", false),
    ("upstream_invalid", false),
    ("idle_timeout", false),
    ("client_gone", true),
    ("aborted", false),
];

impl ProxyError {
    /// Why a request's head can't be read, or must not be.
    pub(crate) fn of_head(bad: BadHead, bytes_max: usize) -> Self {
        match bad {
            BadHead::Invalid(because) => Self::BadRequest { because },
            BadHead::Version => Self::VersionNotSupported,
            BadHead::TargetTooLong => Self::TargetTooLong { bytes_max },
            BadHead::TooLarge => Self::HeadersTooLarge { bytes_max },
            BadHead::TooManyFields => Self::TooManyHeaders,
        }
    }

    /// The status of the answer, or for errors that are never answered, the one in the log.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::BadHost(_) | Self::BadRequest { .. } | Self::BadProxyHeader => {
                StatusCode::BAD_REQUEST
            }
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::UnknownHost { .. } => StatusCode::NOT_FOUND,
            Self::VersionNotSupported => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::TargetTooLong { .. } => StatusCode::URI_TOO_LONG,
            Self::HeadersTooLarge { .. } | Self::TooManyHeaders => {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            Self::HeaderTimeout { .. } | Self::BodyTimeout { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::RateLimited { .. } | Self::ClientRateLimited { .. } => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Self::TooManyConnections
            | Self::QueueFull
            | Self::QueueTimeout { .. }
            | Self::ConnectionsBusy { .. }
            | Self::Exhausted { .. }
            | Self::UpstreamUnresolved { .. }
            | Self::UpstreamAway { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::UpstreamUnreachable { .. }
            | Self::UpstreamClosed { .. }
            | Self::UpstreamInvalid { .. }
            | Self::Aborted { .. } => StatusCode::BAD_GATEWAY,
            Self::ConnectTimeout { .. }
            | Self::ResponseTimeout { .. }
            | Self::IdleTimeout { .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::ClientGone => client_closed_request(),
        }
    }

    /// After how many seconds it is worth while to try again, if that can be said (RFC 9110 §10.2.3).
    pub(crate) fn retry_after(&self) -> Option<u64> {
        if let Self::RateLimited { wait } | Self::ClientRateLimited { wait } = self {
            return Some(rounded_up(*wait).as_secs());
        }
        (self.status() == StatusCode::SERVICE_UNAVAILABLE).then_some(1)
    }

    /// Whether the connection can't be relied on after this: what follows on it may be read as something else than
    /// the client meant.
    pub(crate) fn closes_connection(&self) -> bool {
        match self {
            Self::BadHost(_)
            | Self::BadRequest { .. }
            | Self::VersionNotSupported
            | Self::TargetTooLong { .. }
            | Self::HeadersTooLarge { .. }
            | Self::TooManyHeaders
            | Self::HeaderTimeout { .. }
            | Self::BodyTimeout { .. }
            | Self::BadProxyHeader
            | Self::BodyTooLarge { .. }
            | Self::TooManyConnections
            | Self::ClientGone
            | Self::Aborted { .. } => true,
            // After CONNECT a client may go on in another protocol.
            Self::MethodNotAllowed { method } => method == Method::CONNECT,
            Self::UnknownHost { .. }
            | Self::Forbidden
            | Self::RateLimited { .. }
            | Self::ClientRateLimited { .. }
            | Self::QueueFull
            | Self::QueueTimeout { .. }
            | Self::ConnectionsBusy { .. }
            | Self::Exhausted { .. }
            | Self::UpstreamUnresolved { .. }
            | Self::UpstreamAway { .. }
            | Self::UpstreamUnreachable { .. }
            | Self::ConnectTimeout { .. }
            | Self::ResponseTimeout { .. }
            | Self::UpstreamClosed { .. }
            | Self::UpstreamInvalid { .. }
            | Self::IdleTimeout { .. } => false,
        }
    }

    /// The name of the error in the log and in what the client is sent. Never changes its meaning.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::BadHost(_) => "bad_host",
            Self::BadRequest { .. } => "bad_request",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::UnknownHost { .. } => "unknown_host",
            Self::VersionNotSupported => "version_not_supported",
            Self::TargetTooLong { .. } => "target_too_long",
            Self::HeadersTooLarge { .. } => "headers_too_large",
            Self::TooManyHeaders => "too_many_headers",
            Self::HeaderTimeout { .. } => "header_timeout",
            Self::BodyTimeout { .. } => "body_timeout",
            Self::BadProxyHeader => "bad_proxy_header",
            Self::BodyTooLarge { .. } => "body_too_large",
            Self::TooManyConnections => "too_many_connections",
            Self::Forbidden => "forbidden",
            Self::RateLimited { .. } => "rate_limited",
            Self::ClientRateLimited { .. } => "client_rate_limited",
            Self::QueueFull => "queue_full",
            Self::QueueTimeout { .. } => "queue_timeout",
            Self::ConnectionsBusy { .. } => "connections_busy",
            Self::Exhausted { .. } => "exhausted",
            Self::UpstreamUnresolved { .. } => "upstream_unresolved",
            Self::UpstreamAway { .. } => "upstream_away",
            Self::UpstreamUnreachable { .. } => "upstream_unreachable",
            Self::ConnectTimeout { .. } => "connect_timeout",
            Self::ResponseTimeout { .. } => "response_timeout",
            Self::UpstreamClosed { .. } => "upstream_closed",
            Self::UpstreamInvalid { .. } => "upstream_invalid",
            Self::IdleTimeout { .. } => "idle_timeout",
            Self::ClientGone => "client_gone",
            Self::Aborted { .. } => "aborted",
        }
    }

    pub(crate) fn fault(&self) -> Fault {
        match self {
            Self::BadHost(_)
            | Self::BadRequest { .. }
            | Self::MethodNotAllowed { .. }
            | Self::UnknownHost { .. }
            | Self::VersionNotSupported
            | Self::TargetTooLong { .. }
            | Self::HeadersTooLarge { .. }
            | Self::TooManyHeaders
            | Self::HeaderTimeout { .. }
            | Self::BodyTimeout { .. }
            | Self::BadProxyHeader
            | Self::BodyTooLarge { .. }
            | Self::Forbidden
            | Self::RateLimited { .. }
            | Self::ClientRateLimited { .. }
            | Self::ClientGone => Fault::Client,
            // The app doesn't keep up with what its tenant is asked.
            Self::QueueFull
            | Self::QueueTimeout { .. }
            | Self::ConnectionsBusy { .. }
            | Self::UpstreamUnresolved { .. }
            | Self::UpstreamAway { .. }
            | Self::UpstreamUnreachable { .. }
            | Self::ConnectTimeout { .. }
            | Self::ResponseTimeout { .. }
            | Self::UpstreamClosed { .. }
            | Self::UpstreamInvalid { .. }
            | Self::IdleTimeout { .. } => Fault::Upstream,
            Self::TooManyConnections | Self::Exhausted { .. } => Fault::Edge,
            Self::Aborted { fault, .. } => *fault,
        }
    }

    /// What lies beneath, for the log only.
    pub(crate) fn cause(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::UpstreamUnresolved { cause }
            | Self::UpstreamAway { cause }
            | Self::UpstreamInvalid { cause } => Some(cause.as_ref()),
            Self::UpstreamUnreachable { cause } | Self::Exhausted { cause } => Some(cause),
            Self::UpstreamClosed { cause } => cause.as_ref().map(|cause| cause as _),
            Self::Aborted { cause, .. } => cause.as_ref().map(|cause| cause.as_ref() as _),
            Self::BadHost(_)
            | Self::BadRequest { .. }
            | Self::MethodNotAllowed { .. }
            | Self::UnknownHost { .. }
            | Self::VersionNotSupported
            | Self::TargetTooLong { .. }
            | Self::HeadersTooLarge { .. }
            | Self::TooManyHeaders
            | Self::HeaderTimeout { .. }
            | Self::BodyTimeout { .. }
            | Self::BadProxyHeader
            | Self::BodyTooLarge { .. }
            | Self::TooManyConnections
            | Self::Forbidden
            | Self::RateLimited { .. }
            | Self::ClientRateLimited { .. }
            | Self::QueueFull
            | Self::QueueTimeout { .. }
            | Self::ConnectionsBusy { .. }
            | Self::ConnectTimeout { .. }
            | Self::ResponseTimeout { .. }
            | Self::IdleTimeout { .. }
            | Self::ClientGone => None,
        }
    }
}

/// 499, nginx's number for a client that left: what log readers look for.
fn client_closed_request() -> StatusCode {
    StatusCode::from_u16(499).expect("499 has three digits")
}

#[cfg(test)]
pub(super) mod tests {
    use super::{ProxyError as E, *};

    type Case = (ProxyError, u16, &'static str, Fault);

    /// One of each, with its status, label and fault.
    pub(super) fn all() -> Vec<Case> {
        let mut all = ours();
        all.extend(upstreams());
        all
    }

    fn ours() -> Vec<Case> {
        use Fault::{Client, Edge};
        let after = Duration::from_millis(1500);
        let because = "is odd";
        let method = Method::CONNECT;
        let host = "nobody.example".into();
        let bytes_max = 9;
        let cut = E::Aborted {
            fault: Edge,
            cause: Some(refused().into()),
        };
        vec![
            (E::BadHost(BadHost::Missing), 400, "bad_host", Client),
            (E::BadHost(BadHost::Repeated), 400, "bad_host", Client),
            (E::BadHost(BadHost::Invalid), 400, "bad_host", Client),
            (E::BadRequest { because }, 400, "bad_request", Client),
            (
                E::MethodNotAllowed { method },
                405,
                "method_not_allowed",
                Client,
            ),
            (E::UnknownHost { host }, 404, "unknown_host", Client),
            (E::VersionNotSupported, 505, "version_not_supported", Client),
            (
                E::TargetTooLong { bytes_max },
                414,
                "target_too_long",
                Client,
            ),
            (E::TooManyHeaders, 431, "too_many_headers", Client),
            (
                E::HeadersTooLarge { bytes_max },
                431,
                "headers_too_large",
                Client,
            ),
            (E::HeaderTimeout { after }, 408, "header_timeout", Client),
            (E::BodyTimeout { after }, 408, "body_timeout", Client),
            (E::BadProxyHeader, 400, "bad_proxy_header", Client),
            (
                E::BodyTooLarge { bytes_max: 9 },
                413,
                "body_too_large",
                Client,
            ),
            (E::TooManyConnections, 503, "too_many_connections", Edge),
            (E::Forbidden, 403, "forbidden", Client),
            (E::RateLimited { wait: after }, 429, "rate_limited", Client),
            (
                E::ClientRateLimited { wait: after },
                429,
                "client_rate_limited",
                Client,
            ),
            (E::Exhausted { cause: refused() }, 503, "exhausted", Edge),
            (E::ClientGone, 499, "client_gone", Client),
            (cut, 502, "aborted", Edge),
        ]
    }

    fn upstreams() -> Vec<Case> {
        let after = Duration::from_millis(1500);
        let io = refused;
        let cause = || refused().into();
        [
            (
                E::UpstreamUnresolved { cause: cause() },
                503,
                "upstream_unresolved",
            ),
            (E::UpstreamAway { cause: cause() }, 503, "upstream_away"),
            (
                E::UpstreamUnreachable { cause: io() },
                502,
                "upstream_unreachable",
            ),
            (E::ConnectTimeout { after }, 504, "connect_timeout"),
            (E::ResponseTimeout { after }, 504, "response_timeout"),
            (
                E::UpstreamClosed { cause: Some(io()) },
                502,
                "upstream_closed",
            ),
            (
                E::UpstreamInvalid { cause: cause() },
                502,
                "upstream_invalid",
            ),
            (E::IdleTimeout { after }, 504, "idle_timeout"),
            (E::QueueFull, 503, "queue_full"),
            (E::QueueTimeout { after }, 503, "queue_timeout"),
            (E::ConnectionsBusy { after }, 503, "connections_busy"),
        ]
        .map(|(error, status, label)| (error, status, label, Fault::Upstream))
        .into()
    }

    fn refused() -> io::Error {
        io::Error::new(io::ErrorKind::ConnectionRefused, "10.9.8.7 refused")
    }

    #[test]
    fn each_has_its_status_label_and_fault() {
        for (error, status, label, fault) in all() {
            assert_eq!(error.status().as_u16(), status, "{error:?}");
            assert_eq!(error.label(), label, "{error:?}");
            assert_eq!(error.fault(), fault, "{error:?}");
            let known = (label, fault == Fault::Client);
            assert!(LABELS.contains(&known), "{known:?}");
        }
        for (label, _) in LABELS {
            let is = |case: &Case| case.2 == label;
            assert!(all().iter().any(is), "{label}");
        }
    }

    #[test]
    fn the_manual_has_each_of_them() {
        let manual = include_str!("../../docs/http.md");
        for (error, status, label, fault) in all() {
            let fault = format!("{fault:?}").to_lowercase();
            let row = format!("| {status} | `{label}` | {fault} | ");
            let is_told = match error {
                E::Aborted { .. } => manual.contains("`aborted` is in the log only"),
                _ => manual.contains(&row),
            };
            assert!(is_told, "{row}");
        }
    }

    #[test]
    fn causes_are_for_the_log_alone() {
        for (error, ..) in all() {
            assert!(!error.message().contains("refused"), "{error:?}");
            assert!(error.message().ends_with('.'), "{error:?}");
            assert_eq!(
                error.cause().is_some(),
                error.to_string().contains("refused"),
                "{error:?}"
            );
        }
    }

    #[test]
    fn the_log_reads_as_one_line() {
        let error = ProxyError::UpstreamClosed {
            cause: Some(refused()),
        };
        assert_eq!(
            error.to_string(),
            "The application closed the connection instead of answering: 10.9.8.7 refused"
        );
        let after = Duration::from_millis(1500);
        assert_eq!(
            ProxyError::ResponseTimeout { after }.to_string(),
            "The application did not answer within 1.5 s"
        );
    }
}
