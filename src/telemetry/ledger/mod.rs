//! The usage ledger: what each tenant's requests add up to by the hour, in a file that outlives the process.
//!
//! It reads what the workers count (`counters`), once a second, and no request knows of it. What is counted is absolute, and
//! so is a line: nothing is lost by writing late. A task of the control thread has it written on a thread that may block.

mod books;
mod file;
mod line;
mod read;

use std::{
    io, mem,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::{
    sync::Notify,
    task::{JoinHandle, spawn_blocking},
    time::{self, MissedTickBehavior},
};

use self::books::Books;
use crate::{
    bulkhead::Bulkhead,
    snapshot::{Route, Snapshot},
};

pub(crate) use self::{
    file::LedgerFile,
    line::{Totals, secs_and_micros},
    read::{Unreadable, read},
};

/// What a crash can cost.
const FLUSH: Duration = Duration::from_secs(1);

/// How long the end of the process waits for a disk that doesn't take the last of it.
const FINISH_WAIT: Duration = Duration::from_secs(2);

/// The ledger as the control thread has it: one that is kept, or none.
#[derive(Debug, Default)]
pub(crate) struct Ledger(Option<Kept>);

#[derive(Debug)]
struct Kept {
    orders: Arc<Orders>,
    task: JoinHandle<()>,
}

/// What is to be seen to with the next flush.
#[derive(Debug, Default)]
struct Orders {
    pending: Mutex<Pending>,
    come: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    /// Tenants that there are no more.
    gone: Vec<(Arc<str>, Arc<Bulkhead>)>,
    /// Where to write from then on.
    file: Option<LedgerFile>,
    /// There is no further one.
    finish: bool,
}

impl Ledger {
    /// Has it kept in another file, or no longer. What was counted before it is kept at all isn't in it.
    pub(crate) fn keep_in(&mut self, file: Option<LedgerFile>, snapshot: &Arc<ArcSwap<Snapshot>>) {
        match (self.0.take(), file) {
            (Some(kept), Some(file)) => {
                kept.orders.give(|pending| pending.file = Some(file));
                self.0 = Some(kept);
            }
            (Some(kept), None) => kept.orders.give(|pending| pending.finish = true),
            (None, Some(file)) => self.0 = Some(Kept::start(file, snapshot)),
            (None, None) => {}
        }
    }

    /// These routes are no more, but for the requests that they have.
    pub(crate) fn see_off(&self, gone: &[Arc<Route>]) {
        if let Some(kept) = &self.0 {
            let gone = gone.iter();
            let gone = gone.map(|route| (Arc::clone(route.tenant()), Arc::clone(route.bulkhead())));
            kept.orders.give(|pending| pending.gone.extend(gone));
        }
    }

    /// Waits, for a bounded time, until everything that was counted is written.
    pub(crate) async fn finish(self) {
        let Some(Kept { orders, task }) = self.0 else {
            return;
        };
        orders.give(|pending| pending.finish = true);
        if time::timeout(FINISH_WAIT, task).await.is_err() {
            tracing::error!("the last usage wasn't written in time, it is lost");
        }
    }
}

/// Opens the file, on a thread that may block.
pub(crate) async fn open(path: PathBuf) -> io::Result<LedgerFile> {
    let opened = spawn_blocking(move || LedgerFile::open(&path)).await;
    opened.unwrap_or_else(|error| Err(io::Error::other(error)))
}

impl Kept {
    fn start(file: LedgerFile, snapshot: &Arc<ArcSwap<Snapshot>>) -> Self {
        let mut books = Books::open(file, Timestamp::now());
        books.begin_with(snapshot.load().all_routes());
        let orders = Arc::default();
        let task = tokio::spawn(keep(books, Arc::clone(snapshot), Arc::clone(&orders)));
        Self { orders, task }
    }
}

/// Until it is told to finish.
async fn keep(mut books: Books, snapshot: Arc<ArcSwap<Snapshot>>, orders: Arc<Orders>) {
    let mut flush = time::interval(FLUSH);
    flush.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = flush.tick() => {}
            () = orders.come.notified() => {}
        }
        let pending = mem::take(&mut *orders.lock());
        let (snapshot, finish) = (snapshot.load_full(), pending.finish);
        let posted = spawn_blocking(move || {
            post(&mut books, snapshot, pending);
            books
        });
        books = match posted.await {
            Ok(books) => books,
            Err(error) => return tracing::error!(%error, "usage isn't kept any more"),
        };
        if finish {
            return;
        }
    }
}

fn post(books: &mut Books, snapshot: Arc<Snapshot>, pending: Pending) {
    for (tenant, bulkhead) in pending.gone {
        books.account(&tenant, &bulkhead);
    }
    books.look_at(snapshot.all_routes());
    // It leads to upstreams, and they are to end when nobody can ask for them, however slow the disk.
    drop(snapshot);
    books.post(Timestamp::now());
    if let Some(file) = pending.file {
        books.move_to(file);
        books.post(Timestamp::now());
    }
    if pending.finish && books.due() > 0 {
        tracing::error!(lines = books.due(), "usage couldn't be written, it is lost");
    }
}

impl Orders {
    fn give(&self, order: impl FnOnce(&mut Pending)) {
        order(&mut self.lock());
        self.come.notify_one();
    }

    /// No code under this lock can panic half-way, so a poisoned state is still a whole one.
    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
