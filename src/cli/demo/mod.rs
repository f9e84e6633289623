//! `hostler demo`: the edge with an embedded tenant in the place of each upstream, in one process.
//!
//! The configuration is the real one but for where things listen: it routes as it would in earnest.
//! Each tenant answers under NAME.localhost too, which browsers and curl resolve to this machine.

mod tenant;

use std::{
    collections::HashMap,
    fmt,
    io::{self, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    sync::Arc,
    thread,
};

use anyhow::Context as _;

use self::tenant::DemoTenant;
use crate::{
    config::{Address, Config, Origin, Route, Source, Upstream},
    route::{HostPattern, HostTable},
};

pub(super) const LISTEN: &str = "127.0.0.1:8080";

/// The shipped tenants, for those who have nothing but the binary.
const SHIPPED: &str = include_str!("proxy.toml");

/// Each needs a descriptor; it is a demonstration.
const TENANTS_MAX: usize = 200;

/// Serves the demonstration of the configuration that was `given`, else of ./proxy.toml, else of the
/// shipped one. False if it is wrong.
pub(super) fn demo(
    given: Option<&Path>,
    listen: SocketAddr,
    coloured: bool,
    err: &mut dyn Write,
) -> anyhow::Result<bool> {
    let mut source = match given {
        Some(path) => Source::new(path),
        None if Path::new(super::CONFIG).exists() => Source::new(super::CONFIG),
        None => Source::embedded("the shipped proxy.toml", SHIPPED),
    };
    let Some(config) = super::load(&mut source, coloured, err)? else {
        return Ok(false);
    };
    check_free(listen)?;
    let (config, tenants) = prepare(config, listen)?;
    start(tenants)?;
    let guide = Guide::of(&config);
    // No source: what the files say is not what is served here.
    super::serve(config, None, false, |edge| {
        let guide = guide.at(edge.addresses().next());
        io::stdout().write_all(guide.to_string().as_bytes())
    })?;
    Ok(true)
}

/// An address in use is common here, and has a plain remedy.
fn check_free(listen: SocketAddr) -> anyhow::Result<()> {
    match TcpListener::bind(listen) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let port = listen.port();
            anyhow::bail!(
                "port {port} is in use; name another, such as `hostler demo --listen {}:{}`",
                listen.ip(),
                port.checked_add(1).unwrap_or(8080),
            )
        }
        bound => bound
            .map(drop)
            .with_context(|| format!("cannot listen on {listen}")),
    }
}

/// The configuration with embedded tenants for origins, and those tenants: bound, not yet served.
fn prepare(mut config: Config, listen: SocketAddr) -> anyhow::Result<(Config, Vec<DemoTenant>)> {
    let mut tenants = Vec::new();
    let routes = config.routes.iter();
    let mut routes: Vec<Route> = routes.map(|route| Route::clone(route)).collect();
    for route in &mut routes {
        // Within a route an origin is one tenant, however many paths lead to it; never beyond it.
        let mut places = HashMap::new();
        let paths = route.paths.iter_mut().map(|path| &mut path.upstream);
        for upstream in std::iter::once(&mut route.upstream).chain(paths) {
            replace(upstream, &route.tenant, &mut places, &mut tenants)?;
        }
    }
    add_localhost(&mut routes);
    config.routes = routes.into_iter().collect();
    config.listen = vec![Address::Tcp(listen)];
    config.admin = Address::Tcp((Ipv4Addr::LOCALHOST, 0).into());
    // Nobody's bill grows by what is played here.
    config.usage = None;
    Ok((config, tenants))
}

fn replace(
    upstream: &mut Upstream,
    name: &Arc<str>,
    places: &mut HashMap<Origin, Origin>,
    tenants: &mut Vec<DemoTenant>,
) -> anyhow::Result<()> {
    let mut origins = upstream.origins.to_vec();
    for origin in &mut origins {
        if let Some(place) = places.get(origin) {
            *origin = place.clone();
            continue;
        }
        anyhow::ensure!(
            tenants.len() < TENANTS_MAX,
            "the demo embeds up to {TENANTS_MAX} tenants; give it a smaller --config"
        );
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let place = Origin::Http {
            host: Ipv4Addr::LOCALHOST.to_string().into(),
            port: listener.local_addr()?.port(),
        };
        tenants.push(DemoTenant {
            name: Arc::clone(name),
            stands_for: origin.to_string(),
            listener,
        });
        places.insert(origin.clone(), place.clone());
        *origin = place;
    }
    upstream.origins = origins.into();
    Ok(())
}

/// Gives each route NAME.localhost, unless somebody has it or the name is no label.
fn add_localhost(routes: &mut [Route]) {
    let mut taken = HostTable::default();
    for host in routes.iter().flat_map(|route| &route.hosts) {
        let _ = taken.insert(host, ());
    }
    for route in routes {
        let Ok(host) = HostPattern::parse(&format!("{}.localhost", route.tenant)) else {
            continue;
        };
        if taken.find(host.as_str()).is_none() && taken.insert(&host, ()).is_ok() {
            route.hosts.push(host);
        }
    }
}

/// Serves the tenants on a thread of their own, for as long as the process lives.
fn start(tenants: Vec<DemoTenant>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    thread::Builder::new()
        .name("demo-tenants".into())
        .spawn(move || runtime.block_on(tenant::serve_all(tenants)))?;
    Ok(())
}

/// What to try, once it is known where.
#[derive(Debug)]
struct Guide {
    port: u16,
    tenants: Vec<(Arc<str>, Vec<HostPattern>)>,
}

impl Guide {
    fn of(config: &Config) -> Self {
        let routes = config.routes.iter();
        Self {
            port: 0,
            tenants: routes
                .map(|route| (Arc::clone(&route.tenant), route.hosts.to_vec()))
                .collect(),
        }
    }

    fn at(mut self, address: Option<&Address>) -> Self {
        if let Some(Address::Tcp(address)) = address {
            self.port = address.port();
        }
        self
    }
}

impl fmt::Display for Guide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.port;
        let local = |host: &HostPattern| host.as_str().ends_with(".localhost");
        let exact = |host: &&HostPattern| host.wildcard_suffix().is_none();
        writeln!(f, "\nTenants, in a browser:\n")?;
        let width = self
            .tenants
            .iter()
            .map(|(name, _)| name.len())
            .max()
            .unwrap_or(0);
        for (name, hosts) in &self.tenants {
            if let Some(host) = hosts.iter().filter(exact).find(|host| local(host)) {
                writeln!(f, "  {name:<width$}  http://{host}:{port}/")?;
            }
        }
        writeln!(
            f,
            "\nThe same with curl, and a host that belongs to no one:\n"
        )?;
        for (_, hosts) in &self.tenants {
            for host in hosts.iter().filter(exact) {
                let at = if local(host) {
                    format!("http://{host}:{port}/")
                } else {
                    format!("-H 'Host: {host}' http://127.0.0.1:{port}/")
                };
                writeln!(f, "  curl {at}")?;
            }
        }
        writeln!(f, "  curl http://nobody.localhost:{port}/\n")?;
        writeln!(
            f,
            "Each tenant has /slow (a trickled download) and /events (server-sent events), and answers"
        )?;
        writeln!(
            f,
            "JSON to `-H 'Accept: application/json'`. Ctrl-C ends the demo.\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::config;

    const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    #[test]
    fn the_demo_has_the_tenants_of_the_shipped_configuration() {
        let shipped = config(include_str!("../../../proxy.toml"));
        assert_eq!(config(SHIPPED).routes, shipped.routes);
    }

    #[test]
    fn the_shipped_configuration_is_two_tenants() {
        let (config, tenants) = prepare(config(SHIPPED), ANY).unwrap();
        let names: Vec<&str> = tenants.iter().map(|tenant| &*tenant.name).collect();
        assert_eq!(names, ["thor", "potter"]);
        assert_eq!(tenants[0].stands_for, "http://thor_web:8000");
        let guide = Guide::of(&config).at(Some(&Address::Tcp(([127, 0, 0, 1], 8080).into())));
        let guide = guide.to_string();
        for line in [
            "  thor    http://thor.localhost:8080/\n",
            "  potter  http://potter.localhost:8080/\n",
            "  curl http://thor.localhost:8080/\n",
            "  curl -H 'Host: thor.polls.local' http://127.0.0.1:8080/\n",
        ] {
            assert!(guide.contains(line), "{line} in {guide}");
        }
    }

    #[test]
    fn every_origin_of_a_route_has_one_tenant_of_that_route() {
        let (config, tenants) = prepare(
            config(
                r#"
                listen = "0.0.0.0:80"
                [routes.a]
                hosts = "a.example"
                upstream = ["http://one:1", "http://two:2"]
                paths = [
                    { prefix = "/x/", upstream = "http://one:1" },
                    { prefix = "/y/", upstream = "unix:/run/y.sock" },
                ]
                [routes.b]
                hosts = "b.example"
                upstream = "http://one:1"
                "#,
            ),
            ANY,
        )
        .unwrap();
        let stands: Vec<_> = tenants
            .iter()
            .map(|tenant| (&*tenant.name, &*tenant.stands_for))
            .collect();
        assert_eq!(
            stands,
            [
                ("a", "http://one:1"),
                ("a", "http://two:2"),
                ("a", "unix:/run/y.sock"),
                ("b", "http://one:1"),
            ]
        );
        let [a, b] = config.routes.iter().collect::<Vec<_>>()[..] else {
            panic!("{config:?}")
        };
        assert_eq!(a.upstream.origins[0], a.paths[0].upstream.origins[0]);
        assert_ne!(a.upstream.origins[0], b.upstream.origins[0]);
        let port = tenants[0].listener.local_addr().unwrap().port();
        assert_eq!(
            a.upstream.origins[0].to_string(),
            format!("http://127.0.0.1:{port}")
        );
        assert_eq!(config.listen, [Address::Tcp(ANY)]);
        assert_eq!(config.admin.to_string(), "127.0.0.1:0");
    }

    #[test]
    fn localhost_is_added_where_it_is_free() {
        let (config, _tenants) = prepare(
            config(
                r#"
                [routes.free]
                hosts = "free.example"
                upstream = "http://one:1"
                [routes.taken]
                hosts = "other.example"
                upstream = "http://one:1"
                [routes.thief]
                hosts = ["taken.localhost", "*.thief.localhost"]
                upstream = "http://one:1"
                "#,
            ),
            ANY,
        )
        .unwrap();
        let hosts: Vec<String> = config
            .routes
            .iter()
            .flat_map(|route| &route.hosts)
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            hosts,
            [
                "free.example",
                "free.localhost",
                "other.example",
                "taken.localhost",
                "*.thief.localhost",
                "thief.localhost",
            ]
        );
    }

    #[test]
    fn a_port_in_use_comes_with_its_remedy() {
        let holder = TcpListener::bind(ANY).unwrap();
        let address = holder.local_addr().unwrap();
        let error = check_free(address).unwrap_err().to_string();
        assert!(error.contains("is in use"), "{error}");
        assert!(
            error.contains("hostler demo --listen 127.0.0.1:"),
            "{error}"
        );
        assert!(check_free(ANY).is_ok());
    }
}
