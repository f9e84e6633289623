//! Listening sockets: binding them, one for each worker, and accepting from them without ever giving up.
//!
//! It knows nothing of what is spoken on the connections.

use std::{io, net::SocketAddr, path::Path, rc::Rc, time::Duration};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::oneshot,
};

use crate::{
    config::Address,
    connection,
    error::{ProxyError, page},
    session::Peer,
    stream::Stream,
    worker::Worker,
};

/// Connections that the kernel completes for us before we accept them; as much as it allows.
const BACKLOG: i32 = 4096;
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// One address, bound once for each worker, so that the kernel spreads connections over them.
#[derive(Debug)]
pub(crate) struct Bound {
    /// With the port that it really has.
    pub(crate) address: Address,
    pub(crate) sockets: Vec<BoundSocket>,
}

#[derive(Debug)]
pub(crate) enum BoundSocket {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

/// Binds `address` for so many workers.
///
/// # Errors
/// Whatever the system says; `AddrInUse` also where another process would let us share.
pub(crate) fn bind(address: &Address, workers: usize) -> io::Result<Bound> {
    match address {
        Address::Tcp(address) => bind_tcp(*address, workers),
        Address::Unix(path) => bind_unix(path, workers),
    }
}

fn bind_tcp(address: SocketAddr, workers: usize) -> io::Result<Bound> {
    // SO_REUSEPORT would also let a second edge in, which would take every other connection. So ask for the
    // address alone first.
    let alone = tcp_socket(address)?;
    alone.bind(&address.into())?;
    drop(alone);
    let mut bound = address;
    let mut sockets = Vec::with_capacity(workers);
    for _ in 0..workers {
        let socket = tcp_socket(address)?;
        socket.set_reuse_port(true)?;
        socket.bind(&bound.into())?;
        socket.listen(BACKLOG)?;
        let socket = std::net::TcpListener::from(socket);
        bound = socket.local_addr()?;
        sockets.push(BoundSocket::Tcp(socket));
    }
    Ok(Bound {
        address: Address::Tcp(bound),
        sockets,
    })
}

fn tcp_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Unix sockets can't be bound twice, so the workers share one.
fn bind_unix(path: &Path, workers: usize) -> io::Result<Bound> {
    use std::os::unix::net::{UnixListener, UnixStream};
    match UnixStream::connect(path) {
        Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
        // Nobody listens: it was left behind by a process that died.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)?
        }
        Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    let sockets = (0..workers).map(|_| listener.try_clone().map(BoundSocket::Unix));
    Ok(Bound {
        address: Address::Unix(path.to_owned()),
        sockets: sockets.collect::<io::Result<_>>()?,
    })
}

/// A socket that a worker accepts from.
#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    fn from_std(socket: BoundSocket) -> io::Result<Self> {
        Ok(match socket {
            BoundSocket::Tcp(socket) => Self::Tcp(TcpListener::from_std(socket)?),
            BoundSocket::Unix(socket) => Self::Unix(UnixListener::from_std(socket)?),
        })
    }

    async fn accept(&self) -> io::Result<(Stream, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok((Stream::Tcp(stream), Peer::new(peer.ip())))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Stream::Unix(stream), Peer::local()))
            }
        }
    }
}

impl Listener {
    /// Accepts what is waiting, and closes.
    fn accept_rest(self, mut welcome: impl FnMut(Stream, Peer)) -> io::Result<()> {
        // The runtime may not have heard of the newest ones, so the system is asked itself.
        let end = |error: io::Error| {
            if error.kind() == io::ErrorKind::WouldBlock {
                Ok(())
            } else {
                Err(error)
            }
        };
        match self {
            Self::Tcp(listener) => {
                let listener = listener.into_std()?;
                loop {
                    let (stream, peer) = match listener.accept() {
                        Ok(accepted) => accepted,
                        Err(error) => return end(error),
                    };
                    stream.set_nonblocking(true)?;
                    stream.set_nodelay(true)?;
                    welcome(
                        Stream::Tcp(TcpStream::from_std(stream)?),
                        Peer::new(peer.ip()),
                    );
                }
            }
            Self::Unix(listener) => {
                let listener = listener.into_std()?;
                loop {
                    let (stream, _) = match listener.accept() {
                        Ok(accepted) => accepted,
                        Err(error) => return end(error),
                    };
                    stream.set_nonblocking(true)?;
                    welcome(Stream::Unix(UnixStream::from_std(stream)?), Peer::local());
                }
            }
        }
    }
}

/// Accepts until told to stop, and then what the kernel had already accepted for us: those clients believe that
/// they are connected.
pub(crate) async fn run(worker: Rc<Worker>, socket: BoundSocket, mut stop: oneshot::Receiver<()>) {
    let listener = match Listener::from_std(socket) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "a listener can't be used"),
    };
    let mut pause = PAUSE_MIN;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = &mut stop => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                pause = PAUSE_MIN;
                welcome(&worker, stream, peer);
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                // Out of descriptors, most likely. What is connected goes on, and frees some in time.
                tracing::warn!(%error, pause = ?pause, "can't accept connections");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
    if let Err(error) = listener.accept_rest(|stream, peer| welcome(&worker, stream, peer)) {
        tracing::warn!(%error, "can't accept the last connections of a listener");
    }
}

/// The client was gone before it was accepted; the next one has nothing to do with it.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionReset, Interrupted, InvalidInput, NotConnected,
    };
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted | InvalidInput | NotConnected
    )
}

fn welcome(worker: &Rc<Worker>, stream: Stream, peer: Peer) {
    let Some(place) = worker.place() else {
        return turn_away(worker, &stream, &peer);
    };
    let worker = Rc::clone(worker);
    tokio::task::spawn_local(async move {
        connection::serve(worker, stream, peer).await;
        drop(place);
    });
}

/// A full edge says so at once and keeps nothing. The client may not have sent its request yet, but an answer that is
/// there when it looks is better than none.
fn turn_away(worker: &Worker, stream: &Stream, peer: &Peer) {
    let error = ProxyError::TooManyConnections;
    crate::telemetry::record::turned_away(worker, peer, &error);
    let (head, body) = page::render(&error, None, "").into_parts();
    let mut answer = format!("HTTP/1.1 {}\r\nconnection: close\r\n", head.status).into_bytes();
    for (name, value) in &head.headers {
        answer.extend_from_slice(name.as_str().as_bytes());
        answer.extend_from_slice(b": ");
        answer.extend_from_slice(value.as_bytes());
        answer.extend_from_slice(b"\r\n");
    }
    answer.extend_from_slice(b"\r\n");
    answer.extend_from_slice(&body);
    let _ = stream.try_write(&answer);
}
