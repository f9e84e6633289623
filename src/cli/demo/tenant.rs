//! An embedded tenant: a small app that shows who it is and what reached it.
//!
//! It knows nothing of the edge; what it shows is what an app in a container would see.

use std::{
    convert::Infallible,
    fmt::Write as _,
    io,
    net::TcpListener,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use hyper::{
    body::{Body, Frame, Incoming, SizeHint},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    task::JoinSet,
    time::{Interval, MissedTickBehavior, interval, sleep},
};

use crate::{error::page::Form, html::Escaped};

/// Parts of `/slow`, and the pause before each.
const SLOW_PARTS: u32 = 40;
const SLOW_PAUSE: Duration = Duration::from_millis(250);
/// Events of `/events`, one a second: an hour.
const EVENTS: u32 = 3600;
const EVENTS_PAUSE: Duration = Duration::from_secs(1);
/// After a failed accept, which would only fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// One tenant, bound and not yet served.
#[derive(Debug)]
pub(super) struct DemoTenant {
    pub(super) name: Arc<str>,
    /// The origin in whose place it answers.
    pub(super) stands_for: String,
    pub(super) listener: TcpListener,
}

/// Serves them all; ends only if one can't be served.
pub(super) async fn serve_all(tenants: Vec<DemoTenant>) {
    let mut serving = JoinSet::new();
    for tenant in tenants {
        serving.spawn(serve(tenant));
    }
    while let Some(ended) = serving.join_next().await {
        if let Ok(Err(error)) = ended {
            tracing::error!(%error, "a demo tenant ended");
        }
    }
}

async fn serve(tenant: DemoTenant) -> io::Result<Infallible> {
    tenant.listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(tenant.listener)?;
    let identity = Arc::new(Identity {
        name: tenant.name,
        stands_for: tenant.stands_for,
    });
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let identity = Arc::clone(&identity);
        let service = service_fn(move |request| {
            let identity = Arc::clone(&identity);
            async move { answer(&identity, request).await }
        });
        tokio::spawn(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(socket), service),
        );
    }
}

#[derive(Debug)]
struct Identity {
    name: Arc<str>,
    stands_for: String,
}

async fn answer(identity: &Identity, request: Request<Incoming>) -> hyper::Result<Response<Page>> {
    let (head, mut body) = request.into_parts();
    let mut body_bytes = 0;
    while let Some(frame) = next_frame(&mut body).await {
        body_bytes += frame?.data_ref().map_or(0, Bytes::len);
    }
    Ok(match head.uri.path() {
        "/slow" => trickle(
            "text/plain; charset=utf-8",
            SLOW_PARTS,
            SLOW_PAUSE,
            slow_part,
        ),
        "/events" => trickle("text/event-stream", EVENTS, EVENTS_PAUSE, event),
        _ => {
            let accept = head.headers.get(header::ACCEPT);
            let form = Form::negotiate(accept.map(HeaderValue::as_bytes));
            let seen = Seen {
                identity,
                method: &head.method,
                target: head
                    .uri
                    .path_and_query()
                    .map_or("*", |target| target.as_str()),
                headers: &head.headers,
                body_bytes,
            };
            respond(
                HeaderValue::from_static(form.content_type()),
                Page::Whole(Some(seen.render(form).into())),
            )
        }
    })
}

async fn next_frame(body: &mut Incoming) -> Option<hyper::Result<Frame<Bytes>>> {
    std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await
}

fn trickle(
    content_type: &'static str,
    parts: u32,
    pause: Duration,
    part: fn(u32) -> String,
) -> Response<Page> {
    let mut ticks = interval(pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let page = Page::Trickle {
        ticks,
        sent: 0,
        parts,
        part,
    };
    respond(HeaderValue::from_static(content_type), page)
}

fn slow_part(number: u32) -> String {
    format!("part {} of {SLOW_PARTS}\n", number + 1)
}

fn event(number: u32) -> String {
    format!("id: {number}\ndata: event {number}\n\n")
}

fn respond(content_type: HeaderValue, page: Page) -> Response<Page> {
    let mut response = Response::new(page);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The body of an answer.
#[derive(Debug)]
enum Page {
    Whole(Option<Bytes>),
    Trickle {
        ticks: Interval,
        sent: u32,
        parts: u32,
        part: fn(u32) -> String,
    },
}

impl Body for Page {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = match self.get_mut() {
            Self::Whole(bytes) => bytes.take(),
            Self::Trickle { sent, parts, .. } if sent == parts => None,
            Self::Trickle {
                ticks, sent, part, ..
            } => {
                std::task::ready!(ticks.poll_tick(context));
                let number = *sent;
                *sent += 1;
                Some(part(number).into())
            }
        };
        Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Trickle { sent, parts, .. } => sent == parts,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Trickle { .. } => SizeHint::default(),
        }
    }
}

/// A request as it reached the tenant.
struct Seen<'a> {
    identity: &'a Identity,
    method: &'a Method,
    target: &'a str,
    headers: &'a HeaderMap,
    body_bytes: usize,
}

impl Seen<'_> {
    fn render(&self, form: Form) -> String {
        match form {
            Form::Text => self.text(),
            Form::Json => self.json(),
            Form::Html => self.html(),
        }
    }

    /// Each header line in its order, with what is not UTF-8 replaced.
    fn fields(&self) -> impl Iterator<Item = (&str, std::borrow::Cow<'_, str>)> {
        self.headers
            .iter()
            .map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes())))
    }

    fn text(&self) -> String {
        let Identity { name, stands_for } = self.identity;
        let mut text = format!(
            "{name} (for {stands_for})\n\n{} {}\n",
            self.method, self.target
        );
        for (name, value) in self.fields() {
            let _ = writeln!(text, "{name}: {value}");
        }
        if self.body_bytes > 0 {
            let _ = writeln!(text, "\n{} bytes of body", self.body_bytes);
        }
        text
    }

    fn json(&self) -> String {
        let mut headers = serde_json::Map::new();
        for (name, value) in self.fields() {
            // Lines of one name are one list (RFC 9110 §5.3).
            match headers.get_mut(name) {
                Some(serde_json::Value::String(list)) => {
                    list.push_str(", ");
                    list.push_str(&value);
                }
                _ => {
                    headers.insert(name.to_owned(), value.into());
                }
            }
        }
        let json = serde_json::json!({
            "tenant": &*self.identity.name,
            "upstream": self.identity.stands_for,
            "method": self.method.as_str(),
            "path": self.target,
            "body_bytes": self.body_bytes,
            "headers": headers,
        });
        format!("{json:#}\n")
    }

    fn html(&self) -> String {
        let mut rows = String::new();
        for (name, value) in self.fields() {
            let (name, value) = (Escaped(name), Escaped(&value));
            let _ = writeln!(rows, "<tr><th>{name}<td>{value}");
        }
        format!(
            include_str!("page.html"),
            hue = hue(&self.identity.name),
            tenant = Escaped(&self.identity.name),
            stands_for = Escaped(&self.identity.stands_for),
            method = Escaped(self.method.as_str()),
            target = Escaped(self.target),
            body_bytes = self.body_bytes,
            rows = rows,
        )
    }
}

/// A colour of the name's own, in degrees, so that two tabs are told apart at a glance.
fn hue(name: &str) -> u32 {
    // FNV-1a: the same in every run, and small changes of the name change all of it.
    let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    hash % 360
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
    };

    use super::*;

    #[tokio::test]
    async fn a_browser_gets_a_page_with_everything_escaped() {
        let page = ask(
            "GET /'b'?x HTTP/1.1\r\nhost: thor.localhost:8080\r\naccept: text/html\r\n\
             x-odd: <script>alert(1)</script>\r\nconnection: close\r\n\r\n",
        )
        .await;
        assert!(page.contains("content-type: text/html"), "{page}");
        assert!(page.contains("<th>host<td>thor.localhost:8080"), "{page}");
        assert!(page.contains("thor &amp; co"), "{page}");
        assert!(page.contains("&lt;script&gt;alert(1)"), "{page}");
        assert!(!page.contains("<script>alert(1)"), "{page}");
        assert!(page.contains("/&#39;b&#39;?x"), "{page}");
    }

    #[tokio::test]
    async fn programs_get_json() {
        let page = ask(
            "POST /a?b HTTP/1.1\r\nhost: thor\r\naccept: application/json\r\nx-a: 1\r\nx-a: 2\r\n\
             content-length: 5\r\nconnection: close\r\n\r\nhello",
        )
        .await;
        let (_, body) = page.split_once("\r\n\r\n").unwrap();
        let seen: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(seen["tenant"], "thor & co");
        assert_eq!(seen["upstream"], "http://thor_web:8000");
        assert_eq!(seen["method"], "POST");
        assert_eq!(seen["path"], "/a?b");
        assert_eq!(seen["body_bytes"], 5);
        assert_eq!(seen["headers"]["host"], "thor");
        assert_eq!(seen["headers"]["x-a"], "1, 2");
    }

    #[tokio::test]
    async fn curl_gets_text() {
        let page =
            ask("GET / HTTP/1.1\r\nhost: thor\r\naccept: */*\r\nconnection: close\r\n\r\n").await;
        let (_, body) = page.split_once("\r\n\r\n").unwrap();
        assert!(body.starts_with("thor & co (for http://thor_web:8000)\n\nGET /\nhost: thor\n"));
    }

    #[tokio::test(start_paused = true)]
    async fn slow_and_events_come_piece_by_piece() {
        let response = trickle("text/plain", SLOW_PARTS, SLOW_PAUSE, slow_part);
        let started = tokio::time::Instant::now();
        let whole = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(started.elapsed(), SLOW_PAUSE * (SLOW_PARTS - 1));
        assert!(whole.starts_with(b"part 1 of 40\n"));
        assert!(whole.ends_with(b"part 40 of 40\n"));

        let mut events = trickle("text/event-stream", EVENTS, EVENTS_PAUSE, event).into_body();
        let first = events.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(first, "id: 0\ndata: event 0\n\n");
    }

    #[test]
    fn colours_are_stable_and_apart() {
        assert_eq!(hue("thor"), hue("thor"));
        assert!(hue("thor").abs_diff(hue("potter")) > 30);
    }

    /// Everything that a tenant answers to `request`, by its socket.
    async fn ask(request: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let tenant = DemoTenant {
            name: "thor & co".into(),
            stands_for: "http://thor_web:8000".into(),
            listener,
        };
        tokio::spawn(serve(tenant));
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        answer
    }
}
