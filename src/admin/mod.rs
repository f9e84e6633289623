//! The admin listener: health, readiness, metrics, the state of tenants and upstreams, for those who run the edge.
//!
//! It has an address of its own and is never reached from a public listener. It shares no thread, no
//! lock and no bound with tenants' requests, and it is bounded itself: connections, head, time.

pub(crate) mod live;
mod metrics;
mod rates;
pub(crate) mod routes;
pub(crate) mod status;

use std::{
    convert::Infallible,
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    task::JoinSet,
    time,
};
use tower::{BoxError, ServiceBuilder, service_fn, util::BoxCloneSyncService};

use self::{
    live::{Live, View},
    metrics::Exposition,
    rates::Looks,
    routes::{LISTINGS_MAX, Listing, Routes},
    status::Status,
};
use crate::{
    socket::{Bound, Listener},
    worker::Shared,
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
const PAGES: [(&str, &str); 6] = [
    ("/", "the tenants as they fare now, for people"),
    ("/healthz", "200 while the process lives"),
    (
        "/readyz",
        "200 while a configuration is served, else 503; what the last reload said",
    ),
    (
        "/routes",
        "each route with the addresses and the health of its upstreams; ?tenant=NAME for one",
    ),
    ("/live", "what the page for people shows, as JSON"),
    ("/metrics", "for Prometheus"),
];

/// The page for people. It asks `/live`, and nobody else.
const PAGE: &str = include_str!("page.html");
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

type Answer = Response<Page>;
type Service = BoxCloneSyncService<Request<Incoming>, Answer, io::Error>;

/// What there is to be told of; clones tell of the same.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    status: Arc<Status>,
    shared: Arc<Shared>,
    listings: Arc<Semaphore>,
    looks: Arc<Looks>,
}

impl Told {
    pub(crate) fn new(status: Arc<Status>, shared: Arc<Shared>) -> Self {
        Self {
            status,
            shared,
            listings: Arc::new(Semaphore::new(LISTINGS_MAX)),
            looks: Arc::default(),
        }
    }
}

/// The bound listener, not yet serving.
#[derive(Debug)]
pub(crate) struct Admin {
    listener: Listener,
}

impl Admin {
    /// On the first socket of `bound`.
    pub(crate) fn on(bound: Bound) -> io::Result<Self> {
        let socket = bound.sockets.into_iter().next();
        let socket = socket.ok_or(io::ErrorKind::AddrNotAvailable)?;
        let listener = Listener::from_std(socket)?;
        Ok(Self { listener })
    }

    /// Serves until `stop` resolves, and then those who are connected. Dropping it closes every connection.
    pub(crate) async fn serve(self, told: Told, mut stop: oneshot::Receiver<()>) {
        let service = service(told);
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            // More than that wait in the kernel's bounded queue.
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
                unreachable!("nobody closes this semaphore");
            };
            let service = service.clone();
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                _ = &mut stop => break,
            };
            let accepted = accepted.map(|(socket, _)| {
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
        drop(self.listener);
        while connections.join_next().await.is_some() {}
    }
}

/// The bounds of every answer, from the outside in. One stack serves all connections, so that its limit is
/// one limit.
fn service(told: Told) -> Service {
    let answer = service_fn(move |request: Request<Incoming>| {
        let uri = request.uri();
        let answer = answer(request.method(), uri.path(), uri.query(), &told);
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

fn answer(method: &Method, path: &str, query: Option<&str>, told: &Told) -> Answer {
    let answer: fn(Option<&str>, &Told) -> Answer = match path {
        "/" => |_, _| page(),
        "/healthz" => |_, _| text(StatusCode::OK, "ok\n"),
        "/readyz" => |_, told| ready(&told.status),
        "/routes" => list,
        "/live" => live,
        "/metrics" => |_, told| metrics(told),
        _ => return text(StatusCode::NOT_FOUND, format!("no such page\n\n{Pages}")),
    };
    if *method != Method::GET && *method != Method::HEAD {
        let mut refusal = text(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD only\n");
        let allow = HeaderValue::from_static("GET, HEAD");
        refusal.headers_mut().insert(header::ALLOW, allow);
        return refusal;
    }
    answer(query, told)
}

fn ready(status: &Status) -> Answer {
    let readiness = status.readiness();
    let code = if readiness.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    json(code, &readiness)
}

fn page() -> Answer {
    let mut answer = respond(
        StatusCode::OK,
        "text/html; charset=utf-8",
        Page::whole(PAGE),
    );
    let headers = answer.headers_mut();
    let policy = HeaderValue::from_static(PAGE_POLICY);
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    answer
}

fn live(query: Option<&str>, told: &Told) -> Answer {
    match View::of(query) {
        Ok(view) => json(StatusCode::OK, &Live::of(&view, told)),
        Err(bad) => text(StatusCode::BAD_REQUEST, bad.to_string()),
    }
}

fn metrics(told: &Told) -> Answer {
    long(told, metrics::CONTENT_TYPE, |permit| {
        Page::Exposition(Exposition::begin(told, permit))
    })
}

fn list(query: Option<&str>, told: &Told) -> Answer {
    let snapshot = told.shared.snapshot.load();
    let Some(query) = query else {
        return long(told, "application/json", |permit| {
            Page::Listing(Listing::new(&snapshot, permit))
        });
    };
    let mut asked = form_urlencoded::parse(query.as_bytes());
    match (asked.next(), asked.next()) {
        (Some((key, tenant)), None) if key == "tenant" => match Routes::of(&snapshot, &tenant) {
            Some(routes) => json(StatusCode::OK, &routes),
            None => text(StatusCode::NOT_FOUND, "no such tenant\n"),
        },
        _ => text(
            StatusCode::BAD_REQUEST,
            "write /routes or /routes?tenant=NAME\n",
        ),
    }
}

/// What is written for as long as its reader takes.
fn long(
    told: &Told,
    content_type: &'static str,
    page: impl FnOnce(OwnedSemaphorePermit) -> Page,
) -> Answer {
    match Arc::clone(&told.listings).try_acquire_owned() {
        Ok(permit) => respond(StatusCode::OK, content_type, page(permit)),
        Err(_) => text(
            StatusCode::SERVICE_UNAVAILABLE,
            "enough others are being told\n",
        ),
    }
}

fn json(status: StatusCode, value: &impl serde::Serialize) -> Answer {
    let mut json = serde_json::to_string(value).expect("it is made of plain values");
    json.push('\n');
    respond(status, "application/json", Page::whole(json))
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    respond(status, "text/plain; charset=utf-8", Page::whole(body))
}

fn respond(status: StatusCode, content_type: &'static str, page: Page) -> Answer {
    let mut response = Response::new(page);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The body of an answer.
#[derive(Debug)]
enum Page {
    Whole(Full<Bytes>),
    Listing(Listing),
    Exposition(Exposition),
}

impl Page {
    fn whole(bytes: impl Into<Bytes>) -> Self {
        Self::Whole(Full::new(bytes.into()))
    }
}

impl Body for Page {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(whole) => Pin::new(whole).poll_frame(cx),
            Self::Listing(listing) => Pin::new(listing).poll_frame(cx),
            Self::Exposition(exposition) => Pin::new(exposition).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(whole) => whole.is_end_stream(),
            Self::Listing(listing) => listing.is_end_stream(),
            Self::Exposition(exposition) => exposition.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(whole) => whole.size_hint(),
            Self::Listing(listing) => listing.size_hint(),
            Self::Exposition(exposition) => exposition.size_hint(),
        }
    }
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
    use crate::{config::Address, socket};

    #[tokio::test]
    async fn each_page_answers() {
        let told = told();
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
            check(&told, method, path, code, body).await;
        }
        let listing = format!("no such page\n\n{Pages}");
        for path in ["/nowhere", "/healthz/"] {
            check(&told, "GET", path, 404, &listing).await;
            check(&told, "POST", path, 404, &listing).await;
        }
        for (path, _) in PAGES {
            let page = answer(&Method::GET, path, None, &told);
            assert_ne!(page.status(), StatusCode::NOT_FOUND, "{path}");
        }
        let refusal = answer(&Method::PUT, "/readyz", None, &told);
        assert_eq!(refusal.headers()[header::ALLOW], "GET, HEAD");
    }

    #[tokio::test]
    async fn readiness_follows_the_configuration() {
        let told = told();
        let status = &told.status;
        status.serving(3, 2);
        let serving = "{\"ready\":true,\"generation\":3,\"routes\":2,\"last_reload_error\":null}\n";
        check(&told, "GET", "/readyz", 200, serving).await;
        status.reload_failed("proxy.toml:1:1".to_owned());
        check(
            &told,
            "GET",
            "/readyz",
            200,
            "{\"ready\":true,\"generation\":3,\"routes\":2,\"last_reload_error\":\"proxy.toml:1:1\"}\n",
        )
        .await;
        status.reload_unneeded();
        check(&told, "GET", "/readyz", 200, serving).await;
        status.draining();
        check(
            &told,
            "GET",
            "/readyz",
            503,
            "{\"ready\":false,\"generation\":3,\"routes\":2,\"last_reload_error\":null}\n",
        )
        .await;
    }

    #[tokio::test]
    async fn tcp_is_served_until_dropped() {
        let (admin, address) = on_loopback();
        let (_accepting, stop) = oneshot::channel();
        let serving = tokio::spawn(admin.serve(told(), stop));
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
        let (admin, address) = on_loopback();
        let (_accepting, stop) = oneshot::channel();
        tokio::spawn(admin.serve(told(), stop));
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
        let serving = tokio::spawn(converse(theirs, service(told())));
        ours.write_all(b"GET /healthz HT").await.unwrap();
        let started = time::Instant::now();
        serving.await.unwrap();
        assert_eq!(started.elapsed().as_secs(), HEAD_WAIT.as_secs());
    }

    #[tokio::test]
    async fn a_unix_socket_that_was_left_behind_is_replaced_and_a_live_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let address = Address::Unix(directory.path().join("admin.sock"));
        let bind = || socket::bind(&address, 1, &[]);
        drop(Admin::on(bind().unwrap()).unwrap());
        let alive = Admin::on(bind().unwrap()).unwrap();
        assert_eq!(bind().unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let (_accepting, stop) = oneshot::channel();
        tokio::spawn(alive.serve(told(), stop));
        let Address::Unix(path) = &address else {
            unreachable!()
        };
        let mut socket = UnixStream::connect(path).await.unwrap();
        socket.write_all(REQUEST).await.unwrap();
        read_until(&mut socket, b"ok\n").await;
    }

    #[tokio::test]
    async fn stopped_it_accepts_nobody_and_goes_on_with_who_is_there() {
        let (admin, address) = on_loopback();
        let (accepting, stop) = oneshot::channel();
        let serving = tokio::spawn(admin.serve(told(), stop));
        let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
        for _ in 0..2 {
            socket.write_all(REQUEST).await.unwrap();
            read_until(&mut socket, b"ok\n").await;
        }
        drop(accepting);
        while tokio::net::TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        socket.write_all(REQUEST).await.unwrap();
        read_until(&mut socket, b"ok\n").await;
        drop(socket);
        serving.await.unwrap();
    }

    fn on_loopback() -> (Admin, std::net::SocketAddr) {
        let address = Address::Tcp(([127, 0, 0, 1], 0).into());
        let bound = socket::bind(&address, 1, &[]).unwrap();
        let Address::Tcp(address) = bound.address else {
            unreachable!()
        };
        (Admin::on(bound).unwrap(), address)
    }

    const REQUEST: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: admin\r\n\r\n";

    async fn read_until(socket: &mut (impl AsyncRead + Unpin), end: &[u8]) {
        let mut read = Vec::new();
        while !read.ends_with(end) {
            assert_ne!(socket.read_buf(&mut read).await.unwrap(), 0, "closed early");
        }
    }

    fn told() -> Told {
        let config = crate::config::of_text("").unwrap();
        Told::new(Arc::default(), Arc::new(Shared::of(&config)))
    }

    #[tokio::test]
    async fn routes_are_listed_for_a_few_at_a_time() {
        let told = told();
        let ask = |query| answer(&Method::GET, "/routes", query, &told);
        let listings: Vec<_> = (0..LISTINGS_MAX).map(|_| ask(None)).collect();
        assert_eq!(ask(None).status(), StatusCode::SERVICE_UNAVAILABLE);
        drop(listings);
        let body = ask(None).into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "{\"generation\":1,\"routes\":[]}\n");
        assert_eq!(ask(Some("tenant=thor")).status(), StatusCode::NOT_FOUND);
        assert_eq!(ask(Some("tenants=thor")).status(), StatusCode::BAD_REQUEST);
    }

    async fn check(told: &Told, method: &str, path: &str, code: u16, body: &str) {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let response = answer(&method, path, None, told);
        assert_eq!(response.status().as_u16(), code, "{method} {path}");
        let sent = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(sent, body, "{method} {path}");
    }
}
