//! The limits of the edge as a whole and of each tenant: their defaults, and the values that make no sense.
//!
//! Pure, like the rest of validation.

use std::{num::NonZeroU32, ops::RangeInclusive, time::Duration};

use bytesize::ByteSize;
use schemars::{Schema, json_schema};

use super::{
    EdgeLimits, TenantLimits,
    diagnostic::Diagnostic,
    leaf::Count,
    raw::{RawLimits, RawTenantLimits},
    reader::{At, Field},
    scalar::{Leaf, Problem, Scalar},
    validate::Checker,
};
use crate::limits::rate::Rate;

pub(super) const LIMITS: EdgeLimits = EdgeLimits {
    connections: 20_000,
    headers_bytes_max: 32 * 1024,
    header_read: Duration::from_secs(10),
    keepalive: Duration::from_secs(75),
    keepalive_requests: 10_000,
};
/// Below this, browsers' own headers and cookies don't fit; above, one connection costs too much.
const HEADERS_BYTES: RangeInclusive<u64> = 8 * 1024..=256 * 1024;
const CONNECTIONS_MAX: usize = 10_000_000;
const KEEPALIVE_REQUESTS_MAX: usize = 1_000_000_000;
/// Requests of one tenant that can be in flight or wait, and connections to its apps.
const TENANT_COUNT_MAX: usize = 10_000_000;

/// A rate, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RateLimit(Option<Rate>);

impl Checker<'_> {
    pub(super) fn limits(&mut self, raw: RawLimits) -> EdgeLimits {
        let mut limits = LIMITS;
        limits.connections = self.count(
            raw.connections,
            "connections",
            CONNECTIONS_MAX,
            limits.connections,
        );
        limits.keepalive_requests = self.count(
            raw.keepalive_requests,
            "keepalive_requests",
            KEEPALIVE_REQUESTS_MAX,
            limits.keepalive_requests,
        );
        if let Some(At {
            value: ByteSize(bytes),
            span,
        }) = raw.headers_bytes_max.given()
        {
            match usize::try_from(bytes) {
                Ok(bytes_max) if HEADERS_BYTES.contains(&bytes) => {
                    limits.headers_bytes_max = bytes_max
                }
                _ => self.tell(Diagnostic::new(
                    span,
                    format!("`headers_bytes_max` can't be {}", ByteSize(bytes)),
                    "write \"8KiB\" to \"256KiB\"",
                )),
            }
        }
        limits.header_read = self.positive(raw.header_read, "header_read", limits.header_read);
        limits.keepalive = self.positive(raw.keepalive, "keepalive", limits.keepalive);
        limits
    }

    /// The route's keys over those of the defaults.
    pub(super) fn tenant_limits(
        &mut self,
        raw: Field<Box<RawTenantLimits>>,
        defaults: &TenantLimits,
    ) -> TenantLimits {
        let Some(raw) = raw.given() else {
            return *defaults;
        };
        let mut limits = *defaults;
        if let Some(At { value, span }) = raw.body.given() {
            limits.body_bytes_max = value.as_u64();
            // Elsewhere it means "without a limit", here it would refuse every upload.
            if limits.body_bytes_max == 0 {
                let message = "`body` can't be zero";
                let remedy = "write how large a body may be, such as \"100MiB\" or \"1TiB\"";
                self.tell(Diagnostic::new(span, message, remedy));
            }
        }
        limits.requests = self.of_tenant(raw.requests, "requests", 1, limits.requests);
        limits.queue = self.of_tenant(raw.queue, "queue", 0, limits.queue);
        limits.queue_wait = self.positive(raw.queue_wait, "queue_wait", limits.queue_wait);
        if !raw.connections.is_absent() {
            limits.connections = Some(self.of_tenant(raw.connections, "connections", 1, 1));
        }
        if let Some(At { value, .. }) = raw.rate.given() {
            limits.rate = value.0;
        }
        if let Some(At { value, .. }) = raw.rate_per_client.given() {
            limits.rate_per_client = value.0;
        }
        limits
    }

    fn of_tenant(&mut self, field: Field<At<Count>>, key: &str, least: usize, default: u32) -> u32 {
        let Some(At { value, span }) = field.given() else {
            return default;
        };
        match u32::try_from(value.0) {
            Ok(count) if (least..=TENANT_COUNT_MAX).contains(&value.0) => count,
            _ => {
                let message = format!("`{key}` can't be {}", value.0);
                let remedy = format!("write {least} to {TENANT_COUNT_MAX}");
                self.tell(Diagnostic::new(span, message, remedy));
                default
            }
        }
    }

    /// A number that is neither zero nor absurd.
    fn count(&mut self, field: Field<At<Count>>, key: &str, most: usize, default: usize) -> usize {
        let Some(At { value, span }) = field.given() else {
            return default;
        };
        if !(1..=most).contains(&value.0) {
            let message = format!("`{key}` can't be {}", value.0);
            self.tell(Diagnostic::new(span, message, format!("write 1 to {most}")));
        }
        value.0
    }

    /// A duration that can't be zero.
    pub(super) fn positive(
        &mut self,
        field: Field<At<Duration>>,
        key: &str,
        default: Duration,
    ) -> Duration {
        let Some(At { value, span }) = field.given() else {
            return default;
        };
        if value.is_zero() {
            let remedy = format!(
                "write more than that, such as \"{}s\"",
                default.as_secs().max(1)
            );
            self.tell(Diagnostic::new(
                span,
                format!("`{key}` can't be zero"),
                remedy,
            ));
        }
        value
    }
}

impl Leaf for RateLimit {
    const EXPECTED: &'static str = "a rate, such as \"100/s\"";

    fn read(scalar: Scalar<'_>) -> Result<Self, Problem> {
        if let Scalar::Integer(Some(number @ 1..)) = scalar {
            return Err(Problem::new(
                "a rate needs a time",
                format!("write \"{number}/s\" for so many a second, \"{number}/m\" a minute"),
            ));
        }
        let text = scalar.text(Self::EXPECTED)?;
        if text == "none" {
            return Ok(Self(None));
        }
        let rate = rate(text).ok_or_else(|| {
            let remedy = "write \"100/s\", \"600/m\", \"1000/h\", \"100/s burst 20\" or \"none\"";
            Problem::new(format!("`{text}` is no rate"), remedy)
        })?;
        Ok(Self(Some(rate)))
    }

    fn schema() -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^(none|[0-9]+/[smh]( burst [0-9]+)?)$",
            "examples": ["100/s", "600/m burst 20", "none"],
        })
    }
}

/// `COUNT/s`, `/m` or `/h`, perhaps with ` burst COUNT`; as many as in that time may come at once unless it says otherwise.
fn rate(text: &str) -> Option<Rate> {
    let (rate, burst) = match text.split_once(" burst ") {
        Some((rate, burst)) => (rate, Some(burst.parse().ok()?)),
        None => (text, None),
    };
    let (count, unit) = rate.split_once('/')?;
    let count: NonZeroU32 = count.parse().ok()?;
    let per = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    Some(Rate {
        count,
        per: Duration::from_secs(per),
        burst: burst.unwrap_or(count),
    })
}

#[cfg(test)]
mod tests {
    use super::{super::of_text, *};

    fn route(keys: &str) -> String {
        format!("[routes.a]\nhosts = \"a.b\"\nupstream = \"http://a:1\"\n{keys}")
    }

    fn limits(text: &str) -> TenantLimits {
        let config = of_text(text).unwrap_or_else(|errors| panic!("{errors}"));
        config.routes[0].policy.limits
    }

    fn body(text: &str) -> u64 {
        limits(text).body_bytes_max
    }

    #[test]
    fn each_limit_is_read_and_the_rest_is_that_of_the_defaults() {
        let defaults = "[defaults]\nlimits = { requests = 7, connections = 3, rate = \"9/h\" }\n";
        let keys = "limits = { queue = 0, queue_wait = \"1s\", rate = \"none\", rate_per_client = \"60/m burst 5\" }\n";
        let rate = Rate {
            count: NonZeroU32::new(60).unwrap(),
            per: Duration::from_secs(60),
            burst: NonZeroU32::new(5).unwrap(),
        };
        let expected = TenantLimits {
            requests: 7,
            queue: 0,
            queue_wait: Duration::from_secs(1),
            connections: Some(3),
            rate: None,
            rate_per_client: Some(rate),
            ..TenantLimits::default()
        };
        assert_eq!(limits(&format!("{defaults}{}", route(keys))), expected);
        let hourly = limits(&format!("{defaults}{}", route(""))).rate.unwrap();
        assert_eq!((hourly.burst.get(), hourly.per.as_secs()), (9, 3600));
    }

    #[test]
    fn a_route_wins_over_the_defaults() {
        let defaults = "[defaults]\nlimits.body = \"2GiB\"\n";
        assert_eq!(body(&route("")), 100 << 20);
        assert_eq!(body(&format!("{defaults}{}", route(""))), 2 << 30);
        let own = route("limits = { body = \"1kB\" }\n");
        assert_eq!(body(&format!("{defaults}{own}")), 1000);
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        for (text, expected) in [
            (route("limits.body = \"0B\"\n"), "`body` can't be zero"),
            (route("limits.body = 5\n"), "write \"5B\""),
            (route("limits.boddy = \"5B\"\n"), "did you mean `body`?"),
            ("limits.body = \"5B\"\n".to_owned(), "unknown key `body`"),
            (route("limits.requests = 0\n"), "write 1 to 10000000"),
            (route("limits.queue = 10000001\n"), "write 0 to 10000000"),
            (
                route("limits.queue_wait = \"0s\"\n"),
                "`queue_wait` can't be zero",
            ),
            (
                route("limits.connections = 0\n"),
                "`connections` can't be 0",
            ),
            (
                route("limits.rate = 5\n"),
                "write \"5/s\" for so many a second",
            ),
            (route("limits.rate = \"5\"\n"), "`5` is no rate"),
            (route("limits.rate = \"0/s\"\n"), "`0/s` is no rate"),
            (route("limits.rate = \"5/d\"\n"), "`5/d` is no rate"),
            (
                route("limits.rate_per_client = \"5/s burst 0\"\n"),
                "`5/s burst 0` is no rate",
            ),
            (route("allow = [\"10.0.0.0/33\"]\n"), "is no network"),
            (
                route("deny = [\"::1\", \"::1\"]\n"),
                "network `::1/128` is in the list twice",
            ),
        ] {
            let errors = of_text(&text).unwrap_err().to_string();
            assert!(errors.contains(expected), "{expected}\n\nin\n\n{errors}");
        }
    }
}
