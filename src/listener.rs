//! Accepting clients, without ever giving up: one loop for each listening socket of a worker.
//!
//! It lets clients in or turns them away; what they say is not its business.

use std::{rc::Rc, time::Duration};

use tokio::sync::oneshot;

use crate::{
    connection,
    error::{ProxyError, page},
    session::Peer,
    socket::{BoundSocket, Listener, is_of_one_connection},
    stream::Stream,
    worker::Worker,
};

const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Accepts until told to stop, and then what the kernel had already accepted for us: those clients believe that
/// they are connected.
pub(crate) async fn run(worker: Rc<Worker>, socket: BoundSocket, mut stop: oneshot::Receiver<()>) {
    let listener = match Listener::from_std(socket) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "a listener can't be used"),
    };
    let mut pause = PAUSE_MIN;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = &mut stop => break,
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
                    _ = &mut stop => break,
                }
            }
        }
    }
    if let Err(error) = listener.accept_rest(|stream, peer| welcome(&worker, stream, peer)) {
        tracing::warn!(%error, "can't accept the last connections of a listener");
    }
}

fn welcome(worker: &Rc<Worker>, stream: Stream, peer: Peer) {
    let Some(place) = worker.place() else {
        return turn_away(worker, &stream, &peer);
    };
    let worker = Rc::clone(worker);
    tokio::task::spawn_local(async move {
        connection::serve(worker, stream, peer).await;
        drop(place);
    });
}

/// A full edge says so at once and keeps nothing. The client may not have sent its request yet, but an answer that is
/// there when it looks is better than none.
fn turn_away(worker: &Worker, stream: &Stream, peer: &Peer) {
    let error = ProxyError::TooManyConnections;
    crate::telemetry::record::turned_away(worker, peer, &error);
    let (head, body) = page::render(&error, None, worker.request_id().as_str()).into_parts();
    let mut answer = format!("HTTP/1.1 {}\r\nconnection: close\r\n", head.status).into_bytes();
    for (name, value) in &head.headers {
        answer.extend_from_slice(name.as_str().as_bytes());
        answer.extend_from_slice(b": ");
        answer.extend_from_slice(value.as_bytes());
        answer.extend_from_slice(b"\r\n");
    }
    answer.extend_from_slice(b"\r\n");
    answer.extend_from_slice(&body);
    let _ = stream.try_write(&answer);
}
