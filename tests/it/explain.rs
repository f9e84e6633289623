//! What `hostler explain` says of addresses and their health, with an edge that runs and without one.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::support::{
    dns::{NameServer, Reply},
    edge::{Setup, tenant, tenant_at},
    upstream::{Refusing, Upstream},
};

const HOST: &str = "thor.polls.local";
const ADMIN: &str = "\
listen = \"127.0.0.1:0\"
admin.listen = \"unix:admin.sock\"
log.format = \"json\"
";

fn explained(setup: &Setup, url: &str) -> Value {
    let output = setup.output(&["explain", url, "--json"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    serde_json::from_str(&output.stdout).unwrap()
}

#[test]
fn without_an_edge_each_address_is_looked_up_and_dialled_and_sent_nothing() {
    let app = Upstream::script(|connection| {
        assert_eq!(connection.first_bytes(), b"");
    });
    let refusing = Refusing::at(([127, 0, 41, 1], 0).into()).unwrap();
    let port = refusing.url().rsplit(':').next().unwrap().to_owned();
    let server = NameServer::script(|name, _| match name {
        "thor_web" => Reply::Addresses(vec![Ipv4Addr::new(127, 0, 41, 1)]),
        "silent_web" => Reply::Silence,
        _ => Reply::NoSuchName,
    });
    let config = format!(
        "{ADMIN}{}[routes.thor]\nhosts = \"{HOST}\"\ntimeouts.connect = \"300ms\"\n\
        upstream = [\"http://thor_web:{port}\", \"http://gone_web:8000\", \"http://silent_web:8000\", \"{}\"]\n",
        server.config(),
        app.url()
    );
    let setup = Setup::exactly(&config);
    let told = explained(&setup, HOST);
    let refused = format!("127.0.41.1:{port}");
    let endpoint = |address: &str, health: &str, error: Value| {
        json!({
            "address": address,
            "health": health,
            "in_flight": null,
            "aside_ms": null,
            "error": error,
        })
    };
    let why = format!("{refused}: Connection refused (os error 111)");
    assert_eq!(
        told["upstream"][0]["endpoints"],
        json!([endpoint(&refused, "silent", why.as_str().into())])
    );
    for unresolved in [1, 2] {
        assert_eq!(told["upstream"][unresolved]["endpoints"], json!([]));
    }
    assert!(
        told["upstream"][2]["error"]
            .as_str()
            .unwrap()
            .contains("300ms")
    );
    assert_eq!(
        told["upstream"][3]["endpoints"],
        json!([endpoint(app.authority(), "answers", Value::Null)])
    );
    assert_eq!(told["edge"]["answers"], false);
    app.wait("its end", |seen| (seen.connections, seen.open) == (1, 0));

    let text = setup.output(&["explain", HOST]).stdout;
    for part in [
        format!("GET {HOST} goes to thor\n"),
        format!("{refused}  doesn't answer a dial: {why}\n"),
        "http://gone_web:8000    no answer: there is no such name\n".to_owned(),
        "http://silent_web:8000  no answer: none within 300ms".to_owned(),
        format!("{}  answers a dial\n", app.authority()),
        "edge      none answers at unix:admin.sock (".to_owned(),
    ] {
        let squeezed = squeeze(&text);
        assert!(squeezed.contains(&squeeze(&part)), "no {part:?} in\n{text}");
    }
}

/// With one space where there are several: columns are as wide as their widest cell.
fn squeeze(text: &str) -> String {
    let lines = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn with_an_edge_each_address_has_its_health_by_the_edge_and_is_not_dialled() {
    let (thor, ill) = (
        Upstream::saying("thor"),
        Upstream::answering("HTTP/1.1 500 Ill\r\nContent-Length: 0\r\n\r\n"),
    );
    let config = format!(
        "{ADMIN}[routes.thor]\nhosts = \"{HOST}\"\nupstream = [\"{}\", \"{}\"]\n\
        health = {{ path = \"/healthz\", interval = \"100ms\", unhealthy = 1 }}\n\
        paths = [{{ prefix = \"/static/\", upstream = \"{}\" }}]\n{}",
        thor.url(),
        ill.url(),
        thor.url(),
        tenant("potter", &thor),
    );
    let edge = Setup::exactly(&config).start();
    edge.await_event(0, "endpoint is unhealthy");
    edge.get(HOST, "/").expect(200, "thor");
    let setup = edge.setup();
    let told = explained(setup, HOST);
    let endpoint = |address: &str, health: &str, error: Value| {
        json!([{
            "address": address,
            "health": health,
            "in_flight": 0,
            "aside_ms": null,
            "error": error,
        }])
    };
    let error = "health check: the app answered 500";
    assert_eq!(
        told["upstream"][0]["endpoints"],
        endpoint(thor.authority(), "up", Value::Null)
    );
    assert_eq!(
        told["upstream"][1]["endpoints"],
        endpoint(ill.authority(), "out", error.into())
    );
    assert_eq!(
        told["edge"],
        json!({ "address": "unix:admin.sock", "answers": true, "note": null })
    );
    assert_eq!(told["policy"]["health"]["path"], "/healthz");
    let text = squeeze(&setup.output(&["explain", HOST]).stdout);
    for part in [
        format!("{} up, 0 in flight\n", thor.authority()),
        format!("{} out: {error}, 0 in flight\n", ill.authority()),
        "edge unix:admin.sock says so of its upstream\n".to_owned(),
        "balance least_requests\n".to_owned(),
    ] {
        assert!(text.contains(&part), "no {part:?} in\n{text}");
    }
    // The other upstream of the route, and another tenant, of which the edge has heard nothing yet.
    for url in [format!("{HOST}/static/a"), "potter.polls.local".to_owned()] {
        let told = explained(setup, &url);
        assert_eq!(
            told["upstream"][0]["endpoints"][0]["health"], "unused",
            "{url}"
        );
    }
}

#[test]
fn edge_with_another_configuration_is_said_to_have_one() {
    let thor = Upstream::saying("thor");
    let edge = Setup::exactly(&format!("{ADMIN}{}", tenant("thor", &thor))).start();
    let refusing = Refusing::new();
    let other = format!(
        "{ADMIN}{}{}",
        tenant_at("thor", &refusing.url()),
        tenant("new", &thor)
    );
    edge.save_file("other.toml", &other);
    for host in [HOST, "new.polls.local"] {
        let output = edge
            .setup()
            .output(&["explain", host, "--json", "--config", "other.toml"]);
        let told: Value = serde_json::from_str(&output.stdout).unwrap();
        assert_eq!(told["edge"]["answers"], true, "{told}");
        assert!(
            told["edge"]["note"]
                .as_str()
                .unwrap()
                .contains("another configuration")
        );
        assert_eq!(told["upstream"][0]["endpoints"][0]["health"], "unused");
    }
}
