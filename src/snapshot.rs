//! One generation of everything that a request reads, never changed once it is built. A reload builds the next
//! from the configuration and the generation before it, whose unchanged parts it takes over as they are.

use std::{collections::HashMap, sync::Arc};

use foldhash::fast::RandomState;
use ipnet::IpNet;

use crate::{
    bulkhead::Bulkhead,
    config::{self, Config, EdgeLimits, Policy, Routes},
    route::{Fit, HostPattern, HostTable, Keyed, PathPrefix, PathTable, Sharded},
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
    tenants: Sharded<Arc<Route>>,
    /// What it was built from, to be compared with what the next configuration wants.
    wanted: Routes,
}

/// A tenant's route as it runs. It alone leads to the tenant's upstreams.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) policy: Arc<Policy>,
    /// Where requests go that none of the paths takes.
    rest: Arc<Upstream>,
    paths: PathTable<Path>,
    bulkhead: Arc<Bulkhead>,
    /// What it was built from.
    config: Arc<config::Route>,
}

impl Keyed for Arc<Route> {
    fn key(&self) -> &str {
        self.tenant()
    }
}

#[derive(Debug, Clone)]
struct Path {
    upstream: Arc<Upstream>,
    /// How many bytes are taken off the front of the path.
    strip: usize,
}

/// How many tenants a reload has changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) added: usize,
    pub(crate) removed: usize,
    pub(crate) changed: usize,
}

impl Snapshot {
    pub(crate) fn first(config: &Config) -> Self {
        let nothing = Self {
            generation: 0,
            limits: config.limits,
            trusted_proxies: Vec::new(),
            proxy_protocol: false,
            access_log: false,
            hosts: HostTable::with_capacity(config.routes.len()),
            tenants: Sharded::with_capacity(config.routes.len()),
            wanted: Routes::default(),
        };
        nothing.next(config).0
    }

    /// The generation after this one, and the routes that it hasn't got any more. What both have they share, so that it
    /// costs what is different.
    pub(crate) fn next(&self, config: &Config) -> (Self, Changes, Vec<Arc<Route>>) {
        let mut next = Self {
            generation: self.generation + 1,
            limits: config.limits,
            trusted_proxies: config.trusted_proxies.clone(),
            proxy_protocol: config.proxy_protocol,
            access_log: config.log.access,
            hosts: self.hosts.clone(),
            tenants: self.tenants.clone(),
            wanted: config.routes.clone(),
        };
        let mut changes = Changes::default();
        let (gone, new) = next.wanted.differences(&self.wanted);
        let gone = gone.into_iter();
        let mut gone: HashMap<Arc<str>, Arc<Route>, RandomState> = gone
            .filter_map(|old| {
                for host in &old.hosts {
                    next.hosts.remove(host);
                }
                let route = next.tenants.remove(&old.tenant)?;
                Some((Arc::clone(&old.tenant), route))
            })
            .collect();
        for wanted in new {
            let route = match gone.remove(&wanted.tenant) {
                Some(old) if old.config == *wanted => old,
                Some(old) => {
                    changes.changed += 1;
                    Arc::new(Route::build(wanted, Some(&old)))
                }
                None => {
                    changes.added += 1;
                    Arc::new(Route::build(wanted, None))
                }
            };
            for host in &wanted.hosts {
                // Two routes with one host are a configuration error, found long before, and so are two of one name.
                let _ = next.hosts.insert(host, Arc::clone(&route));
            }
            let _ = next.tenants.insert(route);
        }
        changes.removed = gone.len();
        (next, changes, gone.into_values().collect())
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
        self.tenants.len()
    }

    pub(crate) fn tenant(&self, name: &str) -> Option<&Arc<Route>> {
        self.tenants.find(name)
    }

    /// In no order.
    pub(crate) fn all_routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.tenants.iter()
    }
}

impl Route {
    fn build(wanted: &Arc<config::Route>, old: Option<&Self>) -> Self {
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
        let limits = &wanted.policy.limits;
        let bulkhead = match old {
            Some(old) => {
                old.bulkhead.take_up(limits);
                Arc::clone(&old.bulkhead)
            }
            None => Arc::new(Bulkhead::new(limits)),
        };
        Self {
            policy: Arc::clone(&wanted.policy),
            rest: upstream(&wanted.upstream, Check::of(wanted)),
            paths,
            bulkhead,
            config: Arc::clone(wanted),
        }
    }

    pub(crate) fn tenant(&self) -> &Arc<str> {
        &self.config.tenant
    }

    pub(crate) fn bulkhead(&self) -> &Arc<Bulkhead> {
        &self.bulkhead
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
