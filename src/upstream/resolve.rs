//! Names to addresses. One task on the control thread looks them up for all workers, so that a slow name server
//! costs a worker nothing and a name that many ask for is asked for once.
//!
//! TTLs are not believed: Docker gives 600 s to names whose address changes with the next restart. How old an answer
//! may be is for the one who asks to say.

use std::{
    collections::HashMap,
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hickory_resolver::{
    Resolver as Hickory, TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts},
    net::{NetError, runtime::TokioRuntimeProvider},
    proto::rr::Name,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{self, Instant},
};

/// Questions that wait for the task, which does nothing but pass them on.
const QUERIES_MAX: usize = 1024;
/// Before a dial an answer of this age will do: what it says is looked up again once the dial has succeeded.
const RECENT: Duration = Duration::from_secs(1);
/// A name that nobody has asked for in this time is forgotten.
const FORGET: Duration = Duration::from_secs(60);
/// Shorter than the common 5 s: the one who waits has a request to answer.
const SERVER_TIMEOUT: Duration = Duration::from_secs(1);

/// Where names are looked up; clones ask the same task.
#[derive(Debug, Clone)]
pub(crate) struct Resolver {
    queries: mpsc::Sender<Query>,
}

/// The addresses of a name, or why it has none.
pub(crate) type Answer = Result<Arc<[IpAddr]>, Unresolved>;

/// A name that has no address now. Both an absent name and a silent name server mean that nobody can be reached.
#[derive(Debug, Clone)]
pub(crate) enum Unresolved {
    NotAName,
    Lookup(NetError),
    /// The control thread is gone; the edge is about to end.
    Stopped,
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAName => f.write_str("not a name that can be looked up"),
            Self::Lookup(error) if error.is_nx_domain() => f.write_str("there is no such name"),
            Self::Lookup(error) if error.is_no_records_found() => {
                f.write_str("no address is known")
            }
            Self::Lookup(error) => error.fmt(f),
            Self::Stopped => f.write_str("the edge is stopping"),
        }
    }
}

/// How old an answer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Age {
    /// Up to a second, if it has addresses: a name that had none may have one by now.
    Recent,
    /// The look-up begins after the question was asked, so that the answer holds for a moment after it.
    FromNow,
}

#[derive(Debug)]
struct Query {
    name: Arc<str>,
    age: Age,
    reply: oneshot::Sender<Answer>,
}

impl Resolver {
    /// Starts the task, which asks `servers`, or if there are none those of the system's configuration.
    ///
    /// # Errors
    /// Where the resolver can't be set up at all.
    pub(crate) fn start(servers: &[SocketAddr]) -> Result<Self, NetError> {
        let hickory = Arc::new(hickory(servers)?);
        let (queries, asked) = mpsc::channel(QUERIES_MAX);
        tokio::spawn(answer(hickory, asked));
        Ok(Self { queries })
    }

    /// The addresses of `host`, which may be a literal one.
    pub(crate) async fn resolve(&self, host: &Arc<str>, age: Age) -> Answer {
        if let Ok(address) = host.parse() {
            return Ok([address].into());
        }
        let (reply, answer) = oneshot::channel();
        let query = Query {
            name: Arc::clone(host),
            age,
            reply,
        };
        // A full queue is waited for; the one who asks has a deadline.
        if self.queries.send(query).await.is_err() {
            return Err(Unresolved::Stopped);
        }
        answer.await.unwrap_or(Err(Unresolved::Stopped))
    }
}

fn hickory(servers: &[SocketAddr]) -> Result<TokioResolver, NetError> {
    let provider = TokioRuntimeProvider::default;
    let mut builder = match (servers, Hickory::builder_tokio()) {
        ([], Ok(system)) => system,
        // No resolv.conf is no reason not to start: /etc/hosts and literal addresses work without one.
        ([], Err(error)) => {
            tracing::warn!(%error, "no name server is configured; only /etc/hosts is asked");
            let nobody = ResolverConfig::from_parts(None, Vec::new(), Vec::new());
            Hickory::builder_with_config(nobody, provider())
        }
        (servers, _) => {
            let servers = servers.iter().map(name_server).collect();
            let config = ResolverConfig::from_parts(None, Vec::new(), servers);
            Hickory::builder_with_config(config, provider())
        }
    };
    let options: &mut ResolverOpts = builder.options_mut();
    options.cache_size = 0;
    options.timeout = SERVER_TIMEOUT;
    builder.build()
}

fn name_server(server: &SocketAddr) -> NameServerConfig {
    let at = |mut connection: ConnectionConfig| {
        connection.port = server.port();
        connection
    };
    NameServerConfig::new(
        server.ip(),
        true,
        vec![at(ConnectionConfig::udp()), at(ConnectionConfig::tcp())],
    )
}

/// The task: takes questions, lets one look-up a name run at a time, and hands the answers out.
async fn answer(hickory: Arc<TokioResolver>, mut asked: mpsc::Receiver<Query>) {
    let mut names: HashMap<Arc<str>, Asked> = HashMap::new();
    let mut running = JoinSet::new();
    let mut forget = time::interval(FORGET);
    loop {
        let begin = tokio::select! {
            query = asked.recv() => match query {
                Some(query) => {
                    let name = Arc::clone(&query.name);
                    let asked = names.entry(query.name).or_default();
                    asked.ask(query.age, query.reply, Instant::now()).then_some(name)
                }
                None => return,
            },
            Some(Ok((name, answer))) = running.join_next() => {
                let asked: &mut Asked = names.entry(Arc::clone(&name)).or_default();
                asked.answer(&answer, Instant::now()).then_some(name)
            }
            now = forget.tick() => {
                names.retain(|_, asked| asked.is_wanted(now));
                None
            }
        };
        if let Some(name) = begin {
            running.spawn(look_up(Arc::clone(&hickory), name));
        }
    }
}

async fn look_up(hickory: Arc<TokioResolver>, name: Arc<str>) -> (Arc<str>, Answer) {
    // `from_ascii` takes the underscores that container names have; parsing by IDNA would not.
    let answer = match Name::from_ascii(&*name) {
        // On a task of its own, so that even a panic in there is an answer.
        Ok(parsed) => match tokio::spawn(async move { hickory.lookup_ip(parsed).await }).await {
            Ok(Ok(answer)) => Ok(answer.iter().collect()),
            Ok(Err(error)) => Err(Unresolved::Lookup(error)),
            Err(_) => Err(Unresolved::Stopped),
        },
        Err(_) => Err(Unresolved::NotAName),
    };
    (name, answer)
}

/// What is asked about one name.
#[derive(Debug, Default)]
struct Asked {
    /// Whether a look-up runs; those who wait for it.
    running: Option<Vec<oneshot::Sender<Answer>>>,
    /// Those who asked for an answer from now on while it ran: it may have been given before they asked.
    next: Vec<oneshot::Sender<Answer>>,
    last: Option<(Instant, Answer)>,
}

impl Asked {
    /// True if a look-up is to begin.
    fn ask(&mut self, age: Age, reply: oneshot::Sender<Answer>, now: Instant) -> bool {
        match (&mut self.running, &self.last, age) {
            (_, Some((at, Ok(addresses))), Age::Recent) if now.duration_since(*at) <= RECENT => {
                // Whoever has given up waiting has no use for the answer.
                let _ = reply.send(Ok(Arc::clone(addresses)));
                false
            }
            (Some(waiting), _, Age::Recent) => {
                waiting.push(reply);
                false
            }
            (Some(_), _, Age::FromNow) => {
                self.next.push(reply);
                false
            }
            (None, _, Age::Recent | Age::FromNow) => {
                self.running = Some(vec![reply]);
                true
            }
        }
    }

    /// The look-up that ran has ended. True if another is to begin.
    fn answer(&mut self, answer: &Answer, now: Instant) -> bool {
        for reply in self.running.take().into_iter().flatten() {
            let _ = reply.send(answer.clone());
        }
        self.last = Some((now, answer.clone()));
        let next = std::mem::take(&mut self.next);
        if next.is_empty() {
            return false;
        }
        self.running = Some(next);
        true
    }

    fn is_wanted(&self, now: Instant) -> bool {
        let is_new = |at: Instant| now.duration_since(at) < FORGET;
        self.running.is_some() || self.last.as_ref().is_some_and(|(at, _)| is_new(*at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(last: u8) -> Answer {
        Ok([IpAddr::from([10, 0, 0, last])].into())
    }

    fn said(reply: &mut oneshot::Receiver<Answer>) -> Option<IpAddr> {
        reply.try_recv().ok().map(|answer| answer.unwrap()[0])
    }

    #[test]
    fn those_who_ask_together_share_a_look_up() {
        let now = Instant::now();
        let mut asked = Asked::default();
        let (one, mut first) = oneshot::channel();
        let (two, mut second) = oneshot::channel();
        assert!(asked.ask(Age::Recent, one, now));
        assert!(!asked.ask(Age::Recent, two, now));
        assert!(!asked.answer(&answer(1), now));
        assert_eq!(said(&mut first), Some([10, 0, 0, 1].into()));
        assert_eq!(said(&mut second), Some([10, 0, 0, 1].into()));
    }

    #[test]
    fn an_answer_that_was_under_way_is_no_answer_from_now_on() {
        let now = Instant::now();
        let mut asked = Asked::default();
        let (one, _first) = oneshot::channel();
        let (two, mut check) = oneshot::channel();
        let (three, mut other_check) = oneshot::channel();
        assert!(asked.ask(Age::Recent, one, now));
        assert!(!asked.ask(Age::FromNow, two, now));
        assert!(!asked.ask(Age::FromNow, three, now));
        assert!(asked.answer(&answer(1), now), "the checks need another");
        assert_eq!(said(&mut check), None);
        assert!(!asked.answer(&answer(2), now));
        assert_eq!(said(&mut check), Some([10, 0, 0, 2].into()));
        assert_eq!(said(&mut other_check), Some([10, 0, 0, 2].into()));
    }

    #[test]
    fn a_second_old_answer_will_do_for_a_dial_and_never_for_a_check() {
        let now = Instant::now();
        let mut asked = Asked::default();
        let (one, _first) = oneshot::channel();
        assert!(asked.ask(Age::Recent, one, now));
        asked.answer(&answer(1), now);
        let (two, mut second) = oneshot::channel();
        assert!(!asked.ask(Age::Recent, two, now + RECENT));
        assert_eq!(said(&mut second), Some([10, 0, 0, 1].into()));
        let (three, _third) = oneshot::channel();
        assert!(asked.ask(Age::FromNow, three, now));
        asked.answer(&answer(2), now);
        let (four, _fourth) = oneshot::channel();
        let later = now + RECENT + Duration::from_millis(1);
        assert!(asked.ask(Age::Recent, four, later));
    }

    #[test]
    fn a_failure_is_not_kept() {
        let now = Instant::now();
        let mut asked = Asked::default();
        let (one, _first) = oneshot::channel();
        assert!(asked.ask(Age::Recent, one, now));
        asked.answer(&Err(Unresolved::Stopped), now);
        let (two, _second) = oneshot::channel();
        assert!(asked.ask(Age::Recent, two, now));
    }

    #[test]
    fn a_name_that_nobody_asks_for_is_forgotten() {
        let now = Instant::now();
        let mut asked = Asked::default();
        let (one, _first) = oneshot::channel();
        asked.ask(Age::Recent, one, now);
        assert!(asked.is_wanted(now + FORGET * 2), "somebody waits");
        asked.answer(&answer(1), now);
        assert!(asked.is_wanted(now + FORGET / 2));
        assert!(!asked.is_wanted(now + FORGET));
    }
}
