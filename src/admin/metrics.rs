//! `/metrics`: what requests add up to and how the edge is, for Prometheus and whatever reads its format.
//!
//! Tenants are labels, and they come from the configuration alone. One that was never asked for has no series, and neither
//! has an error that never happened: of very many tenants most are quiet at any time.

use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame};
use prometheus_client::{
    collector::Collector,
    encoding::{
        DescriptorEncoder, EncodeCounterValue, EncodeLabelSet, MetricEncoder, NoLabelSet, text,
    },
    metrics::MetricType::{self, Counter, Gauge, Histogram, Info},
    registry::{Registry, Unit},
};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::Told;
use crate::{
    bulkhead::Bulkhead,
    error::LABELS,
    snapshot::{Route, Snapshot},
    telemetry::counters::{BOUNDS_US, CLASSES, Sums},
};

pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Written at once, and then it is the reader's turn.
const PIECE_BYTES: usize = 32 * 1024;
/// Pieces that are ahead of the reader.
const PIECES_MAX: usize = 4;

/// The bounds that are told: those of Prometheus' own libraries, and some beyond, since the page of an app may take long.
const TOLD_US: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 10_000_000, 60_000_000,
];

type Of<T, V> = (&'static str, &'static str, fn(&T) -> V);

/// What a tenant's requests add up to.
const COUNTS: [Of<Sums, u64>; 5] = [
    ("received_bytes", "Of the bodies of requests.", |sums| {
        sums.bytes_in
    }),
    ("sent_bytes", "Of the bodies of answers.", |sums| {
        sums.bytes_out
    }),
    (
        "held_requests",
        "Those that waited for an upstream that was away.",
        |sums| sums.held,
    ),
    (
        "queued_requests",
        "Those that waited for others of their tenant.",
        |sums| sums.queued,
    ),
    ("retries", "Tries beyond the first.", |sums| sums.retries),
];

/// What a tenant takes of the edge now.
const GAUGES: [Of<Bulkhead, usize>; 3] = [
    ("in_flight_requests", "Now.", Bulkhead::in_flight),
    (
        "waiting_requests",
        "For others of their tenant, now.",
        Bulkhead::queued,
    ),
    (
        "upstream_connections",
        "To the tenant's apps now, idle ones too.",
        Bulkhead::connections,
    ),
];

const CLASS_NAMES: [&str; CLASSES] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// All metrics, written by a thread that may wait for the reader: of 10,000 tenants they are tens of megabytes.
#[derive(Debug)]
pub(super) struct Exposition {
    pieces: mpsc::Receiver<Bytes>,
    _permit: OwnedSemaphorePermit,
}

impl Exposition {
    pub(super) fn begin(told: &Told, permit: OwnedSemaphorePermit) -> Self {
        let (sender, pieces) = mpsc::channel(PIECES_MAX);
        let edge = Edge {
            told: told.clone(),
            snapshot: told.shared.snapshot.load_full(),
        };
        // It ends with its reader at the latest.
        tokio::task::spawn_blocking(move || {
            let mut registry = Registry::with_prefix("hostler");
            registry.register_collector(Box::new(edge));
            let mut out = Pieces {
                next: String::with_capacity(PIECE_BYTES),
                sender,
            };
            // An error is that of a reader who has left.
            let _ = text::encode(&mut out, &registry).and_then(|()| out.send());
        });
        Self {
            pieces,
            _permit: permit,
        }
    }
}

impl Body for Exposition {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.pieces.poll_recv(cx);
        piece.map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

struct Pieces {
    next: String,
    sender: mpsc::Sender<Bytes>,
}

impl Pieces {
    fn send(&mut self) -> fmt::Result {
        let next = std::mem::replace(&mut self.next, String::with_capacity(PIECE_BYTES));
        let sent = self.sender.blocking_send(next.into());
        sent.map_err(|_| fmt::Error)
    }
}

impl fmt::Write for Pieces {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if !self.next.is_empty() && self.next.len() + text.len() > PIECE_BYTES {
            self.send()?;
        }
        self.next.push_str(text);
        Ok(())
    }
}

/// The edge as it is told.
#[derive(Debug)]
struct Edge {
    told: Told,
    snapshot: Arc<Snapshot>,
}

impl Collector for Edge {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut to = Families(&mut encoder);
        self.encode_edge(&mut to)?;
        let mut asked: Vec<&Arc<Route>> = self.snapshot.all_routes().collect();
        asked.retain(|route| route.bulkhead().sums().is_some());
        asked.sort_unstable_by(|one, other| one.tenant().cmp(other.tenant()));
        encode_requests(&mut to, &asked)?;
        encode_counts(&mut to, &asked)
    }
}

impl Edge {
    fn encode_edge(&self, to: &mut Families<'_, '_>) -> fmt::Result {
        let shared = &self.told.shared;
        let readiness = self.told.status.readiness();
        let (reloads, failed) = self.told.status.reloads();
        let unrouted = shared.unrouted.sums().unwrap_or_default();

        let build = "What it is.";
        to.family("build", build, None, Info)?
            .encode_info(&[("version", env!("CARGO_PKG_VERSION"))])?;
        let gauges: [(&str, &str, u64); 8] = [
            ("workers", "Threads that serve.", shared.workers() as u64),
            (
                "ready",
                "1 while new connections should be sent here.",
                readiness.ready.into(),
            ),
            (
                "config_generation",
                "Of the configuration that is served.",
                readiness.generation,
            ),
            (
                "config_is_current",
                "1 while what is served is what the files say.",
                readiness.last_reload_error.is_none().into(),
            ),
            (
                "tenants",
                "Those that are configured.",
                readiness.routes as u64,
            ),
            ("connections", "Of clients.", shared.connections() as u64),
            (
                "connections_limit",
                "As many of clients as there may be.",
                self.snapshot.limits.connections as u64,
            ),
            (
                "age_seconds",
                "Since the start.",
                shared.began.elapsed().as_secs(),
            ),
        ];
        for (name, help, value) in gauges {
            to.family(name, help, None, Gauge)?.encode_gauge(&value)?;
        }
        let accepted = "Connections of clients, ever.";
        to.count("accepted_connections", accepted, shared.accepted())?;
        let lost = "Lines of the access log that were lost, because whoever reads it is too slow.";
        to.count(
            "access_log_lost_lines",
            lost,
            shared.access_log.lines_lost(),
        )?;
        let help = "Configurations that were taken up, or could not be.";
        let mut family = to.family("reloads", help, None, Counter)?;
        for (outcome, count) in [("taken_up", reloads), ("failed", failed)] {
            counter(&mut family, &[("outcome", outcome)], &count)?;
        }
        let help = "Requests that led to no tenant, by what was wrong with them.";
        let mut family = to.family("unrouted_requests", help, None, Counter)?;
        let counts = labels().zip(unrouted.by_label);
        counts
            .filter(|(_, count)| *count > 0)
            .try_for_each(|(label, count)| counter(&mut family, &[("error", label)], &count))
    }
}

/// Requests and what went wrong with them.
fn encode_requests(to: &mut Families<'_, '_>, asked: &[&Arc<Route>]) -> fmt::Result {
    let help = "Requests that are over, by the class of their status.";
    to.of_each("requests", help, Counter, asked, |family, route, sums| {
        of_those(
            family,
            route,
            "class",
            CLASS_NAMES.into_iter().zip(sums.by_class),
        )
    })?;
    let help = "Requests with which something went wrong, by what it was.";
    to.of_each("errors", help, Counter, asked, |family, route, sums| {
        of_those(family, route, "error", labels().zip(sums.by_label))
    })?;
    let help = "From the head of a request to the last byte of its answer; tunnels aside.";
    let duration = to.family("request_duration", help, Some(&Unit::Seconds), Histogram);
    each(&mut duration?, asked, |family, route, sums| {
        histogram(family, route, &sums)
    })
}

fn encode_counts(to: &mut Families<'_, '_>, asked: &[&Arc<Route>]) -> fmt::Result {
    for (name, help, count) in COUNTS {
        to.of_each(name, help, Counter, asked, |family, route, sums| {
            counter(family, &of(route), &count(&sums))
        })?;
    }
    let help = "What requests waited for the heads of answers, in all.";
    let waited = to.family("upstream", help, Some(&Unit::Seconds), Counter);
    each(&mut waited?, asked, |family, route, sums| {
        counter(family, &of(route), &seconds(sums.upstream_us))
    })?;
    for (name, help, value) in GAUGES {
        to.of_each(name, help, Gauge, asked, |family, route, _| {
            let labels = of(route);
            let mut metric = family.encode_family(&labels)?;
            metric.encode_gauge(&value(route.bulkhead()))
        })?;
    }
    Ok(())
}

struct Families<'e, 'w>(&'e mut DescriptorEncoder<'w>);

impl Families<'_, '_> {
    fn family<'s>(
        &'s mut self,
        name: &'s str,
        help: &str,
        unit: Option<&'s Unit>,
        of: MetricType,
    ) -> Result<MetricEncoder<'s>, fmt::Error> {
        self.0.encode_descriptor(name, help, unit, of)
    }

    fn count(&mut self, name: &str, help: &str, count: u64) -> fmt::Result {
        let mut family = self.family(name, help, None, Counter)?;
        family.encode_counter::<NoLabelSet, _, u64>(&count, None)
    }

    /// A family with a metric, or some, for each tenant.
    fn of_each(
        &mut self,
        name: &str,
        help: &str,
        of: MetricType,
        routes: &[&Arc<Route>],
        encode: impl Fn(&mut MetricEncoder<'_>, &Route, Sums) -> fmt::Result,
    ) -> fmt::Result {
        each(&mut self.family(name, help, None, of)?, routes, encode)
    }
}

fn each(
    family: &mut MetricEncoder<'_>,
    routes: &[&Arc<Route>],
    encode: impl Fn(&mut MetricEncoder<'_>, &Route, Sums) -> fmt::Result,
) -> fmt::Result {
    // Summed up for each family anew, since the sums of all at one time would be a lot of memory.
    routes
        .iter()
        .filter_map(|route| Some((route, route.bulkhead().sums()?)))
        .try_for_each(|(route, sums)| encode(family, route, sums))
}

fn of(route: &Route) -> [(&str, &str); 1] {
    [("tenant", route.tenant())]
}

fn counter(
    family: &mut MetricEncoder<'_>,
    labels: &impl EncodeLabelSet,
    value: &impl EncodeCounterValue,
) -> fmt::Result {
    let mut metric = family.encode_family(labels)?;
    metric.encode_counter::<NoLabelSet, _, u64>(value, None)
}

/// A metric for each label of which there is something.
fn of_those(
    family: &mut MetricEncoder<'_>,
    route: &Route,
    name: &str,
    counts: impl Iterator<Item = (&'static str, u64)>,
) -> fmt::Result {
    counts
        .filter(|(_, count)| *count > 0)
        .try_for_each(|(label, count)| {
            let labels = [("tenant", &**route.tenant()), (name, label)];
            counter(family, &labels, &count)
        })
}

fn labels() -> impl Iterator<Item = &'static str> {
    LABELS.iter().map(|(label, _)| *label)
}

fn histogram(family: &mut MetricEncoder<'_>, route: &Route, sums: &Sums) -> fmt::Result {
    let mut buckets = [(f64::INFINITY, 0); TOLD_US.len() + 1];
    let mut told = 0;
    for (index, count) in sums.durations.iter().enumerate() {
        buckets[told].1 += count;
        if let (Some(bound), Some(next)) = (BOUNDS_US.get(index), TOLD_US.get(told))
            && bound == next
        {
            buckets[told].0 = seconds(*bound);
            told += 1;
        }
    }
    let all = sums.durations.iter().sum();
    let labels = of(route);
    let mut metric = family.encode_family(&labels)?;
    metric.encode_histogram::<NoLabelSet>(seconds(sums.duration_us), all, &buckets, None)
}

fn seconds(micros: u64) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "to a microsecond in 285 years")]
    let micros = micros as f64;
    micros / 1e6
}
