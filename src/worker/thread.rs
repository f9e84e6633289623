//! A worker's thread: it takes orders from the control thread, has the listeners, and keeps the clock going.

use std::{
    collections::{HashMap, HashSet},
    io,
    rc::Rc,
    sync::Arc,
    thread,
};

use tokio::{
    sync::{mpsc, oneshot},
    task::spawn_local,
    time::{self, Instant, MissedTickBehavior},
};

use super::{Shared, Stage, Worker};
use crate::{
    config::Address,
    deadline::TICK,
    listener::{Accepting, Waiting},
    rounds,
    socket::BoundSocket,
};

/// Orders that wait for a worker. They come one a reload, and a worker takes them at once.
const COMMANDS_MAX: usize = 16;

/// What the control thread asks of a worker.
#[derive(Debug)]
pub(crate) enum Command {
    Listen(Address, BoundSocket),
    /// Close the socket, and say so.
    Unlisten(Address, oneshot::Sender<()>),
    /// Accept nothing more, and say so; finish what is there, then end.
    Drain {
        handed_over: Arc<HashSet<Address>>,
        done: oneshot::Sender<()>,
    },
    /// End now, whatever is there.
    End,
}

/// A worker as the control thread sees it.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) commands: mpsc::Sender<Command>,
    /// Resolves when the thread has nothing left to do; with the number of connections that it had to abort.
    pub(crate) ended: oneshot::Receiver<usize>,
}

/// Starts a worker's thread.
///
/// # Errors
/// Where the system has no thread or no event queue left.
pub(crate) fn start(index: usize, shared: Arc<Shared>) -> io::Result<Handle> {
    let (commands, orders) = mpsc::channel(COMMANDS_MAX);
    let (report, ended) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread();
    thread::Builder::new()
        .name(format!("worker-{index}"))
        .spawn(move || {
            let mut runtime = runtime;
            match runtime
                .enable_all()
                .on_thread_park(rounds::passed)
                .build_local(tokio::runtime::LocalOptions::default())
            {
                Ok(runtime) => {
                    let aborted = runtime.block_on(run(index, shared, orders));
                    // Before the report, so that whoever waits for it finds every connection closed.
                    drop(runtime);
                    let _ = report.send(aborted);
                }
                Err(error) => tracing::error!(%error, "a worker can't run"),
            }
        })?;
    Ok(Handle { commands, ended })
}

/// Serves until told to end; how many connections had to be aborted then.
async fn run(index: usize, shared: Arc<Shared>, mut orders: mpsc::Receiver<Command>) -> usize {
    let worker = Rc::new(Worker::new(index, shared));
    spawn_local(Rc::clone(worker.rounds()).run());
    let mut listeners: HashMap<Address, Vec<Accepting>> = HashMap::new();
    let began = Instant::now();
    let mut tick = time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => worker.tick(began),
            () = worker.empty.notified(), if worker.is_draining() => {}
            () = worker.shared.make_room[index].notified() => worker.pool.borrow_mut().make_room(),
            order = orders.recv() => match order {
                Some(Command::Listen(address, socket)) => {
                    let accepting = Accepting::start(&worker, socket);
                    listeners.entry(address).or_default().push(accepting);
                }
                Some(Command::Unlisten(address, done)) => {
                    for accepting in listeners.remove(&address).unwrap_or_default() {
                        accepting.stop(Waiting::Accept).await;
                    }
                    let _ = done.send(());
                }
                Some(Command::Drain { handed_over, done }) => {
                    for (address, all) in listeners.drain() {
                        let waiting = if handed_over.contains(&address) {
                            Waiting::Leave
                        } else {
                            Waiting::Accept
                        };
                        for accepting in all {
                            accepting.stop(waiting).await;
                        }
                    }
                    worker.enter(Stage::Draining);
                    let _ = done.send(());
                }
                Some(Command::End) | None => {
                    let aborted = worker.connections.get();
                    worker.enter(Stage::Ending);
                    return aborted;
                }
            },
        }
        if worker.is_draining() && worker.connections.get() == 0 {
            worker.log.borrow_mut().flush();
            return 0;
        }
    }
}
