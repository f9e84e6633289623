//! What a client is told of an error, and what the log is told.

use std::{borrow::Cow, error::Error, fmt, time::Duration};

use super::{BadHost, ProxyError};
use crate::http1::fields::FIELDS_MAX;

impl ProxyError {
    /// What the client is told, in one or two sentences.
    pub(crate) fn message(&self) -> Cow<'static, str> {
        match self {
            Self::BadHost(what) => what.message().into(),
            Self::BadRequest { because } => format!("The request {because}.").into(),
            Self::MethodNotAllowed { method } => {
                format!("The method {method} is not forwarded here.").into()
            }
            Self::UnknownHost { host } => format!("No application answers for {host} here.").into(),
            Self::VersionNotSupported => "HTTP is spoken here, in its versions 1.0 and 1.1.".into(),
            Self::TargetTooLong { bytes_max } => {
                format!("The request's address takes more than {bytes_max} bytes.").into()
            }
            Self::TooManyHeaders => {
                format!("The request has more than {FIELDS_MAX} headers.").into()
            }
            Self::HeadersTooLarge { bytes_max } => {
                format!("The request's headers take more than {bytes_max} bytes.").into()
            }
            Self::HeaderTimeout { after } => {
                timed("The request's headers did not arrive within", *after)
            }
            Self::BodyTimeout { after } => timed("The request's body stood still for", *after),
            Self::BadProxyHeader => {
                "The connection does not begin with a PROXY header, as those from this address have to.".into()
            }
            Self::BodyTooLarge { bytes_max } => {
                format!("The request's body takes more than {bytes_max} bytes.").into()
            }
            Self::TooManyConnections => {
                "Too many connections are open here. Try again in a moment.".into()
            }
            Self::Forbidden => "This application is not for your address.".into(),
            Self::RateLimited { wait } => {
                timed("The application is asked too often. Try again in", rounded_up(*wait))
            }
            Self::ClientRateLimited { wait } => {
                timed("Your address asks too often. Try again in", rounded_up(*wait))
            }
            Self::QueueFull => {
                "Too many requests wait for the application. Try again in a moment.".into()
            }
            Self::QueueTimeout { after } => {
                timed("The application was busy with other requests for", *after)
            }
            Self::ConnectionsBusy { after } => {
                timed("Every connection to the application was taken for", *after)
            }
            Self::Exhausted { .. } => "Too much is under way here. Try again in a moment.".into(),
            Self::UpstreamUnresolved { .. } | Self::UpstreamAway { .. } => {
                "The application is away. Try again in a moment.".into()
            }
            Self::UpstreamUnreachable { .. } => {
                "The application cannot be reached. Try again in a moment.".into()
            }
            Self::ConnectTimeout { after } => {
                timed("The application took no connection within", *after)
            }
            Self::ResponseTimeout { after } => {
                timed("The application did not answer within", *after)
            }
            Self::UpstreamClosed { .. } => {
                "The application closed the connection instead of answering.".into()
            }
            Self::UpstreamInvalid { .. } => "The application's answer is not valid HTTP.".into(),
            Self::IdleTimeout { after } => timed("The exchange stood still for", *after),
            Self::ClientGone => "The client left before its response was complete.".into(),
            Self::Aborted { .. } => "The response was cut short.".into(),
        }
    }
}

/// For the log: the message, and every cause beneath it. `source` stays empty, so that no reporter
/// prints them twice.
impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message().trim_end_matches('.'))?;
        let mut next = self.cause();
        while let Some(cause) = next {
            write!(f, ": {cause}")?;
            next = cause.source();
        }
        Ok(())
    }
}

impl Error for ProxyError {}

impl BadHost {
    fn message(self) -> &'static str {
        match self {
            Self::Missing => "The request has no Host.",
            Self::Repeated => "The request has more than one Host.",
            Self::Invalid => "The request's Host is not a host name or an address.",
        }
    }
}

/// Some words that end with a time.
fn timed(words: &str, time: Duration) -> Cow<'static, str> {
    format!("{words} {}.", Seconds(time)).into()
}

/// In whole seconds: whoever comes then comes late enough.
pub(super) fn rounded_up(wait: Duration) -> Duration {
    Duration::from_secs(wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
}

/// A duration in seconds, as people write it: `60 s`, `0.25 s`.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.0.as_secs_f64())
    }
}
