//! The app behind the edges of `bench/run`: fast, on one thread, and no more of HTTP/1.1 than the benchmark asks for.
//!
//! It says on its first line on which port of 127.0.0.1 it listens. `GET /small`, `/page` (ten header fields) and
//! `/bytes/N` answer with so much, `/once` as `/small` and closes, `/never` is not answered at all, `/echo` switches to
//! WebSocket and sends back each byte as it came; whatever is sent is read to its end before the answer;
//! `Connection: close` and HTTP/1.0 are heeded.

use std::io::{self, Write as _};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

const SMALL: &str = "It is a small answer, of about as many bytes as an API gives that has little to say for itself.\n";
const PAGE: &str = "Cache-Control: private, max-age=0, must-revalidate\r\n\
    Content-Security-Policy: default-src 'self'; img-src 'self' data:; frame-ancestors 'none'\r\n\
    ETag: \"5e1f-61b0a3c2\"\r\n\
    Set-Cookie: csrftoken=Zx81kQw0bT7mYc3nVr5L; Path=/; SameSite=Lax\r\n\
    Strict-Transport-Security: max-age=63072000\r\n\
    Vary: Accept-Encoding, Cookie\r\n\
    X-Content-Type-Options: nosniff\r\n\
    X-Frame-Options: DENY\r\n";

fn main() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let mut out = io::stdout();
        writeln!(out, "{}", listener.local_addr()?.port())?;
        out.flush()?;
        loop {
            let (socket, _) = listener.accept().await?;
            socket.set_nodelay(true)?;
            // A client that goes away ends its connection and nothing else.
            tokio::spawn(serve(socket));
        }
    })
}

struct Asked {
    head_bytes: usize,
    body_bytes: usize,
    close: bool,
    path: String,
}

async fn serve(mut socket: TcpStream) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(64 * 1024);
    let filler = vec![b'x'; 64 * 1024];
    loop {
        let asked = loop {
            if let Some(asked) = parse(&buffer)? {
                break asked;
            }
            if socket.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        let here = (buffer.len() - asked.head_bytes).min(asked.body_bytes);
        buffer.drain(..asked.head_bytes + here);
        let mut missing = asked.body_bytes - here;
        while missing > 0 {
            buffer.clear();
            let read = socket.read_buf(&mut buffer).await?;
            if read == 0 {
                return Ok(());
            }
            missing -= read.min(missing);
            buffer.clear();
        }
        if asked.path == "/echo" {
            return echo(socket, buffer).await;
        }
        if asked.path == "/never" {
            return until_gone(socket, buffer).await;
        }
        answer(&mut socket, &asked, &filler).await?;
        if asked.close {
            return Ok(());
        }
    }
}

async fn echo(mut socket: TcpStream, mut buffer: Vec<u8>) -> io::Result<()> {
    // The answer to the key that bench-echo sends (RFC 6455 §1.3).
    let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    socket.write_all(head.as_bytes()).await?;
    loop {
        socket.write_all(&buffer).await?;
        buffer.clear();
        if socket.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

async fn until_gone(mut socket: TcpStream, mut buffer: Vec<u8>) -> io::Result<()> {
    while socket.read_buf(&mut buffer).await? > 0 {
        buffer.clear();
    }
    Ok(())
}

async fn answer(socket: &mut TcpStream, asked: &Asked, filler: &[u8]) -> io::Result<()> {
    let bytes = asked.path.strip_prefix("/bytes/");
    let bytes: Option<usize> = bytes.and_then(|bytes| bytes.parse().ok());
    let length = bytes.unwrap_or(SMALL.len());
    let more = if asked.path == "/page" { PAGE } else { "" };
    let close = if asked.close {
        "Connection: close\r\n"
    } else {
        ""
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\nServer: bench\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n{more}{close}\r\n"
    );
    let Some(mut left) = bytes else {
        return socket.write_all((head + SMALL).as_bytes()).await;
    };
    let mut out = head.into_bytes();
    let first = left.min(filler.len());
    out.extend_from_slice(&filler[..first]);
    socket.write_all(&out).await?;
    left -= first;
    while left > 0 {
        let piece = left.min(filler.len());
        socket.write_all(&filler[..piece]).await?;
        left -= piece;
    }
    Ok(())
}

fn parse(buffer: &[u8]) -> io::Result<Option<Asked>> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut fields);
    let parsed = request.parse(buffer).map_err(io::Error::other)?;
    let httparse::Status::Complete(head_bytes) = parsed else {
        return Ok(None);
    };
    let field = |name: &str| {
        let field = request
            .headers
            .iter()
            .find(|field| field.name.eq_ignore_ascii_case(name));
        field.and_then(|field| std::str::from_utf8(field.value).ok())
    };
    let close = field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    Ok(Some(Asked {
        head_bytes,
        body_bytes: field("content-length")
            .map_or(Ok(0), str::parse)
            .map_err(io::Error::other)?,
        close: close || request.version == Some(0) || request.path == Some("/once"),
        path: request.path.unwrap_or_default().to_owned(),
    }))
}
