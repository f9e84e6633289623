//! Which tenant a request is for: by its host, then by its path, or by nothing at all.

use crate::support::{
    client::Response,
    edge::{Edge, tenant},
    upstream::{Upstream, ok},
};

/// Tenants that compete for hosts, each answered by an app that says the tenant's name.
struct Hosts {
    edge: Edge,
    _upstreams: Vec<Upstream>,
}

impl Hosts {
    fn start(routes: &[(&str, &str)]) -> Self {
        let mut config = String::new();
        let mut upstreams = Vec::new();
        for (name, hosts) in routes {
            let upstream = Upstream::saying(name);
            config += &format!(
                "[routes.{name}]\nhosts = {hosts}\nupstream = \"{}\"\n",
                upstream.url()
            );
            upstreams.push(upstream);
        }
        Self {
            edge: Edge::start(&config),
            _upstreams: upstreams,
        }
    }

    #[track_caller]
    fn check(&self, host: &str, tenant: &str) {
        let response = self.edge.get(host, "/");
        assert_eq!(
            (response.status, response.text().as_str()),
            (200, tenant),
            "Host: {host}"
        );
    }

    #[track_caller]
    fn check_unknown(&self, host: &str) {
        assert_eq!(self.edge.get(host, "/").status, 404, "Host: {host}");
    }
}

#[test]
fn each_host_reaches_its_own_tenant() {
    let hosts = Hosts::start(&[
        ("thor", "[\"thor.polls.local\", \"thor.localhost\"]"),
        ("potter", "\"potter.polls.local\""),
        ("numbers", "[\"127.0.0.1\"]"),
    ]);
    for (host, tenant) in [
        ("thor.polls.local", "thor"),
        ("thor.localhost", "thor"),
        ("potter.polls.local", "potter"),
        ("127.0.0.1", "numbers"),
        ("127.0.0.1:8080", "numbers"),
    ] {
        hosts.check(host, tenant);
    }
}

#[test]
fn host_is_compared_without_port_case_and_trailing_dot() {
    let hosts = Hosts::start(&[
        ("thor", "[\"Thor.polls.local\"]"),
        ("idn", "[\"bücher.example\", \"*.bücher.example\"]"),
    ]);
    for (host, tenant) in [
        ("thor.polls.local:8080", "thor"),
        ("thor.polls.local:80", "thor"),
        ("THOR.Polls.LOCAL", "thor"),
        ("thor.polls.local.", "thor"),
        ("Thor.polls.local.:8080", "thor"),
        ("xn--bcher-kva.example", "idn"),
        ("XN--BCHER-KVA.example:8080", "idn"),
        ("shop.xn--bcher-kva.example", "idn"),
    ] {
        hosts.check(host, tenant);
    }
}

#[test]
fn exact_host_beats_wildcard_and_longest_suffix_wins() {
    let hosts = Hosts::start(&[
        ("wide", "\"*.polls.local\""),
        ("exact", "\"thor.polls.local\""),
        ("narrow", "\"*.thor.polls.local\""),
        ("inner", "\"a.b.thor.polls.local\""),
    ]);
    for (host, tenant) in [
        ("thor.polls.local", "exact"),
        ("potter.polls.local", "wide"),
        ("a.b.c.polls.local", "wide"),
        ("a.thor.polls.local", "narrow"),
        ("b.thor.polls.local:8080", "narrow"),
        ("a.b.thor.polls.local", "inner"),
        ("b.b.thor.polls.local", "narrow"),
        ("xthor.polls.local", "wide"),
        ("X.A.THOR.polls.local.", "narrow"),
    ] {
        hosts.check(host, tenant);
    }
    for host in [
        "polls.local",
        "local",
        "thor.polls.local.evil",
        "xpolls.local",
        "thor",
        "example.com",
    ] {
        hosts.check_unknown(host);
    }
}

/// The main app and three prefixes of it; each says its name and the target that it was asked for.
fn paths() -> (Edge, Vec<Upstream>) {
    let named = |name: &'static str| {
        Upstream::script(move |connection| {
            while let Some(request) = connection.request() {
                connection.send(ok(&format!("{name} {}", request.target())));
            }
        })
    };
    let upstreams = vec![
        named("main"),
        named("static"),
        named("admin"),
        named("media"),
    ];
    let config = format!(
        "{}paths = [
            {{ prefix = \"/static/\", upstream = \"{}\" }},
            {{ prefix = \"/static/admin/\", upstream = \"{}\", strip = true }},
            {{ prefix = \"/media\", upstream = \"{}\", strip = true }},
        ]\n",
        tenant("thor", &upstreams[0]),
        upstreams[1].url(),
        upstreams[2].url(),
        upstreams[3].url(),
    );
    (Edge::start(&config), upstreams)
}

#[test]
fn longest_path_prefix_wins_and_is_stripped_where_asked() {
    let (edge, _upstreams) = paths();
    for (target, answer) in [
        ("/", "main /"),
        ("/static", "main /static"),
        ("/staticfiles/x", "main /staticfiles/x"),
        ("/static/", "static /static/"),
        ("/static/site.css?v=1", "static /static/site.css?v=1"),
        ("/static/admin", "static /static/admin"),
        ("/static/admin/", "admin /"),
        ("/static/admin/base.css?v=2", "admin /base.css?v=2"),
        ("/media", "media /"),
        ("/media/", "media /"),
        ("/media?size=1", "media /?size=1"),
        ("/media/a/b", "media /a/b"),
        ("/mediathek", "main /mediathek"),
        ("/MEDIA/a", "main /MEDIA/a"),
        ("/?/media/", "main /?/media/"),
    ] {
        edge.get("thor.polls.local", target).expect(200, answer);
    }
}

#[test]
fn target_reaches_the_app_as_it_was_written() {
    let (edge, _upstreams) = paths();
    for target in [
        "/a%2fb%2Fc",
        "/%41%7e~",
        "//double//slashes",
        "/a/../b/./c",
        "/q?a=1&a=2&empty=&plus=+&percent=%20",
        "/q?",
        "/;params;v=1",
        "/a+b@c:d!$&'()*,=",
    ] {
        edge.get("thor.polls.local", target)
            .expect(200, &format!("main {target}"));
    }
}

#[test]
fn options_asterisk_is_for_the_tenant_of_its_host() {
    let (edge, upstreams) = paths();
    let mut client = edge.client();
    client.send("OPTIONS * HTTP/1.1\r\nHost: thor.polls.local\r\n\r\n");
    client.response().expect(200, "main *");
    assert_eq!(upstreams[0].last().method(), "OPTIONS");
}

#[test]
fn authority_of_an_absolute_target_decides_over_host() {
    let (thor, potter) = (Upstream::saying("thor"), Upstream::saying("potter"));
    let edge = Edge::start(&[tenant("thor", &thor), tenant("potter", &potter)].concat());
    let mut client = edge.client();
    client.send(
        "GET http://potter.polls.local:8080/x?y=1 HTTP/1.1\r\nHost: thor.polls.local\r\n\r\n",
    );
    client.response().expect(200, "potter");
    let request = potter.last();
    assert_eq!(request.target(), "/x?y=1", "an app is asked by origin form");
    assert_eq!(request.field("host"), Some("potter.polls.local:8080"));
    assert_eq!(thor.connections(), 0);
    client.send("GET http://POTTER.polls.local HTTP/1.1\r\nHost: potter.polls.local\r\n\r\n");
    client.response().expect(200, "potter");
    assert_eq!(potter.last().target(), "/");
    client.send("GET http://nobody.polls.local/ HTTP/1.1\r\nHost: thor.polls.local\r\n\r\n");
    assert_eq!(client.response().status, 404);
}

fn ask_unknown(edge: &Edge, accept: &str) -> Response {
    let mut client = edge.client();
    let response = client.get_with(
        "ghost.polls.local:8080",
        "/secret",
        &format!("Accept: {accept}\r\n"),
    );
    assert_eq!(response.status, 404);
    assert_eq!(response.field("cache-control"), Some("no-store"));
    assert_eq!(response.field("server"), Some("hostler"));
    assert!(
        response.text().contains("ghost.polls.local"),
        "{}",
        response.text()
    );
    for other in ["thor", "potter", "127.0.0.1"] {
        assert!(
            !response.text().contains(other),
            "it names {other}: {}",
            response.text()
        );
    }
    let id = response.field("x-request-id").unwrap().to_owned();
    assert_eq!(edge.logged("request_id", id)["error"], "unknown_host");
    response
}

#[test]
fn unknown_host_is_told_what_it_asked_for_and_no_other_tenant() {
    let (thor, potter) = (Upstream::saying("thor"), Upstream::saying("potter"));
    let edge = Edge::start(&[tenant("thor", &thor), tenant("potter", &potter)].concat());
    for (accept, kind) in [
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html"),
        ("application/json", "application/json"),
        ("text/plain", "text/plain"),
        ("*/*", "text/plain"),
    ] {
        let response = ask_unknown(&edge, accept);
        let content_type = response.field("content-type").unwrap();
        assert!(
            content_type.starts_with(kind),
            "{accept} got {content_type}"
        );
    }
    let json = ask_unknown(&edge, "application/json");
    let body = json.json();
    assert_eq!(
        (&body["status"], &body["error"]),
        (&404.into(), &"unknown_host".into())
    );
    assert_eq!(body["request_id"], json.field("x-request-id").unwrap());
    assert!(body["message"].is_string());
    assert_eq!((thor.connections(), potter.connections()), (0, 0));
}

#[test]
fn connection_goes_on_after_an_unknown_host() {
    let thor = Upstream::saying("thor");
    let edge = Edge::start(&tenant("thor", &thor));
    let mut client = edge.client();
    assert_eq!(client.get("ghost.polls.local", "/").status, 404);
    client.get("thor.polls.local", "/").expect(200, "thor");
    client.send("HEAD / HTTP/1.1\r\nHost: ghost.polls.local\r\n\r\n");
    assert_eq!(client.response_to("HEAD").status, 404);
    client.get("thor.polls.local", "/").expect(200, "thor");
}
