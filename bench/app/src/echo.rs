//! What `bench/run` asks of tunnels: so many WebSocket connections, on each of which one message after the other goes to
//! the app and comes back.
//!
//! `bench-echo PORT HOST CONNECTIONS SECONDS` says on one line what came of it, as `wrk.lua` does. A message that comes
//! back is a request that was answered.

use std::{env, error::Error, io, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::{Instant, timeout},
};

/// A text frame of a client (RFC 6455 §5.2): final, masked with zeros, of 64 bytes.
const MESSAGE: [u8; 6 + PAYLOAD_BYTES] = {
    let mut message = [b'm'; 6 + PAYLOAD_BYTES];
    message[0] = 0x81;
    message[1] = 0x80 | PAYLOAD_BYTES as u8;
    let mut at = 2;
    while at < 6 {
        message[at] = 0;
        at += 1;
    }
    message
};
const PAYLOAD_BYTES: usize = 64;
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let mut next = || arguments.next().ok_or("PORT HOST CONNECTIONS SECONDS");
    let port: u16 = next()?.parse()?;
    let host = next()?;
    let connections: usize = next()?.parse()?;
    let time = Duration::from_secs_f64(next()?.parse()?);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (mut took, failed, passed) = runtime.block_on(all(port, &host, connections, time));
    took.sort_unstable();
    let percentile = |of: usize| took.get(took.len() * of / 100).copied().unwrap_or_default();
    println!(
        r#"{{"requests": {}, "seconds": {:.6}, "p50_us": {}, "p99_us": {}, "failed": {failed}, "not_2xx": 0}}"#,
        took.len(),
        passed.as_secs_f64(),
        percentile(50),
        percentile(99),
    );
    Ok(())
}

/// How long each message took in µs, how many connections failed, and how long it all took from when all were open.
async fn all(
    port: u16,
    host: &str,
    connections: usize,
    time: Duration,
) -> (Vec<u64>, usize, Duration) {
    let mut open = Vec::new();
    let mut failed = 0;
    for _ in 0..connections {
        match timeout(PATIENCE, begin(port, host)).await {
            Ok(Ok(socket)) => open.push(socket),
            Ok(Err(_)) | Err(_) => failed += 1,
        }
    }
    let began = Instant::now();
    let mut echoes = JoinSet::new();
    for socket in open {
        echoes.spawn(echo(socket, began + time));
    }
    let mut took = Vec::new();
    while let Some(echoed) = echoes.join_next().await {
        match echoed {
            Ok((mut one, good)) => {
                took.append(&mut one);
                failed += usize::from(!good);
            }
            Err(_) => failed += 1,
        }
    }
    (took, failed, began.elapsed())
}

async fn begin(port: u16, host: &str) -> io::Result<TcpStream> {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).await?;
    socket.set_nodelay(true)?;
    let head = format!(
        "GET /echo HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        if socket.read_buf(&mut answer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    match answer.starts_with(b"HTTP/1.1 101") {
        true => Ok(socket),
        false => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// How long each message took, and whether all of them came back.
async fn echo(mut socket: TcpStream, until: Instant) -> (Vec<u64>, bool) {
    let mut took = Vec::new();
    let mut back = [0; MESSAGE.len()];
    while Instant::now() < until {
        let began = Instant::now();
        let one = async {
            socket.write_all(&MESSAGE).await?;
            socket.read_exact(&mut back).await
        };
        match timeout(PATIENCE, one).await {
            Ok(Ok(_)) if back == MESSAGE => {}
            Ok(Ok(_) | Err(_)) | Err(_) => return (took, false),
        }
        took.push(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    (took, true)
}
