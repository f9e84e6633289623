//! How requests of a route are treated: its own keys over those of `[defaults]` over ours.
//!
//! Pure, as all of `validate`, of which it is a part.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use http::HeaderName;
use ipnet::IpNet;

use super::{
    Balance, HeaderEdits, HostHeader, Policy, Timeouts,
    diagnostic::{Diagnostic, Span},
    leaf::Count,
    raw::{RawDefaults, RawHeaderEdits, RawHealth, RawTenantLimits, RawTimeouts},
    reader::{At, Field, Many, Named},
    validate::{Checker, value},
};

/// More only multiplies the load on an app that is in trouble.
const RETRIES_MAX: u32 = 10;

impl Checker<'_> {
    pub(super) fn defaults(&mut self, raw: RawDefaults) -> Policy {
        self.no_health_host(&raw.health);
        self.policy(
            RawPolicy {
                host: raw.host,
                request_headers: raw.request_headers,
                response_headers: raw.response_headers,
                timeouts: raw.timeouts,
                limits: raw.limits,
                verify_address: raw.verify_address,
                hold: raw.hold,
                retries: raw.retries,
                balance: raw.balance,
                health: raw.health,
                allow: raw.allow,
                deny: raw.deny,
            },
            &Policy::default(),
        )
    }

    pub(super) fn policy(&mut self, raw: RawPolicy, defaults: &Policy) -> Policy {
        Policy {
            host: value(raw.host).unwrap_or_else(|| defaults.host.clone()),
            request_headers: self.header_edits(raw.request_headers, &defaults.request_headers),
            response_headers: self.header_edits(raw.response_headers, &defaults.response_headers),
            timeouts: self.timeouts(
                *raw.timeouts.given().unwrap_or_default(),
                &defaults.timeouts,
            ),
            limits: self.tenant_limits(raw.limits, &defaults.limits),
            verify_address: value(raw.verify_address).unwrap_or(defaults.verify_address),
            hold: value(raw.hold).unwrap_or(defaults.hold),
            retries: self.retries(raw.retries, defaults.retries),
            balance: value(raw.balance).unwrap_or(defaults.balance),
            health: self.health(raw.health, &defaults.health),
            allow: self.networks(raw.allow, &defaults.allow),
            deny: self.networks(raw.deny, &defaults.deny),
        }
    }

    fn timeouts(&mut self, raw: RawTimeouts, defaults: &Timeouts) -> Timeouts {
        Timeouts {
            connect: self.positive(raw.connect, "connect", defaults.connect),
            response: self.positive(raw.response, "response", defaults.response),
            idle: self.positive(raw.idle, "idle", defaults.idle),
            tunnel_idle: self.positive(raw.tunnel_idle, "tunnel_idle", defaults.tunnel_idle),
        }
    }

    fn retries(&mut self, field: Field<At<Count>>, default: u32) -> u32 {
        let Some(At { value, span }) = field.given() else {
            return default;
        };
        match u32::try_from(value.0) {
            Ok(retries @ 0..=RETRIES_MAX) => retries,
            _ => {
                let message = format!("`retries` can't be {}", value.0);
                let remedy = format!("write 0 to {RETRIES_MAX}");
                self.tell(Diagnostic::new(span, message, remedy));
                default
            }
        }
    }

    /// A list in a route takes the place of that in the defaults.
    fn networks(&mut self, field: Field<Many<IpNet>>, defaults: &[IpNet]) -> Box<[IpNet]> {
        if field.is_absent() {
            return defaults.into();
        }
        self.list(field, "network").into()
    }

    /// The route's edits, then those of the defaults for headers that the route doesn't name.
    fn header_edits(
        &mut self,
        raw: Field<Box<RawHeaderEdits>>,
        defaults: &HeaderEdits,
    ) -> HeaderEdits {
        let Some(raw) = raw.given() else {
            return defaults.clone();
        };
        let mut edits = HeaderEdits::default();
        if let Some(Named(set)) = raw.set.given() {
            self.distinct_headers(set.iter().map(|(name, _)| (&name.value.0, name.span)));
            edits.set = set
                .into_iter()
                .map(|(name, value)| (name.value.0, value.value))
                .collect();
        }
        if let Some(Named(add)) = raw.add.given() {
            self.distinct_headers(add.iter().map(|(name, _)| (&name.value.0, name.span)));
            for (name, values) in add {
                let values = values.items.into_iter();
                edits
                    .add
                    .extend(values.map(|value| (name.value.0.clone(), value.value)));
            }
        }
        if let Some(remove) = raw.remove.given() {
            self.distinct_headers(remove.items.iter().map(|name| (&name.value.0, name.span)));
            edits.remove = remove.items.into_iter().map(|name| name.value.0).collect();
        }
        let named: HashSet<HeaderName> = edits
            .set
            .iter()
            .chain(&edits.add)
            .map(|(name, _)| name)
            .chain(&edits.remove)
            .cloned()
            .collect();
        let unnamed = |(name, _): &&(HeaderName, _)| !named.contains(name);
        edits
            .set
            .extend(defaults.set.iter().filter(unnamed).cloned());
        edits
            .add
            .extend(defaults.add.iter().filter(unnamed).cloned());
        let kept = defaults.remove.iter().filter(|name| !named.contains(*name));
        edits.remove.extend(kept.cloned());
        edits
    }

    /// Names of headers are compared without case, which TOML's keys are not.
    fn distinct_headers<'h>(&mut self, names: impl Iterator<Item = (&'h HeaderName, Span)>) {
        let mut seen = HashMap::new();
        for (name, span) in names {
            if let Some(first) = seen.insert(name, span) {
                let message = format!("header `{name}` is named twice");
                let diagnostic = Diagnostic::new(span, message, "take one of them out");
                self.diagnostics.push(diagnostic.also(first, "here first"));
            }
        }
    }
}

/// The keys that `[defaults]` and `[routes.NAME]` have in common.
pub(super) struct RawPolicy {
    pub(super) host: Field<At<HostHeader>>,
    pub(super) request_headers: Field<Box<RawHeaderEdits>>,
    pub(super) response_headers: Field<Box<RawHeaderEdits>>,
    pub(super) timeouts: Field<Box<RawTimeouts>>,
    pub(super) limits: Field<Box<RawTenantLimits>>,
    pub(super) verify_address: Field<At<bool>>,
    pub(super) hold: Field<At<Duration>>,
    pub(super) retries: Field<At<Count>>,
    pub(super) balance: Field<At<Balance>>,
    pub(super) health: Field<Box<RawHealth>>,
    pub(super) allow: Field<Many<IpNet>>,
    pub(super) deny: Field<Many<IpNet>>,
}

impl RawPolicy {
    pub(super) fn is_absent(&self) -> bool {
        self.host.is_absent()
            && self.request_headers.is_absent()
            && self.response_headers.is_absent()
            && self.timeouts.is_absent()
            && self.limits.is_absent()
            && self.verify_address.is_absent()
            && self.hold.is_absent()
            && self.retries.is_absent()
            && self.balance.is_absent()
            && self.health.is_absent()
            && self.allow.is_absent()
            && self.deny.is_absent()
    }
}

/// Equal policies are one: 100,000 routes rarely have more than a few.
#[derive(Debug, Clone)]
pub(super) struct Policies {
    pub(super) defaults: Arc<Policy>,
    known: HashSet<Arc<Policy>>,
}

impl Policies {
    pub(super) fn new(defaults: Policy) -> Self {
        let defaults = Arc::new(defaults);
        let known = HashSet::from([Arc::clone(&defaults)]);
        Self { defaults, known }
    }

    /// Lets go of those that no route has any more.
    pub(super) fn forget_unused(&mut self) {
        self.known.retain(|policy| Arc::strong_count(policy) > 1);
    }

    pub(super) fn share(&mut self, policy: Policy) -> Arc<Policy> {
        if let Some(known) = self.known.get(&policy) {
            return Arc::clone(known);
        }
        let policy = Arc::new(policy);
        self.known.insert(Arc::clone(&policy));
        policy
    }
}
