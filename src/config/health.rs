//! `health`: its bounds, and whether a route that wants it has all that it takes.
//!
//! Pure, as all of `validate`, of which it is a part.

use std::{ops::RangeInclusive, time::Duration};

use super::{
    Health, HostHeader, Route,
    diagnostic::{Diagnostic, Span},
    leaf::Count,
    raw::RawHealth,
    reader::{At, Field},
    validate::{Checker, value},
};

const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(60);
const IN_A_ROW_MAX: u32 = 100;

impl Checker<'_> {
    /// The route's keys over those of the defaults.
    pub(super) fn health(&mut self, raw: Field<Box<RawHealth>>, defaults: &Health) -> Health {
        let Some(raw) = raw.given() else {
            return defaults.clone();
        };
        let path = value(raw.path).map(|path| path.0.into());
        let host = value(raw.host).map(|host| host.0);
        Health {
            path: path.or_else(|| defaults.path.clone()),
            interval: self.within(raw.interval, "interval", &INTERVAL, defaults.interval),
            timeout: self.within(raw.timeout, "timeout", &TIMEOUT, defaults.timeout),
            healthy: self.in_a_row(raw.healthy, "healthy", defaults.healthy),
            unhealthy: self.in_a_row(raw.unhealthy, "unhealthy", defaults.unhealthy),
            host: host.or_else(|| defaults.host.clone()),
        }
    }

    /// A Host for all would be one that most apps refuse.
    pub(super) fn no_health_host(&mut self, raw: &Field<Box<RawHealth>>) {
        if let Field::Given(health) = raw
            && let Field::Given(At { span, .. }) = &health.host
        {
            let message = "`host` of `health` can't stand in [defaults]";
            let remedy = "write it in the routes that need it: each app knows its own";
            self.tell(Diagnostic::new(*span, message, remedy));
        }
    }

    /// `pathless` is whether the route has a table of its own without a path; mistakes are shown at its header.
    pub(super) fn health_of(&mut self, route: &Route, pathless: bool, header: Span) {
        let (tenant, policy) = (&route.tenant, &route.policy);
        let health = &policy.health;
        match &health.path {
            None if pathless => {
                let message = format!("`health` of route `{tenant}` has no `path`");
                let remedy = "add `health.path = \"/healthz\"`";
                self.tell(Diagnostic::missing(header, message, remedy.to_owned()));
            }
            None => {}
            Some(_) => {
                let preserved = policy.host == HostHeader::Preserve && health.host.is_none();
                if preserved && !route.hosts.is_empty() && route.exact_host().is_none() {
                    let message =
                        format!("route `{tenant}` has no host to ask its app's health by");
                    let below = route.hosts[0].wildcard_suffix().unwrap_or_default();
                    let remedy = format!("add `health.host = \"www.{below}\"`");
                    self.tell(Diagnostic::missing(header, message, remedy));
                }
            }
        }
    }

    fn within(
        &mut self,
        field: Field<At<Duration>>,
        key: &str,
        range: &RangeInclusive<Duration>,
        default: Duration,
    ) -> Duration {
        let Some(At { value, span }) = field.given() else {
            return default;
        };
        if !range.contains(&value) {
            let [least, most] =
                [range.start(), range.end()].map(|bound| humantime::format_duration(*bound));
            let message = format!("`{key}` can't be {}", humantime::format_duration(value));
            let remedy = format!("write \"{least}\" to \"{most}\"");
            self.tell(Diagnostic::new(span, message, remedy));
        }
        value
    }

    fn in_a_row(&mut self, field: Field<At<Count>>, key: &str, default: u32) -> u32 {
        let Some(At { value, span }) = field.given() else {
            return default;
        };
        match u32::try_from(value.0) {
            Ok(count @ 1..=IN_A_ROW_MAX) => count,
            _ => {
                let message = format!("`{key}` can't be {}", value.0);
                let remedy = format!("write 1 to {IN_A_ROW_MAX}");
                self.tell(Diagnostic::new(span, message, remedy));
                default
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::of_text;
    use super::*;

    fn route(keys: &str) -> String {
        format!("[routes.a]\nhosts = \"a.b\"\nupstream = \"http://a:1\"\n{keys}")
    }

    #[test]
    fn a_route_wins_over_the_defaults_key_by_key() {
        let defaults = "[defaults]\nhealth = { path = \"/up\", interval = \"1s\" }\n";
        let text = format!("{defaults}{}", route("health = { unhealthy = 5 }\n"));
        let config = of_text(&text).unwrap();
        let expected = Health {
            path: Some("/up".into()),
            interval: Duration::from_secs(1),
            unhealthy: 5,
            ..Health::default()
        };
        assert_eq!(config.routes[0].policy.health, expected);
        let plain = of_text(&route("")).unwrap();
        assert_eq!(plain.routes[0].policy.health.path, None);
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        let check = |text: &str, expected: &str| {
            let errors = of_text(text).unwrap_err().to_string();
            assert!(errors.contains(expected), "{expected}\n\nin\n\n{errors}");
        };
        let own = |keys: &str| route(&format!("health = {{ path = \"/up\", {keys} }}\n"));
        check(&own("interval = \"1ms\""), "`interval` can't be 1ms");
        check(&own("interval = \"2h\""), "write \"100ms\" to \"1h\"");
        check(&own("timeout = \"0s\""), "`timeout` can't be 0s");
        check(&own("timeout = \"2m\""), "write \"1ms\" to \"1m\"");
        check(&own("healthy = 0"), "`healthy` can't be 0");
        check(&own("unhealthy = 101"), "write 1 to 100");
        check(&own("host = \"a b\""), "`a b` is no host");
        check(&own("pth = \"/\""), "did you mean `path`?");
        check(&route("health.path = \"up\"\n"), "write \"/up\"");
        check(&route("health.path = \"/a b\"\n"), "can't be asked for");
        check(&route("health.path = \"/a#b\"\n"), "can't be asked for");
        check(
            &route("health.interval = \"1s\"\n"),
            "`health` of route `a` has no `path`",
        );
        check(&route("health = true\n"), "expected a table");
        check(
            &route("balance = \"random\"\n"),
            "write one of \"least_requests\"",
        );
        check(
            "[defaults]\nhealth = { path = \"/up\", host = \"a\" }\n",
            "`host` of `health` can't stand in [defaults]",
        );
        let wild = "[routes.a]\nhosts = \"*.a.b\"\nupstream = \"http://a:1\"\n";
        check(
            &format!("{wild}health.path = \"/up\"\n"),
            "add `health.host = \"www.a.b\"`",
        );
        for keys in [
            "health.host = \"c.a.b\"",
            "host = \"upstream\"",
            "host = \"c\"",
        ] {
            let text = format!("{wild}health.path = \"/up\"\n{keys}\n");
            of_text(&text).unwrap_or_else(|errors| panic!("{errors}"));
        }
    }
}
