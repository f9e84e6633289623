//! The apps: good ones on hyper's server, which parses what the edge sends by code of its own, and one that answers by a
//! script.

use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    error::Error as _,
    io,
    rc::Rc,
};

use bytes::Bytes;
use http::{Request, Response, header::HOST};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::{Body as _, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinSet,
    time::sleep,
};

use super::{
    pieces,
    stage::{QUIET, within_reason},
};
use crate::{deadline::TICK, fuzz::message};

/// The edge adds some to those that it takes.
const FIELDS_MAX: usize = 256;

/// What the scripted app answers to everything but the first request.
pub(super) const PLAIN_ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\nx-app: script\r\n\r\nthird\n";

/// What the apps have seen.
#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) seen: RefCell<Vec<Seen>>,
    /// Requests that hyper can't parse.
    pub(super) refused: Cell<usize>,
    /// Connections that stand.
    pub(super) open: Cell<usize>,
    script: RefCell<Option<Rc<Script>>>,
    scripts_running: Cell<usize>,
}

/// One request, as an app has parsed it.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) tenant: &'static str,
    pub(super) request_id: String,
    pub(super) method: String,
    pub(super) target: String,
    pub(super) host: String,
    pub(super) body_bytes: u64,
    /// Whether the body has ended as it should.
    pub(super) complete: bool,
}

#[derive(Debug)]
struct Script {
    bytes: Vec<u8>,
    closes: bool,
}

impl Book {
    /// From now on the first tenant's app goes by a script.
    pub(super) fn set_script(&self, bytes: &[u8], closes: bool) {
        let bytes = bytes.to_vec();
        self.script.replace(Some(Rc::new(Script { bytes, closes })));
    }

    /// Waits until no app has anything left to say.
    pub(super) async fn script_is_over(&self) {
        within_reason("a script", async {
            while self.scripts_running.get() > 0 {
                sleep(TICK).await;
            }
        })
        .await;
        sleep(QUIET).await;
    }
}

/// Serves one tenant's requests.
pub(super) async fn serve(listener: Rc<UnixListener>, tenant: &'static str, book: Rc<Book>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        let book = Rc::clone(&book);
        let script = book.script.borrow().clone().filter(|_| tenant == "thor");
        connections.spawn_local(async move {
            book.open.set(book.open.get() + 1);
            match script {
                Some(script) => by_script(stream, &script, &book).await,
                None => by_hyper(stream, tenant, &book).await,
            }
            book.open.set(book.open.get() - 1);
        });
    }
}

async fn by_hyper(stream: UnixStream, tenant: &'static str, book: &Rc<Book>) {
    let service = service_fn(|request| answer(request, tenant, Rc::clone(book)));
    let served = http1::Builder::new()
        .max_headers(FIELDS_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if served.is_err_and(|error| error.is_parse()) {
        book.refused.set(book.refused.get() + 1);
    }
}

/// Reads the request to its end, and says whose it was.
async fn answer(
    request: Request<Incoming>,
    tenant: &'static str,
    book: Rc<Book>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let request_id = only(&request, "x-request-id");
    let number = book.seen.borrow().len();
    book.seen.borrow_mut().push(Seen {
        tenant,
        request_id: request_id.clone(),
        method: request.method().to_string(),
        target: request
            .uri()
            .path_and_query()
            .map_or("*", |target| target.as_str())
            .to_owned(),
        host: only(&request, HOST.as_str()),
        body_bytes: 0,
        complete: request.body().is_end_stream(),
    });
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        let mut seen = book.seen.borrow_mut();
        match frame {
            Ok(frame) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                seen[number].body_bytes += bytes as u64;
            }
            Err(error) => {
                assert!(
                    is_early_end(&error),
                    "the edge frames a body badly: {error:?}"
                );
                return Ok(Response::default());
            }
        }
    }
    book.seen.borrow_mut()[number].complete = true;
    let response = Response::builder()
        .header("x-app", tenant)
        .header("x-id", request_id);
    let response = response.body(Full::from(format!("{tenant}\n")));
    Ok(response.expect("a response"))
}

fn only(request: &Request<Incoming>, name: &str) -> String {
    let mut values = request.headers().get_all(name).iter();
    let value = values
        .next()
        .unwrap_or_else(|| panic!("the app is told no {name}"));
    assert!(values.next().is_none(), "the app is told two of {name}");
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// Whether a body was cut, which an edge may do, and has no other fault.
fn is_early_end(error: &hyper::Error) -> bool {
    let cause = error
        .source()
        .and_then(|cause| cause.downcast_ref::<io::Error>());
    let kinds = [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset];
    error.is_incomplete_message()
        || error.is_closed()
        || cause.is_some_and(|cause| kinds.contains(&cause.kind()))
}

async fn by_script(stream: UnixStream, script: &Script, book: &Book) {
    let (mut reader, mut writer) = stream.into_split();
    let mut heard = Vec::new();
    while let Some(request) = next_request(&mut reader, &mut heard).await {
        if request.target != "/first" {
            note(&request, book);
            if writer.write_all(PLAIN_ANSWER).await.is_err() {
                return;
            }
            continue;
        }
        book.scripts_running.set(book.scripts_running.get() + 1);
        play(script, &mut writer).await;
        // Closing on what hasn't been read would be a reset, and no end of a body.
        while let Ok(1..) = reader.try_read_buf(&mut heard) {}
        book.scripts_running.set(book.scripts_running.get() - 1);
        if script.closes {
            return;
        }
    }
}

async fn play(script: &Script, writer: &mut OwnedWriteHalf) {
    for (piece, pause) in pieces(&script.bytes) {
        if writer.write_all(piece).await.is_err() {
            return;
        }
        sleep(pause).await;
    }
}

/// The head of the next request; what stands before it is of the body of the one before.
async fn next_request(reader: &mut OwnedReadHalf, heard: &mut Vec<u8>) -> Option<message::Request> {
    loop {
        let begins = heard.windows(2).position(|pair| pair == b" /");
        let begins = begins.map(|slash| heard[..slash].iter().rposition(|&byte| byte == b'\n'));
        if let Some(begins) = begins {
            let begins = begins.map_or(0, |newline| newline + 1);
            let request = message::request(&heard[begins..]).expect("the edge writes HTTP");
            if let Some(request) = request {
                heard.drain(..begins + request.length);
                return Some(request);
            }
        }
        if !matches!(reader.read_buf(heard).await, Ok(1..)) {
            return None;
        }
    }
}

fn note(request: &message::Request, book: &Book) {
    let sole = |name: &str| {
        let value = message::sole(&request.fields, name);
        String::from_utf8_lossy(value).into_owned()
    };
    book.seen.borrow_mut().push(Seen {
        tenant: "thor",
        request_id: sole("x-request-id"),
        method: request.method.clone(),
        target: request.target.clone(),
        host: sole("host"),
        body_bytes: 0,
        complete: true,
    });
}
