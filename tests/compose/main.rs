//! The shipped stack, end to end, on a real Docker engine: what a person who follows the
//! documentation sees, step by step.
//!
//! The steps share one stack, since making it is most of the cost; each ends with the stack whole.
//! The stack is a copy under a name, a port and subnets of its own, so it never disturbs one that
//! runs already. What the test does is taken from `docs/compose.md` where that says how.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test that takes minutes says where it is, and is no request path"
)]

mod browser;
mod docs;
mod replace;
mod stack;
mod watch;

use std::{
    collections::HashSet,
    fs,
    io::{BufRead, BufReader},
    net::TcpStream,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use tokio_tungstenite::tungstenite;

use crate::{browser::Browser, stack::Stack, watch::Watch};

const TENANTS: [&str; 2] = ["thor", "potter"];
/// What a start of the stack may take on a slow machine, images not counted.
const START: Duration = Duration::from_secs(240);

#[test]
#[ignore = "needs a Docker engine and minutes; .ci/run runs it"]
fn the_shipped_stack_does_what_the_documentation_says() {
    let stack = Stack::copy_of_the_shipped_one();
    step("the images are built");
    stack.compose(&["build"]);
    step("the edge is up before its tenants, and without them");
    the_edge_is_up_without_tenants(&stack);
    step("both tenants come up from nothing");
    both_tenants_come_up(&stack);
    step("each tenant's admin makes a poll, and sees that one alone");
    each_tenant_has_its_own_polls(&stack);
    step("the app sees the client's address, whatever the client claims");
    the_app_sees_the_client(&stack);
    step("thor's containers can't reach potter's");
    tenants_are_apart(&stack);

    let lasting = [watch_a_download(&stack), watch_a_websocket(&stack)];
    step("a tenant is added while thor's download and WebSocket run on");
    a_tenant_is_added(&stack, &lasting);
    step("thor's app is restarted, and made anew: thor's users wait, potter's don't notice");
    the_app_comes_and_goes(&stack);
    step("thor's app gets more containers, and loses them again");
    the_app_is_scaled(&stack);
    lasting.into_iter().for_each(Watch::finish);

    step("down and up keep the data");
    down_and_up_keep_the_data(&stack);
    step("one edge replaces the other, and every client is answered");
    replace::the_edge_is_replaced_without_a_gap(&stack);
}

fn step(what: &str) {
    println!("== {what}");
}

fn the_edge_is_up_without_tenants(stack: &Stack) {
    stack.compose(&["up", "-d", "edge"]);
    let edge = stack.container("edge");
    eventually("the edge is healthy", START, || {
        (stack.inspect(&edge, "{{.State.Health.Status}}") == "healthy").then_some(())
    });

    let away = stack.browser("thor").get("/polls/");
    assert!(
        matches!(away.status, 502..=504),
        "thor is away: {}",
        away.status
    );
    let unknown = stack.browser("loki").get("/");
    assert_eq!(unknown.status, 404);
    assert!(
        unknown.body.contains("loki.polls.local"),
        "{}",
        unknown.body
    );
    for tenant in TENANTS {
        assert!(!unknown.body.contains(tenant), "{}", unknown.body);
    }

    let pinned = stack.browser("pinned").get("/healthz");
    assert_eq!(
        (pinned.status, pinned.body.as_str()),
        (200, "ok\n"),
        "by /etc/hosts"
    );

    let user = stack.compose(&["exec", "-T", "edge", "stat", "-c", "%u", "/proc/1"]);
    assert_eq!(user.trim(), "10001", "the edge is not root");
    let forwards = stack.compose(&["exec", "-T", "edge", "cat", "/proc/sys/net/ipv4/ip_forward"]);
    assert_eq!(forwards.trim(), "0", "the edge routes no packets");
    let bytes: u64 = stack
        .docker(&[
            "image",
            "inspect",
            "-f",
            "{{.Size}}",
            &stack.inspect(&edge, "{{.Image}}"),
        ])
        .trim()
        .parse()
        .expect("a size in bytes");
    println!("the edge's image has {} MB", bytes / 1_000_000);
    assert!(bytes < 100_000_000, "the edge's image has {bytes} bytes");
}

fn both_tenants_come_up(stack: &Stack) {
    let started = Instant::now();
    stack.compose(&["up", "-d"]);
    println!("created in {:.1} s", started.elapsed().as_secs_f64());
    for tenant in TENANTS {
        serves(stack, tenant);
        println!(
            "{tenant} serves after {:.1} s",
            started.elapsed().as_secs_f64()
        );
    }
}

fn each_tenant_has_its_own_polls(stack: &Stack) {
    let command = docs::line_with("createsuperuser");
    for tenant in TENANTS {
        stack.compose_line(&command.replace("thor", tenant));
        let admin = stack.browser(tenant);
        admin.log_in("admin", "change-me-soon");
        admin.add_poll(&question_of(tenant));
    }
    for tenant in TENANTS {
        assert_eq!(questions(&stack.browser(tenant)), [question_of(tenant)]);
    }
}

fn question_of(tenant: &str) -> String {
    format!("Who is stronger than {tenant}?")
}

fn the_app_sees_the_client(stack: &Stack) {
    // Not through the published port, where the engine may stand in for clients of this machine.
    let address = stack.edge_address();
    let client = TcpStream::connect(address)
        .and_then(|stream| stream.local_addr())
        .expect("the edge's own address is reachable")
        .ip()
        .to_string();
    let claims = [
        ("X-Real-IP", "192.0.2.66"),
        ("X_Real_IP", "192.0.2.66"),
        ("X-Forwarded-For", "192.0.2.66"),
        ("X-Forwarded-Proto", "https"),
        ("Forwarded", "for=192.0.2.66"),
    ];
    let browser = Browser::new(address, "thor.polls.local:8080");
    for claims in [&[][..], &claims[..]] {
        let seen = browser.get_with("/whoami/", claims).json();
        assert_eq!(seen["tenant"], "thor");
        assert_eq!(seen["host"], "thor.polls.local:8080");
        assert_eq!(seen["x_real_ip"], client.as_str(), "{seen}");
        assert_eq!(seen["x_forwarded_for"], client.as_str(), "{seen}");
        assert_eq!(seen["scheme"], "http", "{seen}");
    }
}

fn tenants_are_apart(stack: &Stack) {
    let probe = "import socket, sys\n\
        try: socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=2)\n\
        except OSError: print('closed')\n\
        else: print('open')";
    let reaches = |host: &str, port: &str| {
        let answer = stack.compose(&["exec", "-T", "thor_web", "python", "-c", probe, host, port]);
        answer.trim() == "open"
    };
    assert!(reaches("thor_db", "5432"), "the probe sees an open port");
    for (service, port) in [("potter_db", "5432"), ("potter_web", "8000")] {
        let address = stack.inspect(
            &stack.container(service),
            "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}",
        );
        assert!(!reaches(&address, port), "thor_web reaches {service}");
        assert!(!reaches(service, port), "thor_web knows {service} by name");
    }
}

/// Follows the documentation's "Adding a tenant" to the letter.
fn a_tenant_is_added(stack: &Stack, lasting: &[Watch]) {
    let edge = stack.container("edge");
    let started = stack.inspect(&edge, "{{.State.StartedAt}}");

    stack.edit("docker-compose.yaml", |file| {
        let volume = docs::block_with("ron_data:\n");
        let file = file.replace("  potter_data:\n", &format!("  potter_data:\n{volume}"));
        file + "\n" + &docs::block_with("ron_web:\n")
    });
    stack.compose(&["up", "-d"]);
    stack.edit("proxy.toml", |file| {
        file + "\n" + &docs::block_with("[routes.ron]\n")
    });
    let ron = stack.browser("ron");
    eventually("ron's route is live", Duration::from_secs(5), || {
        (ron.get("/polls/").status != 404).then_some(())
    });
    serves(stack, "ron");
    assert!(questions(&ron).is_empty(), "ron's database is its own");

    assert_eq!(stack.container("edge"), edge, "the edge was made anew");
    assert_eq!(stack.inspect(&edge, "{{.State.StartedAt}}"), started);
    lasting.iter().for_each(Watch::goes_on);
}

fn the_app_comes_and_goes(stack: &Stack) {
    let asking = TENANTS.map(|tenant| ask_all_the_time(stack, tenant));
    asking.iter().for_each(Watch::goes_on);
    let restart = docs::command_with("restart thor_web");
    for command in [
        restart,
        "docker-compose up -d --force-recreate --no-deps thor_web".into(),
    ] {
        stack.compose_line(&command);
        serves(stack, "thor");
        asking.iter().for_each(Watch::goes_on);
    }
    asking.into_iter().for_each(Watch::finish);
}

fn the_app_is_scaled(stack: &Stack) {
    let asking = TENANTS.map(|tenant| ask_all_the_time(stack, tenant));
    let command = docs::command_with("--scale thor_web=2");
    stack.compose_line(&command.replace("thor_web=2", "thor_web=3"));
    eventually("all three are asked", Duration::from_secs(30), || {
        (thors_latest_endpoints(stack).len() == 3).then_some(())
    });
    stack.compose_line(&command.replace("thor_web=2", "thor_web=1"));
    eventually("one is asked", Duration::from_secs(30), || {
        (thors_latest_endpoints(stack).len() == 1).then_some(())
    });
    asking.into_iter().for_each(Watch::finish);
}

/// The containers that the last of thor's requests went to, by their addresses.
fn thors_latest_endpoints(stack: &Stack) -> HashSet<String> {
    let log = stack.compose(&["logs", "--no-color", "--tail=200", "edge"]);
    let lines = log.lines().filter_map(|line| {
        let json = line.get(line.find('{')?..)?;
        serde_json::from_str::<serde_json::Value>(json).ok()
    });
    let thors = lines.filter(|line| line["tenant"] == "thor" && line["path"] == "/polls/");
    let mut endpoints: Vec<_> = thors
        .filter_map(|line| Some(line["endpoint"].as_str()?.to_owned()))
        .collect();
    let latest = endpoints.split_off(endpoints.len().saturating_sub(50));
    latest.into_iter().collect()
}

/// Each answer has to be 200.
fn ask_all_the_time(stack: &Stack, tenant: &'static str) -> Watch {
    let browser = stack.browser(tenant);
    Watch::start("a tenant is asked", move || {
        let status = browser.get("/polls/").status;
        (status == 200)
            .then_some(())
            .ok_or(format!("{tenant} answered {status}"))
    })
}

fn down_and_up_keep_the_data(stack: &Stack) {
    stack.compose(&["down"]);
    stack.compose(&["up", "-d"]);
    for tenant in TENANTS {
        serves(stack, tenant);
        assert_eq!(questions(&stack.browser(tenant)), [question_of(tenant)]);
    }
}

/// A download that has no end; its lines are numbered, so that none can be missing.
fn watch_a_download(stack: &Stack) -> Watch {
    let answer = stack.browser("thor").open("/stream/download");
    let mut lines = BufReader::new(answer).lines();
    let mut expected = 0_u64;
    Watch::start("a download of thor's", move || {
        let line = lines
            .next()
            .ok_or("it ended")?
            .map_err(|error| error.to_string())?;
        if line != expected.to_string() {
            return Err(format!("line {line} where {expected} was due"));
        }
        expected += 1;
        Ok(())
    })
}

fn watch_a_websocket(stack: &Stack) -> Watch {
    let stream = TcpStream::connect(stack.published()).expect("the published port is open");
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a socket takes a time-out");
    let url = format!("ws://{}/stream/echo", stack.host("thor"));
    let (mut socket, _) = tungstenite::client(url, stream).expect("the WebSocket opens");
    let mut sent = 0_u64;
    Watch::start("a WebSocket of thor's", move || {
        let text = tungstenite::Message::text(sent.to_string());
        socket
            .send(text.clone())
            .map_err(|error| error.to_string())?;
        let echoed = socket.read().map_err(|error| error.to_string())?;
        sent += 1;
        (echoed == text)
            .then_some(())
            .ok_or(format!("{echoed} came back for {text}"))
    })
}

/// Waits until TENANT's list of polls is served.
fn serves(stack: &Stack, tenant: &str) {
    let browser = stack.browser(tenant);
    eventually(&format!("{tenant} serves"), START, || {
        (browser.get("/polls/").status == 200).then_some(())
    });
}

fn questions(browser: &Browser) -> Vec<String> {
    let list = browser.get("/polls/").json();
    let polls = list["results"].as_array().expect("a list of polls");
    polls
        .iter()
        .map(|poll| poll["question"].as_str().expect("a question").to_owned())
        .collect()
}

/// What `probe` finds in the end; panics if it finds nothing within `limit`.
fn eventually<T>(what: &str, limit: Duration, probe: impl FnMut() -> Option<T>) -> T {
    found_within(limit, probe).unwrap_or_else(|| panic!("not within {limit:?}: {what}"))
}

fn found_within<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let started = Instant::now();
    loop {
        let found = probe();
        if found.is_some() || started.elapsed() >= limit {
            return found;
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// The project's own directory.
fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
