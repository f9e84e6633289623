//! Ending in order: nothing new is accepted, what is in flight is finished, and what can't be finished in time is
//! cut off.

use std::{future::Future, pin::pin, time::Duration};

use futures_util::future::join_all;
use tokio::time;

use crate::worker::{Command, Handle};

/// How long a worker that was told to end may take to close its sockets.
const END: Duration = Duration::from_secs(2);

/// Lets the workers finish for up to `grace`, or until `sooner` resolves.
pub(crate) async fn drain(workers: Vec<Handle>, grace: Duration, sooner: impl Future<Output = ()>) {
    tracing::info!(grace = %humantime::format_duration(grace), "draining");
    let mut commands = Vec::new();
    let mut ended = Vec::new();
    for worker in workers {
        // A worker that is gone has drained.
        let _ = worker.commands.send(Command::Drain).await;
        commands.push(worker.commands);
        ended.push(worker.ended);
    }
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
