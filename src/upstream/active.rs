//! Asking the endpoints of an upstream for their health, where its route says how: those that fail are put out and get
//! no requests until they pass again.
//!
//! It reaches endpoints as requests do, by a verified dial, and nothing of what it does is in the access log.

use std::{
    fmt,
    future::poll_fn,
    io,
    sync::{Arc, Weak},
    time::Duration,
};

use futures_util::future::join_all;
use http::{HeaderValue, Method, StatusCode};
use tokio::{
    sync::Semaphore,
    time::{self, Instant},
};

use super::{
    DialError, Upstream,
    dial::Verified,
    endpoint::Endpoint,
    outage,
    resolve::{Age, Resolver},
};
use crate::{
    config::{Health, HostHeader, Route},
    http1::{
        BodyDecoder, Decoded, InvalidHead, ResponseHead,
        buffer::SMALL_BYTES,
        write::{end_of_head, field, request_line},
    },
    wire::Wire,
};

/// Checks under way at one time, of all upstreams; further ones wait for their turn.
pub(crate) const CHECKS_MAX: usize = 128;
/// How soon the checks of an upstream end that no route leads to any more.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Interim responses before the final one that are taken.
const INTERIM_MAX: usize = 16;
/// So much of an answer's body is read, for so long, to part in good order. It doesn't count.
const BODY_BYTES_MAX: usize = 64 * 1024;
const BODY_WAIT: Duration = Duration::from_millis(250);

/// How the endpoints of an upstream are asked, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Check {
    path: Arc<str>,
    interval: Duration,
    timeout: Duration,
    healthy: u32,
    unhealthy: u32,
    /// None for that of the origin.
    host: Option<HeaderValue>,
}

impl Check {
    /// What a route wants of its upstream, if it wants it checked.
    pub(crate) fn of(route: &Route) -> Option<Self> {
        let Health {
            path,
            interval,
            timeout,
            healthy,
            unhealthy,
            host,
        } = &route.policy.health;
        // A route without a host to ask by is an error of the configuration, found long before.
        let host = match (host, &route.policy.host) {
            (Some(host), _) | (None, HostHeader::Literal(host)) => Some(host.clone()),
            (None, HostHeader::Upstream) => None,
            (None, HostHeader::Preserve) => Some(route.exact_host()?),
        };
        Some(Self {
            path: Arc::clone(path.as_ref()?),
            interval: *interval,
            timeout: *timeout,
            healthy: *healthy,
            unhealthy: *unhealthy,
            host,
        })
    }

    /// What is sent to one of the upstream's origins.
    fn request(&self, authority: &str) -> Vec<u8> {
        let host = self.host.as_ref().map(HeaderValue::as_bytes);
        let mut head = Vec::with_capacity(256);
        request_line(&mut head, "GET", &self.path);
        field(&mut head, b"host", host.unwrap_or(authority.as_bytes()));
        field(&mut head, b"user-agent", b"hostler-health");
        field(&mut head, b"accept", b"*/*");
        field(&mut head, b"connection", b"close");
        end_of_head(&mut head);
        head
    }
}

/// Why a check was not passed.
#[derive(Debug)]
enum Failure {
    Dial(DialError),
    Socket(io::Error),
    /// The app closed before it had answered.
    Closed,
    Invalid(InvalidHead),
    Status(StatusCode),
    TooManyInterim,
    TimeOut(Duration),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dial(error) => error.fmt(f),
            Self::Socket(error) => error.fmt(f),
            Self::Closed => f.write_str("the app closed the connection"),
            Self::Invalid(error) => error.fmt(f),
            Self::Status(status) => write!(f, "the app answered {}", status.as_u16()),
            Self::TooManyInterim => f.write_str("interim responses without end"),
            Self::TimeOut(after) => {
                let after = humantime::format_duration(*after);
                write!(f, "no answer within {after}")
            }
        }
    }
}

/// Runs on the control thread until no route leads to the upstream.
pub(crate) async fn run(upstream: Weak<Upstream>, resolver: Resolver, slots: Arc<Semaphore>) {
    loop {
        let Some(strong) = upstream.upgrade() else {
            return;
        };
        let Some(check) = &strong.check else {
            return;
        };
        let next = Instant::now() + check.interval;
        round(&strong, check, &resolver, &slots).await;
        drop(strong);
        while Instant::now() < next {
            if upstream.strong_count() == 0 {
                return;
            }
            time::sleep_until(next.min(Instant::now() + LOOK_EVERY)).await;
        }
    }
}

/// Asks all of them once, at the same time.
async fn round(upstream: &Arc<Upstream>, check: &Check, resolver: &Resolver, slots: &Semaphore) {
    for origin in 0..upstream.origins.len() {
        // Those that are known are asked all the same if the name has no answer now.
        let look_up = upstream.look_up(origin, Age::Recent, resolver);
        let _ = time::timeout(check.timeout, look_up).await;
    }
    let endpoints = upstream.endpoints();
    let asked = endpoints.iter().map(async |endpoint| {
        // Nobody closes this semaphore.
        let slot = slots.acquire().await;
        let asked = time::timeout(check.timeout, ask(upstream, check, endpoint, resolver)).await;
        drop(slot);
        (
            endpoint,
            asked.unwrap_or(Err(Failure::TimeOut(check.timeout))),
        )
    });
    for (endpoint, asked) in join_all(asked).await {
        judge(upstream, check, endpoint, asked);
    }
    if !endpoints.is_empty() && endpoints.iter().all(|endpoint| endpoint.is_out()) {
        let (outage, just_now) = upstream.is_away();
        if just_now {
            let upstream = Arc::downgrade(upstream);
            let probe = outage::probe(upstream, outage, resolver.clone(), check.timeout);
            tokio::spawn(probe);
        }
    }
}

/// What an answer means for the endpoint.
fn judge(upstream: &Upstream, check: &Check, endpoint: &Endpoint, asked: Result<(), Failure>) {
    let address = endpoint.text();
    match asked {
        Ok(()) => {
            if endpoint.passed(check.healthy) {
                tracing::info!(%upstream, endpoint = address, "endpoint is healthy again");
                if let Some(outage) = upstream.outage() {
                    outage.hint();
                }
            }
        }
        // It is no endpoint of this upstream any more, or was never dialled: that says nothing about it.
        Err(Failure::Dial(DialError::Moved { .. } | DialError::Exhausted { .. })) => {}
        Err(failure) => {
            let reason = format!("health check: {failure}");
            if endpoint.flunked(check.unhealthy, &reason, Instant::now()) {
                tracing::warn!(%upstream, endpoint = address, reason = %failure, "endpoint is unhealthy");
            }
        }
    }
}

/// Asks one endpoint. What it is asked with is closed afterwards.
async fn ask(
    upstream: &Upstream,
    check: &Check,
    endpoint: &Arc<Endpoint>,
    resolver: &Resolver,
) -> Result<(), Failure> {
    let dial = upstream.how_to_dial(endpoint.origin(), resolver);
    let verified = dial.one(endpoint).await.map_err(Failure::Dial)?;
    let request = check.request(upstream.authority(endpoint.origin()));
    let status = exchange(verified, &request).await?;
    if status.is_success() || status.is_redirection() {
        Ok(())
    } else {
        Err(Failure::Status(status))
    }
}

async fn exchange(verified: Verified, request: &[u8]) -> Result<StatusCode, Failure> {
    let (stream, _) = verified.into_parts();
    let mut wire = Wire::new(stream);
    wire.output().extend_from_slice(request);
    while !wire.is_flushed() {
        let sent = poll_fn(|cx| wire.poll_send(cx, &[], &[])).await;
        sent.map_err(Failure::Socket)?;
    }
    let mut head = ResponseHead::default();
    let mut interim = 0;
    loop {
        // The parser refuses a head that is longer than it should be, so what is read has a bound.
        let parsed = head.parse(wire.input.bytes(), &Method::GET);
        match parsed.map_err(Failure::Invalid)? {
            Some(length) if head.status.is_informational() => {
                wire.input.consume(length);
                interim += 1;
                if interim > INTERIM_MAX {
                    return Err(Failure::TooManyInterim);
                }
            }
            Some(length) => {
                wire.input.consume(length);
                break;
            }
            None => {
                let read = poll_fn(|cx| wire.poll_fill(cx, SMALL_BYTES)).await;
                if read.map_err(Failure::Socket)? == 0 {
                    return Err(Failure::Closed);
                }
            }
        }
    }
    // Apps complain in their logs of a client that closes before they are done.
    let rest = async {
        let _ = read_rest(&mut wire, head.body).await;
    };
    let _ = time::timeout(BODY_WAIT, rest).await;
    Ok(head.status)
}

async fn read_rest(wire: &mut Wire, mut body: BodyDecoder) -> io::Result<()> {
    let mut read = 0;
    while read < BODY_BYTES_MAX {
        match body.decode(&mut wire.input) {
            Ok(Decoded::Data(data)) => wire.input.consume(data),
            Ok(Decoded::Trailers(_)) => {}
            Ok(Decoded::More) => match poll_fn(|cx| wire.poll_fill(cx, SMALL_BYTES)).await? {
                0 => break,
                more => read += more,
            },
            Ok(Decoded::End) | Err(_) => break,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::of_text;

    fn check(keys: &str, hosts: &str) -> Option<Check> {
        let text =
            format!("[routes.thor]\nhosts = {hosts}\nupstream = \"http://thor_web:8000\"\n{keys}");
        let config = of_text(&text).unwrap_or_else(|errors| panic!("{errors}"));
        Check::of(&config.routes[0])
    }

    #[test]
    fn the_app_is_asked_by_the_host_that_it_knows() {
        let host = |keys: &str, hosts: &str| {
            let check = check(&format!("health.path = \"/up?x=1\"\n{keys}"), hosts).unwrap();
            let request = String::from_utf8(check.request("thor_web:8000")).unwrap();
            assert!(request.starts_with("GET /up?x=1 HTTP/1.1\r\nhost: "));
            assert!(request.ends_with("connection: close\r\n\r\n"));
            let host = request.lines().nth(1).unwrap();
            host.trim_start_matches("host: ").to_owned()
        };
        let hosts = "[\"*.thor.example\", \"thor.example\", \"b.example\"]";
        assert_eq!(host("", hosts), "thor.example");
        assert_eq!(host("host = \"upstream\"\n", hosts), "thor_web:8000");
        assert_eq!(host("host = \"a.b:1\"\n", "\"*.thor.example\""), "a.b:1");
        let own = "health.host = \"www.thor.example\"\n";
        assert_eq!(host(own, "\"*.thor.example\""), "www.thor.example");
        assert_eq!(
            host(&format!("host = \"upstream\"\n{own}"), hosts),
            "www.thor.example"
        );
        assert_eq!(check("", hosts), None, "nobody wants it");
    }
}
