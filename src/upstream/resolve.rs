//! Names to addresses. One task on the control thread looks them up for all workers, so that a slow name server
//! costs a worker nothing and a name that many ask for is asked for once.
//!
//! TTLs are not believed: Docker gives 600 s to names whose address changes with the next restart. How old an answer
//! may be is for the one who asks to say.

use std::{
    collections::HashMap,
    fmt,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures_util::future::{Either, select};
use hickory_resolver::{
    Resolver as Hickory, TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts},
    net::{NetError, runtime::TokioRuntimeProvider},
    proto::rr::{Name, RData, RecordType},
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{self, Instant},
};

use super::hosts::Hosts;

/// Questions that wait for the task, which does nothing but pass them on.
const QUERIES_MAX: usize = 1024;
/// Before a dial an answer of this age will do: what it says is looked up again once the dial has succeeded.
const RECENT: Duration = Duration::from_secs(1);
/// A name that nobody has asked for in this time is forgotten.
const FORGET: Duration = Duration::from_secs(60);
/// Shorter than the common 5 s: the one who waits has a request to answer. What was asked while the server was silent is
/// asked again after this, so that it is also how long its return may go unnoticed.
const SERVER_TIMEOUT: Duration = Duration::from_millis(800);
/// Once one family has addresses, how long the other's answer is waited for (RFC 8305 §3).
const OTHER_FAMILY_WAIT: Duration = Duration::from_millis(50);

/// Where names are looked up; clones ask the same task.
#[derive(Debug, Clone)]
pub(crate) struct Resolver {
    hosts: Arc<Hosts>,
    queries: mpsc::Sender<Query>,
}

/// The addresses of a name that was looked up. Each family is a question of its own, so that one that gets no answer
/// neither holds the other up nor takes its addresses away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// At least one.
    pub(crate) addresses: Vec<IpAddr>,
    /// The family of which nothing is known, since there was no answer for it.
    pub(crate) unknown: Option<Family>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    fn record_type(self) -> RecordType {
        match self {
            Self::V4 => RecordType::A,
            Self::V6 => RecordType::AAAA,
        }
    }
}

/// The addresses of one family that a name has, perhaps none.
type Answer = Result<Arc<[IpAddr]>, Unresolved>;

/// A name that has no address now. Both an absent name and a silent name server mean that nobody can be reached.
#[derive(Debug, Clone)]
pub(crate) enum Unresolved {
    NotAName,
    NoSuchName,
    NoAddress,
    Lookup(NetError),
    /// The control thread is gone; the edge is about to end.
    Stopped,
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAName => f.write_str("not a name that can be looked up"),
            Self::NoSuchName => f.write_str("there is no such name"),
            Self::NoAddress => f.write_str("no address is known"),
            Self::Lookup(error) => error.fmt(f),
            Self::Stopped => f.write_str("the edge is stopping"),
        }
    }
}

/// How old an answer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Age {
    /// Up to a second, if the name had an address: one that had none may have one by now.
    Recent,
    /// The look-up begins after the question was asked, so that the answer holds for a moment after it.
    FromNow,
}

#[derive(Debug)]
struct Query {
    question: Question,
    age: Age,
    reply: oneshot::Sender<Answer>,
}

/// What is looked up at once.
type Question = (Arc<str>, Family);

impl Resolver {
    /// Starts the task, which asks `servers`, or if there are none those of the system's configuration.
    ///
    /// # Errors
    /// Where the resolver can't be set up at all.
    pub(crate) fn start(servers: &[SocketAddr]) -> Result<Self, NetError> {
        let hickory = Arc::new(hickory(servers)?);
        let (queries, asked) = mpsc::channel(QUERIES_MAX);
        tokio::spawn(answer(hickory, asked));
        let hosts = Arc::new(Hosts::read());
        Ok(Self { hosts, queries })
    }

    /// The addresses of `host`, which may be a literal one.
    pub(crate) async fn resolve(&self, host: &Arc<str>, age: Age) -> Result<Found, Unresolved> {
        let known = |addresses| Found {
            addresses,
            unknown: None,
        };
        if let Ok(address) = host.parse() {
            return Ok(known(vec![address]));
        }
        if let Some(addresses) = self.hosts.addresses(host) {
            return Ok(known(addresses.to_vec()));
        }
        match (self.both(host, age).await, age) {
            (Err(Unresolved::NoAddress), Age::Recent) => self.both(host, Age::FromNow).await,
            (found, _) => found,
        }
    }

    /// Whether `host`, which is no literal address, has `address` from now on. Only that family is asked for.
    pub(crate) async fn has(&self, host: &Arc<str>, address: IpAddr) -> Result<bool, Unresolved> {
        if let Some(addresses) = self.hosts.addresses(host) {
            return Ok(addresses.contains(&address));
        }
        let answer = self.ask(host, Family::of(address), Age::FromNow).await;
        answer.map(|addresses| addresses.contains(&address))
    }

    async fn both(&self, host: &Arc<str>, age: Age) -> Result<Found, Unresolved> {
        let v4 = pin!(self.ask(host, Family::V4, age));
        let v6 = pin!(self.ask(host, Family::V6, age));
        match select(v4, v6).await {
            Either::Left((v4, v6)) => {
                let v6 = wait_for_other(&v4, v6).await;
                together(Some(v4), v6)
            }
            Either::Right((v6, v4)) => {
                let v4 = wait_for_other(&v6, v4).await;
                together(v4, Some(v6))
            }
        }
    }

    async fn ask(&self, host: &Arc<str>, family: Family, age: Age) -> Answer {
        let (reply, answer) = oneshot::channel();
        let query = Query {
            question: (Arc::clone(host), family),
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

/// The other family's answer, if it comes in time.
async fn wait_for_other(one: &Answer, other: impl Future<Output = Answer>) -> Option<Answer> {
    match one {
        Ok(addresses) if !addresses.is_empty() => {
            time::timeout(OTHER_FAMILY_WAIT, other).await.ok()
        }
        Ok(_) | Err(_) => Some(other.await),
    }
}

/// What the answers for both families say of a name.
fn together(v4: Option<Answer>, v6: Option<Answer>) -> Result<Found, Unresolved> {
    let addresses = [&v4, &v6].into_iter().flatten().flatten();
    let addresses: Vec<_> = addresses.flat_map(|found| found.iter().copied()).collect();
    if addresses.is_empty() {
        return Err(match (v4, v6) {
            (Some(Err(error)), Some(Ok(_)) | None) | (Some(Ok(_)) | None, Some(Err(error))) => {
                error
            }
            // That there is no such name holds for both; else what came of the family that nearly all have.
            (Some(Err(_)), Some(Err(Unresolved::NoSuchName))) => Unresolved::NoSuchName,
            (Some(Err(error)), Some(Err(_))) => error,
            (Some(Ok(_)) | None, Some(Ok(_)) | None) => Unresolved::NoAddress,
        });
    }
    // Some servers say of a name without addresses of a family that there is no such name: it has none of those.
    let is_known =
        |answer: &Option<Answer>| matches!(answer, Some(Ok(_) | Err(Unresolved::NoSuchName)));
    let unknown = match (is_known(&v4), is_known(&v6)) {
        (true, true) => None,
        (false, _) => Some(Family::V4),
        (true, false) => Some(Family::V6),
    };
    Ok(Found { addresses, unknown })
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
    options.use_hosts_file = ResolveHosts::Never;
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

/// The task: takes questions, lets one look-up of each run at a time, and hands the answers out.
async fn answer(hickory: Arc<TokioResolver>, mut asked: mpsc::Receiver<Query>) {
    let mut questions: HashMap<Question, Asked> = HashMap::new();
    let mut running = JoinSet::new();
    let mut forget = time::interval(FORGET);
    loop {
        let begin = tokio::select! {
            query = asked.recv() => match query {
                Some(query) => {
                    let asked = questions.entry(query.question.clone()).or_default();
                    let begin = asked.ask(query.age, query.reply, Instant::now());
                    begin.then_some(query.question)
                }
                None => return,
            },
            Some(Ok((question, answer))) = running.join_next() => {
                let asked: &mut Asked = questions.entry(Question::clone(&question)).or_default();
                asked.answer(&answer, Instant::now()).then_some(question)
            }
            now = forget.tick() => {
                questions.retain(|_, asked| asked.is_wanted(now));
                None
            }
        };
        if let Some(question) = begin {
            running.spawn(look_up(Arc::clone(&hickory), question));
        }
    }
}

async fn look_up(hickory: Arc<TokioResolver>, question: Question) -> (Question, Answer) {
    let family = question.1;
    // `from_ascii` takes the underscores that container names have; parsing by IDNA would not.
    let Ok(name) = Name::from_ascii(&*question.0) else {
        return (question, Err(Unresolved::NotAName));
    };
    // On a task of its own, so that even a panic in there is an answer.
    let looking = tokio::spawn(async move { hickory.lookup(name, family.record_type()).await });
    let answer = match looking.await {
        Ok(Ok(answer)) => {
            let addresses = answer
                .answers()
                .iter()
                .filter_map(|record| match &record.data {
                    RData::A(address) => Some(IpAddr::from(address.0)),
                    RData::AAAA(address) => Some(IpAddr::from(address.0)),
                    _ => None,
                });
            Ok(addresses.collect())
        }
        Ok(Err(error)) if error.is_nx_domain() => Err(Unresolved::NoSuchName),
        Ok(Err(error)) if error.is_no_records_found() => Ok([].into()),
        Ok(Err(error)) => Err(Unresolved::Lookup(error)),
        Err(_) => Err(Unresolved::Stopped),
    };
    (question, answer)
}

/// What is asked about one family of a name.
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
    fn a_family_without_an_answer_neither_hides_nor_denies_the_other() {
        let (v4, v6) = ([10, 0, 0, 1].into(), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]));
        let some = |address: IpAddr| Some(Ok([address].into()));
        let none = || Some(Ok([].into()));
        let absent = || Some(Err(Unresolved::NoSuchName));
        let failed = || Some(Err(Unresolved::Stopped));
        for (answers, addresses, unknown) in [
            ((some(v4), some(v6)), vec![v4, v6], None),
            ((some(v4), none()), vec![v4], None),
            ((some(v4), absent()), vec![v4], None),
            ((none(), some(v6)), vec![v6], None),
            ((some(v4), failed()), vec![v4], Some(Family::V6)),
            ((some(v4), None), vec![v4], Some(Family::V6)),
            ((failed(), some(v6)), vec![v6], Some(Family::V4)),
            ((None, some(v6)), vec![v6], Some(Family::V4)),
        ] {
            let found = together(answers.0, answers.1).unwrap();
            assert_eq!(found, Found { addresses, unknown });
        }
        for (answers, said) in [
            ((none(), none()), "no address is known"),
            ((absent(), absent()), "there is no such name"),
            ((failed(), absent()), "there is no such name"),
            ((absent(), none()), "there is no such name"),
            ((failed(), none()), "the edge is stopping"),
            ((none(), failed()), "the edge is stopping"),
        ] {
            let error = together(answers.0, answers.1).unwrap_err();
            assert_eq!(error.to_string(), said);
        }
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
