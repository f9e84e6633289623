//! The command line: exit codes, what goes to which stream, and commands that need no running edge.

use std::net::TcpListener;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{
    DEADLINE,
    client::{Client, Response},
    edge::{Edge, PREAMBLE, Process, Setup, tenant, tenant_at},
    upstream::Upstream,
};

const GOOD: &str =
    "[routes.thor]\nhosts = [\"thor.polls.local\"]\nupstream = \"http://thor_web:8000\"\n";

/// One file with all of these mistakes; each has its place, what is wrong, and what would be right.
const MISTAKEN: &str = r#"listen = "0.0.0.0"
trusted_proxies = ["10.1.2.3/8"]
includ = ["tenants/*.toml"]

[log]
format = "jsn"
access = "yes"

[limits]
header_read = 10
headers_bytes_max = "1KiB"

[routes.thor]
hosts = ["thor.polls.local", "www.thor.polls.local:8080"]
upstream = "thor_web:8000"

[routes.potter]
hosts = ["THOR.polls.local"]
upstream = "http://potter_web"
paths = [{ prefix = "static/", upstream = "http://potter_static:80" }]
timeouts = { respons = "5s" }
request_headers = { set = { Host = "potter" } }

[routes.odin]
hosts = ["odin.polls.local"]
"#;

const MISTAKES: [(&str, &str, &str); 15] = [
    (
        "1:10",
        "`0.0.0.0` is no address to listen on",
        "write a port too: \"0.0.0.0:8080\"",
    ),
    (
        "2:20",
        "`10.1.2.3/8` names an address inside of a network",
        "write \"10.0.0.0/8\" for the network",
    ),
    ("3:1", "unknown key `includ`", "did you mean `include`?"),
    ("6:10", "unknown value `jsn`", "did you mean \"json\"?"),
    (
        "7:10",
        "expected `true` or `false`, found a string",
        "write `true` or `false`",
    ),
    (
        "10:15",
        "a duration needs a unit",
        "write \"10s\" for seconds",
    ),
    (
        "11:21",
        "`headers_bytes_max` can't be",
        "write \"8KiB\" to \"256KiB\"",
    ),
    ("14:30", "www.thor.polls.local:8080", "www.thor.polls.local"),
    (
        "15:12",
        "upstream `thor_web:8000` has no scheme",
        "write \"http://thor_web:8000\"",
    ),
    (
        "18:10",
        "host `thor.polls.local` belongs to two routes",
        "here first",
    ),
    (
        "19:12",
        "upstream `http://potter_web` has no port",
        "http://potter_web:8000",
    ),
    ("20:21", "static/", "write \"/static/\""),
    ("21:14", "unknown key `respons`", "did you mean `response`?"),
    (
        "22:29",
        "`Host` belongs to the edge",
        "use the key `host` of the route",
    ),
    ("24:9", "route `odin` has no `upstream`", "add `upstream = "),
];

#[test]
fn check_finds_every_mistake_of_a_file_with_its_place_and_its_fix() {
    let output = Setup::exactly(MISTAKEN).output(&["check", "proxy.toml"]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(1), ""));
    let told: Vec<_> = output.stderr.split("error: ").skip(1).collect();
    for (place, wrong, right) in MISTAKES {
        let place = format!("proxy.toml:{place}\n");
        let at_place = told.iter().find(|diagnostic| {
            let first = diagnostic.lines().find(|line| line.contains("--> "));
            first.is_some_and(|line| format!("{line}\n").contains(&place))
        });
        let diagnostic = at_place.unwrap_or_else(|| panic!("nothing at {place}{}", output.stderr));
        assert!(diagnostic.contains(wrong), "no {wrong:?} in\n{diagnostic}");
        assert!(diagnostic.contains(right), "no {right:?} in\n{diagnostic}");
        assert!(diagnostic.contains('^'), "no caret in\n{diagnostic}");
    }
    assert_eq!(told.len(), MISTAKES.len(), "{}", output.stderr);
}

#[test]
fn check_of_a_good_file_is_0_and_says_so() {
    let setup = Setup::exactly(GOOD);
    for arguments in [
        &["check"][..],
        &["check", "proxy.toml"],
        &["--config", "proxy.toml", "check"],
        &["check", "--config", "proxy.toml"],
    ] {
        let output = setup.output(arguments);
        assert_eq!(
            (output.code, output.stderr.as_str()),
            (Some(0), ""),
            "{arguments:?}"
        );
        assert!(output.stdout.contains("1 route"), "{}", output.stdout);
    }
}

#[test]
fn check_of_a_file_that_is_not_there_is_1_and_names_it() {
    let output = Setup::exactly(GOOD).output(&["check", "absent.toml"]);
    assert_eq!(output.code, Some(1));
    assert!(output.stderr.contains("absent.toml"), "{}", output.stderr);
}

#[test]
fn check_of_what_is_not_toml_tells_where() {
    let output =
        Setup::exactly("listen = \"0.0.0.0:8080\"\n[routes.thor\nhosts = 1\n").output(&["check"]);
    assert_eq!(output.code, Some(1));
    assert!(output.stderr.contains("proxy.toml:2:"), "{}", output.stderr);
}

#[test]
fn configuration_is_found_by_environment_too() {
    let setup = Setup::exactly("mistake = 1\n")
        .file("other.toml", GOOD)
        .env("HOSTLER_CONFIG", "other.toml");
    assert_eq!(setup.output(&["check"]).code, Some(0));
    assert_eq!(
        setup.output(&["--config", "proxy.toml", "check"]).code,
        Some(1)
    );
}

#[test]
fn arguments_that_make_no_sense_are_2() {
    let setup = Setup::exactly(GOOD);
    for arguments in [
        &["chekc"][..],
        &["--confg", "proxy.toml"],
        &["check", "a", "b"],
    ] {
        assert_eq!(setup.output(arguments).code, Some(2), "{arguments:?}");
    }
    assert_eq!(setup.output(&["--help"]).code, Some(0));
    assert!(setup.output(&["--version"]).stdout.starts_with("hostler "));
}

#[test]
fn run_of_a_bad_file_is_1_with_the_text_of_check_and_listens_nowhere() {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let setup = Setup::exactly(&format!(
        "listen = \"127.0.0.1:{port}\"\n{}",
        MISTAKEN.replacen("listen", "liste", 1)
    ));
    let check = setup.output(&["check"]);
    for arguments in [&["run"][..], &[], &["run", "--config", "proxy.toml"]] {
        let run = setup.output(arguments);
        assert_eq!(run.code, Some(1), "{arguments:?}");
        assert!(!run.stderr.contains("listening"), "{}", run.stderr);
        let shared = check
            .stderr
            .trim_end()
            .rsplit_once('\n')
            .unwrap()
            .0
            .trim_end();
        assert!(
            run.stderr.contains(shared),
            "run says\n{}\nand check\n{}",
            run.stderr,
            check.stderr
        );
    }
}

#[test]
fn run_is_what_hostler_does_unless_told_otherwise() {
    let upstream = Upstream::saying("ok");
    let setup = Setup::new(&tenant("thor", &upstream));
    let process = Process::spawn(setup.command(&[]));
    let event = process
        .stderr
        .json("listening", |event| event["message"] == "listening");
    process
        .stderr
        .json("serving", |event| event["message"] == "serving");
    let address = event["address"].as_str().unwrap().parse().unwrap();
    Client::connect(address)
        .get("thor.polls.local", "/")
        .expect(200, "ok");
}

#[test]
fn address_that_is_in_use_is_1_and_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let public = format!("listen = \"{address}\"\nadmin.listen = \"127.0.0.1:0\"\n{GOOD}");
    let admin = format!("listen = \"127.0.0.1:0\"\nadmin.listen = \"{address}\"\n{GOOD}");
    for config in [public, admin] {
        let output = Setup::exactly(&config).output(&["run"]);
        assert_eq!(output.code, Some(1));
        assert!(output.stderr.contains(&address), "{}", output.stderr);
        assert!(!output.stderr.contains("\"serving\""), "{}", output.stderr);
    }
}

#[test]
fn second_edge_does_not_share_the_address_of_the_first() {
    let upstream = Upstream::saying("ok");
    let first = Edge::start(&tenant("thor", &upstream));
    let config = format!(
        "listen = \"{}\"\nadmin.listen = \"127.0.0.1:0\"\n{GOOD}",
        first.address()
    );
    let output = Setup::exactly(&config).output(&["run"]);
    assert_eq!(
        output.code,
        Some(1),
        "both of them serve, and each request meets the one or the other"
    );
    assert!(
        output.stderr.contains(&first.address().to_string()),
        "{}",
        output.stderr
    );
    first.get("thor.polls.local", "/").expect(200, "ok");
}

#[test]
fn routes_shows_what_leads_where() {
    let config = "[routes.thor]\nhosts = [\"thor.polls.local\", \"*.thor.polls.local\"]\nupstream = [\"http://thor_web:8000\", \"http://thor_web2:8000\"]\n\
        paths = [{ prefix = \"/static/\", upstream = \"unix:/run/static.sock\", strip = true }]\n\
        [routes.potter]\nhosts = [\"Bücher.example\"]\nupstream = \"http://potter_web:8000\"\n";
    let output = Setup::exactly(config).output(&["routes"]);
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
    for part in [
        "thor",
        "thor.polls.local",
        "*.thor.polls.local",
        "/static/",
        "unix:/run/static.sock",
        "http://thor_web:8000",
        "http://thor_web2:8000",
        "potter",
        "xn--bcher-kva.example",
        "http://potter_web:8000",
    ] {
        assert!(
            output.stdout.contains(part),
            "no {part} in\n{}",
            output.stdout
        );
    }
}

#[test]
fn routes_of_a_bad_file_is_1() {
    let output = Setup::exactly(MISTAKEN).output(&["routes"]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(1), ""));
    assert!(
        output.stderr.contains("proxy.toml:1:10"),
        "{}",
        output.stderr
    );
}

/// A request, to be explained and to be sent.
struct Ask {
    from: &'static str,
    method: &'static str,
    host: &'static str,
    target: &'static str,
    fields: &'static [&'static str],
    body: &'static str,
}

const ASK: Ask = Ask {
    from: "127.0.0.1",
    method: "GET",
    host: "thor.polls.local:8080",
    target: "/",
    fields: &[],
    body: "",
};

impl Ask {
    fn explained(&self, setup: &Setup) -> (Option<i32>, Value) {
        let url = format!("http://{}{}", self.host, self.target);
        let mut arguments = vec!["explain", &url, "--json", "--from", self.from];
        arguments.extend(["--method", self.method]);
        for field in self.fields {
            arguments.extend(["--header", field]);
        }
        let output = setup.output(&arguments);
        assert_eq!(output.stderr, "");
        (output.code, serde_json::from_str(&output.stdout).unwrap())
    }

    fn sent(&self, edge: &Edge) -> Response {
        let mut client = Client::connect_from(self.from, edge.address());
        let lines = self.fields.iter().map(|field| format!("{field}\r\n"));
        client.send(format!(
            "{} {} HTTP/1.1\r\nHost: {}\r\n{}\r\n{}",
            self.method,
            self.target,
            self.host,
            lines.collect::<String>(),
            self.body
        ));
        client.response_to(self.method)
    }
}

/// Fields with each new request id, which is another each time, made the same.
fn comparable(fields: impl Iterator<Item = (String, String)>) -> Vec<(String, String)> {
    let is_new =
        |value: &str| value.len() == 32 && value.bytes().all(|byte| byte.is_ascii_hexdigit());
    fields
        .map(|(name, value)| match name.as_str() {
            "x-request-id" if is_new(&value) => (name, "new".to_owned()),
            _ => (name, value),
        })
        .collect()
}

const CLAIMS: &[&str] = &[
    "X-Real-IP: 6.6.6.6",
    "X-Forwarded-For: 192.0.2.1, 192.0.2.2",
    "X-Forwarded-For: 127.0.0.2",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: front.example",
    "X-Request-ID: from-the-front",
    "Forwarded: for=6.6.6.6",
    "X_Real_IP: 6.6.6.6",
    "Accept: */*",
];

const ASKS: &[Ask] = &[
    ASK,
    Ask {
        host: "THOR.polls.local.",
        target: "/polls/?page=2&x=%2f",
        ..ASK
    },
    Ask {
        host: "a.b.polls.local:80",
        ..ASK
    },
    Ask {
        fields: CLAIMS,
        ..ASK
    },
    Ask {
        from: "127.0.0.2",
        fields: CLAIMS,
        ..ASK
    },
    Ask {
        from: "127.0.0.2",
        ..ASK
    },
    Ask {
        target: "/static/a.css?v=1",
        ..ASK
    },
    Ask {
        target: "/static?v=1",
        ..ASK
    },
    Ask {
        target: "/staticfiles",
        ..ASK
    },
    Ask {
        host: "potter.polls.local:8080",
        fields: &["Cookie: a=b", "cookie: c=d"],
        ..ASK
    },
    Ask {
        method: "POST",
        fields: &[
            "Content-Length: 5",
            "Content-Type: text/plain",
            "X-Debug: 1",
        ],
        body: "hello",
        ..ASK
    },
    Ask {
        method: "PUT",
        fields: &[
            "Transfer-Encoding: chunked",
            "TE: trailers",
            "Connection: te, x-mine",
            "X-Mine: 1",
        ],
        body: "5\r\nhello\r\n0\r\n\r\n",
        ..ASK
    },
    Ask {
        fields: &[
            "Connection: upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Key: x",
        ],
        ..ASK
    },
    Ask {
        fields: &["Connection: upgrade", "Upgrade: h2c"],
        ..ASK
    },
    Ask {
        method: "PURGE",
        fields: &["Keep-Alive: 5", "X-Empty:"],
        ..ASK
    },
];

#[test]
fn explain_says_field_by_field_what_the_app_then_sees() {
    let (app, files) = (Upstream::saying("ok"), Upstream::saying("ok"));
    let config = format!(
        "trusted_proxies = \"127.0.0.2\"\n{}{}{}{}",
        tenant("thor", &app),
        "request_headers = { set = { X-Tenant = \"thor\" }, add = { Accept = \"a/b\" }, remove = [\"X-Debug\"] }\n",
        format_args!(
            "paths = [{{ prefix = \"/static\", upstream = \"{}\", strip = true }}]\n",
            files.url()
        ),
        format_args!(
            "{}host = \"upstream\"\n[routes.wide]\nhosts = \"*.polls.local\"\nupstream = \"{}\"\nhost = \"wide.example\"\n",
            tenant("potter", &app),
            app.url()
        ),
    );
    let edge = Edge::start(&config);
    let setup = Setup::new(&config);
    for ask in ASKS {
        let (code, told) = ask.explained(&setup);
        assert_eq!((code, &told["routes"]), (Some(0), &Value::Bool(true)));
        let logged = edge.access_log().count();
        ask.sent(&edge).expect(200, "ok");
        let line = edge
            .access_log()
            .json_after(logged, "the request", |_| true);

        let endpoint = &told["upstream"][0]["endpoints"][0]["address"];
        assert_eq!(
            (&told["tenant"], endpoint),
            (&line["tenant"], &line["endpoint"])
        );
        assert_eq!(told["client"]["address"], line["client"]);
        let seen = if *endpoint == files.authority() {
            files.last()
        } else {
            app.last()
        };
        let sees = &told["app_sees"];
        assert_eq!(
            (&sees["method"], &sees["target"]),
            (&seen.method().into(), &seen.target().into())
        );
        let fields = serde_json::from_value::<Vec<(String, String)>>(sees["headers"].clone());
        assert_eq!(
            comparable(fields.unwrap().into_iter()),
            comparable(seen.head.fields.into_iter()),
            "{} {}{} {:?}",
            ask.method,
            ask.host,
            ask.target,
            ask.fields
        );
    }
}

#[test]
fn explain_says_of_what_no_app_gets_what_the_client_is_told() {
    let app = Upstream::saying("ok");
    let config = tenant("thor", &app);
    let edge = Edge::start(&config);
    let setup = Setup::new(&config);
    const JSON: &[&str] = &["Accept: application/json"];
    for (status, ask) in [
        (
            404,
            Ask {
                host: "thro.polls.local:8080",
                fields: JSON,
                ..ASK
            },
        ),
        (
            400,
            Ask {
                host: "thor..local",
                fields: JSON,
                ..ASK
            },
        ),
        (
            405,
            Ask {
                method: "FOO",
                fields: JSON,
                ..ASK
            },
        ),
    ] {
        let (code, told) = ask.explained(&setup);
        assert_eq!((code, &told["routes"]), (Some(1), &Value::Bool(false)));
        let answer = ask.sent(&edge);
        assert_eq!(answer.status, status);
        for key in ["status", "error", "message"] {
            assert_eq!(told[key], answer.json()[key], "{key}");
        }
        let nearest = &told["nearest"]["pattern"];
        assert_eq!(*nearest == "thor.polls.local", status == 404, "{nearest}");
        assert!(
            !answer.text().contains("thor.polls.local"),
            "{}",
            answer.text()
        );
    }
    assert_eq!(app.connections(), 0);
}

#[test]
fn explain_is_0_where_it_routes_1_where_it_does_not_and_2_for_nonsense() {
    let setup = Setup::exactly(
        "admin.listen = \"unix:none.sock\"\n[routes.thor]\nhosts = \"thor.polls.local\"\nupstream = \"http://127.0.0.1:1\"\n",
    );
    let check = |code: i32, arguments: &[&str]| {
        let output = setup.output(&[&["explain"], arguments].concat());
        assert_eq!(output.code, Some(code), "{arguments:?} {output:?}");
        // Nonsense has no answer; everything else is one.
        assert_eq!(output.stdout.is_empty(), code == 2, "{arguments:?}");
        assert_eq!(output.stderr.is_empty(), code != 2, "{arguments:?}");
    };
    check(0, &["http://thor.polls.local/"]);
    check(0, &["https://THOR.polls.local:8443"]);
    check(
        0,
        &["http://other.example", "--header", "Host: thor.polls.local"],
    );
    check(0, &["thor.polls.local", "--from", "2001:db8::1"]);
    check(1, &["http://potter.polls.local/"]);
    check(1, &["thor.polls.local", "--header", "Host: potter"]);
    check(
        1,
        &[
            "thor.polls.local",
            "--header",
            "Host: a",
            "--header",
            "Host: a",
        ],
    );
    check(
        1,
        &[
            "thor.polls.local",
            "--header",
            "Transfer-Encoding: gzip",
            "--method",
            "POST",
        ],
    );
    check(2, &[]);
    check(2, &["ftp://thor.polls.local"]);
    check(2, &["/polls/"]);
    check(2, &["thor.polls.local", "--header", "X-Real-IP"]);
    check(2, &["thor.polls.local", "--header", "X: a\r\nHost: b"]);
    check(2, &["thor.polls.local", "--from", "thor"]);
    check(2, &["thor.polls.local", "--method", "G T"]);
}

#[test]
fn explain_by_a_bad_file_is_1_and_tells_where() {
    let output = Setup::exactly(MISTAKEN).output(&["explain", "thor.polls.local"]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(1), ""));
    assert!(
        output.stderr.contains("proxy.toml:1:10"),
        "{}",
        output.stderr
    );
}

#[test]
fn schema_knows_every_key() {
    let output = Setup::exactly(GOOD).output(&["schema"]);
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
    let schema: Value = serde_json::from_str(&output.stdout).unwrap();
    assert!(
        schema["$schema"]
            .as_str()
            .unwrap()
            .contains("json-schema.org"),
        "{}",
        schema["$schema"]
    );
    for key in [
        "listen",
        "include",
        "trusted_proxies",
        "admin",
        "log",
        "format",
        "level",
        "access",
        "shutdown",
        "grace",
        "limits",
        "connections",
        "headers_bytes_max",
        "header_read",
        "keepalive",
        "defaults",
        "routes",
        "hosts",
        "upstream",
        "paths",
        "prefix",
        "strip",
        "host",
        "request_headers",
        "response_headers",
        "set",
        "add",
        "remove",
        "timeouts",
        "connect",
        "response",
        "idle",
        "tunnel_idle",
    ] {
        assert!(
            output.stdout.contains(&format!("\"{key}\": {{")),
            "no {key}"
        );
    }
}

#[test]
fn schema_needs_no_configuration() {
    assert_eq!(
        Setup::exactly("mistake = 1\n").output(&["schema"]).code,
        Some(0)
    );
}

#[test]
fn healthcheck_is_0_while_the_edge_lives_and_1_when_it_does_not() {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let config = format!(
        "listen = \"127.0.0.1:0\"\nadmin.listen = \"127.0.0.1:{port}\"\nlog.format = \"json\"\n{GOOD}"
    );
    let setup = Setup::exactly(&config);
    let dead = setup.output(&["healthcheck"]);
    assert_eq!(dead.code, Some(1));
    assert!(!dead.stderr.is_empty(), "it tells why");
    let mut edge = Setup::exactly(&config).start();
    let alive = setup.output(&["healthcheck"]);
    assert_eq!(alive.code, Some(0), "{}", alive.stderr);
    edge.signal(Signal::TERM);
    edge.wait();
    assert_eq!(setup.output(&["healthcheck"]).code, Some(1));
}

#[test]
fn healthcheck_of_something_else_that_answers_is_1() {
    let stranger = Upstream::answering("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n");
    let config = format!("admin.listen = \"{}\"\n{GOOD}", stranger.authority());
    assert_eq!(
        Setup::exactly(&config).output(&["healthcheck"]).code,
        Some(1)
    );
}

/// `hostler demo`, and the port that it told people to go to.
struct Demo {
    process: Process,
    port: u16,
}

impl Demo {
    fn start() -> Self {
        let config = format!(
            "{PREAMBLE}{}{}",
            tenant_at("thor", "http://thor_web:8000"),
            tenant_at("potter", "http://potter_web:8000")
        );
        let setup = Setup::exactly(&config);
        let arguments = ["demo", "--config", "proxy.toml", "--listen", "127.0.0.1:0"];
        let process = Process::spawn(setup.command(&arguments));
        let port = process.stdout.find("the URL of thor", |line| {
            let rest = line.split("http://thor.localhost:").nth(1)?;
            rest.split(|char: char| !char.is_ascii_digit())
                .next()?
                .parse()
                .ok()
        });
        Self { process, port }
    }

    fn get(&self, host: &str, accept: &str) -> Response {
        let mut client = Client::connect(([127, 0, 0, 1], self.port).into());
        client.get_with(
            host,
            "/polls/?page=2",
            &format!("Accept: {accept}\r\nX-Real-IP: 6.6.6.6\r\nX-Mine: yes\r\n"),
        )
    }
}

#[test]
fn demo_serves_each_tenant_under_its_hosts_and_under_localhost() {
    let demo = Demo::start();
    for name in ["thor", "potter"] {
        for host in [
            format!("{name}.polls.local"),
            format!("{name}.localhost:{}", demo.port),
        ] {
            let response = demo.get(&host, "application/json");
            assert_eq!(response.status, 200, "{host}");
            let json = response.json();
            assert_eq!(json["tenant"], name, "{json}");
            let headers = json["headers"].to_string();
            for part in [
                host.as_str(),
                "127.0.0.1",
                "x-mine",
                "x-forwarded-proto",
                "x-request-id",
            ] {
                assert!(headers.contains(part), "no {part} in {headers}");
            }
            assert!(!headers.contains("6.6.6.6"), "{headers}");
        }
    }
    assert_eq!(demo.get("ghost.localhost", "application/json").status, 404);
}

#[test]
fn demo_shows_people_a_page_and_prints_what_to_try() {
    let demo = Demo::start();
    let page = demo.get("thor.localhost", "text/html,*/*;q=0.8");
    assert_eq!(page.status, 200);
    assert!(page.field("content-type").unwrap().starts_with("text/html"));
    for part in ["<html", "thor", "x-real-ip"] {
        assert!(
            page.text().to_lowercase().contains(part),
            "no {part} in {}",
            page.text()
        );
    }
    let printed = |part: String| {
        demo.process
            .stdout
            .find(&part, |line| line.contains(&part).then_some(()))
    };
    printed(format!("http://potter.localhost:{}", demo.port));
    printed("curl ".to_owned());
    printed("thor.polls.local".to_owned());
}

#[test]
fn demo_does_not_let_a_page_be_written_by_a_header() {
    let demo = Demo::start();
    let mut client = Client::connect(([127, 0, 0, 1], demo.port).into());
    let page = client.get_with(
        "thor.localhost",
        "/?<script>alert(1)</script>",
        "Accept: text/html\r\nX-Mine: <script>alert(2)</script>\r\n",
    );
    assert_ne!(page.status, 500);
    assert!(!page.text().contains("<script>alert"), "{}", page.text());
}

#[test]
fn demo_ends_by_signal_with_0() {
    let mut demo = Demo::start();
    demo.process.signal(Signal::INT);
    assert_eq!(demo.process.wait().code(), Some(0));
    assert!(Client::try_connect(([127, 0, 0, 1], demo.port).into()).is_err());
}

#[test]
fn demo_shows_the_shipped_configuration_when_it_is_given_none() {
    let directory = tempfile::tempdir().unwrap();
    let setup = Setup::exactly(GOOD);
    let mut command = setup.command(&["demo"]);
    command.current_dir(directory.path());
    let process = Process::spawn(command);
    // Port 8080 may be taken on this machine, which it must then say; both show that it got as far.
    let began = std::time::Instant::now();
    while began.elapsed() < DEADLINE {
        let said = [process.stdout.so_far(), process.stderr.so_far()]
            .concat()
            .join("\n");
        if said.contains("8080") {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("demo said nothing: {:?}", process.stderr.so_far());
}

#[test]
fn file_that_is_no_socket_is_never_taken_away() {
    let setup = Setup::exactly("listen = \"unix:precious\"\nadmin.listen = \"127.0.0.1:0\"\n")
        .file("precious", "data");
    let path = setup.directory().join("precious");
    let config = format!(
        "listen = \"unix:{}\"\nadmin.listen = \"127.0.0.1:0\"\n",
        path.display()
    );
    let setup = setup.file("proxy.toml", &config);
    let output = setup.output(&["run"]);
    assert_eq!(output.code, Some(1), "{}", output.stderr);
    assert_eq!(std::fs::read_to_string(path).unwrap(), "data");
}
