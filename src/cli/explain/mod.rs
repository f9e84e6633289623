//! `hostler explain`: where a request goes, why, and what its app is told.
//!
//! It decides nothing: the code that serves requests reads the request and says the rest.
//! Names are looked up. An edge that runs is asked how the addresses do; where none does they are dialled, and sent nothing.

mod answer;
mod given;
mod health;
mod show;

use std::io::Write;

use self::answer::{
    Client, Explanation, Head, HostFit, Led, Nearest, Outcome, PathFit, PolicyShown, Refused,
};
pub(super) use self::given::Given;
use crate::{
    config::{Address, Config},
    error::ProxyError,
    forward::{Outbound, Sender},
    headers,
    http1::RequestHead,
    limits,
    request::Asked,
    route::{Authority, Fit, HostPattern},
    session::Peer,
    snapshot::{Route, Snapshot},
    telemetry::request_id::RequestId,
    upstream::resolve::Resolver,
};

/// Writes what becomes of the request. False if no app gets it.
pub(super) fn explain(config: &Config, given: &Given, out: &mut dyn Write) -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let explanation = runtime.block_on(explanation(config, given))?;
    if given.json {
        serde_json::to_writer_pretty(&mut *out, &explanation)?;
        writeln!(out)?;
    } else {
        show::text(&explanation, out)?;
    }
    Ok(explanation.routes)
}

async fn explanation(config: &Config, given: &Given) -> anyhow::Result<Explanation> {
    let snapshot = Snapshot::first(config);
    let resolver = Resolver::start(&config.nameservers)?;
    let peer = Peer::new(given.from);
    let led = match given.read(snapshot.limits.headers_bytes_max) {
        Ok(head) => lead(&snapshot, &resolver, &config.admin, &peer, &head).await,
        Err(error) => Err(error),
    };
    Ok(Explanation {
        method: given.method.to_string(),
        url: given.url.text.clone(),
        routes: led.is_ok(),
        outcome: match led {
            Ok(led) => Outcome::Led(Box::new(led)),
            Err(error) => Outcome::Refused(Refused::of(&error, config)),
        },
    })
}

/// As `handle` does, up to the point where something would be sent.
async fn lead(
    snapshot: &Snapshot,
    resolver: &Resolver,
    admin: &Address,
    peer: &Peer,
    head: &RequestHead,
) -> Result<Led, ProxyError> {
    let asked = Asked::read(head)?;
    let vouched = headers::vouched(peer.ip, &head.fields, &snapshot.trusted_proxies);
    let host = asked.authority.host();
    let route = snapshot.route(host).ok_or_else(|| asked.unknown_host())?;
    let client = vouched.as_ref().map_or(peer.ip, |vouched| vouched.client);
    limits::accept(&route.policy, client, head)?;
    let outbound = Outbound::new(&asked, route, vouched.is_some());

    let client = client.to_string();
    let request_id = match vouched.as_ref().and_then(|vouched| vouched.request_id) {
        Some(id) => RequestId::Kept(id.into()),
        None => RequestId::new(fastrand::u128(..)),
    };
    let sender = Sender {
        peer: &peer.text,
        client: client.as_bytes(),
        request_id: request_id.as_bytes(),
    };
    let mut head = Vec::new();
    // The first origin stands for all of them.
    headers::write_request(&mut head, &outbound.onward(0, sender));
    let prefix = route.prefix(asked.target).map(ToString::to_string);
    let (upstream, edge) = health::look(route, prefix, outbound.upstream, resolver, admin).await;
    Ok(Led {
        tenant: route.tenant().to_string(),
        hosts: hosts(snapshot, host),
        paths: paths(route, asked.target, &outbound.target),
        upstream,
        edge,
        app_sees: Head::read(&head),
        client: Client {
            peer: peer.ip.to_string(),
            trusted: vouched.is_some(),
            address: client,
        },
        policy: PolicyShown::of(&route.policy),
    })
}

fn hosts(snapshot: &Snapshot, host: &str) -> Vec<HostFit> {
    let fits = snapshot.matches(host).enumerate();
    let fits = fits.map(|(index, (fit, route))| {
        let (pattern, why) = match (index, fit) {
            (_, Fit::Exact) => (host.to_owned(), "the host itself"),
            (0, Fit::Below(suffix)) => (format!("*.{suffix}"), "the longest wildcard that fits"),
            (_, Fit::Below(suffix)) => (format!("*.{suffix}"), "fits less closely"),
        };
        HostFit {
            pattern,
            tenant: route.tenant().to_string(),
            wins: index == 0,
            why,
        }
    });
    fits.collect()
}

fn paths(route: &Route, asked: &str, seen: &str) -> Vec<PathFit> {
    let winner = route.prefix(asked);
    let prefixes = route.prefixes().map(|prefix| {
        let wins = winner == Some(prefix);
        PathFit {
            prefix: Some(prefix.to_string()),
            wins,
            why: match (wins, prefix.matches(asked)) {
                (true, _) if seen == asked => "the longest that fits",
                (true, _) => "the longest that fits; it is taken off",
                (false, true) => "fits less closely",
                (false, false) => "the path is not below it",
            },
        }
    });
    let rest = PathFit {
        prefix: None,
        wins: winner.is_none(),
        why: match winner {
            Some(_) => "only for what no prefix takes",
            None if route.prefixes().next().is_none() => "the route has no prefixes",
            None => "no prefix takes it",
        },
    };
    prefixes.chain([rest]).collect()
}

impl Refused {
    fn of(error: &ProxyError, config: &Config) -> Self {
        let nearest = match error {
            ProxyError::UnknownHost { host } => Authority::parse(host.as_bytes())
                .ok()
                .and_then(|authority| nearest(authority.host(), config)),
            _ => None,
        };
        Self {
            status: error.status().as_u16(),
            error: error.label(),
            message: error.message().into_owned(),
            nearest,
        }
    }
}

/// The pattern that a host is nearest to, if it is near enough to be what was meant.
fn nearest(host: &str, config: &Config) -> Option<Nearest> {
    let patterns = config
        .routes
        .iter()
        .flat_map(|route| route.hosts.iter().map(move |host| (host, &route.tenant)));
    let (distance, pattern, tenant) = patterns
        .map(|(pattern, tenant)| (distance(host, pattern), pattern, tenant))
        .min_by_key(|(distance, ..)| *distance)?;
    (distance <= 1.max(pattern.as_str().len() / 3)).then(|| Nearest {
        pattern: pattern.to_string(),
        tenant: tenant.to_string(),
    })
}

/// How many letters are wrong; with a wildcard, in as much of the host as it names.
fn distance(host: &str, pattern: &HostPattern) -> usize {
    let Some(suffix) = pattern.wildcard_suffix() else {
        return strsim::damerau_levenshtein(host, pattern.as_str());
    };
    let named = suffix.split('.').count();
    let start = host.rmatch_indices('.').nth(named - 1);
    let tail = start.map_or(host, |(at, _)| &host[at + 1..]);
    strsim::damerau_levenshtein(tail, suffix)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::config;

    #[derive(Debug, clap::Parser)]
    struct Explain {
        #[command(flatten)]
        given: Given,
    }

    const CONFIG: &str = r#"
        admin.listen = "unix:/nowhere/admin.sock"
        trusted_proxies = "10.0.0.0/8"

        [routes.wide]
        hosts = ["*.local", "*.polls.local"]
        upstream = "http://127.0.0.1:1"

        [routes.thor]
        hosts = ["thor.polls.local"]
        upstream = ["http://127.0.0.2:1", "http://[::1]:1"]
        request_headers = { set = { X-Tenant = "thor" }, remove = ["X-Debug"] }
        response_headers.add = { X-Served-By = ["a", "b"] }
        timeouts = { response = "90s" }
        paths = [
            { prefix = "/static/", upstream = "unix:/nowhere/static.sock", strip = true },
            { prefix = "/static/admin/", upstream = "http://127.0.0.3:1" },
            { prefix = "/s", upstream = "http://127.0.0.4:1" },
            { prefix = "/", upstream = "http://127.0.0.2:1" },
        ]
    "#;

    /// What is told, and whether an app gets the request. A trusted proxy gives the id, which would be random.
    fn told(text: &'static str, arguments: &[&str]) -> (String, bool) {
        let always = ["explain", "--from=10.0.0.1", "--header=X-Request-ID: id"];
        let explain = Explain::parse_from(always.iter().chain(arguments));
        let mut out = Vec::new();
        let routes = super::explain(&config(text), &explain.given, &mut out).unwrap();
        (String::from_utf8(out).unwrap(), routes)
    }

    #[test]
    fn people_are_told_who_wins_and_what_the_app_sees() {
        let (text, routes) = told(
            CONFIG,
            &[
                "http://Thor.polls.local:8080/static/a.css?v=1",
                "--header=X-Forwarded-For: 192.0.2.9",
                "--header=X-Debug: 1",
            ],
        );
        assert!(routes);
        assert_eq!(
            text,
            "\
GET http://Thor.polls.local:8080/static/a.css?v=1 goes to thor

host      thor.polls.local  thor  wins: the host itself
          *.polls.local     wide  loses: fits less closely
          *.local           wide  loses: fits less closely
path      /static/admin/  loses: the path is not below it
          /static/        wins: the longest that fits; it is taken off
          /s              loses: the path is not below it
          /               loses: fits less closely
          any             loses: only for what no prefix takes
tenant    thor
upstream  unix:/nowhere/static.sock    doesn't answer a dial: unix:/nowhere/static.sock: No such file or directory (os error 2)
edge      none answers at unix:/nowhere/admin.sock (No such file or directory (os error 2)), so each address was dialled from here
client    192.0.2.9, as 10.0.0.1 says, which is a trusted proxy
app sees  GET /a.css?v=1 HTTP/1.1
          host: Thor.polls.local:8080
          x-real-ip: 192.0.2.9
          x-forwarded-for: 192.0.2.9, 10.0.0.1
          x-forwarded-proto: http
          x-forwarded-host: Thor.polls.local:8080
          x-forwarded-port: 8080
          x-request-id: id
          x-tenant: thor
policy    host                    preserve
          timeouts.connect        2s
          timeouts.response       1m 30s
          timeouts.idle           1m
          timeouts.tunnel_idle    1h
          limits.requests         512
          limits.queue            512
          limits.queue_wait       5s
          limits.body             100.0 MiB
          hold                    10s
          retries                 1
          verify_address          true
          balance                 least_requests
          request_headers.remove  x-debug
          request_headers.set     x-tenant: thor
          response_headers.add    x-served-by: a
          response_headers.add    x-served-by: b
"
        );
    }

    #[test]
    fn a_wildcard_wins_where_nothing_is_closer() {
        let (text, routes) = told(CONFIG, &["a.thor.polls.local"]);
        assert!(routes);
        let rows: Vec<_> = text.lines().skip(2).take(4).collect();
        assert_eq!(
            rows,
            [
                "host      *.polls.local  wide  wins: the longest wildcard that fits",
                "          *.local        wide  loses: fits less closely",
                "path      any  wins: the route has no prefixes",
                "tenant    wide",
            ]
        );
    }

    #[test]
    fn programs_are_told_the_same() {
        let (text, routes) = told(CONFIG, &["--json", "thor.polls.local/x", "--method=POST"]);
        assert!(routes);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let part = |name: &str| json[name].to_string();
        assert_eq!(
            (part("routes"), part("tenant")),
            ("true".into(), "\"thor\"".into())
        );
        assert_eq!(
            json["hosts"][0],
            serde_json::json!({
                "pattern": "thor.polls.local",
                "tenant": "thor",
                "wins": true,
                "why": "the host itself",
            })
        );
        assert_eq!(json["paths"][3]["prefix"], "/");
        assert_eq!(json["paths"][3]["wins"], true);
        assert_eq!(json["paths"][4]["prefix"], serde_json::Value::Null);
        assert_eq!(
            json["upstream"],
            serde_json::json!([{
                "origin": "http://127.0.0.2:1",
                "endpoints": [{
                    "address": "127.0.0.2:1",
                    "health": "silent",
                    "in_flight": null,
                    "aside_ms": null,
                    "error": "127.0.0.2:1: Connection refused (os error 111)",
                }],
                "error": null,
            }])
        );
        assert_eq!(json["app_sees"]["method"], "POST");
        assert_eq!(json["app_sees"]["target"], "/x");
        assert_eq!(
            json["app_sees"]["headers"][0],
            serde_json::json!(["host", "thor.polls.local"])
        );
        assert_eq!(json["policy"]["timeouts"]["response"], "1m 30s");
    }

    #[test]
    fn what_no_app_gets_is_told_with_what_the_client_gets() {
        let check = |arguments: &[&str], expected: &str| {
            let (text, routes) = told(CONFIG, arguments);
            assert_eq!((text.as_str(), routes), (expected, false));
        };
        check(
            &["http://thro.polls.example/"],
            "GET http://thro.polls.example/ goes to no app: 404 unknown_host

answer    No application answers for thro.polls.example here.
",
        );
        check(
            &["thor..local"],
            "GET thor..local goes to no app: 400 bad_host

answer    The request's Host is not a host name or an address.
",
        );
        check(
            &[
                "thor.polls.local",
                "--header=Host: a.b",
                "--header=Host: a.b",
            ],
            "GET thor.polls.local goes to no app: 400 bad_host

answer    The request has more than one Host.
",
        );
        check(
            &["thor.polls.local", "--method=get"],
            "get thor.polls.local goes to no app: 405 method_not_allowed

answer    The method get is not forwarded here.
",
        );
    }

    #[test]
    fn the_nearest_host_is_what_was_probably_meant() {
        const CONFIG: &str = r#"
            [routes.thor]
            hosts = ["thor.polls.example"]
            upstream = "http://127.0.0.1:1"

            [routes.wide]
            hosts = "*.potter.example"
            upstream = "http://127.0.0.1:1"
        "#;
        let check = |url: &str, nearest: Option<&str>| {
            let (text, _) = told(CONFIG, &[url]);
            let row = nearest.map(|nearest| format!("nearest   {nearest}"));
            assert_eq!(text.lines().nth(3).map(str::to_owned), row, "{text}");
        };
        check("thro.polls.example", Some("thor.polls.example  thor"));
        check("thor.polls.exmaple:8080", Some("thor.polls.example  thor"));
        check(
            "anything.at.all.poter.example",
            Some("*.potter.example  wide"),
        );
        check("potter.example", Some("*.potter.example  wide"));
        check("192.0.2.77", None);
    }
}
