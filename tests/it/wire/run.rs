//! Plays the cases of one table over one edge, several at a time, and tells everything that went otherwise at once.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use socket2::{Domain, Socket, Type};

use super::{
    Case, Step,
    pattern::{self, Verdict},
};
use crate::support::{
    DEADLINE,
    edge::{Edge, tenant, tenant_at},
    upstream::Upstream,
};

/// Most of a case's time is waiting for the other side.
const AT_ONCE: usize = 8;

pub(super) fn play(cases: &[Case]) {
    play_with("", cases);
}

/// `keys` of the top level of proxy.toml.
pub(super) fn play_with(keys: &str, cases: &[Case]) {
    let other = Upstream::saying("ok");
    let apps: Vec<App> = cases.iter().map(|_| App::listen()).collect();
    // What is sent again, or waits, isn't what these cases are about.
    let mut config = format!(
        "{keys}[defaults]\nretries = 0\nhold = \"0s\"\n{}",
        tenant("other", &other)
    );
    for (number, app) in apps.iter().enumerate() {
        config.push_str(&tenant_at(&name_of(number), &app.url()));
    }
    let edge = Edge::start(&config);
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let (Some(case), Some(app)) = (cases.get(number), apps.get(number)) else {
                        return;
                    };
                    if let Err(failure) = Talk::begin(number, app, edge.address()).play(case) {
                        let failure = format!("{} (RFC {}): {failure}", case.name, case.rfc);
                        let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
                        failures.push((number, failure));
                    }
                }
            });
        }
    });
    let mut failures = failures
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    failures.sort();
    let told: Vec<String> = failures
        .iter()
        .map(|(_, failure)| format!("✗ {failure}"))
        .collect();
    assert!(
        told.is_empty(),
        "{} of {} cases went otherwise (- expected, + seen)\n{}",
        told.len(),
        cases.len(),
        told.join("\n")
    );
}

fn name_of(number: usize) -> String {
    format!("c{number:03}")
}

/// The listener of a case's app.
struct App(Socket);

impl App {
    fn listen() -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener
            .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
            .unwrap();
        listener.listen(16).unwrap();
        listener.set_read_timeout(Some(DEADLINE)).unwrap();
        Self(listener)
    }

    fn url(&self) -> String {
        let address = self.0.local_addr().unwrap().as_socket().unwrap();
        format!("http://{address}")
    }
}

/// One end of a conversation: a socket, and what came and hasn't been looked at.
struct End {
    socket: Socket,
    seen: Vec<u8>,
    /// Whether the line end behind a chunk's data is still to come.
    in_chunk: bool,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    InOrder,
    ByReset,
}

impl End {
    fn new(socket: Socket) -> Self {
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket.set_write_timeout(Some(DEADLINE)).unwrap();
        // So that what is sent in pieces travels in pieces.
        socket.set_tcp_nodelay(true).unwrap();
        Self {
            socket,
            seen: Vec::new(),
            in_chunk: false,
        }
    }

    /// The edge may have closed already: that shows in what is seen next.
    fn send(&mut self, bytes: &[u8]) {
        drop(self.socket.write_all(bytes));
    }

    /// One read; nothing where the connection has ended.
    fn read(&mut self) -> Result<Option<Ended>, String> {
        let mut buffer = [0; 16 * 1024];
        match self.socket.read(&mut buffer) {
            Ok(0) => Ok(Some(Ended::InOrder)),
            Ok(length) => {
                self.seen.extend_from_slice(&buffer[..length]);
                Ok(None)
            }
            Err(error) if is_silence(error.kind()) => {
                Err(format!("nothing more came within {DEADLINE:?}"))
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(None),
            Err(_) => Ok(Some(Ended::ByReset)),
        }
    }

    /// Reads until what came can be judged.
    fn sees(&mut self, expected: &str, judge: impl Fn(&[u8]) -> Verdict) -> Result<(), String> {
        loop {
            match self.judge(&judge) {
                Verdict::Match(length) => {
                    self.seen.drain(..length);
                    return Ok(());
                }
                Verdict::MatchInChunk(length) => {
                    self.seen.drain(..length);
                    self.in_chunk = true;
                    return Ok(());
                }
                Verdict::Differs(difference) => {
                    self.seen.clear();
                    return Err(format!("\n{difference}"));
                }
                Verdict::More => {}
            }
            let end = match self.read() {
                Ok(None) => continue,
                Ok(Some(_)) => "the connection ended".to_owned(),
                Err(silence) => silence,
            };
            let seen = std::mem::take(&mut self.seen);
            let difference = pattern::difference(&pattern::bytes(expected), &seen);
            return Err(format!("{end}\n{difference}"));
        }
    }

    fn judge(&mut self, judge: impl Fn(&[u8]) -> Verdict) -> Verdict {
        self.end_chunk();
        if self.in_chunk {
            Verdict::More
        } else {
            judge(&self.seen)
        }
    }

    /// Takes the line end that a chunk still had to have.
    fn end_chunk(&mut self) {
        if self.in_chunk && !b"\r\n".starts_with(&self.seen[..self.seen.len().min(2)]) {
            self.in_chunk = false;
        }
        if self.in_chunk && self.seen.starts_with(b"\r\n") {
            self.seen.drain(..2);
            self.in_chunk = false;
        }
    }

    /// Reads to the end of the connection, before which a chunked body may have gone on, but not ended.
    fn aborted(&mut self) -> Result<(), String> {
        while self.read()?.is_none() {}
        let seen = std::mem::take(&mut self.seen);
        let last = [&b"\r\n0\r\n"[..], b"smuggled"];
        let ended = seen.starts_with(b"0\r\n")
            || last
                .iter()
                .any(|last| seen.windows(last.len()).any(|window| window == *last));
        if ended {
            Err(format!("\n{}", pattern::difference(b"", &seen)))
        } else {
            Ok(())
        }
    }

    /// Reads the end of the connection, before which nothing may come.
    fn ended(&mut self) -> Result<Ended, String> {
        loop {
            self.end_chunk();
            if !self.in_chunk && !self.seen.is_empty() {
                let seen = std::mem::take(&mut self.seen);
                return Err(format!("\n{}", pattern::difference(b"", &seen)));
            }
            if let Some(ended) = self.read()? {
                return Ok(ended);
            }
        }
    }

    /// What came, without waiting for more.
    fn left(&mut self) -> Vec<u8> {
        let mut buffer = [0; 16 * 1024];
        self.socket.set_nonblocking(true).unwrap();
        if let Ok(length) = self.socket.read(&mut buffer) {
            self.seen.extend_from_slice(&buffer[..length]);
        }
        self.end_chunk();
        std::mem::take(&mut self.seen)
    }

    fn shutdown(&self) {
        // The other side may have been faster.
        drop(self.socket.shutdown(Shutdown::Write));
    }
}

fn is_silence(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// A conversation as it is going on.
struct Talk<'a> {
    host: String,
    client: Option<End>,
    listener: &'a Socket,
    app: Option<End>,
    /// Connections to the app before the one at hand.
    earlier: Vec<End>,
}

impl<'a> Talk<'a> {
    fn begin(number: usize, app: &'a App, edge: SocketAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.connect_timeout(&edge.into(), DEADLINE).unwrap();
        Self {
            host: format!("{}.polls.local", name_of(number)),
            client: Some(End::new(socket)),
            listener: &app.0,
            app: None,
            earlier: Vec::new(),
        }
    }

    fn play(mut self, case: &Case) -> Result<(), String> {
        for (number, step) in case.steps().into_iter().enumerate() {
            if let Err(error) = self.step(step) {
                let (step, number) = (name_of_step(step), number + 1);
                return Err(format!("step {number}, {step}: {error}{}", self.unread()));
            }
        }
        self.nothing_else_reached_the_app()
    }

    /// What either side got and nobody has looked at, to explain a failure.
    fn unread(&mut self) -> String {
        self.listener.set_nonblocking(true).unwrap();
        if self.app.is_none()
            && let Ok((socket, _)) = self.listener.accept()
        {
            self.app = Some(End::new(socket));
        }
        let mut told = String::new();
        for (who, end) in [("client", &mut self.client), ("app", &mut self.app)] {
            let left = end.as_mut().map(End::left).unwrap_or_default();
            if !left.is_empty() {
                let left = pattern::show(&left);
                told.push_str(&format!("      the {who} also got {left}\n"));
            }
        }
        told
    }

    fn step(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::Client(text) => {
                let bytes = pattern::bytes(&self.expand(text));
                self.client()?.send(&bytes);
            }
            Step::ClientSees(text) => self.client_sees(text)?,
            Step::Error(status) => {
                self.client()?.sees("an error", |seen| {
                    pattern::compare_error(status, false, seen)
                })?;
            }
            Step::LastError(status) => {
                self.client()?.sees("an error", |seen| {
                    pattern::compare_error(status, true, seen)
                })?;
            }
            Step::Closed => drop(self.client()?.ended()?),
            Step::Cut => match self.client()?.ended()? {
                Ended::ByReset => {}
                Ended::InOrder => return Err("it ended in good order".to_owned()),
            },
            Step::Kept => {
                self.client()?
                    .send(b"GET /next HTTP/1.1\r\nHost: other.polls.local\r\n\r\n");
                self.client_sees("<saw-ok>")?;
            }
            Step::ClientHalfCloses => self.client()?.shutdown(),
            Step::ClientLeaves => drop(self.client.take()),
            Step::App(text) => {
                let bytes = pattern::bytes(&self.expand(text));
                self.app()?.send(&bytes);
            }
            Step::AppSees(text) => {
                let expected = self.expand(text);
                self.app()?
                    .sees(&expected, |seen| pattern::compare(&expected, seen))?;
            }
            Step::AppAccepts => {
                self.earlier.extend(self.app.take());
                self.app()?;
            }
            Step::AppClosed => drop(self.app()?.ended()?),
            Step::AppAborted => self.app()?.aborted()?,
            Step::AppHalfCloses => self.app()?.shutdown(),
            Step::AppLeaves => {
                self.app()?;
                self.app = None;
            }
            Step::AppResets => {
                self.app()?.socket.set_linger(Some(Duration::ZERO)).unwrap();
                self.app = None;
            }
        }
        Ok(())
    }

    fn expand(&self, text: &str) -> String {
        pattern::expand(text, &self.host)
    }

    fn client_sees(&mut self, text: &str) -> Result<(), String> {
        let expected = self.expand(text);
        self.client()?
            .sees(&expected, |seen| pattern::compare(&expected, seen))
    }

    fn client(&mut self) -> Result<&mut End, String> {
        self.client
            .as_mut()
            .ok_or_else(|| "the client has left".to_owned())
    }

    /// The connection to the app, which is accepted when it is first needed.
    fn app(&mut self) -> Result<&mut End, String> {
        if self.app.is_none() {
            match self.listener.accept() {
                Ok((socket, _)) => self.app = Some(End::new(socket)),
                Err(_) => return Err("no connection came\n".to_owned()),
            }
        }
        self.app
            .as_mut()
            .ok_or_else(|| "the app has left".to_owned())
    }

    fn nothing_else_reached_the_app(mut self) -> Result<(), String> {
        for app in self.earlier.iter_mut().chain(&mut self.app) {
            let left = app.left();
            if !left.is_empty() {
                return Err(format!(
                    "in the end, the app saw more\n      + {}\n",
                    pattern::show(&left)
                ));
            }
        }
        self.listener.set_nonblocking(true).unwrap();
        match self.listener.accept() {
            Ok((socket, _)) => {
                let seen = End::new(socket).left();
                Err(format!(
                    "in the end, the app saw another connection\n      + {}\n",
                    pattern::show(&seen)
                ))
            }
            Err(_) => Ok(()),
        }
    }
}

fn name_of_step(step: Step) -> &'static str {
    match step {
        Step::Client(_) => "the client sends",
        Step::ClientSees(_) => "the client sees",
        Step::Error(_) | Step::LastError(_) => "the client is refused",
        Step::Closed => "the client's connection ends",
        Step::Cut => "the client's connection is cut",
        Step::Kept => "the client's connection goes on",
        Step::ClientHalfCloses | Step::ClientLeaves => "the client leaves",
        Step::App(_) => "the app sends",
        Step::AppSees(_) => "the app sees",
        Step::AppAccepts => "the app accepts a further connection",
        Step::AppClosed | Step::AppAborted => "the app's connection ends",
        Step::AppHalfCloses | Step::AppLeaves | Step::AppResets => "the app leaves",
    }
}
