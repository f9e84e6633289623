//! Listening sockets: binding an address once for each worker, accepting from it, and taking away what a unix
//! socket leaves behind. It knows nothing of what is spoken on the connections.

use std::{
    io,
    net::SocketAddr,
    os::unix::{
        fs::FileTypeExt as _,
        net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream},
    },
    path::Path,
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::{config::Address, session::Peer, stream::Stream};

/// Connections that the kernel completes for us before we accept them; as much as it allows.
const BACKLOG: i32 = 4096;

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
    Unix(StdUnixListener),
}

/// Binds `address` for so many workers. `ours` are the addresses that this process has already: sharing a port
/// between them is no mistake.
///
/// # Errors
/// Whatever the system says; `AddrInUse` also where another process would let us share.
pub(crate) fn bind(address: &Address, workers: usize, ours: &[Address]) -> io::Result<Bound> {
    match address {
        Address::Tcp(address) => {
            let shared = ours
                .iter()
                .any(|ours| matches!(ours, Address::Tcp(ours) if ours.port() == address.port()));
            bind_tcp(*address, workers, shared)
        }
        Address::Unix(path) => bind_unix(path, workers),
    }
}

fn bind_tcp(address: SocketAddr, workers: usize, shared: bool) -> io::Result<Bound> {
    if !shared {
        // SO_REUSEPORT would also let a second edge in, which would take every other connection. So ask for the
        // address alone first.
        tcp_socket(address)?.bind(&address.into())?;
    }
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
    match StdUnixStream::connect(path) {
        Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
        // Nobody listens: it was left behind by a process that died.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && is_socket(path) => {
            remove(path)?;
        }
        Err(_) => {}
    }
    let listener = StdUnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    let sockets = (0..workers).map(|_| listener.try_clone().map(BoundSocket::Unix));
    Ok(Bound {
        address: Address::Unix(path.to_owned()),
        sockets: sockets.collect::<io::Result<_>>()?,
    })
}

/// Takes away what is left of an address that isn't listened on any more: a unix socket's file outlives the socket.
pub(crate) fn clean_up(address: &Address) {
    if let Address::Unix(path) = address {
        // If somebody else has taken it away, so much the better.
        let _ = remove(path);
    }
}

/// What isn't a socket refuses connections too, and isn't ours to take away.
fn is_socket(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

fn remove(path: &Path) -> io::Result<()> {
    std::fs::remove_file(path)
}

/// A socket to accept from, on the runtime of whoever accepts.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    pub(crate) fn from_std(socket: BoundSocket) -> io::Result<Self> {
        Ok(match socket {
            BoundSocket::Tcp(socket) => Self::Tcp(TcpListener::from_std(socket)?),
            BoundSocket::Unix(socket) => Self::Unix(UnixListener::from_std(socket)?),
        })
    }

    pub(crate) async fn accept(&self) -> io::Result<(Stream, Peer)> {
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

    /// Accepts what is waiting, and closes.
    pub(crate) fn accept_rest(self, mut welcome: impl FnMut(Stream, Peer)) -> io::Result<()> {
        // The runtime may not have heard of the newest ones, so the system is asked itself.
        let accept: Box<dyn Fn() -> io::Result<(Stream, Peer)>> = match self {
            Self::Tcp(listener) => {
                let listener = listener.into_std()?;
                Box::new(move || {
                    let (stream, peer) = listener.accept()?;
                    stream.set_nonblocking(true)?;
                    stream.set_nodelay(true)?;
                    Ok((
                        Stream::Tcp(TcpStream::from_std(stream)?),
                        Peer::new(peer.ip()),
                    ))
                })
            }
            Self::Unix(listener) => {
                let listener = listener.into_std()?;
                Box::new(move || {
                    let (stream, _) = listener.accept()?;
                    stream.set_nonblocking(true)?;
                    Ok((Stream::Unix(UnixStream::from_std(stream)?), Peer::local()))
                })
            }
        };
        for _ in 0..BACKLOG {
            match accept() {
                Ok((stream, peer)) => welcome(stream, peer),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The client was gone before it was accepted; the next one has nothing to do with it.
pub(crate) fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionReset, Interrupted, InvalidInput, NotConnected,
    };
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted | InvalidInput | NotConnected
    )
}
