//! From the files as typed to the configuration as trusted: defaults, bounds, and what can be seen
//! only by looking at several keys together.
//!
//! Pure: no files, no environment, no clock.

use std::{
    collections::HashMap,
    fmt,
    hash::Hash,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use foldhash::fast::RandomState;
use smallvec::SmallVec;

use super::{
    Address, Config, Log, LogFormat, LogLevel, Origin, Path, Policy, Route, Routes, Upstream,
    diagnostic::{Diagnostic, Span},
    names::Tenant,
    policy::{Policies, RawPolicy},
    raw::{RawConfig, RawInclude, RawLog, RawPath, RawRoute},
    reader::{At, Field, Many, Named, Tables},
};
use crate::route::{HostPattern, PathPrefix};

const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8080);
const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9180);
const GRACE: Duration = Duration::from_secs(30);

/// Makes one configuration of a file and those that it includes, or tells everything that is wrong.
/// Routes that are as they were `before` are shared with it.
pub(super) fn validate(
    mut main: RawConfig,
    included: Vec<RawInclude>,
    before: &Routes,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Config> {
    let told = diagnostics.len();
    let mut checker = Checker::new(diagnostics);
    let routes = std::mem::replace(&mut main.routes, Field::Absent);
    let (config, defaults) = edge(main, &mut checker);
    let named = std::iter::once(routes)
        .chain(included.into_iter().map(|file| file.routes))
        .filter_map(Field::given)
        .flat_map(|Named(routes)| routes);
    let routes = checker.routes(named, defaults);
    (checker.diagnostics.len() == told).then(|| Config {
        routes: Routes::taken_from(routes, before),
        ..config
    })
}

/// All but the routes, and what holds for those that don't say otherwise.
pub(super) fn edge(main: RawConfig, checker: &mut Checker<'_>) -> (Config, Policy) {
    let (listen, admin) =
        checker.addresses(main.listen, main.admin.given().map(|admin| admin.listen));
    let nobody_is_trusted = match &main.trusted_proxies {
        Field::Given(networks) => networks.items.is_empty() && !networks.cut,
        Field::Absent => true,
        Field::Wrong => false,
    };
    let trusted_proxies = checker.list(main.trusted_proxies, "network");
    let proxy_protocol = checker.proxy_protocol(main.proxy_protocol, nobody_is_trusted);
    let nameservers = checker.list(main.nameservers, "name server");
    let log = log(main.log.given().unwrap_or_default());
    let usage = main.usage.given().unwrap_or_default();
    let shutdown = main.shutdown.given().unwrap_or_default();
    let limits = checker.limits(main.limits.given().unwrap_or_default());
    let defaults = checker.defaults(main.defaults.given().unwrap_or_default());
    let config = Config {
        listen,
        admin,
        trusted_proxies,
        proxy_protocol,
        nameservers: nameservers.into_iter().map(|server| server.0).collect(),
        log,
        usage: value(usage.path),
        shutdown_grace: value(shutdown.grace).unwrap_or(GRACE),
        limits,
        routes: Routes::default(),
    };
    (config, defaults)
}

pub(super) fn value<T>(field: Field<At<T>>) -> Option<T> {
    field.given().map(|at| at.value)
}

fn log(raw: RawLog) -> Log {
    Log {
        format: value(raw.format).unwrap_or(LogFormat::Auto),
        level: value(raw.level).unwrap_or(LogLevel::Info),
        access: value(raw.access).unwrap_or(true),
    }
}

pub(super) struct Checker<'a> {
    pub(super) diagnostics: &'a mut Vec<Diagnostic>,
}

impl<'a> Checker<'a> {
    pub(super) fn new(diagnostics: &'a mut Vec<Diagnostic>) -> Self {
        Self { diagnostics }
    }
}

impl Checker<'_> {
    pub(super) fn tell(&mut self, diagnostic: Diagnostic) {
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

    /// The items of a list that may be absent or empty, but not hold one twice.
    pub(super) fn list<T: Eq + Hash + Clone + ToString>(
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

    /// A PROXY header is believed of nobody but trusted proxies, so without any it would only get in the way.
    fn proxy_protocol(&mut self, field: Field<At<bool>>, nobody_is_trusted: bool) -> bool {
        let Some(At { value, span }) = field.given() else {
            return false;
        };
        if value && nobody_is_trusted {
            let message = "`proxy_protocol` is of no use without `trusted_proxies`";
            let remedy =
                "write whose PROXY headers are believed: `trusted_proxies = [\"10.0.0.7\"]`";
            self.tell(Diagnostic::new(span, message, remedy));
        }
        value
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

    fn routes(
        &mut self,
        named: impl Iterator<Item = (At<Tenant>, RawRoute)>,
        defaults: Policy,
    ) -> Vec<Route> {
        let mut policies = Policies::new(defaults);
        let mut routes = Vec::new();
        let mut tenant_spans = Vec::new();
        let mut host_spans = Vec::new();
        for (tenant, raw) in named {
            tenant_spans.push(tenant.span);
            routes.push(self.route(tenant, raw, &mut host_spans, &mut policies));
        }
        self.distinct_tenants(&routes, &tenant_spans);
        self.distinct_hosts(&routes, &host_spans);
        routes
    }

    fn distinct_tenants(&mut self, routes: &[Route], spans: &[Span]) {
        let mut taken = HashMap::with_capacity_and_hasher(routes.len(), RandomState::default());
        for (route, span) in routes.iter().zip(spans) {
            let tenant = &route.tenant;
            if let Some(first) = taken.insert(tenant, *span) {
                let message = format!("tenant `{tenant}` is defined twice");
                let diagnostic = Diagnostic::new(*span, message, "rename it or take it out");
                self.tell(diagnostic.also(first, "here first"));
            }
        }
    }

    /// A host leads to one tenant. The spans are of all hosts of all routes, in their order.
    fn distinct_hosts(&mut self, routes: &[Route], spans: &[Span]) {
        let mut taken: HashMap<_, (Span, &Arc<str>), _> =
            HashMap::with_capacity_and_hasher(spans.len(), RandomState::default());
        let hosts = routes
            .iter()
            .flat_map(|route| route.hosts.iter().map(move |host| (host, &route.tenant)));
        for ((host, tenant), span) in hosts.zip(spans) {
            let Some((first, owner)) = taken.insert(host, (*span, tenant)) else {
                continue;
            };
            taken.insert(host, (first, owner));
            let (message, remedy) = if Arc::ptr_eq(owner, tenant) {
                let message = format!("host `{host}` is in the list twice");
                (message, "take one of them out")
            } else {
                let message = format!("host `{host}` belongs to two routes");
                (message, "a host leads to one tenant: take it out of one")
            };
            let label = format!("here first, of route `{owner}`");
            self.tell(Diagnostic::new(*span, message, remedy).also(first, label));
        }
    }

    pub(super) fn route(
        &mut self,
        tenant: At<Tenant>,
        raw: RawRoute,
        host_spans: &mut Vec<Span>,
        policies: &mut Policies,
    ) -> Route {
        let name: Arc<str> = tenant.value.0.into();
        let hosts = self.hosts(raw.hosts, &name, tenant.span, host_spans);
        let of = format_args!("route `{name}`");
        let upstream = self.upstream(raw.upstream, of, tenant.span);
        let paths = self.paths(raw.paths);
        let pathless = matches!(&raw.health, Field::Given(health) if health.path.is_absent());
        let own = RawPolicy {
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
        };
        let policy = if own.is_absent() {
            policies.defaults.clone()
        } else {
            let policy = self.policy(own, &policies.defaults);
            policies.share(policy)
        };
        let route = Route {
            tenant: name,
            hosts,
            upstream,
            paths: paths.into(),
            policy,
        };
        self.health_of(&route, pathless, tenant.span);
        route
    }

    fn hosts(
        &mut self,
        field: Field<Many<HostPattern>>,
        tenant: &str,
        header: Span,
        spans: &mut Vec<Span>,
    ) -> SmallVec<[HostPattern; 1]> {
        let example = format_args!("`hosts = [\"{tenant}.example.com\"]`");
        if field.is_absent() {
            let message = format!("route `{tenant}` has no `hosts`");
            self.tell(Diagnostic::missing(
                header,
                message,
                format!("add {example}"),
            ));
        }
        let Some(many) = field.given() else {
            return SmallVec::new();
        };
        if many.items.is_empty() && !many.cut {
            let message = format!("`hosts` of route `{tenant}` is empty");
            self.tell(Diagnostic::new(
                many.span,
                message,
                format!("write {example}"),
            ));
        }
        spans.extend(many.items.iter().map(|item| item.span));
        many.items.into_iter().map(|item| item.value).collect()
    }

    fn upstream(
        &mut self,
        field: Field<Many<Origin>>,
        of: fmt::Arguments<'_>,
        header: Span,
    ) -> Upstream {
        let example = "`upstream = \"http://thor_web:8000\"`";
        if field.is_absent() {
            let message = format!("{of} has no `upstream`");
            self.tell(Diagnostic::missing(
                header,
                message,
                format!("add {example}"),
            ));
        }
        let Some(many) = field.given() else {
            return Upstream {
                origins: Arc::default(),
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
            let upstream = self.upstream(raw.upstream, format_args!("a path"), span);
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

#[cfg(test)]
mod tests {
    use super::super::limits::LIMITS;
    use super::super::{HostHeader, of_text};
    use super::*;

    fn config(text: &str) -> Config {
        of_text(text).unwrap_or_else(|errors| panic!("{errors}"))
    }

    #[test]
    fn an_empty_file_has_every_default() {
        let config = config("");
        assert_eq!(
            config.listen,
            [Address::Tcp("0.0.0.0:8080".parse().unwrap())]
        );
        assert_eq!(
            config.admin,
            Address::Tcp("127.0.0.1:9180".parse().unwrap())
        );
        assert_eq!(config.trusted_proxies, []);
        assert!(!config.proxy_protocol);
        assert_eq!(config.log.format, LogFormat::Auto);
        assert_eq!(config.log.level, LogLevel::Info);
        assert!(config.log.access);
        assert_eq!(config.usage, None);
        assert_eq!(config.shutdown_grace, GRACE);
        assert_eq!(config.limits, LIMITS);
        assert_eq!(config.routes.len(), 0);
    }

    #[test]
    fn every_key_is_read() {
        let config = config(
            r#"
            listen = ["[::1]:80", "unix:/run/edge.sock"]
            trusted_proxies = ["10.0.0.0/8", "192.0.2.1", "2001:db8::/32"]
            proxy_protocol = true
            admin.listen = "127.0.0.1:1"
            log = { format = "text", level = "debug", access = false }
            usage.path = "/var/usage.jsonl"
            shutdown.grace = "0s"
            limits = { connections = 7, headers_bytes_max = "64KiB", header_read = "1s", keepalive = "2s", keepalive_requests = 9 }
            [routes.thor]
            hosts = "Thor.Polls.Local."
            upstream = ["http://Thor_Web:8000", "http://[2001:DB8::1]:1", "unix:/run/thor.sock"]
            host = "app.internal:8000"
            [[routes.thor.paths]]
            prefix = "/static/"
            upstream = "http://files:80"
            strip = true
            "#,
        );
        assert_eq!(config.listen[1], Address::Unix("/run/edge.sock".into()));
        let nets: Vec<_> = config
            .trusted_proxies
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(nets, ["10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32"]);
        assert!(config.proxy_protocol);
        assert_eq!(config.admin.to_string(), "127.0.0.1:1");
        assert_eq!(
            (config.log.format, config.log.level),
            (LogFormat::Text, LogLevel::Debug)
        );
        assert!(!config.log.access);
        assert_eq!(config.usage, Some("/var/usage.jsonl".into()));
        assert_eq!(config.shutdown_grace, Duration::ZERO);
        assert_eq!(config.limits.connections, 7);
        assert_eq!(config.limits.headers_bytes_max, 64 * 1024);
        assert_eq!(config.limits.header_read, Duration::from_secs(1));
        assert_eq!(config.limits.keepalive, Duration::from_secs(2));
        assert_eq!(config.limits.keepalive_requests, 9);
        let thor = &config.routes[0];
        assert_eq!(
            (&*thor.tenant, thor.hosts[0].as_str()),
            ("thor", "thor.polls.local")
        );
        let origins: Vec<_> = thor
            .upstream
            .origins
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            origins,
            [
                "http://thor_web:8000",
                "http://[2001:db8::1]:1",
                "unix:/run/thor.sock"
            ]
        );
        assert_eq!(
            thor.policy.host,
            HostHeader::Literal("app.internal:8000".parse().unwrap())
        );
        assert_eq!(thor.paths[0].prefix.as_str(), "/static/");
        assert_eq!(
            thor.paths[0].upstream.origins[0].to_string(),
            "http://files:80"
        );
        assert!(thor.paths[0].strip);
    }

    const TWO: &str = r#"
        [defaults]
        host = "upstream"
        timeouts = { connect = "1s", idle = "9s" }
        request_headers.set = { X-A = "default", X-B = "default" }
        response_headers = { add = { X-C = ["1", "2"] }, remove = ["Server", "X-Gone"] }
        [routes.thor]
        hosts = "thor"
        upstream = "http://a:1"
        timeouts.connect = "3s"
        request_headers.set = { x-a = "thor" }
        response_headers = { set = { server = "thor" } }
        [routes.potter]
        hosts = "potter"
        upstream = "http://b:1"
    "#;

    #[test]
    fn a_route_wins_over_the_defaults_key_by_key() {
        let config = config(TWO);
        let show = |list: &[(http::HeaderName, http::HeaderValue)]| {
            let mut shown: Vec<_> = list
                .iter()
                .map(|(n, v)| format!("{n}={}", v.to_str().unwrap()))
                .collect();
            shown.sort();
            shown.join(" ")
        };
        let thor = &config.routes[0].policy;
        assert_eq!(thor.host, HostHeader::Upstream);
        assert_eq!(thor.timeouts.connect, Duration::from_secs(3));
        assert_eq!(thor.timeouts.idle, Duration::from_secs(9));
        assert_eq!(thor.timeouts.response, Duration::from_secs(60));
        assert_eq!(show(&thor.request_headers.set), "x-a=thor x-b=default");
        assert_eq!(show(&thor.response_headers.set), "server=thor");
        assert_eq!(show(&thor.response_headers.add), "x-c=1 x-c=2");
        assert_eq!(thor.response_headers.remove, ["x-gone"]);
        let potter = &config.routes[1].policy;
        assert_eq!(show(&potter.request_headers.set), "x-a=default x-b=default");
        assert_eq!(potter.response_headers.remove, ["server", "x-gone"]);
    }

    #[test]
    fn equal_policies_are_one() {
        let more = r#"
            [routes.loki]
            hosts = "loki"
            upstream = "http://c:1"
            timeouts.connect = "1s"
            [routes.odin]
            hosts = "odin"
            upstream = "http://d:1"
        "#;
        let config = config(&format!("{TWO}{more}"));
        let policy = |index: usize| &config.routes[index].policy;
        assert!(
            Arc::ptr_eq(policy(1), policy(2)),
            "said again, it is still the same"
        );
        assert!(Arc::ptr_eq(policy(1), policy(3)), "unsaid");
        assert!(!Arc::ptr_eq(policy(0), policy(1)));
    }

    #[test]
    fn routes_keep_the_order_of_the_file() {
        let text: String = ["zeta", "alpha", "mid"]
            .map(|name| {
                format!("[routes.{name}]\nhosts = \"{name}\"\nupstream = \"http://{name}:1\"\n")
            })
            .concat();
        let routes = config(&text).routes;
        let names: Vec<_> = routes.iter().map(|route| &*route.tenant).collect();
        assert_eq!(names, ["zeta", "alpha", "mid"]);
    }

    #[test]
    fn any_number_of_ports_that_the_system_picks() {
        let config =
            config("listen = [\"127.0.0.1:0\", \"127.0.0.1:0\"]\nadmin.listen = \"127.0.0.1:0\"");
        assert_eq!(config.listen.len(), 2);
    }

    #[test]
    fn a_path_that_names_no_file_is_told() {
        for (path, message) in [
            ("\"\"", "an empty path"),
            ("\"books/\"", "`books/` names no file"),
            ("\"..\"", "`..` names no file"),
            ("7", "expected the path of a file"),
        ] {
            let text = format!("[usage]\npath = {path}\n");
            let errors = of_text(&text).unwrap_err().to_string();
            assert!(errors.contains("proxy.toml:2:8"), "{errors}");
            assert!(errors.contains(message), "{errors}");
            assert!(errors.contains("such as \"usage.jsonl\""), "{errors}");
        }
    }

    #[test]
    fn a_proxy_header_needs_somebody_who_is_believed() {
        let errors = of_text("proxy_protocol = true\n").unwrap_err().to_string();
        assert!(errors.contains("proxy.toml:1:18"), "{errors}");
        assert!(
            errors.contains("write whose PROXY headers are believed"),
            "{errors}"
        );
        assert!(!config("proxy_protocol = false\n").proxy_protocol);
        // What is wrong with the list is told by itself.
        let errors = of_text("trusted_proxies = \"10\"\nproxy_protocol = true\n");
        let errors = errors.unwrap_err().to_string();
        assert!(!errors.contains("of no use"), "{errors}");
    }
}
