//! A client that sends the bytes it is given and shows what comes back.
//!
//! It never repairs or retries: what a browser would smooth over is what the tests look for.

use std::{
    io::{BufReader, Read, Write},
    net::{IpAddr, Shutdown, SocketAddr},
    path::Path,
};

use serde_json::Value;
use socket2::{Domain, SockAddr, Socket, Type};

use super::{
    DEADLINE,
    wire::{self, Body, Framing, Head, Reader},
};

/// One connection to the edge.
#[derive(Debug)]
pub(crate) struct Client {
    reader: Reader,
}

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: Head,
    pub(crate) body: Body,
    /// The interim answers (RFC 9110 §15.2) that came before.
    pub(crate) interim: Vec<u16>,
}

impl Response {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body.bytes).into_owned()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body.bytes)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    #[track_caller]
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.field(name)
    }

    /// Fails unless this is a whole answer with `status` and `text`.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16, text: &str) {
        assert_eq!((self.status, self.text().as_str()), (status, text));
        assert!(self.body.whole, "the body was cut short");
    }
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).unwrap()
    }

    pub(crate) fn try_connect(address: SocketAddr) -> std::io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.connect_timeout(&address.into(), DEADLINE)?;
        Ok(Self::over(socket))
    }

    /// Connects as the client `source`: the whole of 127.0.0.0/8 is this machine.
    pub(crate) fn connect_from(source: &str, address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let source: IpAddr = source.parse().unwrap();
        // Its port may be one that an edge listens on elsewhere, and widens to all addresses while this one is remembered.
        socket.set_reuse_address(true).unwrap();
        socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
        socket.connect_timeout(&address.into(), DEADLINE).unwrap();
        Self::over(socket)
    }

    pub(crate) fn connect_unix(path: &Path) -> Self {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        socket.connect(&SockAddr::unix(path).unwrap()).unwrap();
        Self::over(socket)
    }

    fn over(socket: Socket) -> Self {
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket.set_write_timeout(Some(DEADLINE)).unwrap();
        Self {
            reader: BufReader::new(socket),
        }
    }

    /// A second handle, to write to the connection from another thread.
    pub(crate) fn writer(&self) -> Socket {
        self.reader.get_ref().try_clone().unwrap()
    }

    #[track_caller]
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.reader.get_ref().write_all(bytes.as_ref()).unwrap();
    }

    /// Sends what the edge may refuse to take: it may answer and close before it has read everything.
    pub(crate) fn send_unwelcome(&mut self, bytes: &[u8]) {
        // What was refused shows in the answer, which the test reads next.
        drop(self.reader.get_ref().write_all(bytes));
    }

    /// The next head, final or not; `None` where the edge closed instead.
    pub(crate) fn try_head(&mut self) -> Option<Head> {
        wire::read_head(&mut self.reader)
    }

    #[track_caller]
    pub(crate) fn head(&mut self) -> Head {
        self.try_head()
            .expect("the edge closed the connection instead of answering")
    }

    pub(crate) fn body(&mut self, framing: Framing) -> Body {
        wire::read_body(&mut self.reader, framing)
    }

    /// Bytes of a body or of a tunnel, as many as asked for.
    #[track_caller]
    pub(crate) fn exactly(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.reader.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Everything until the edge closes, and whether it closed in good order.
    pub(crate) fn rest(&mut self) -> (Vec<u8>, bool) {
        wire::read_to_end(&mut self.reader)
    }

    /// Waits until the edge closes the connection, which must send nothing more.
    #[track_caller]
    pub(crate) fn expect_closed(&mut self) {
        let (rest, _) = self.rest();
        assert!(
            rest.is_empty(),
            "more came: {:?}",
            String::from_utf8_lossy(&rest)
        );
    }

    pub(crate) fn close_writing(&self) {
        self.reader.get_ref().shutdown(Shutdown::Write).unwrap();
    }

    /// The final answer to a request by `method`; `None` where the edge closed instead.
    pub(crate) fn try_response_to(&mut self, method: &str) -> Option<Response> {
        let mut interim = Vec::new();
        loop {
            let head = self.try_head()?;
            let status = head.status();
            if status < 200 && status != 101 {
                interim.push(status);
                continue;
            }
            let body = self.body(head.response_framing(method));
            return Some(Response {
                status,
                head,
                body,
                interim,
            });
        }
    }

    #[track_caller]
    pub(crate) fn response(&mut self) -> Response {
        self.response_to("GET")
    }

    #[track_caller]
    pub(crate) fn response_to(&mut self, method: &str) -> Response {
        self.try_response_to(method)
            .expect("the edge closed the connection instead of answering")
    }

    #[track_caller]
    pub(crate) fn get(&mut self, host: &str, path: &str) -> Response {
        self.get_with(host, path, "")
    }

    /// `fields` are lines that end in CR LF each.
    #[track_caller]
    pub(crate) fn get_with(&mut self, host: &str, path: &str, fields: &str) -> Response {
        self.send(format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n"
        ));
        self.response()
    }

    #[track_caller]
    pub(crate) fn post(&mut self, host: &str, path: &str, body: &str) -> Response {
        let length = body.len();
        self.send(format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
        self.response_to("POST")
    }
}

impl Read for Client {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        self.reader.read(bytes)
    }
}

impl Write for Client {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.reader.get_ref().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
