//! From the files as typed to the configuration as trusted: defaults, bounds, and what can be seen
//! only by looking at several keys together.
//!
//! Pure: no files, no environment, no clock.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytesize::ByteSize;
use http::HeaderName;

use super::{
    Address, Config, EdgeLimits, HeaderEdits, Log, LogFormat, LogLevel, Path, Policy, Route,
    Timeouts, Upstream,
    diagnostic::{Diagnostic, Span},
    leaf::Tenant,
    raw::{
        RawConfig, RawDefaults, RawHeaderEdits, RawInclude, RawLimits, RawLog, RawPath, RawRoute,
        RawTimeouts,
    },
    reader::{At, Field, Many, Named, Tables},
};
use crate::route::{HostPattern, PathPrefix};

const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8080);
const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9180);
const GRACE: Duration = Duration::from_secs(30);
const LIMITS: EdgeLimits = EdgeLimits {
    connections: 20_000,
    headers_bytes_max: 32 * 1024,
    header_read: Duration::from_secs(10),
    keepalive: Duration::from_secs(75),
};
/// Below this, browsers' own headers and cookies don't fit; above, one connection costs too much.
const HEADERS_BYTES: std::ops::RangeInclusive<u64> = 8 * 1024..=1024 * 1024;
const CONNECTIONS_MAX: usize = 10_000_000;

/// Makes one configuration of a file and those that it includes, or tells everything that is wrong.
pub(super) fn validate(
    main: RawConfig,
    included: Vec<RawInclude>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Config> {
    let before = diagnostics.len();
    let mut checker = Checker { diagnostics };
    let (listen, admin) =
        checker.addresses(main.listen, main.admin.given().map(|admin| admin.listen));
    let trusted_proxies = checker.list(main.trusted_proxies, "network");
    let log = log(main.log.given().unwrap_or_default());
    let shutdown = main.shutdown.given().unwrap_or_default();
    let limits = checker.limits(main.limits.given().unwrap_or_default());
    let defaults = checker.defaults(main.defaults.given().unwrap_or_default());
    let named = std::iter::once(main.routes)
        .chain(included.into_iter().map(|file| file.routes))
        .filter_map(Field::given)
        .flat_map(|Named(routes)| routes);
    let routes = checker.routes(named, defaults);
    let config = Config {
        listen,
        admin,
        trusted_proxies,
        log,
        shutdown_grace: value(shutdown.grace).unwrap_or(GRACE),
        limits,
        routes,
    };
    (checker.diagnostics.len() == before).then_some(config)
}

fn value<T>(field: Field<At<T>>) -> Option<T> {
    field.given().map(|at| at.value)
}

fn log(raw: RawLog) -> Log {
    Log {
        format: value(raw.format).unwrap_or(LogFormat::Auto),
        level: value(raw.level).unwrap_or(LogLevel::Info),
        access: value(raw.access).unwrap_or(true),
    }
}

struct Checker<'a> {
    diagnostics: &'a mut Vec<Diagnostic>,
}

impl Checker<'_> {
    fn tell(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    fn addresses(
        &mut self,
        listen: Field<Many<Address>>,
        admin: Option<Field<At<Address>>>,
    ) -> (Vec<Address>, Address) {
        let mut taken = HashMap::new();
        let mut addresses = Vec::new();
        let admin = admin.and_then(Field::given);
        if let Some(Many { items, span, cut }) = listen.given() {
            if items.is_empty() && !cut {
                let remedy = format!("write at least one, such as \"{LISTEN}\"");
                self.tell(Diagnostic::new(span, "`listen` is empty", remedy));
            }
            for item in items {
                self.claim_address(&item, &mut taken);
                addresses.push(item.value);
            }
        } else {
            addresses.push(Address::Tcp(LISTEN));
        }
        if let Some(admin) = &admin {
            self.claim_address(admin, &mut taken);
        }
        (addresses, admin.map_or(Address::Tcp(ADMIN), |at| at.value))
    }

    fn claim_address(&mut self, item: &At<Address>, taken: &mut HashMap<Address, Span>) {
        // The system picks a port of its own for each 0.
        if matches!(item.value, Address::Tcp(address) if address.port() == 0) {
            return;
        }
        if let Some(first) = taken.insert(item.value.clone(), item.span) {
            let message = format!("`{}` is listened on twice", item.value);
            self.tell(
                Diagnostic::new(item.span, message, "take one of them out")
                    .also(first, "here first"),
            );
        }
    }

    fn limits(&mut self, raw: RawLimits) -> EdgeLimits {
        let mut limits = LIMITS;
        if let Some(At { value, span }) = raw.connections.given() {
            limits.connections = value.0;
            if !(1..=CONNECTIONS_MAX).contains(&value.0) {
                let message = format!("`connections` can't be {}", value.0);
                self.tell(Diagnostic::new(
                    span,
                    message,
                    format!("write 1 to {CONNECTIONS_MAX}"),
                ));
            }
        }
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
                    "write \"8KiB\" to \"1MiB\"",
                )),
            }
        }
        limits.header_read = self.positive(raw.header_read, "header_read", limits.header_read);
        limits.keepalive = self.positive(raw.keepalive, "keepalive", limits.keepalive);
        limits
    }

    /// A duration that can't be zero.
    fn positive(&mut self, field: Field<At<Duration>>, key: &str, default: Duration) -> Duration {
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

    /// The items of a list that may be absent or empty, but not hold one twice.
    fn list<T: Eq + Hash + Clone + ToString>(
        &mut self,
        field: Field<Many<T>>,
        noun: &str,
    ) -> Vec<T> {
        let Some(many) = field.given() else {
            return Vec::new();
        };
        self.distinct(&many, noun);
        many.items.into_iter().map(|item| item.value).collect()
    }

    fn distinct<T: Eq + Hash + ToString>(&mut self, many: &Many<T>, noun: &str) {
        if many.items.len() < 2 {
            return;
        }
        let mut seen = HashMap::with_capacity(many.items.len());
        for item in &many.items {
            if let Some(first) = seen.insert(&item.value, item.span) {
                let message = format!("{noun} `{}` is in the list twice", item.value.to_string());
                self.diagnostics.push(
                    Diagnostic::new(item.span, message, "take one of them out")
                        .also(first, "here first"),
                );
            }
        }
    }

    fn defaults(&mut self, raw: RawDefaults) -> Policy {
        self.policy(
            RawPolicy {
                host: raw.host,
                request_headers: raw.request_headers,
                response_headers: raw.response_headers,
                timeouts: raw.timeouts,
            },
            &Policy::default(),
        )
    }

    fn policy(&mut self, raw: RawPolicy, defaults: &Policy) -> Policy {
        Policy {
            host: value(raw.host).unwrap_or_else(|| defaults.host.clone()),
            request_headers: self.header_edits(raw.request_headers, &defaults.request_headers),
            response_headers: self.header_edits(raw.response_headers, &defaults.response_headers),
            timeouts: self.timeouts(raw.timeouts.given().unwrap_or_default(), &defaults.timeouts),
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

    /// The route's edits, then those of the defaults for headers that the route doesn't name.
    fn header_edits(&mut self, raw: Field<RawHeaderEdits>, defaults: &HeaderEdits) -> HeaderEdits {
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

    fn routes(
        &mut self,
        named: impl Iterator<Item = (At<Tenant>, RawRoute)>,
        defaults: Policy,
    ) -> Vec<Route> {
        let mut tenants = HashMap::new();
        let mut hosts = HashMap::new();
        let mut policies = Policies::new(defaults);
        let mut routes = Vec::with_capacity(named.size_hint().0);
        for (tenant, raw) in named {
            if let Some(first) = tenants.insert(tenant.value.clone(), tenant.span) {
                let message = format!("tenant `{}` is defined twice", tenant.value.0);
                let diagnostic = Diagnostic::new(tenant.span, message, "rename it or take it out");
                self.tell(diagnostic.also(first, "here first"));
            }
            routes.push(self.route(tenant, raw, &mut hosts, &mut policies));
        }
        routes
    }

    fn route(
        &mut self,
        tenant: At<Tenant>,
        raw: RawRoute,
        taken: &mut HashMap<HostPattern, (Span, Arc<str>)>,
        policies: &mut Policies,
    ) -> Route {
        let name: Arc<str> = tenant.value.0.into();
        let hosts = self.hosts(raw.hosts, &name, tenant.span, taken);
        let upstream = self.upstream(raw.upstream, &format!("route `{name}`"), tenant.span);
        let paths = self.paths(raw.paths);
        let own = RawPolicy {
            host: raw.host,
            request_headers: raw.request_headers,
            response_headers: raw.response_headers,
            timeouts: raw.timeouts,
        };
        let policy = if own.is_absent() {
            policies.defaults.clone()
        } else {
            let policy = self.policy(own, &policies.defaults);
            policies.share(policy)
        };
        Route {
            tenant: name,
            hosts,
            upstream,
            paths,
            policy,
        }
    }

    fn hosts(
        &mut self,
        field: Field<Many<HostPattern>>,
        tenant: &Arc<str>,
        header: Span,
        taken: &mut HashMap<HostPattern, (Span, Arc<str>)>,
    ) -> Vec<HostPattern> {
        let example = format!("`hosts = [\"{tenant}.example.com\"]`");
        if field.is_absent() {
            let message = format!("route `{tenant}` has no `hosts`");
            self.tell(Diagnostic::new(header, message, format!("add {example}")));
        }
        let Some(many) = field.given() else {
            return Vec::new();
        };
        if many.items.is_empty() && !many.cut {
            let message = format!("`hosts` of route `{tenant}` is empty");
            self.tell(Diagnostic::new(
                many.span,
                message,
                format!("write {example}"),
            ));
        }
        let mut hosts = Vec::with_capacity(many.items.len());
        for At { value: host, span } in many.items {
            if let Some((first, owner)) = taken.get(&host) {
                let (message, remedy) = if owner == tenant {
                    (
                        format!("host `{host}` is in the list twice"),
                        "take one of them out",
                    )
                } else {
                    (
                        format!("host `{host}` belongs to two routes"),
                        "a host leads to one tenant: take it out of one",
                    )
                };
                let diagnostic = Diagnostic::new(span, message, remedy);
                let label = format!("here first, of route `{owner}`");
                self.diagnostics.push(diagnostic.also(*first, label));
            } else {
                taken.insert(host.clone(), (span, Arc::clone(tenant)));
            }
            hosts.push(host);
        }
        hosts
    }

    fn upstream(&mut self, field: Field<Many<super::Origin>>, of: &str, header: Span) -> Upstream {
        let example = "`upstream = \"http://thor_web:8000\"`";
        if field.is_absent() {
            let message = format!("{of} has no `upstream`");
            self.tell(Diagnostic::new(header, message, format!("add {example}")));
        }
        let Some(many) = field.given() else {
            return Upstream {
                origins: Vec::new(),
            };
        };
        if many.items.is_empty() && !many.cut {
            let message = format!("`upstream` of {of} is empty");
            self.tell(Diagnostic::new(
                many.span,
                message,
                format!("write {example}"),
            ));
        }
        self.distinct(&many, "origin");
        let origins = many.items.into_iter().map(|item| item.value).collect();
        Upstream { origins }
    }

    fn paths(&mut self, field: Field<Tables<RawPath>>) -> Vec<Path> {
        let mut taken: HashMap<PathPrefix, Span> = HashMap::new();
        let mut paths = Vec::new();
        for At { value: raw, span } in field
            .given()
            .map(|Tables(tables)| tables)
            .unwrap_or_default()
        {
            if raw.prefix.is_absent() {
                self.tell(Diagnostic::new(
                    span,
                    "a path has no `prefix`",
                    "add `prefix = \"/static/\"`",
                ));
            }
            let prefix = raw.prefix.given();
            if let Some(prefix) = &prefix
                && let Some(first) = taken.insert(prefix.value.clone(), prefix.span)
            {
                let message = format!("prefix `{}` is given twice", prefix.value);
                let diagnostic = Diagnostic::new(prefix.span, message, "take one of them out");
                self.tell(diagnostic.also(first, "here first"));
            }
            let upstream = self.upstream(raw.upstream, "a path", span);
            let strip = value(raw.strip).unwrap_or(false);
            paths.extend(prefix.map(|prefix| Path {
                prefix: prefix.value,
                upstream,
                strip,
            }));
        }
        paths
    }
}

/// The keys that `[defaults]` and `[routes.NAME]` have in common.
struct RawPolicy {
    host: Field<At<super::HostHeader>>,
    request_headers: Field<RawHeaderEdits>,
    response_headers: Field<RawHeaderEdits>,
    timeouts: Field<RawTimeouts>,
}

impl RawPolicy {
    fn is_absent(&self) -> bool {
        self.host.is_absent()
            && self.request_headers.is_absent()
            && self.response_headers.is_absent()
            && self.timeouts.is_absent()
    }
}

/// Equal policies are one: 100,000 routes rarely have more than a few.
struct Policies {
    defaults: Arc<Policy>,
    known: HashSet<Arc<Policy>>,
}

impl Policies {
    fn new(defaults: Policy) -> Self {
        let defaults = Arc::new(defaults);
        let known = HashSet::from([Arc::clone(&defaults)]);
        Self { defaults, known }
    }

    fn share(&mut self, policy: Policy) -> Arc<Policy> {
        if let Some(known) = self.known.get(&policy) {
            return Arc::clone(known);
        }
        let policy = Arc::new(policy);
        self.known.insert(Arc::clone(&policy));
        policy
    }
}
