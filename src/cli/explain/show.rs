//! An explanation for people: one aligned block a subject. It only writes.

use std::{
    io::{self, Write},
    time::Duration,
};

use super::answer::{
    Client, EdgeAsked, EditsShown, EndpointSeen, Explanation, Head, Health, Led, Outcome,
    PolicyShown, Refused, Resolved,
};

/// Of the column of subjects.
const SUBJECT: usize = 10;

pub(super) fn text(explanation: &Explanation, out: &mut dyn Write) -> io::Result<()> {
    let Explanation { method, url, .. } = explanation;
    match &explanation.outcome {
        Outcome::Led(led) => {
            writeln!(out, "{method} {url} goes to {}\n", led.tenant)?;
            self::led(led, out)
        }
        Outcome::Refused(refused) => {
            let Refused { status, error, .. } = refused;
            writeln!(out, "{method} {url} goes to no app: {status} {error}\n")?;
            self::refused(refused, out)
        }
    }
}

fn led(led: &Led, out: &mut dyn Write) -> io::Result<()> {
    let verdict = |wins, why| format!("{}: {why}", if wins { "wins" } else { "loses" });
    let hosts = led.hosts.iter().map(|host| {
        let tenant = &host.tenant;
        let why = verdict(host.wins, host.why);
        [host.pattern.clone(), tenant.clone(), why]
    });
    block("host", hosts.collect(), out)?;
    let paths = led.paths.iter().map(|path| {
        let prefix = path.prefix.as_deref().unwrap_or("any");
        [prefix.to_owned(), verdict(path.wins, path.why)]
    });
    block("path", paths.collect(), out)?;
    block("tenant", vec![[led.tenant.clone()]], out)?;
    let upstream = led.upstream.iter().flat_map(origin);
    block("upstream", upstream.collect(), out)?;
    block("edge", vec![[edge(&led.edge)]], out)?;
    block("client", vec![[client(&led.client)]], out)?;
    block("app sees", head(&led.app_sees), out)?;
    block("policy", policy(&led.policy, led.upstream.len()), out)
}

fn refused(refused: &Refused, out: &mut dyn Write) -> io::Result<()> {
    block("answer", vec![[refused.message.clone()]], out)?;
    match &refused.nearest {
        Some(near) => {
            let row = [near.pattern.clone(), near.tenant.clone()];
            block("nearest", vec![row], out)
        }
        None => Ok(()),
    }
}

/// Each of its endpoints has a row; the origin is said once.
fn origin(resolved: &Resolved) -> Vec<[String; 3]> {
    let missing = resolved.error.iter();
    let missing = missing.map(|error| (format!("no answer: {error}"), String::new()));
    let endpoints = resolved.endpoints.iter().map(|endpoint| {
        // A unix socket is its own endpoint.
        let address = if endpoint.address == resolved.origin {
            String::new()
        } else {
            endpoint.address.clone()
        };
        (address, health(endpoint))
    });
    let rows = missing.chain(endpoints).enumerate();
    let rows = rows.map(|(index, (address, health))| {
        let origin = if index == 0 { &*resolved.origin } else { "" };
        [origin.to_owned(), address, health]
    });
    rows.collect()
}

fn health(endpoint: &EndpointSeen) -> String {
    let because = |text: &str| match &endpoint.error {
        Some(error) => format!("{text}: {error}"),
        None => text.to_owned(),
    };
    let mut said = match endpoint.health {
        Health::Up => "up".to_owned(),
        Health::Aside => {
            let left = Duration::from_millis(endpoint.aside_ms.unwrap_or_default());
            let left = humantime::format_duration(left);
            because(&format!("dialled last for {left}"))
        }
        Health::Out => because("out"),
        Health::Unused => "not used by the edge so far".to_owned(),
        Health::Answers => "answers a dial".to_owned(),
        Health::Silent => because("doesn't answer a dial"),
    };
    if let Some(in_flight) = endpoint.in_flight {
        said.push_str(&format!(", {in_flight} in flight"));
    }
    said
}

fn edge(edge: &EdgeAsked) -> String {
    let EdgeAsked { address, note, .. } = edge;
    match (edge.answers, note) {
        (true, None) => format!("{address} says so of its upstream"),
        (true, Some(note)) => format!("{address}: {note}"),
        (false, note) => {
            let why = note.as_deref().unwrap_or("no answer");
            format!("none answers at {address} ({why}), so each address was dialled from here")
        }
    }
}

fn client(client: &Client) -> String {
    let Client { peer, address, .. } = client;
    if !client.trusted {
        format!("{peer}, not a trusted proxy: what it says of itself is not passed on")
    } else if peer == address {
        format!("{peer}, a trusted proxy that names nobody else")
    } else {
        format!("{address}, as {peer} says, which is a trusted proxy")
    }
}

fn head(head: &Head) -> Vec<[String; 1]> {
    let line = format!("{} {} HTTP/1.1", head.method, head.target);
    let fields = head.headers.iter();
    let fields = fields.map(|(name, value)| format!("{name}: {value}"));
    std::iter::once(line)
        .chain(fields)
        .map(|line| [line])
        .collect()
}

fn policy(policy: &PolicyShown, origins: usize) -> Vec<[String; 2]> {
    let timeouts = &policy.timeouts;
    let host = if policy.host == "upstream" && origins > 1 {
        "upstream (above, that of the first origin)"
    } else {
        &policy.host
    };
    let verify = policy.verify_address.to_string();
    let retries = policy.retries.to_string();
    let limits = &policy.limits;
    let (requests, queue) = (limits.requests.to_string(), limits.queue.to_string());
    let connections = limits.connections.map(|most| most.to_string());
    let limited = [
        ("limits.connections", &connections),
        ("limits.rate", &limits.rate),
        ("limits.rate_per_client", &limits.rate_per_client),
    ];
    let limited = limited
        .into_iter()
        .filter_map(|(key, value)| Some([key.to_owned(), value.clone()?]));
    let networks = [("allow", &policy.allow), ("deny", &policy.deny)];
    let networks = networks.into_iter().filter(|(_, nets)| !nets.is_empty());
    let networks = networks.map(|(key, nets)| [key.to_owned(), nets.join(", ")]);
    let rows = [
        ["host", host],
        ["timeouts.connect", &timeouts.connect],
        ["timeouts.response", &timeouts.response],
        ["timeouts.idle", &timeouts.idle],
        ["timeouts.tunnel_idle", &timeouts.tunnel_idle],
        ["limits.requests", &requests],
        ["limits.queue", &queue],
        ["limits.queue_wait", &limits.queue_wait],
        ["limits.body", &limits.body],
        ["hold", &policy.hold],
        ["retries", &retries],
        ["verify_address", &verify],
        ["balance", policy.balance],
    ];
    let health = policy.health.iter().flat_map(|health| {
        let rows = [
            ["path", &health.path],
            ["interval", &health.interval],
            ["timeout", &health.timeout],
            ["healthy", &health.healthy.to_string()],
            ["unhealthy", &health.unhealthy.to_string()],
        ];
        let host = health.host.iter().map(|host| ["host", host]);
        let rows = rows.into_iter().chain(host);
        let rows = rows.map(|[key, value]| [format!("health.{key}"), value.to_owned()]);
        rows.collect::<Vec<_>>()
    });
    rows.map(|row| row.map(str::to_owned))
        .into_iter()
        .chain(limited)
        .chain(networks)
        .chain(health)
        .chain(edits("request_headers", &policy.request_headers))
        .chain(edits("response_headers", &policy.response_headers))
        .collect()
}

fn edits(key: &str, edits: &EditsShown) -> Vec<[String; 2]> {
    let field = |verb, (name, value): &(String, String)| {
        [format!("{key}.{verb}"), format!("{name}: {value}")]
    };
    let removed = edits.remove.iter();
    let removed = removed.map(|name| [format!("{key}.remove"), name.clone()]);
    let set = edits.set.iter().map(|set| field("set", set));
    let added = edits.add.iter().map(|added| field("add", added));
    removed.chain(set).chain(added).collect()
}

/// Rows of cells, aligned among themselves; the first has the subject before it.
fn block<const N: usize>(
    subject: &str,
    rows: Vec<[String; N]>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let width = |column: usize| {
        let cells = rows.iter().map(|cells| cells[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    for (index, cells) in rows.iter().enumerate() {
        let subject = if index == 0 { subject } else { "" };
        let mut line = format!("{subject:<SUBJECT$}");
        for (cell, width) in cells.iter().zip(widths) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}
