//! What is told of a request, in the shape of the JSON. It decides nothing.

use bytesize::ByteSize;
use http::{HeaderName, HeaderValue};
use serde::Serialize;

use crate::{
    admin::routes,
    config::{HeaderEdits, HostHeader, Policy},
};

#[derive(Debug, Serialize)]
pub(super) struct Explanation {
    pub(super) method: String,
    pub(super) url: String,
    /// Whether an app gets the request.
    pub(super) routes: bool,
    #[serde(flatten)]
    pub(super) outcome: Outcome,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Outcome {
    Led(Box<Led>),
    Refused(Refused),
}

/// A request that goes to an app.
#[derive(Debug, Serialize)]
pub(super) struct Led {
    pub(super) tenant: String,
    /// Those that the host fits, in the order in which they are tried: the first wins.
    pub(super) hosts: Vec<HostFit>,
    /// Those of the route, in the order in which they are tried.
    pub(super) paths: Vec<PathFit>,
    pub(super) upstream: Vec<Resolved>,
    pub(super) edge: EdgeAsked,
    pub(super) client: Client,
    pub(super) app_sees: Head,
    pub(super) policy: PolicyShown,
}

#[derive(Debug, Serialize)]
pub(super) struct HostFit {
    pub(super) pattern: String,
    pub(super) tenant: String,
    pub(super) wins: bool,
    pub(super) why: &'static str,
}

#[derive(Debug, Serialize)]
pub(super) struct PathFit {
    /// None for what no prefix takes.
    pub(super) prefix: Option<String>,
    pub(super) wins: bool,
    pub(super) why: &'static str,
}

/// An origin, and where it is now.
#[derive(Debug, Serialize)]
pub(super) struct Resolved {
    pub(super) origin: String,
    pub(super) endpoints: Vec<EndpointSeen>,
    /// Why its name has none.
    pub(super) error: Option<String>,
}

/// One address, and how it does.
#[derive(Debug, Serialize)]
pub(super) struct EndpointSeen {
    /// As the access log has it.
    pub(super) address: String,
    pub(super) health: Health,
    /// By the word of a running edge, as is what follows unless it was dialled.
    pub(super) in_flight: Option<usize>,
    /// For how long it will be dialled last.
    pub(super) aside_ms: Option<u64>,
    /// Why it isn't up.
    pub(super) error: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Health {
    Up,
    /// A dial failed lately.
    Aside,
    /// Its health checks fail.
    Out,
    /// The edge hasn't heard of it.
    Unused,
    /// No edge was there to be asked, and a dial got through.
    Answers,
    /// No edge was there to be asked, and no dial got through.
    Silent,
}

/// The edge that was asked for the health of the addresses.
#[derive(Debug, Serialize)]
pub(super) struct EdgeAsked {
    pub(super) address: String,
    pub(super) answers: bool,
    pub(super) note: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Client {
    pub(super) peer: String,
    /// Whether what the peer says of the client is believed.
    pub(super) trusted: bool,
    /// Whose request it is.
    pub(super) address: String,
}

/// What is written to the app's connection.
#[derive(Debug, Serialize)]
pub(super) struct Head {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) headers: Vec<(String, String)>,
}

/// In the words of proxy.toml.
#[derive(Debug, Serialize)]
pub(super) struct PolicyShown {
    pub(super) host: String,
    pub(super) timeouts: TimeoutsShown,
    pub(super) limits: LimitsShown,
    pub(super) hold: String,
    pub(super) retries: u32,
    pub(super) verify_address: bool,
    pub(super) balance: &'static str,
    /// Nothing unless it is asked for.
    pub(super) health: Option<HealthShown>,
    pub(super) allow: Vec<String>,
    pub(super) deny: Vec<String>,
    pub(super) request_headers: EditsShown,
    pub(super) response_headers: EditsShown,
}

#[derive(Debug, Serialize)]
pub(super) struct HealthShown {
    pub(super) path: String,
    pub(super) interval: String,
    pub(super) timeout: String,
    pub(super) healthy: u32,
    pub(super) unhealthy: u32,
    /// Where it is given.
    pub(super) host: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct TimeoutsShown {
    pub(super) connect: String,
    pub(super) response: String,
    pub(super) idle: String,
    pub(super) tunnel_idle: String,
}

#[derive(Debug, Serialize)]
pub(super) struct LimitsShown {
    pub(super) requests: u32,
    pub(super) queue: u32,
    pub(super) queue_wait: String,
    pub(super) connections: Option<u32>,
    pub(super) rate: Option<String>,
    pub(super) rate_per_client: Option<String>,
    pub(super) body: String,
}

#[derive(Debug, Serialize)]
pub(super) struct EditsShown {
    pub(super) remove: Vec<String>,
    pub(super) set: Vec<(String, String)>,
    pub(super) add: Vec<(String, String)>,
}

/// A request that the edge answers itself.
#[derive(Debug, Serialize)]
pub(super) struct Refused {
    pub(super) status: u16,
    pub(super) error: &'static str,
    /// What the client is told.
    pub(super) message: String,
    /// For an unknown host, the known one that was probably meant. Clients are never told.
    pub(super) nearest: Option<Nearest>,
}

#[derive(Debug, Serialize)]
pub(super) struct Nearest {
    pub(super) pattern: String,
    pub(super) tenant: String,
}

impl Head {
    /// Takes a head apart that `headers` has written.
    pub(super) fn read(head: &[u8]) -> Self {
        let text = String::from_utf8_lossy(head);
        let mut lines = text.trim_end().split("\r\n");
        let mut line = lines.next().unwrap_or_default().split(' ');
        let mut word = || line.next().unwrap_or_default().to_owned();
        Self {
            method: word(),
            target: word(),
            headers: lines
                .filter_map(|line| line.split_once(": "))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        }
    }
}

impl PolicyShown {
    pub(super) fn of(policy: &Policy) -> Self {
        // By name, so that no key is left out.
        let Policy {
            host,
            request_headers,
            response_headers,
            timeouts,
            limits,
            hold,
            retries,
            verify_address,
            balance,
            health,
            allow,
            deny,
        } = policy;
        let duration = |duration| humantime::format_duration(duration).to_string();
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        Self {
            host: match host {
                HostHeader::Preserve => "preserve".to_owned(),
                HostHeader::Upstream => "upstream".to_owned(),
                HostHeader::Literal(host) => text(host),
            },
            timeouts: TimeoutsShown {
                connect: duration(timeouts.connect),
                response: duration(timeouts.response),
                idle: duration(timeouts.idle),
                tunnel_idle: duration(timeouts.tunnel_idle),
            },
            limits: LimitsShown {
                requests: limits.requests,
                queue: limits.queue,
                queue_wait: duration(limits.queue_wait),
                connections: limits.connections,
                rate: limits.rate.as_ref().map(ToString::to_string),
                rate_per_client: limits.rate_per_client.as_ref().map(ToString::to_string),
                body: ByteSize(limits.body_bytes_max).to_string(),
            },
            hold: duration(*hold),
            retries: *retries,
            verify_address: *verify_address,
            balance: routes::balance(*balance),
            health: health.path.as_ref().map(|path| HealthShown {
                path: path.to_string(),
                interval: duration(health.interval),
                timeout: duration(health.timeout),
                healthy: health.healthy,
                unhealthy: health.unhealthy,
                host: health.host.as_ref().map(text),
            }),
            allow: allow.iter().map(ToString::to_string).collect(),
            deny: deny.iter().map(ToString::to_string).collect(),
            request_headers: EditsShown::of(request_headers),
            response_headers: EditsShown::of(response_headers),
        }
    }
}

impl EditsShown {
    fn of(edits: &HeaderEdits) -> Self {
        let fields = |fields: &[(HeaderName, HeaderValue)]| {
            let shown = fields.iter().map(|(name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes());
                (name.to_string(), value.into_owned())
            });
            shown.collect()
        };
        Self {
            remove: edits.remove.iter().map(ToString::to_string).collect(),
            set: fields(&edits.set),
            add: fields(&edits.add),
        }
    }
}
