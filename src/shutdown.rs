//! Ending in order: what asks for it, and how: nothing new is accepted, what is in flight is finished, and what can't be
//! finished in time is cut off.

use std::{collections::HashSet, future::Future, io, pin::pin, sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
    time,
};

use crate::{
    config::Address,
    worker::thread::{Command, Handle},
};

/// How long a worker that was told to end may take to close its sockets.
const END: Duration = Duration::from_secs(2);

/// What the process is told from outside. They are heard from before anybody could know that the edge is there.
#[derive(Debug)]
pub(crate) struct Signals {
    pub(crate) hang_up: Signal,
    pub(crate) end: EndSignals,
}

#[derive(Debug)]
pub(crate) struct EndSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            hang_up: signal(SignalKind::hangup())?,
            end: EndSignals {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
            },
        })
    }
}

impl EndSignals {
    pub(crate) async fn recv(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Lets the workers finish for up to `grace`, or until `sooner` resolves. Another process accepts at the addresses that
/// were `handed_over`.
pub(crate) async fn drain(
    workers: Vec<Handle>,
    handed_over: HashSet<Address>,
    grace: Duration,
    sooner: impl Future<Output = ()>,
) {
    let handed_over = Arc::new(handed_over);
    let mut commands = Vec::new();
    let mut ended = Vec::new();
    for worker in workers {
        let (done, is_done) = oneshot::channel();
        let handed_over = Arc::clone(&handed_over);
        let order = Command::Drain { handed_over, done };
        // A worker that is gone has drained.
        if worker.commands.send(order).await.is_ok() {
            let _ = is_done.await;
        }
        commands.push(worker.commands);
        ended.push(worker.ended);
    }
    tracing::info!(grace = %humantime::format_duration(grace), "draining");
    let mut ended = pin!(join_all(ended));
    tokio::select! {
        _ = &mut ended => return tracing::info!("drained"),
        () = time::sleep(grace) => {}
        () = sooner => {}
    }
    for worker in commands {
        let _ = worker.send(Command::End).await;
    }
    let aborted = time::timeout(END, ended).await.unwrap_or_default();
    let aborted: usize = aborted.into_iter().map(Result::unwrap_or_default).sum();
    tracing::warn!(aborted, "grace over");
}
