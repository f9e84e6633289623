//! One generation of everything that a request reads, never changed once it is built. A reload builds the next
//! from the configuration and the generation before it, whose unchanged parts it takes over as they are.

use std::{collections::HashMap, sync::Arc};

use ipnet::IpNet;

use crate::{
    config::{self, Config, EdgeLimits, Policy},
    route::{Fit, HostPattern, HostTable, PathPrefix, PathTable},
    upstream::{Upstream, active::Check},
};

#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) generation: u64,
    pub(crate) limits: EdgeLimits,
    pub(crate) trusted_proxies: Vec<IpNet>,
    pub(crate) proxy_protocol: bool,
    pub(crate) access_log: bool,
    hosts: HostTable<Arc<Route>>,
    routes: HashMap<Arc<str>, Arc<Route>, foldhash::fast::RandomState>,
}

/// A tenant's route as it runs. It alone leads to the tenant's upstreams.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) tenant: Arc<str>,
    pub(crate) policy: Arc<Policy>,
    /// Where requests go that none of the paths takes.
    rest: Arc<Upstream>,
    paths: PathTable<Path>,
    /// What it was built from, to be compared with what the next configuration wants.
    config: config::Route,
}

#[derive(Debug, Clone)]
struct Path {
    upstream: Arc<Upstream>,
    /// How many bytes are taken off the front of the path.
    strip: usize,
}

/// What a reload changed, by the names of the tenants.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) added: Vec<Arc<str>>,
    pub(crate) removed: Vec<Arc<str>>,
    pub(crate) changed: Vec<Arc<str>>,
}

impl Snapshot {
    pub(crate) fn first(config: &Config) -> Self {
        Self::build(config, None).0
    }

    /// The generation after this one.
    pub(crate) fn next(&self, config: &Config) -> (Self, Changes) {
        Self::build(config, Some(self))
    }

    fn build(config: &Config, before: Option<&Self>) -> (Self, Changes) {
        let mut snapshot = Self {
            generation: before.map_or(1, |before| before.generation + 1),
            limits: config.limits,
            trusted_proxies: config.trusted_proxies.clone(),
            proxy_protocol: config.proxy_protocol,
            access_log: config.log.access,
            hosts: HostTable::with_capacity(config.routes.len()),
            routes: HashMap::default(),
        };
        let mut changes = Changes::default();
        for wanted in &config.routes {
            let old = before.and_then(|before| before.routes.get(&wanted.tenant));
            let route = match old {
                Some(old) if old.config == *wanted => Arc::clone(old),
                Some(old) => {
                    changes.changed.push(Arc::clone(&wanted.tenant));
                    Arc::new(Route::build(wanted, Some(old)))
                }
                None => {
                    changes.added.push(Arc::clone(&wanted.tenant));
                    Arc::new(Route::build(wanted, None))
                }
            };
            for host in &wanted.hosts {
                // Two routes with one host are a configuration error, found long before.
                let _ = snapshot.hosts.insert(host, Arc::clone(&route));
            }
            snapshot.routes.insert(Arc::clone(&wanted.tenant), route);
        }
        let gone = before.into_iter().flat_map(|before| before.routes.keys());
        changes.removed = gone
            .filter(|tenant| !snapshot.routes.contains_key(*tenant))
            .cloned()
            .collect();
        changes.removed.sort_unstable();
        (snapshot, changes)
    }

    /// The one place where a tenant is chosen.
    pub(crate) fn route(&self, host: &str) -> Option<&Arc<Route>> {
        self.hosts.find(host)
    }

    /// Every route that a host fits, the one that it gets first.
    pub(crate) fn matches<'s, 'h>(
        &'s self,
        host: &'h str,
    ) -> impl Iterator<Item = (Fit<'h>, &'s Arc<Route>)> {
        self.hosts.matches(host)
    }

    pub(crate) fn routes(&self) -> usize {
        self.routes.len()
    }

    pub(crate) fn tenant(&self, name: &str) -> Option<&Arc<Route>> {
        self.routes.get(name)
    }

    /// In no order.
    pub(crate) fn all_routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.routes.values()
    }
}

impl Route {
    fn build(wanted: &config::Route, old: Option<&Self>) -> Self {
        let verify = wanted.policy.verify_address;
        let upstream = |wanted: &config::Upstream, check: Option<Check>| {
            let kept = old.and_then(|old| {
                old.upstreams()
                    .find(|(_, upstream)| upstream.serves(wanted, verify, check.as_ref()))
            });
            match kept {
                Some((_, kept)) => Arc::clone(kept),
                None => Arc::new(Upstream::new(wanted, verify, check)),
            }
        };
        let mut paths = PathTable::default();
        for path in &wanted.paths {
            let strip = if path.strip {
                path.prefix.as_str().trim_end_matches('/').len()
            } else {
                0
            };
            let _ = paths.insert(
                path.prefix.clone(),
                Path {
                    // What is asked of the app itself says nothing about what serves its files.
                    upstream: upstream(&path.upstream, None),
                    strip,
                },
            );
        }
        Self {
            tenant: Arc::clone(&wanted.tenant),
            policy: Arc::clone(&wanted.policy),
            rest: upstream(&wanted.upstream, Check::of(wanted)),
            paths,
            config: wanted.clone(),
        }
    }

    pub(crate) fn hosts(&self) -> impl Iterator<Item = &HostPattern> {
        self.config.hosts.iter()
    }

    /// All of them, those of its prefixes before the one for what no prefix takes.
    pub(crate) fn upstreams(&self) -> impl Iterator<Item = (Option<&PathPrefix>, &Arc<Upstream>)> {
        let of_paths = self.paths.iter();
        of_paths
            .map(|(prefix, path)| (Some(prefix), &path.upstream))
            .chain([(None, &self.rest)])
    }

    /// The one that has its health asked for, if the route wants that.
    pub(crate) fn checked_upstream(&self) -> Option<&Arc<Upstream>> {
        self.policy.health.path.as_ref().map(|_| &self.rest)
    }

    /// The prefixes that a target is compared with, in this order.
    pub(crate) fn prefixes(&self) -> impl Iterator<Item = &PathPrefix> {
        self.paths.iter().map(|(prefix, _)| prefix)
    }

    /// The one that gets a target, if one does.
    pub(crate) fn prefix(&self, target: &str) -> Option<&PathPrefix> {
        self.paths.find(target).map(|(prefix, _)| prefix)
    }

    /// The upstream for a target, and the target as that upstream shall see it.
    pub(crate) fn upstream<'a>(&self, target: &'a str) -> (&Arc<Upstream>, &'a str) {
        match self.paths.find(target) {
            Some((_, path)) => (&path.upstream, &target[path.strip..]),
            None => (&self.rest, target),
        }
    }
}
