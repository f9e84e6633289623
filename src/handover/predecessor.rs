//! The new edge's side: looking for one that runs at its addresses, taking its sockets over, and telling it when it may
//! go. It changes nothing of the old one before it serves itself.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::OwnedFd,
    time::Duration,
};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::{net::UnixStream, time};

use super::{
    HandoverError, PROTOCOL, Peer, START, WORD, control_name, own_uid,
    wire::{self, Message, SOCKETS_MAX},
    within,
};
use crate::{
    config::Address,
    socket::{self, Bound, Identity},
};

/// One that is being replaced by somebody else leaves its names a moment before that one takes them.
const SEARCH: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);

/// The edge that runs so far, and what it has handed over.
#[derive(Debug)]
pub(crate) struct Predecessor {
    stream: UnixStream,
    pub(crate) peer: Peer,
    handed: Vec<(Identity, Vec<OwnedFd>)>,
    taken: Vec<Identity>,
}

/// What has become of a predecessor that was told that somebody else serves.
#[derive(Debug)]
pub(crate) enum Farewell {
    /// It drains.
    Drains,
    /// It died before it could say anything.
    Died,
    /// It doesn't answer, and may still be accepting. Nobody is lost by that.
    Silent,
}

impl Predecessor {
    /// The edge that has one of `addresses`, if there is one, with its sockets.
    ///
    /// # Errors
    /// If there is one and it doesn't hand over.
    pub(crate) async fn find(
        addresses: &[&Address],
    ) -> Result<Option<Self>, (Peer, HandoverError)> {
        let began = time::Instant::now();
        let mut cut_off = false;
        loop {
            let patient = began.elapsed() < SEARCH;
            match search(addresses) {
                Some((stream, peer)) => match Self::ask(stream, peer).await {
                    Ok(found) => return Ok(Some(found)),
                    // It was in the midst of handing over to another one, which is the one to be asked now.
                    Err(HandoverError::Left) if patient => cut_off = true,
                    Err(error) => return Err((peer, error)),
                },
                None if cut_off && patient => {}
                None => return Ok(None),
            }
            time::sleep(PAUSE).await;
        }
    }

    async fn ask(mut stream: UnixStream, peer: Peer) -> Result<Self, HandoverError> {
        peer.check(own_uid())?;
        let ask = Message::Ask {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        within(WORD, wire::send(&mut stream, &ask)).await?;
        // It may be reloading, or in the midst of handing over to one that won't come to serve.
        let handed = within(START + WORD, receive_offer(&mut stream)).await?;
        Ok(Self {
            stream,
            peer,
            handed,
            taken: Vec::new(),
        })
    }

    /// The sockets of `address` for so many workers, if it had that one.
    ///
    /// # Errors
    /// If they can't be used.
    pub(crate) fn inherit(
        &mut self,
        address: &Address,
        workers: usize,
    ) -> io::Result<Option<Bound>> {
        let Some(wanted) = Identity::of(address) else {
            return Ok(None);
        };
        let mut handed = self.handed.iter();
        let Some(index) = handed.position(|(identity, _)| *identity == wanted) else {
            return Ok(None);
        };
        let (identity, sockets) = self.handed.swap_remove(index);
        let bound = socket::inherit(address, sockets, workers)?;
        self.taken.push(identity);
        Ok(Some(bound))
    }

    /// Whether any of its TCP addresses has this port.
    pub(crate) fn has_port(&self, address: &Address) -> bool {
        let Address::Tcp(address) = address else {
            return false;
        };
        let port = format!(":{}", address.port());
        let mut handed = self.handed.iter();
        handed.any(|(identity, _)| identity.as_str().ends_with(&port))
    }

    pub(crate) fn taken(&self) -> &[Identity] {
        &self.taken
    }

    /// Closes what nobody wanted, and tells the old one that it may go.
    ///
    /// # Errors
    /// If it has changed its mind: it goes on, so this one has to end.
    pub(crate) async fn dismiss(mut self) -> Result<Farewell, HandoverError> {
        // The old one closes these last, once it has accepted who waits there.
        self.handed.clear();
        let serving = Message::Serving { taken: self.taken };
        let told = async {
            // If it has left, its last word may be why.
            let _ = wire::send(&mut self.stream, &serving).await;
            wire::receive(&mut self.stream).await
        };
        match within(WORD + WORD, told).await {
            Ok(Message::Yours {}) => Ok(Farewell::Drains),
            Ok(
                Message::Ask { .. }
                | Message::Offer { .. }
                | Message::Serving { .. }
                | Message::Refusal { .. },
            ) => Err(HandoverError::Garbled),
            Err(HandoverError::Left) => Ok(Farewell::Died),
            Err(HandoverError::Late { .. }) => Ok(Farewell::Silent),
            Err(error) => Err(error),
        }
    }
}

async fn receive_offer(
    stream: &mut UnixStream,
) -> Result<Vec<(Identity, Vec<OwnedFd>)>, HandoverError> {
    let Message::Offer { listeners } = wire::receive(stream).await? else {
        return Err(HandoverError::Garbled);
    };
    let mut handed = Vec::new();
    for offered in listeners {
        if offered.sockets > SOCKETS_MAX {
            return Err(HandoverError::Garbled);
        }
        let sockets = wire::receive_sockets(stream, offered.sockets).await?;
        handed.push((offered.identity, sockets));
    }
    Ok(handed)
}

/// The edge that stands in the way of `address`, if there is one.
pub(crate) fn holder(address: &Address) -> Option<Peer> {
    search(&[address]).map(|(_, peer)| peer)
}

fn search(addresses: &[&Address]) -> Option<(UnixStream, Peer)> {
    addresses
        .iter()
        .flat_map(|address| in_the_way_of(address))
        .filter_map(|address| Identity::of(&address))
        .find_map(|identity| {
            // Nobody is there, as a rule.
            let stream = connect(&identity).ok()?;
            let peer = Peer::of(&stream).ok()?;
            Some((stream, peer))
        })
}

/// The addresses that an edge may have which keep another from `address`: this one, and all addresses with its port.
fn in_the_way_of(address: &Address) -> Vec<Address> {
    let mut addresses = vec![address.clone()];
    if let Address::Tcp(address) = address {
        let all = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        let all = all.map(|ip| Address::Tcp(SocketAddr::new(ip, address.port())));
        addresses.extend(all);
    }
    addresses
}

/// Never waits: where the queue of a control socket is full, nobody hears.
fn connect(identity: &Identity) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(control_name(identity))?)?;
    UnixStream::from_std(socket.into())
}
