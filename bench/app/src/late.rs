//! potter's app in `bench/isolation`: each request is answered so many milliseconds after it came.
//!
//! `bench-late MILLISECONDS` says on its first line on which port of 127.0.0.1 it listens. Each connection has a thread,
//! since the kernel wakes one to within 0.1 ms, and tokio's clock knows whole milliseconds only.

use std::{
    env,
    error::Error,
    io::{self, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread,
    time::Duration,
};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nServer: bench\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nlate\n";

fn main() -> Result<(), Box<dyn Error>> {
    let milliseconds = env::args().nth(1).ok_or("MILLISECONDS")?.parse()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut out = io::stdout();
    writeln!(out, "{}", listener.local_addr()?.port())?;
    out.flush()?;
    loop {
        let (socket, _) = listener.accept()?;
        socket.set_nodelay(true)?;
        // A client that goes away ends its connection and nothing else.
        thread::spawn(move || serve(socket, Duration::from_millis(milliseconds)));
    }
}

/// Requests without bodies, one after the other.
fn serve(mut socket: TcpStream, late: Duration) -> io::Result<()> {
    let mut buffer = Vec::new();
    let mut piece = [0; 4096];
    loop {
        while let Some(head_bytes) = whole_head(&buffer)? {
            thread::sleep(late);
            socket.write_all(ANSWER)?;
            buffer.drain(..head_bytes);
        }
        match socket.read(&mut piece)? {
            0 => return Ok(()),
            read => buffer.extend_from_slice(&piece[..read]),
        }
    }
}

fn whole_head(buffer: &[u8]) -> io::Result<Option<usize>> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(buffer).map_err(io::Error::other)? {
        httparse::Status::Complete(head_bytes) => Ok(Some(head_bytes)),
        httparse::Status::Partial => Ok(None),
    }
}
