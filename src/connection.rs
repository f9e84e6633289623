//! One client connection: its requests one after the other, until the client leaves or is asked to.

use std::{
    future::poll_fn,
    rc::Rc,
    task::{Poll, Waker},
};

use crate::{
    client::{Client, Heard},
    error::{ProxyError, page},
    handle::{Next, handle},
    headers::Persistence,
    session::{Peer, Session},
    stream::Stream,
    telemetry::record,
    worker::Worker,
};

/// Serves a client until it leaves, or is asked to.
///
/// There is a future of this for each connection, idle ones too, and it is copied when it begins and when it ends. So
/// what happens to few requests or to none stands on the heap while it happens, here and in what this calls.
pub(crate) async fn serve(worker: Rc<Worker>, stream: Stream, peer: Peer) {
    let mut client = begin(worker, stream, peer, &waker().await);
    loop {
        let head = match client.next().await {
            Heard::Request(head) => head,
            Heard::Refused(error) => return Box::pin(refuse(client, &error)).await,
            Heard::Over => return,
        };
        let next = handle(&mut client, &head).await;
        client.session().worker().spares().keep_request(head);
        match next {
            Next::Request => {}
            Next::Close => return,
            Next::Linger => return Box::pin(client.linger()).await,
        }
    }
}

/// Tells a client that it can't be served now.
pub(crate) async fn turn_away(worker: Rc<Worker>, stream: Stream, peer: Peer, error: &ProxyError) {
    refuse(begin(worker, stream, peer, &waker().await), error).await;
}

/// Of the task at hand.
async fn waker() -> Waker {
    poll_fn(|cx| Poll::Ready(cx.waker().clone())).await
}

fn begin(worker: Rc<Worker>, stream: Stream, peer: Peer, waker: &Waker) -> Client {
    let deadline = worker.deadlines().register(waker);
    let session = Rc::new(Session::new(worker, peer, deadline));
    Client::new(stream, session)
}

/// Answers what is no request. Nothing after it on this connection can be relied on.
async fn refuse(mut client: Client, error: &ProxyError) {
    let session = Rc::clone(client.session());
    let request_id = session.worker().request_id();
    record::turned_away(session.worker(), session.peer(), &request_id, error);
    session.begin_response(session.worker().limits().header_read);
    page::render(error, None, request_id.as_str()).write(
        client.wire.output(),
        session.worker().date(),
        Persistence::Close,
        true,
    );
    if client.flush().await.is_ok() {
        client.linger().await;
    }
}
