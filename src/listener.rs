//! Accepting clients, without ever giving up: one loop for each listening socket of a worker.
//!
//! It lets clients in or turns them away; what they say is not its business.

use std::{rc::Rc, time::Duration};

use tokio::{
    sync::oneshot,
    task::{JoinHandle, spawn_local},
};

use crate::{
    connection,
    error::{ProxyError, page},
    headers::Persistence,
    session::Peer,
    socket::{BoundSocket, Listener, is_of_one_connection},
    stream::Stream,
    telemetry::record,
    worker::Worker,
};

const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// What becomes of those whom the kernel has accepted for us when we stop: they believe that they are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waiting {
    Accept,
    /// Another process accepts from the same socket.
    Leave,
}

/// The accept loop of one listening socket.
#[derive(Debug)]
pub(crate) struct Accepting {
    stop: oneshot::Sender<Waiting>,
    task: JoinHandle<()>,
}

impl Accepting {
    pub(crate) fn start(worker: &Rc<Worker>, socket: BoundSocket) -> Self {
        let (stop, stopped) = oneshot::channel();
        let task = spawn_local(run(Rc::clone(worker), socket, stopped));
        Self { stop, task }
    }

    /// Returns once the socket is closed, and everybody who had connected to it is in or left to another process.
    pub(crate) async fn stop(self, waiting: Waiting) {
        let _ = self.stop.send(waiting);
        // If it has panicked, its socket is closed as well.
        let _ = self.task.await;
    }
}

/// Accepts until told to stop, and how.
async fn run(worker: Rc<Worker>, socket: BoundSocket, mut stop: oneshot::Receiver<Waiting>) {
    let listener = match Listener::from_std(socket) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "a listener can't be used"),
    };
    let mut pause = PAUSE_MIN;
    let waiting = loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            waiting = &mut stop => break waiting,
        };
        match accepted {
            Ok((stream, peer)) => {
                pause = PAUSE_MIN;
                welcome(&worker, stream, peer);
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                // Out of descriptors, most likely. What is connected goes on, and frees some in time.
                tracing::warn!(%error, pause = ?pause, "can't accept connections");
                pause = (pause * 2).min(PAUSE_MAX);
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    waiting = &mut stop => break waiting,
                }
            }
        }
    };
    if waiting == Ok(Waiting::Leave) {
        return;
    }
    if let Err(error) = listener.accept_rest(|stream, peer| welcome(&worker, stream, peer)) {
        tracing::warn!(%error, "can't accept the last connections of a listener");
    }
}

fn welcome(worker: &Rc<Worker>, stream: Stream, peer: Peer) {
    let Some(place) = worker.place() else {
        return turn_away(worker, stream, peer);
    };
    let worker = Rc::clone(worker);
    // In a box, since the runtime moves what it is given several times.
    spawn_local(Box::pin(async move {
        connection::serve(worker, stream, peer).await;
        drop(place);
    }));
}

/// A full edge says so at once, and keeps nothing but a few clients until they have read it. The client may not have
/// sent its request yet, but an answer that is there when it looks is better than none.
fn turn_away(worker: &Rc<Worker>, stream: Stream, peer: Peer) {
    let error = ProxyError::TooManyConnections;
    if let Some(parting) = worker.parting() {
        let worker = Rc::clone(worker);
        spawn_local(async move {
            connection::turn_away(worker, stream, peer, &error).await;
            drop(parting);
        });
        return;
    }
    let request_id = worker.request_id();
    record::turned_away(worker, &peer, &request_id, &error);
    let mut answer = Vec::new();
    page::render(&error, None, request_id.as_str()).write(
        &mut answer,
        worker.date(),
        Persistence::Close,
        true,
    );
    let _ = stream.try_write(&answer);
}
