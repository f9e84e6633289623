//! Listening sockets: binding an address once for each worker, accepting from it, and taking away what a unix
//! socket leaves behind. It knows nothing of what is spoken on the connections.

use std::{
    fs::{self, File},
    io,
    net::SocketAddr,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{
            fs::{FileTypeExt as _, MetadataExt as _},
            net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream},
        },
    },
    path::Path,
    thread,
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::{config::Address, session::Peer, stream::Stream};

/// Connections that the kernel completes for us before we accept them; as much as it allows.
const BACKLOG: i32 = 4096;

/// How often, and how long in between, somebody who binds a unix socket waits for another who does so beside it.
const LOCK_TRIES: usize = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// One address, bound once for each worker, so that the kernel spreads connections over them.
#[derive(Debug)]
pub(crate) struct Bound {
    /// With the port that it really has.
    pub(crate) address: Address,
    pub(crate) identity: Option<Identity>,
    /// At least one; more than there are workers if another process had more.
    pub(crate) sockets: Vec<BoundSocket>,
}

#[derive(Debug)]
pub(crate) enum BoundSocket {
    Tcp(std::net::TcpListener),
    Unix(StdUnixListener),
}

/// What is bound, as every process of the machine can tell: a TCP address, or the file that a unix socket is, however
/// its path is written.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub(crate) struct Identity(String);

impl Identity {
    /// None if nothing could be there: for port 0, and for a path without a socket.
    pub(crate) fn of(address: &Address) -> Option<Self> {
        match address {
            Address::Tcp(address) if address.port() == 0 => None,
            Address::Tcp(address) => Some(Self(format!("tcp/{address}"))),
            Address::Unix(path) => {
                let metadata = fs::symlink_metadata(path).ok()?;
                let is_socket = metadata.file_type().is_socket();
                is_socket.then(|| Self(format!("unix/{}/{}", metadata.dev(), metadata.ino())))
            }
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl BoundSocket {
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(socket) => Self::Tcp(socket.try_clone()?),
            Self::Unix(socket) => Self::Unix(socket.try_clone()?),
        })
    }

    /// A socket of another process, which says that it listens on `address`.
    fn handed_over(socket: OwnedFd, address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => {
                let socket = std::net::TcpListener::from(socket);
                if socket.local_addr()? != *address {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                socket.set_nonblocking(true)?;
                socket2::SockRef::from(&socket).set_tcp_nodelay(true)?;
                Ok(Self::Tcp(socket))
            }
            Address::Unix(_) => {
                let socket = StdUnixListener::from(socket);
                // Which file it is bound to can't be asked; that it is a unix socket can.
                socket.local_addr()?;
                socket.set_nonblocking(true)?;
                Ok(Self::Unix(socket))
            }
        }
    }
}

impl AsFd for BoundSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

/// Binds `address` for so many workers. `ours` are the addresses that this process has already: sharing a port
/// between them is no mistake.
///
/// # Errors
/// Whatever the system says; `AddrInUse` also where another process would let us share.
pub(crate) fn bind(address: &Address, workers: usize, ours: &[Address]) -> io::Result<Bound> {
    let (address, first) = match address {
        Address::Tcp(address) => {
            let shared = ours
                .iter()
                .any(|ours| matches!(ours, Address::Tcp(ours) if ours.port() == address.port()));
            let socket = bind_tcp(*address, shared)?;
            (Address::Tcp(socket.local_addr()?), BoundSocket::Tcp(socket))
        }
        Address::Unix(path) => (
            Address::Unix(path.clone()),
            BoundSocket::Unix(bind_unix(path)?),
        ),
    };
    complete(address, vec![first], workers)
}

/// Takes over the `sockets` that another process listens on at `address`, for so many workers.
///
/// # Errors
/// If they aren't what they should be, or the system has no descriptors left.
pub(crate) fn inherit(
    address: &Address,
    sockets: Vec<OwnedFd>,
    workers: usize,
) -> io::Result<Bound> {
    let sockets = sockets.into_iter();
    let sockets = sockets.map(|socket| BoundSocket::handed_over(socket, address));
    complete(
        address.clone(),
        sockets.collect::<io::Result<_>>()?,
        workers,
    )
}

/// Makes `sockets` enough for so many workers.
fn complete(address: Address, mut sockets: Vec<BoundSocket>, workers: usize) -> io::Result<Bound> {
    for index in sockets.len()..workers {
        let one = sockets
            .get(index % sockets.len().max(1))
            .ok_or(io::ErrorKind::InvalidInput)?;
        let more = match (one, &address) {
            (BoundSocket::Tcp(_), Address::Tcp(address)) => match beside(*address) {
                Ok(socket) => BoundSocket::Tcp(socket),
                // Somebody with more rights has bound the first: then workers share what there is.
                Err(_) => one.try_clone()?,
            },
            // A unix socket can't be bound twice.
            (BoundSocket::Tcp(_) | BoundSocket::Unix(_), _) => one.try_clone()?,
        };
        sockets.push(more);
    }
    Ok(Bound {
        identity: Identity::of(&address),
        address,
        sockets,
    })
}

/// The first socket of an address.
///
/// SO_REUSEPORT lets in whoever sets it, a second edge too, which would take every other connection. So unless the
/// address is `shared` with others of ours, this one binds and listens without, which only one process can; from then
/// on it lets further ones of ours in.
fn bind_tcp(address: SocketAddr, shared: bool) -> io::Result<std::net::TcpListener> {
    let socket = tcp_socket(address)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_reuse_port(true)?;
    Ok(socket.into())
}

/// A further socket of an address that we listen on.
fn beside(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = tcp_socket(address)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
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
    // Every connection that is accepted from it has that too.
    socket.set_tcp_nodelay(true)?;
    Ok(socket)
}

fn bind_unix(path: &Path) -> io::Result<StdUnixListener> {
    let _alone = lock_directory(path)?;
    match StdUnixStream::connect(path) {
        Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
        // Nobody listens: it was left behind by a process that died.
        Err(error)
            if error.kind() == io::ErrorKind::ConnectionRefused
                && Identity::of(&Address::Unix(path.to_owned())).is_some() =>
        {
            fs::remove_file(path)?;
        }
        Err(_) => {}
    }
    let listener = StdUnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Of two that find a dead socket at once, the slower one would take away the other's new one. So they go one after
/// the other; the lock goes with the file that is returned.
fn lock_directory(path: &Path) -> io::Result<Option<File>> {
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        Some(_) | None => Path::new("."),
    };
    let directory = File::options().read(true).open(directory);
    // Who may not read a directory, may still bind in it.
    let Ok(directory) = directory else {
        return Ok(None);
    };
    for _ in 0..LOCK_TRIES {
        match directory.try_lock() {
            Ok(()) => return Ok(Some(directory)),
            Err(fs::TryLockError::WouldBlock) => thread::sleep(LOCK_PAUSE),
            // A file system without locks.
            Err(fs::TryLockError::Error(_)) => return Ok(None),
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

/// Takes away what is left of an address that isn't listened on any more: a unix socket's file outlives the socket.
/// What another process has bound there since is left alone.
pub(crate) fn clean_up(address: &Address, identity: Option<&Identity>) {
    if let Address::Unix(path) = address
        && identity.is_some_and(|bound| Identity::of(address).as_ref() == Some(bound))
    {
        // If somebody else has taken it away, so much the better.
        let _ = fs::remove_file(path);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_accepted_sends_at_once_without_having_been_told_to() {
        let address = Address::Tcp("127.0.0.1:0".parse().unwrap());
        let mut bound = bind(&address, 2, &[]).unwrap();
        let Address::Tcp(address) = bound.address else {
            panic!("{:?}", bound.address);
        };
        // One that another process hands over has been made by who knows whom.
        let foreign = socket2::Socket::from(
            tokio::net::TcpListener::bind("127.0.0.1:0")
                .await
                .unwrap()
                .into_std()
                .unwrap(),
        );
        let elsewhere = foreign.local_addr().unwrap().as_socket().unwrap();
        let inherited = inherit(&Address::Tcp(elsewhere), vec![foreign.into()], 1).unwrap();
        drop(bound.sockets.pop());
        for (socket, address) in [
            (bound.sockets.remove(0), address),
            (inherited.sockets.into_iter().next().unwrap(), elsewhere),
        ] {
            let listener = Listener::from_std(socket).unwrap();
            let _client = TcpStream::connect(address).await.unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            let Stream::Tcp(stream) = stream else {
                panic!("{stream:?}");
            };
            assert!(stream.nodelay().unwrap());
        }
    }
}
