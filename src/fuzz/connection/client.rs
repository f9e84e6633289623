//! The client: it sends what it is told to, and takes whatever comes.

use std::{cell::RefCell, rc::Rc};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::{JoinHandle, spawn_local},
    time::{Duration, sleep, timeout},
};

use super::stage::{LONGEST, QUIET, within_reason};
use crate::fuzz::message::{self, Response};

/// Longer than the edge waits before it says 100 itself.
const CONTINUE: Duration = Duration::from_millis(1500);

/// A request to which the app's answer is fuzzed. A body ends in a line end, behind which an app finds the next head.
#[derive(Debug, Clone, Copy)]
pub(super) struct Opening {
    head: &'static str,
    body: &'static str,
    /// Whether the body is sent only when there was time for a 100 Continue.
    waits: bool,
}

const OPENINGS: [Opening; 8] = [
    Opening::new("GET /first HTTP/1.1\r\nHost: thor.test\r\n\r\n", ""),
    Opening::new("HEAD /first HTTP/1.1\r\nHost: thor.test\r\n\r\n", ""),
    Opening::new(
        "POST /first HTTP/1.1\r\nHost: thor.test\r\nContent-Length: 5\r\n\r\n",
        "hell\n",
    ),
    Opening {
        waits: true,
        ..Opening::new(
            "POST /first HTTP/1.1\r\nHost: thor.test\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
        )
    },
    Opening::new("GET /first HTTP/1.0\r\nHost: thor.test\r\n\r\n", ""),
    Opening::new(
        "GET /first HTTP/1.0\r\nHost: thor.test\r\nConnection: keep-alive\r\n\r\n",
        "",
    ),
    Opening::new(
        "GET /first HTTP/1.1\r\nHost: thor.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        "",
    ),
    Opening::new(
        "PUT /first HTTP/1.1\r\nHost: thor.test\r\nTransfer-Encoding: chunked\r\nConnection: TE\r\nTE: trailers\r\n\r\n",
        "3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n",
    ),
];

/// For another tenant, whose app is a good one.
pub(super) const SECOND: &[u8] = b"GET /second HTTP/1.1\r\nHost: potter.test\r\n\r\n";
/// For the first tenant again.
pub(super) const THIRD: &[u8] = b"GET /third HTTP/1.1\r\nHost: thor.test\r\n\r\n";

impl Opening {
    const fn new(head: &'static str, body: &'static str) -> Self {
        Self {
            head,
            body,
            waits: false,
        }
    }

    pub(super) fn of(pick: u8) -> &'static Self {
        &OPENINGS[usize::from(pick) % OPENINGS.len()]
    }

    pub(super) fn is_head(&self) -> bool {
        self.head.starts_with("HEAD")
    }

    pub(super) fn http11(&self) -> bool {
        self.head.contains("HTTP/1.1")
    }
}

#[derive(Debug)]
pub(super) struct Client {
    writer: OwnedWriteHalf,
    reader: JoinHandle<()>,
    got: Rc<RefCell<Vec<u8>>>,
    /// The edge's task.
    edge: JoinHandle<()>,
}

impl Client {
    pub(super) fn new(stream: UnixStream, edge: JoinHandle<()>) -> Self {
        let (reader, writer) = stream.into_split();
        let got = Rc::default();
        Self {
            writer,
            reader: spawn_local(read(reader, Rc::clone(&got))),
            got,
            edge,
        }
    }

    /// An edge that takes no more, or has closed, isn't sent the rest.
    pub(super) async fn send(&mut self, bytes: &[u8]) {
        if !self.edge.is_finished() {
            let _ = timeout(LONGEST, self.writer.write_all(bytes)).await;
        }
    }

    /// Ends what it sends.
    pub(super) async fn leave(&mut self) {
        // The edge may have closed already.
        let _ = self.writer.shutdown().await;
    }

    /// Sends a request as a client that knows how.
    pub(super) async fn open(&mut self, opening: &Opening) {
        self.send(opening.head.as_bytes()).await;
        sleep(QUIET).await;
        if opening.waits {
            sleep(CONTINUE).await;
            if answer(&self.got.borrow(), opening).is_some() {
                return;
            }
        }
        self.send(opening.body.as_bytes()).await;
        sleep(QUIET).await;
    }

    /// The answer, if it is whole.
    pub(super) fn answer(&self, opening: &Opening) -> Option<Response> {
        answer(&self.got.borrow(), opening).filter(|answer| answer.complete)
    }

    /// Waits for the end of the connection: all that came on it.
    pub(super) async fn end(self) -> Vec<u8> {
        let ended = within_reason("a connection", self.edge).await;
        ended.expect("the edge doesn't panic");
        let read = within_reason("what the client is sent", self.reader).await;
        read.expect("the client doesn't panic");
        self.got.take()
    }
}

async fn read(mut reader: OwnedReadHalf, got: Rc<RefCell<Vec<u8>>>) {
    let mut piece = [0; 4096];
    while let Ok(length @ 1..) = reader.read(&mut piece).await {
        got.borrow_mut().extend_from_slice(&piece[..length]);
    }
}

/// Whether another request may follow an answer.
pub(super) fn may_go_on(answer: &Response) -> bool {
    let mut options = message::all(&answer.fields, "connection");
    answer.status != 101 && !options.any(|option| option == b"close")
}

/// The final answer to a request, as far as it has come on a connection that is open.
fn answer(got: &[u8], opening: &Opening) -> Option<Response> {
    let mut rest = got;
    loop {
        let response = message::response(rest, opening.is_head(), false)
            .ok()
            .flatten()?;
        if response.status >= 200 || response.status == 101 {
            return Some(response);
        }
        rest = &rest[response.length..];
    }
}
