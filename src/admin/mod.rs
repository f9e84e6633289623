//! The admin listener: health and readiness, for those who run the edge.
//!
//! It has an address of its own and is never reached from a public listener. It shares no thread, no
//! lock and no bound with tenants' requests, and it is bounded itself: connections, head, time.

pub(crate) mod status;

use std::{convert::Infallible, fmt, io, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Semaphore,
    task::JoinSet,
    time,
};
use tower::{BoxError, ServiceBuilder, service_fn, util::BoxCloneSyncService};

use self::status::Status;
use crate::{
    config::Address,
    socket::{self, Bound, Listener},
};

/// Those who ask are a health check, a load balancer, a scraper and a person or two.
const CONNECTIONS_MAX: usize = 64;
/// Answers that are made at once; the rest wait for their turn.
const REQUESTS_MAX: usize = 8;
const HEAD_BYTES_MAX: usize = 16 * 1024;
const HEAD_WAIT: Duration = Duration::from_secs(5);
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// After this a connection is closed, whatever it does: it also bounds a client that never reads.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(300);
/// After a failed accept (no descriptors left), which would only fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What exists, in the order in which it is listed.
const PAGES: [(&str, &str); 2] = [
    ("/healthz", "200 while the process lives"),
    (
        "/readyz",
        "200 while a configuration is served, else 503; what the last reload said",
    ),
];

type Answer = Response<Full<Bytes>>;
type Service = BoxCloneSyncService<Request<Incoming>, Answer, io::Error>;

/// The bound listener, not yet serving.
#[derive(Debug)]
pub(crate) struct Admin {
    listener: Listener,
    address: Address,
}

impl Admin {
    /// Binds `address`; port 0 becomes the port that [`Admin::address`] tells.
    pub(crate) fn bind(address: &Address, ours: &[Address]) -> io::Result<Self> {
        let Bound { address, sockets } = socket::bind(address, 1, ours)?;
        let socket = sockets
            .into_iter()
            .next()
            .ok_or(io::ErrorKind::AddrNotAvailable)?;
        let listener = Listener::from_std(socket)?;
        Ok(Self { listener, address })
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Serves until it is dropped, which closes every connection.
    pub(crate) async fn serve(self, status: Arc<Status>) -> Infallible {
        let service = service(status);
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            // More than that wait in the kernel's bounded queue.
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
                unreachable!("nobody closes this semaphore");
            };
            let service = service.clone();
            let accepted = self.listener.accept().await.map(|(socket, _)| {
                connections.spawn(async move {
                    converse(socket, service).await;
                    drop(slot);
                })
            });
            if let Err(error) = accepted {
                tracing::warn!(%error, "admin listener cannot accept");
                time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The bounds of every answer, from the outside in. One stack serves all connections, so that its limit is
/// one limit.
fn service(status: Arc<Status>) -> Service {
    let answer = service_fn(move |request: Request<Incoming>| {
        let answer = answer(request.method(), request.uri().path(), &status);
        async move { Ok::<_, Infallible>(answer) }
    });
    let bounded = ServiceBuilder::new()
        .map_err(|late: BoxError| io::Error::new(io::ErrorKind::TimedOut, late))
        .timeout(ANSWER_WAIT)
        .concurrency_limit(REQUESTS_MAX)
        .service(answer);
    BoxCloneSyncService::new(bounded)
}

async fn converse(socket: impl AsyncRead + AsyncWrite + Unpin, service: Service) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(socket), TowerToHyperService::new(service));
    // However it ends, the other side knows, and there is no one else to tell.
    let _ = time::timeout(CONNECTION_AGE_MAX, connection).await;
}

fn answer(method: &Method, path: &str, status: &Status) -> Answer {
    let page: fn(&Status) -> Answer = match path {
        "/healthz" => |_| text(StatusCode::OK, "ok\n"),
        "/readyz" => ready,
        _ => return text(StatusCode::NOT_FOUND, format!("no such page\n\n{Pages}")),
    };
    if *method != Method::GET && *method != Method::HEAD {
        let mut refusal = text(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD only\n");
        let allow = HeaderValue::from_static("GET, HEAD");
        refusal.headers_mut().insert(header::ALLOW, allow);
        return refusal;
    }
    page(status)
}

fn ready(status: &Status) -> Answer {
    let readiness = status.readiness();
    let code = if readiness.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let mut json = serde_json::to_string(&readiness).expect("it is made of plain values");
    json.push('\n');
    respond(code, "application/json", json)
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    respond(status, "text/plain; charset=utf-8", body)
}

fn respond(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The list of what exists.
struct Pages;

impl fmt::Display for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (path, what) in PAGES {
            writeln!(f, "{path:<10} {what}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use tokio::net::UnixStream;

    use super::*;

    #[tokio::test]
    async fn each_page_answers() {
        let status = Status::default();
        for (method, path, code, body) in [
            ("GET", "/healthz", 200, "ok\n"),
            ("HEAD", "/healthz", 200, "ok\n"),
            ("POST", "/healthz", 405, "GET and HEAD only\n"),
            ("DELETE", "/readyz", 405, "GET and HEAD only\n"),
            (
                "GET",
                "/readyz",
                503,
                "{\"ready\":false,\"generation\":0,\"routes\":0,\"last_reload_error\":null}\n",
            ),
        ] {
            check(&status, method, path, code, body).await;
        }
        let listing = format!("no such page\n\n{Pages}");
        for path in ["/", "/nowhere", "/healthz/"] {
            check(&status, "GET", path, 404, &listing).await;
            check(&status, "POST", path, 404, &listing).await;
        }
        for (path, _) in PAGES {
            let page = answer(&Method::GET, path, &status);
            assert_ne!(page.status(), StatusCode::NOT_FOUND, "{path}");
        }
        let refusal = answer(&Method::PUT, "/readyz", &status);
        assert_eq!(refusal.headers()[header::ALLOW], "GET, HEAD");
    }

    #[tokio::test]
    async fn readiness_follows_the_configuration() {
        let status = Status::default();
        status.serving(3, 2);
        let serving = "{\"ready\":true,\"generation\":3,\"routes\":2,\"last_reload_error\":null}\n";
        check(&status, "GET", "/readyz", 200, serving).await;
        status.reload_failed("proxy.toml:1:1".to_owned());
        check(
            &status,
            "GET",
            "/readyz",
            200,
            "{\"ready\":true,\"generation\":3,\"routes\":2,\"last_reload_error\":\"proxy.toml:1:1\"}\n",
        )
        .await;
        status.reload_unneeded();
        check(&status, "GET", "/readyz", 200, serving).await;
        status.draining();
        check(
            &status,
            "GET",
            "/readyz",
            503,
            "{\"ready\":false,\"generation\":3,\"routes\":2,\"last_reload_error\":null}\n",
        )
        .await;
    }

    #[tokio::test]
    async fn tcp_is_served_until_dropped() {
        let admin = Admin::bind(&Address::Tcp(([127, 0, 0, 1], 0).into()), &[]).unwrap();
        let Address::Tcp(address) = *admin.address() else {
            unreachable!()
        };
        let serving = tokio::spawn(admin.serve(Arc::default()));
        let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
        // Two requests on one connection.
        for _ in 0..2 {
            socket.write_all(REQUEST).await.unwrap();
            let mut head = [0; 15];
            socket.read_exact(&mut head).await.unwrap();
            assert_eq!(&head, b"HTTP/1.1 200 OK");
            read_until(&mut socket, b"ok\n").await;
        }
        serving.abort();
        assert_eq!(socket.read(&mut [0; 1]).await.unwrap(), 0, "still open");
    }

    #[tokio::test]
    async fn a_head_that_is_too_large_is_refused() {
        let admin = Admin::bind(&Address::Tcp(([127, 0, 0, 1], 0).into()), &[]).unwrap();
        let Address::Tcp(address) = *admin.address() else {
            unreachable!()
        };
        tokio::spawn(admin.serve(Arc::default()));
        let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
        let mut request = b"GET /healthz HTTP/1.1\r\nx: ".to_vec();
        request.resize(request.len() + HEAD_BYTES_MAX, b'x');
        socket.write_all(&request).await.unwrap();
        let mut head = [0; 12];
        socket.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 431");
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_never_ends_is_not_waited_for() {
        let (mut ours, theirs) = tokio::io::duplex(1024);
        let serving = tokio::spawn(converse(theirs, service(Arc::default())));
        ours.write_all(b"GET /healthz HT").await.unwrap();
        let started = time::Instant::now();
        serving.await.unwrap();
        assert_eq!(started.elapsed().as_secs(), HEAD_WAIT.as_secs());
    }

    #[tokio::test]
    async fn a_unix_socket_that_was_left_behind_is_replaced_and_a_live_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let address = Address::Unix(directory.path().join("admin.sock"));
        drop(Admin::bind(&address, &[]).unwrap());
        let alive = Admin::bind(&address, &[]).unwrap();
        let error = Admin::bind(&address, &[]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        tokio::spawn(alive.serve(Arc::default()));
        let Address::Unix(path) = &address else {
            unreachable!()
        };
        let mut socket = UnixStream::connect(path).await.unwrap();
        socket.write_all(REQUEST).await.unwrap();
        read_until(&mut socket, b"ok\n").await;
    }

    const REQUEST: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: admin\r\n\r\n";

    async fn read_until(socket: &mut (impl AsyncRead + Unpin), end: &[u8]) {
        let mut read = Vec::new();
        while !read.ends_with(end) {
            assert_ne!(socket.read_buf(&mut read).await.unwrap(), 0, "closed early");
        }
    }

    async fn check(status: &Status, method: &str, path: &str, code: u16, body: &str) {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let response = answer(&method, path, status);
        assert_eq!(response.status().as_u16(), code, "{method} {path}");
        let sent = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(sent, body, "{method} {path}");
    }
}
