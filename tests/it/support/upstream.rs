//! Apps that do as they are told: each connection runs a script, and what it received is kept.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr},
    path::Path,
    sync::Arc,
    thread,
    time::Duration,
};

use socket2::{Domain, SockAddr, Socket, Type};

use super::{
    DEADLINE, Watched, eventually,
    wire::{self, Body, Head, Reader},
};

/// A listening app; it stops listening when it is dropped.
pub(crate) struct Upstream {
    url: String,
    listener: Socket,
    seen: Watched<Seen>,
}

/// What an app has received until now.
#[derive(Debug, Default, Clone)]
pub(crate) struct Seen {
    /// Connections accepted.
    pub(crate) connections: usize,
    /// Connections whose script has not ended.
    pub(crate) open: usize,
    /// Requests whose head was read, in order, over all connections.
    pub(crate) requests: Vec<Request>,
}

#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) head: Head,
    /// What had been read of the body when the script went on.
    pub(crate) body: Body,
}

impl Request {
    pub(crate) fn method(&self) -> &str {
        self.head.start.split(' ').next().unwrap()
    }

    /// The target as it stood in the request line.
    pub(crate) fn target(&self) -> &str {
        self.head.start.split(' ').nth(1).unwrap()
    }

    #[track_caller]
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.field(name)
    }
}

impl Upstream {
    /// Runs `script` on each connection, in a thread of its own; the connection closes when it returns.
    pub(crate) fn script(script: impl Fn(&mut Connection) + Send + Sync + 'static) -> Self {
        Self::script_at(([127, 0, 0, 1], 0).into(), script)
    }

    /// The same at an address of its own: all of 127.0.0.0/8 is this machine.
    pub(crate) fn script_at(
        address: SocketAddr,
        script: impl Fn(&mut Connection) + Send + Sync + 'static,
    ) -> Self {
        let listener = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        listener.bind(&address.into()).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        Self::listen(listener, format!("http://{address}"), script)
    }

    pub(crate) fn unix(
        path: &Path,
        script: impl Fn(&mut Connection) + Send + Sync + 'static,
    ) -> Self {
        let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        listener.bind(&SockAddr::unix(path).unwrap()).unwrap();
        Self::listen(listener, format!("unix:{}", path.display()), script)
    }

    fn listen(
        listener: Socket,
        url: String,
        script: impl Fn(&mut Connection) + Send + Sync + 'static,
    ) -> Self {
        listener.listen(128).unwrap();
        let accepting = listener.try_clone().unwrap();
        let upstream = Self {
            url,
            listener,
            seen: Watched::default(),
        };
        let seen = upstream.seen.clone();
        let script = Arc::new(script);
        thread::spawn(move || {
            // `drop` shuts the listener down, which ends the wait with an error.
            while let Ok((socket, _)) = accepting.accept() {
                let mut connection = Connection::accepted(socket, seen.clone());
                let script = Arc::clone(&script);
                thread::spawn(move || script(&mut connection));
            }
        });
        upstream
    }

    /// Answers every request with these bytes, and keeps the connection.
    pub(crate) fn answering(answer: impl AsRef<[u8]>) -> Self {
        let answer = answer.as_ref().to_vec();
        Self::script(move |connection| {
            while connection.request().is_some() {
                connection.send(&answer);
            }
        })
    }

    /// Answers every request with 200 and `text`, and keeps the connection.
    pub(crate) fn saying(text: &str) -> Self {
        Self::answering(ok(text))
    }

    /// Answers every request with the head of it as it came, and its body behind it.
    pub(crate) fn echo() -> Self {
        Self::script(|connection| {
            while let Some(request) = connection.request() {
                let body = [request.head.raw, request.body.bytes].concat();
                connection.send(format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                ));
                connection.send(body);
            }
        })
    }

    /// Takes each request and never answers.
    pub(crate) fn hanging() -> Self {
        Self::script(|connection| {
            connection.request();
            connection.rest();
        })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// `127.0.0.1:40001`, as the access log has it.
    pub(crate) fn authority(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    pub(crate) fn port(&self) -> &str {
        self.authority().rsplit(':').next().unwrap()
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.get()
    }

    pub(crate) fn connections(&self) -> usize {
        self.seen.get().connections
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.seen().requests
    }

    /// The request that came last.
    #[track_caller]
    pub(crate) fn last(&self) -> Request {
        self.requests().pop().expect("no request came")
    }

    /// Waits until what has been received is as `wanted`.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, wanted: impl Fn(&Seen) -> bool) {
        let seen = self.seen.wait(DEADLINE, &wanted);
        assert!(
            wanted(&seen),
            "the upstream waited in vain for {what}: {seen:?}"
        );
    }
}

impl Upstream {
    /// The app goes down: its address refuses from now on.
    pub(crate) fn go_down(self) -> Refusing {
        let address = self.listener.local_addr().unwrap().as_socket().unwrap();
        drop(self);
        let mut refusing = None;
        eventually("the address is free again", || {
            refusing = Refusing::at(address).ok();
            refusing.is_some()
        });
        refusing.unwrap()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        drop(self.listener.shutdown(Shutdown::Both));
    }
}

/// The edge's connection to an app, seen from the app.
pub(crate) struct Connection {
    reader: Reader,
    seen: Watched<Seen>,
    /// 1 for the first that the app accepted.
    pub(crate) number: usize,
    /// A FIN at the end of the script would be too early.
    no_fin: bool,
}

impl Connection {
    fn accepted(socket: Socket, seen: Watched<Seen>) -> Self {
        // Longer than the tests wait, so that it is never the app that gives up.
        socket.set_read_timeout(Some(6 * DEADLINE)).unwrap();
        socket.set_write_timeout(Some(6 * DEADLINE)).unwrap();
        let mut connection = Self {
            reader: BufReader::new(socket),
            seen,
            number: 0,
            no_fin: false,
        };
        connection.number = connection.seen.change(|seen| {
            seen.connections += 1;
            seen.open += 1;
            seen.connections
        });
        connection
    }

    /// The next request with its body; `None` when the edge has closed the connection.
    pub(crate) fn request(&mut self) -> Option<Request> {
        let head = self.head()?;
        let body = self.body(&head);
        Some(Request { head, body })
    }

    /// The next request's head, kept as a request without a body.
    pub(crate) fn head(&mut self) -> Option<Head> {
        let head = wire::read_head(&mut self.reader)?;
        let request = Request {
            head: head.clone(),
            body: Body::default(),
        };
        self.seen.change(|seen| seen.requests.push(request));
        Some(head)
    }

    /// The body of the request whose head was read last, on whichever connection.
    pub(crate) fn body(&mut self, head: &Head) -> Body {
        let body = wire::read_body(&mut self.reader, head.request_framing());
        self.seen.change(|seen| {
            let same = |request: &&mut Request| request.head.raw == head.raw;
            let kept = seen.requests.iter_mut().rev().find(same).unwrap();
            kept.body = body.clone();
        });
        body
    }

    pub(crate) fn exactly(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.reader.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// To write from another thread.
    pub(crate) fn writer(&self) -> Socket {
        self.reader.get_ref().try_clone().unwrap()
    }

    /// What comes first, or nothing if the edge closes the connection.
    pub(crate) fn first_bytes(&mut self) -> Vec<u8> {
        self.reader.fill_buf().unwrap_or_default().to_vec()
    }

    /// Everything until the edge closes the connection.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        wire::read_to_end(&mut self.reader).0
    }

    /// The edge may have left already: the script goes on, and finds out when it reads.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        drop(self.reader.get_ref().write_all(bytes.as_ref()));
    }

    /// Closes with RST instead of FIN, when the script returns.
    pub(crate) fn reset(&mut self) {
        self.reader
            .get_ref()
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        self.no_fin = true;
    }

    /// The socket, for the test to close: the end of the script does not.
    pub(crate) fn leave_open(&mut self) -> Socket {
        self.no_fin = true;
        self.writer()
    }
}

impl Read for Connection {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        self.reader.read(bytes)
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.reader.get_ref().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // A FIN would go out before the RST. Otherwise it goes out now, before anyone hears that the script has ended.
        if !self.no_fin {
            drop(self.reader.get_ref().shutdown(Shutdown::Both));
        }
        self.seen.change(|seen| seen.open -= 1);
    }
}

/// An address that refuses: it is bound, so that no one else takes it, and not listened on.
pub(crate) struct Refusing(Socket);

impl Refusing {
    pub(crate) fn new() -> Self {
        Self::at(([127, 0, 0, 1], 0).into()).unwrap()
    }

    pub(crate) fn at(address: SocketAddr) -> std::io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        // What is left of the connections of an app that was here before must not be in the way.
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        Ok(Self(socket))
    }

    pub(crate) fn url(&self) -> String {
        format!(
            "http://{}",
            self.0.local_addr().unwrap().as_socket().unwrap()
        )
    }

    /// The app comes up, at the same address.
    pub(crate) fn come_up(
        self,
        script: impl Fn(&mut Connection) + Send + Sync + 'static,
    ) -> Upstream {
        let url = self.url();
        Upstream::listen(self.0, url, script)
    }
}

/// An address whose dials hang: the queue of connections to accept is full, so that each SYN is dropped.
pub(crate) struct Unanswering {
    listener: Socket,
    _waiting: Vec<Socket>,
}

impl Unanswering {
    pub(crate) fn new() -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener
            .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
            .unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        // A queue of length 0 holds one or two; the first dial that stays without an answer shows that it is full.
        for _ in 0..8 {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            if socket
                .connect_timeout(&address, Duration::from_millis(200))
                .is_err()
            {
                return Self {
                    listener,
                    _waiting: waiting,
                };
            }
            waiting.push(socket);
        }
        panic!("the queue of the listener does not fill");
    }

    fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap().as_socket().unwrap()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    pub(crate) fn port(&self) -> String {
        self.address().port().to_string()
    }

    /// Waits until somebody's SYN to it stays without an answer.
    pub(crate) fn wait_for_a_dial(&self) {
        // proc(5): remote address and state, in hexadecimal; 02 is SYN_SENT.
        let hanging = format!(":{:04X} 02 ", self.address().port());
        eventually("a dial hangs", || {
            let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
            sockets.contains(&hanging)
        });
    }

    /// The app comes up, at the same address; what had filled its queue leaves.
    pub(crate) fn come_up(
        self,
        script: impl Fn(&mut Connection) + Send + Sync + 'static,
    ) -> Upstream {
        let url = self.url();
        Upstream::listen(self.listener, url, script)
    }
}

/// 200 with `text`, its length declared.
pub(crate) fn ok(text: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    )
}
