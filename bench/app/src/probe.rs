//! Asks a host so many times a second, whatever becomes of the answers, and says how long they took.
//!
//! `bench-probe PORT HOST PATH RATE SECONDS FRESH_EVERY` has eight kept connections; every so many-th request is on one of
//! its own. The schedule is fixed beforehand, and a request's time counts from when it was due, not from when somebody
//! was free to send it: a proxy that stands still makes all that come meanwhile late, and not one of them only.
//! An answer other than 200, none within 5 s, or a broken connection is a failure, and has taken 5 s in the percentiles.
//! Nothing is tried again. Threads wait in the kernel, as tokio's clock knows whole milliseconds only.

use std::{
    collections::BTreeMap,
    env,
    error::Error,
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::{
        Arc, Barrier, Mutex, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::Duration,
};

use tokio::time::Instant;

mod answer;

const KEPT: usize = 8;
const PATIENCE: Duration = Duration::from_secs(5);

/// What is asked for.
struct Target {
    address: SocketAddr,
    kept: Vec<u8>,
    fresh: Vec<u8>,
}

/// What became of one request: the status with the edge's own label, or the kind of the error.
struct Outcome {
    what: String,
    took: Duration,
}

impl Outcome {
    fn failed(&self) -> bool {
        self.what != "200"
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let usage = "PORT HOST PATH RATE SECONDS FRESH_EVERY";
    let mut next = || arguments.next().ok_or(usage);
    let address = (Ipv4Addr::LOCALHOST, next()?.parse()?).into();
    let head = |host: &str, path: &str, more: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n").into_bytes()
    };
    let (host, path) = (next()?, next()?);
    let rate: f64 = next()?.parse()?;
    let seconds: f64 = next()?.parse()?;
    let fresh_every: usize = next()?.parse()?;
    let target = Target {
        address,
        kept: head(&host, &path, ""),
        fresh: head(&host, &path, "Connection: close\r\n"),
    };
    let step = Duration::from_secs_f64(1.0 / rate);
    let outcomes = asked(&Arc::new(target), step, seconds, fresh_every);
    println!("{}", summary(&outcomes));
    Ok(())
}

/// Each request has ended 5 s after it was due, and so has this.
fn asked(target: &Arc<Target>, step: Duration, seconds: f64, fresh_every: usize) -> Vec<Outcome> {
    let (outcomes, all) = channel();
    let due = schedule(target, step, seconds, fresh_every, &outcomes);
    drop(outcomes);
    drop(due);
    all.iter().collect()
}

/// Sends each request on its way when it is due.
fn schedule(
    target: &Arc<Target>,
    step: Duration,
    seconds: f64,
    fresh_every: usize,
    outcomes: &Sender<Outcome>,
) -> Sender<Instant> {
    let (kept, due) = channel();
    let due = Arc::new(Mutex::new(due));
    let kept_connections = if fresh_every == 1 { 0 } else { KEPT };
    let warm = Arc::new(Barrier::new(kept_connections + 1));
    for _ in 0..kept_connections {
        let (target, due) = (target.clone(), due.clone());
        let (outcomes, warm) = (outcomes.clone(), warm.clone());
        thread::spawn(move || keep(&target, &due, &warm, &outcomes));
    }
    warm.wait();
    let began = Instant::now() + step;
    let mut at = Duration::ZERO;
    let mut number = 0;
    while at.as_secs_f64() < seconds {
        number += 1;
        let when = began + at;
        thread::sleep(when.saturating_duration_since(Instant::now()));
        if number % fresh_every == 0 {
            let (target, outcomes) = (target.clone(), outcomes.clone());
            thread::spawn(move || {
                // Nobody listens any more only when the process ends.
                let _ = outcomes.send(ask(&target.fresh, &target, &mut None, when));
            });
        } else {
            let _ = kept.send(when);
        }
        at += step;
    }
    kept
}

/// One kept connection. Its first request, which opens it, is before the schedule and isn't counted.
fn keep(
    target: &Target,
    due: &Mutex<Receiver<Instant>>,
    warm: &Barrier,
    outcomes: &Sender<Outcome>,
) {
    let mut connection = None;
    ask(&target.kept, target, &mut connection, Instant::now());
    warm.wait();
    loop {
        let next = due.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(when) = next else { return };
        let _ = outcomes.send(ask(&target.kept, target, &mut connection, when));
    }
}

fn ask(
    request: &[u8],
    target: &Target,
    connection: &mut Option<TcpStream>,
    due: Instant,
) -> Outcome {
    let result = exchange(request, target, connection, due + PATIENCE);
    let took = due.elapsed();
    let what = match result {
        Ok(_) if took > PATIENCE => "late".to_owned(),
        Ok(what) => what,
        Err(error) => match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "late".to_owned(),
            kind => kind.to_string(),
        },
    };
    Outcome { what, took }
}

/// On the connection that is there, or else on a new one; it is there afterwards if it can be asked again.
fn exchange(
    request: &[u8],
    target: &Target,
    connection: &mut Option<TcpStream>,
    until: Instant,
) -> io::Result<String> {
    let mut socket = match connection.take() {
        Some(socket) => socket,
        None => {
            let socket = TcpStream::connect_timeout(&target.address, left(until)?)?;
            socket.set_nodelay(true)?;
            socket
        }
    };
    socket.write_all(request)?;
    let mut buffer = Vec::new();
    let mut piece = [0; 4096];
    let head = loop {
        let head = answer::parse(&buffer)?;
        let total_bytes = head.as_ref().and_then(answer::Head::total_bytes);
        if total_bytes.is_some_and(|bytes| buffer.len() >= bytes) {
            break head;
        }
        socket.set_read_timeout(Some(left(until)?))?;
        match socket.read(&mut piece)? {
            0 => break head.filter(|head| head.body_bytes.is_none()),
            read => buffer.extend_from_slice(&piece[..read]),
        }
    };
    let head = head.ok_or(io::ErrorKind::UnexpectedEof)?;
    if !head.close {
        *connection = Some(socket);
    }
    Ok(labelled(head.status, &buffer[head.head_bytes..]))
}

/// The edge's own answers begin with their status and label: `503 queue_full: …`.
fn labelled(status: u16, body: &[u8]) -> String {
    let body = String::from_utf8_lossy(body);
    let mut words = body.split_ascii_whitespace();
    match (words.next(), words.next()) {
        (Some(first), Some(label)) if status != 200 && first == status.to_string() => {
            format!("{status} {}", label.trim_end_matches(':'))
        }
        _ => status.to_string(),
    }
}

fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    match left.is_zero() {
        true => Err(io::ErrorKind::TimedOut.into()),
        false => Ok(left),
    }
}

fn summary(outcomes: &[Outcome]) -> String {
    let counted = |one: &Outcome| if one.failed() { PATIENCE } else { one.took };
    let failed = outcomes.iter().filter(|one| one.failed()).count();
    let mut by_outcome: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    for one in outcomes {
        by_outcome.entry(&one.what).or_default().push(one.took);
    }
    let parts: Vec<String> = by_outcome
        .into_iter()
        .map(|(what, took)| format!(r#""{what}": {{{}}}"#, percentiles(took)))
        .collect();
    format!(
        r#"{{{}, "failed": {failed}, "outcomes": {{{}}}}}"#,
        percentiles(outcomes.iter().map(counted).collect()),
        parts.join(", ")
    )
}

fn percentiles(mut took: Vec<Duration>) -> String {
    took.sort_unstable();
    let at = |of: usize| {
        took.get(took.len() * of / 100)
            .map_or(0, Duration::as_micros)
    };
    format!(
        r#""requests": {}, "p50_us": {}, "p99_us": {}, "max_us": {}"#,
        took.len(),
        at(50),
        at(99),
        took.last().map_or(0, Duration::as_micros)
    )
}
