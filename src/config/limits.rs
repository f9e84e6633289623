//! The limits of the edge as a whole and of each tenant: their defaults, and the values that make no sense.
//!
//! Pure, like the rest of validation.

use std::{ops::RangeInclusive, time::Duration};

use bytesize::ByteSize;

use super::{
    EdgeLimits, TenantLimits,
    diagnostic::Diagnostic,
    leaf::Count,
    raw::{RawLimits, RawTenantLimits},
    reader::{At, Field},
    validate::Checker,
};

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
        limits
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

#[cfg(test)]
mod tests {
    use super::super::of_text;

    fn route(keys: &str) -> String {
        format!("[routes.a]\nhosts = \"a.b\"\nupstream = \"http://a:1\"\n{keys}")
    }

    fn body(text: &str) -> u64 {
        let config = of_text(text).unwrap_or_else(|errors| panic!("{errors}"));
        config.routes[0].policy.limits.body_bytes_max
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
        ] {
            let errors = of_text(&text).unwrap_err().to_string();
            assert!(errors.contains(expected), "{expected}\n\nin\n\n{errors}");
        }
    }
}
