//! The files that make up a configuration: includes that come and go, and values from the environment.

use crate::support::{
    edge::{Setup, tenant, tenant_at},
    eventually,
    upstream::Upstream,
};

const THOR: &str = "thor.polls.local";
const POTTER: &str = "potter.polls.local";
const INCLUDE: &str = "include = [\"tenants/*.toml\"]\n";

#[test]
fn file_a_tenant_is_taken_up_changed_and_given_up() {
    let (thor, potter, moved) = (
        Upstream::saying("thor"),
        Upstream::saying("potter"),
        Upstream::saying("moved"),
    );
    let edge = Setup::new(INCLUDE)
        .file("tenants/thor.toml", &tenant("thor", &thor))
        .start();
    edge.get(THOR, "/").expect(200, "thor");
    assert_eq!(edge.get(POTTER, "/").status, 404);

    edge.save_file("tenants/potter.toml", &tenant("potter", &potter));
    eventually("the added file is served", || {
        edge.get(POTTER, "/").status == 200
    });
    edge.save_file("tenants/potter.toml", &tenant("potter", &moved));
    eventually("the changed file is served", || {
        edge.get(POTTER, "/").text() == "moved"
    });
    std::fs::remove_file(edge.directory().join("tenants/potter.toml")).unwrap();
    eventually("the removed file is not", || {
        edge.get(POTTER, "/").status == 404
    });
    edge.get(THOR, "/").expect(200, "thor");
    assert_eq!(
        edge.events()
            .so_far()
            .iter()
            .filter(|line| line.contains("rejected"))
            .count(),
        0
    );
}

#[test]
fn include_that_matches_nothing_yet_is_no_mistake() {
    let thor = Upstream::saying("thor");
    let edge = Setup::new(INCLUDE).start();
    assert_eq!(edge.get(THOR, "/").status, 404);
    edge.save_file("tenants/thor.toml", &tenant("thor", &thor));
    eventually("the first file is served", || {
        edge.get(THOR, "/").status == 200
    });
}

#[test]
fn mistake_in_an_included_file_is_named_by_that_file() {
    let thor = Upstream::saying("thor");
    let bad = "[routes.potter]\nhosts = [\"potter.polls.local\"]\nupstream = \"potter_web\"\n";
    let edge = Setup::new(INCLUDE)
        .file("tenants/thor.toml", &tenant("thor", &thor))
        .start();
    let before = edge.events().count();
    edge.save_file("tenants/potter.toml", bad);
    let event = edge.await_event(before, "configuration rejected");
    assert!(
        event["errors"]
            .as_str()
            .unwrap()
            .contains("potter.toml:3:12"),
        "{event}"
    );
    edge.get(THOR, "/").expect(200, "thor");
}

#[test]
fn included_file_holds_routes_and_nothing_else() {
    let setup = Setup::new(INCLUDE).file("tenants/thor.toml", "listen = \"0.0.0.0:80\"\n");
    let output = setup.output(&["check", "proxy.toml"]);
    assert_eq!(output.code, Some(1));
    assert!(output.stderr.contains("thor.toml:1:1"), "{}", output.stderr);
}

#[test]
fn one_host_in_two_files_is_told_with_both_places() {
    let again =
        "[routes.other]\nhosts = [\"THOR.polls.local.\"]\nupstream = \"http://127.0.0.1:1\"\n";
    let setup = Setup::new(INCLUDE)
        .file("tenants/a.toml", &tenant_at("thor", "http://127.0.0.1:1"))
        .file("tenants/b.toml", again);
    let output = setup.output(&["check", "proxy.toml"]);
    assert_eq!(output.code, Some(1));
    for place in ["a.toml:3:10", "b.toml:2:10"] {
        assert!(
            output.stderr.contains(place),
            "no {place} in {}",
            output.stderr
        );
    }
}

#[test]
fn values_come_from_the_environment_or_from_their_default() {
    let (thor, potter) = (Upstream::saying("thor"), Upstream::saying("potter"));
    let config = [
        tenant_at("thor", "http://${THOR_WEB}"),
        tenant_at(
            "potter",
            &format!("http://${{POTTER_WEB:-{}}}", potter.authority()),
        ),
    ];
    let edge = Setup::new(&config.concat())
        .env("THOR_WEB", thor.authority())
        .start();
    edge.get(THOR, "/").expect(200, "thor");
    edge.get(POTTER, "/").expect(200, "potter");
}

#[test]
fn value_that_the_environment_lacks_is_a_mistake() {
    let config = tenant_at("thor", "http://${HOSTLER_TEST_ABSENT}");
    let output = Setup::new(&config).output(&["check", "proxy.toml"]);
    assert_eq!(output.code, Some(1));
    assert!(
        output.stderr.contains("HOSTLER_TEST_ABSENT"),
        "{}",
        output.stderr
    );
}

#[test]
fn relative_includes_are_relative_to_the_file() {
    let thor = Upstream::saying("thor");
    let setup = Setup::new("include = [\"../*.toml\"]\n").file("thor.toml", &tenant("thor", &thor));
    let config = std::fs::read_to_string(setup.config()).unwrap();
    std::fs::remove_file(setup.config()).unwrap();
    let setup = setup.file("conf/proxy.toml", &config);
    let output = setup.output(&["check", "conf/proxy.toml"]);
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    let table = setup.output(&["--config", "conf/proxy.toml", "routes"]);
    assert!(table.stdout.contains(THOR), "{}", table.stdout);
}
