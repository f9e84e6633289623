//! What the edge tells of its tenants: metrics, the tenants as they fare now, and who is told so.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{
    Gate,
    edge::{Edge, Setup, tenant},
    eventually,
    upstream::{Refusing, Upstream, ok},
};

const THOR: &str = "thor.polls.local";
const POTTER: &str = "potter.polls.local";

/// Each line of the metrics by what stands before its value.
struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    #[track_caller]
    fn of(edge: &Edge) -> Self {
        let response = edge.admin("/metrics");
        assert_eq!(response.status, 200);
        let content_type = response.field("content-type");
        assert!(
            content_type
                .unwrap()
                .starts_with("application/openmetrics-text")
        );
        let text = response.text();
        assert!(text.ends_with("# EOF\n"), "{text}");
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let values = lines.map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        });
        Self(values.collect())
    }

    fn value(&self, name: &str) -> Option<f64> {
        self.0.get(&format!("hostler_{name}")).copied()
    }

    fn names(&self, tenant: &str) -> usize {
        let label = format!("tenant=\"{tenant}\"");
        self.0.keys().filter(|name| name.contains(&label)).count()
    }
}

#[track_caller]
fn counts(edge: &Edge, name: &str, wanted: f64) {
    eventually(name, || Metrics::of(edge).value(name) == Some(wanted));
}

#[test]
fn metrics_count_what_the_access_log_is_told() {
    let (thor, potter) = (Upstream::saying("thor"), Upstream::saying("potter"));
    let edge = Edge::start(&[tenant("thor", &thor), tenant("potter", &potter)].concat());
    let mut client = edge.client();
    for _ in 0..3 {
        client.post(THOR, "/", "four").expect(200, "thor");
    }
    assert_eq!(edge.get("nobody.polls.local", "/").status, 404);
    counts(&edge, r#"requests_total{tenant="thor",class="2xx"}"#, 3.0);
    let metrics = Metrics::of(&edge);
    for (name, wanted) in [
        (r#"received_bytes_total{tenant="thor"}"#, Some(12.0)),
        (r#"sent_bytes_total{tenant="thor"}"#, Some(12.0)),
        (
            r#"request_duration_seconds_count{tenant="thor"}"#,
            Some(3.0),
        ),
        (
            r#"request_duration_seconds_bucket{le="+Inf",tenant="thor"}"#,
            Some(3.0),
        ),
        (r#"requests_total{tenant="thor",class="5xx"}"#, None),
        (
            r#"unrouted_requests_total{error="unknown_host"}"#,
            Some(1.0),
        ),
        ("tenants", Some(2.0)),
        ("ready", Some(1.0)),
        ("config_generation", Some(1.0)),
        ("connections", Some(1.0)),
        ("access_log_lost_lines_total", Some(0.0)),
    ] {
        assert_eq!(metrics.value(name), wanted, "{name}");
    }
    let mut logged = Vec::new();
    eventually("the log has them", || {
        let lines = edge.access_log().so_far();
        let lines = lines
            .iter()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let thors = lines.filter(|line| line["tenant"] == "thor");
        logged = thors
            .map(|line| line["upstream_ms"].as_f64().unwrap())
            .collect();
        logged.len() == 3
    });
    let log: f64 = logged.iter().sum();
    let upstream = metrics
        .value(r#"upstream_seconds_total{tenant="thor"}"#)
        .unwrap();
    assert!(
        (log / 1e3 - upstream).abs() < 0.0001 * 3.0,
        "{log} {upstream}"
    );
    assert_eq!(metrics.names("potter"), 0, "nobody has asked for it");
    edge.get(POTTER, "/").expect(200, "potter");
    eventually("potter has metrics", || {
        Metrics::of(&edge).names("potter") > 0
    });
}

#[test]
fn metrics_have_each_refusal_by_its_label() {
    let thor = Upstream::saying("thor");
    let gone = Refusing::new();
    let config = [
        tenant("thor", &thor),
        "limits.rate = \"1/h burst 1\"\n".to_owned(),
        format!(
            "[routes.gone]\nhosts = \"gone.polls.local\"\nupstream = \"{}\"\nhold = \"0s\"\n",
            gone.url()
        ),
    ];
    let edge = Edge::start(&config.concat());
    edge.get(THOR, "/").expect(200, "thor");
    assert_eq!(edge.get(THOR, "/").status, 429);
    assert_eq!(edge.get("gone.polls.local", "/").status, 502);
    counts(
        &edge,
        r#"errors_total{tenant="thor",error="rate_limited"}"#,
        1.0,
    );
    counts(
        &edge,
        r#"errors_total{tenant="gone",error="upstream_unreachable"}"#,
        1.0,
    );
    counts(&edge, r#"requests_total{tenant="gone",class="5xx"}"#, 1.0);
}

#[test]
fn metrics_tell_what_is_in_flight_and_what_waits() {
    let gate = Gate::default();
    let held = gate.clone();
    let thor = Upstream::script(move |connection| {
        while connection.request().is_some() {
            held.wait();
            connection.send(ok("thor"));
        }
    });
    let edge = Edge::start(&(tenant("thor", &thor) + "limits.requests = 1\n"));
    let mut clients = [edge.client(), edge.client()];
    for client in &mut clients {
        client.send(format!("GET / HTTP/1.1\r\nHost: {THOR}\r\n\r\n"));
    }
    let live = || edge.admin("/live").json()["rows"][0].clone();
    eventually("one is in flight, one waits", || {
        live()["in_flight"] == 1 && live()["queued"] == 1
    });
    gate.open();
    for client in &mut clients {
        client.response().expect(200, "thor");
    }
    counts(&edge, r#"in_flight_requests{tenant="thor"}"#, 0.0);
    counts(&edge, r#"waiting_requests{tenant="thor"}"#, 0.0);
    counts(&edge, r#"queued_requests_total{tenant="thor"}"#, 1.0);
    let connections = Metrics::of(&edge).value(r#"upstream_connections{tenant="thor"}"#);
    assert!(
        (1.0..=2.0).contains(&connections.unwrap()),
        "{connections:?}"
    );
}

#[test]
fn metrics_outlive_a_reload_and_count_it() {
    let thor = Upstream::saying("thor");
    let edge = Edge::start(&tenant("thor", &thor));
    edge.get(THOR, "/").expect(200, "thor");
    edge.reload(&(tenant("thor", &thor) + "limits.requests = 9\n"));
    edge.reload_in_vain("nonsense");
    edge.get(THOR, "/").expect(200, "thor");
    counts(&edge, r#"requests_total{tenant="thor",class="2xx"}"#, 2.0);
    counts(&edge, r#"reloads_total{outcome="taken_up"}"#, 1.0);
    counts(&edge, r#"reloads_total{outcome="failed"}"#, 1.0);
    counts(&edge, "config_is_current", 0.0);
    let live = edge.admin("/live").json();
    assert!(
        live["last_reload_error"]
            .as_str()
            .unwrap()
            .contains("proxy.toml")
    );
}

/// The names of the tenants that an answer tells of.
fn names(live: &Value) -> Vec<&str> {
    let rows = live["rows"].as_array().unwrap();
    rows.iter()
        .map(|row| row["tenant"].as_str().unwrap())
        .collect()
}

#[test]
fn tenants_are_told_by_pages_as_they_are_searched_and_sorted() {
    let app = Upstream::saying("app");
    let gone = Refusing::new();
    let mut config = String::new();
    for name in ["thor", "loki", "odin", "potter"] {
        config += &tenant(name, &app);
    }
    config += "limits = { requests = 7, queue = 3, rate = \"10/s\" }\n";
    config += &format!(
        "[routes.gone]\nhosts = \"gone.example\"\nupstream = \"{}\"\n",
        gone.url()
    );
    config += "hold = \"0s\"\n";
    let edge = Edge::start(&config);
    let live = |query: &str| edge.admin(&format!("/live{query}")).json();

    let all = live("");
    assert_eq!(names(&all), ["gone", "loki", "odin", "potter", "thor"]);
    assert_eq!((&all["tenants"], &all["matching"]), (&5.into(), &5.into()));
    assert_eq!(all["rows"][0]["state"], "idle");
    let limits = json!({
        "requests": 7, "queue": 3, "connections": null, "rate": "10/s", "rate_per_client": null,
    });
    assert_eq!(all["rows"][3]["limits"], limits);

    let page = live("?offset=1&limit=2&sort=tenant&order=desc");
    assert_eq!(names(&page), ["potter", "odin"]);
    assert_eq!(page["matching"], 5);
    assert_eq!(names(&live("?search=OT")), ["potter"]);
    assert_eq!(
        names(&live("?search=+gone.exa%6Dple")),
        ["gone"],
        "by its host"
    );
    assert_eq!(names(&live("?search=nobody")), [""; 0]);

    assert_eq!(edge.get("gone.example", "/").status, 502);
    for _ in 0..5 {
        edge.get(THOR, "/").expect(200, "app");
    }
    let by_state = live("?sort=state&order=desc&limit=2");
    assert_eq!(names(&by_state), ["gone", "loki"], "the worst first");
    assert_eq!(by_state["rows"][0]["state"], "aside");
    assert_eq!(names(&live("?sort=state&limit=1")), ["thor"], "up");
    let error = &by_state["rows"][0]["last_error"];
    assert_eq!(
        (&error["label"], &error["status"]),
        (&"upstream_unreachable".into(), &502.into())
    );
    for (query, wrong) in [
        ("?sort=name", "sort=name"),
        ("?limit=501", "limit=501"),
        ("?x", "x="),
    ] {
        let refused = edge.admin(&format!("/live{query}"));
        assert_eq!(refused.status, 400, "{query}");
        assert!(refused.text().starts_with(wrong), "{}", refused.text());
    }
}

#[test]
fn rates_are_those_of_the_last_seconds() {
    let thor = Upstream::saying("thor");
    let edge = Edge::start(&tenant("thor", &thor));
    let mut client = edge.client();
    assert_eq!(
        edge.admin("/live").json()["interval_ms"],
        0,
        "there is nothing to compare"
    );
    let mut seen = Value::Null;
    eventually("a rate", || {
        client.get(THOR, "/").expect(200, "thor");
        seen = edge.admin("/live").json();
        seen["rows"][0]["requests_per_second"].as_f64() > Some(0.0)
    });
    assert!(seen["interval_ms"].as_u64() >= Some(1000), "{seen}");
    let row = &seen["rows"][0];
    assert!(row["p99_ms"].as_f64() >= row["p50_ms"].as_f64(), "{row}");
    assert_eq!(row["errors_per_second"], 0.0);
    assert_eq!(
        seen["edge"]["requests_per_second"],
        row["requests_per_second"]
    );
}

#[test]
fn the_page_for_people_may_ask_its_edge_and_nobody_else() {
    let thor = Upstream::saying("thor");
    let edge = Edge::start(&tenant("thor", &thor));
    let page = edge.admin("/");
    assert_eq!(page.field("content-type"), Some("text/html; charset=utf-8"));
    let policy = page.field("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none';"), "{policy}");
    assert!(page.text().contains("</html>"));
    assert!(!page.text().contains("http://") && !page.text().contains("https://"));
}

#[test]
fn a_command_tells_how_each_tenant_fares() {
    let app = Upstream::saying("app");
    let admin =
        "listen = \"127.0.0.1:0\"\nadmin.listen = \"unix:admin.sock\"\nlog.format = \"json\"\n";
    let config = [admin, &tenant("thor", &app), &tenant("potter", &app)].concat();
    let setup = Setup::exactly(&config);
    let none = setup.output(&["routes", "--live"]);
    assert_eq!(none.code, Some(1));
    assert!(
        none.stderr.contains("no edge answers at unix:admin.sock"),
        "{none:?}"
    );

    let edge = setup.start();
    edge.get(THOR, "/").expect(200, "app");
    let told = edge.setup().output(&["routes", "--live"]);
    assert_eq!(told.code, Some(0), "{told:?}");
    let lines: Vec<_> = told.stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{told:?}");
    assert!(lines[0].starts_with("TENANT  STATE  "), "{told:?}");
    assert!(lines[1].starts_with("potter  idle "), "{told:?}");
    assert!(lines[2].starts_with("thor    up "), "{told:?}");
    let told = edge.setup().output(&["routes", "--live", "--json"]);
    let rows: Value = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!(
        (&rows[1]["tenant"], &rows[1]["requests"]),
        (&"thor".into(), &1.into())
    );
}
