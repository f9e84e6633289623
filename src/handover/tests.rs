//! Handing over within one process: the conversation, and everything that can go wrong with it.

use std::{
    collections::HashSet,
    net::{SocketAddr, TcpListener},
    os::fd::{AsFd as _, OwnedFd},
    process,
};

use super::{
    wire::{Message, Offered},
    *,
};
use crate::{
    config::Address,
    socket::{self, Bound},
};

const LOOPBACK: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// An edge's sockets, and where a successor finds them.
struct Running {
    bound: Bound,
    control: Control,
}

impl Running {
    fn with(sockets: usize) -> Self {
        let bound = socket::bind(&Address::Tcp(LOOPBACK), sockets, &[]).unwrap();
        let mut control = Control::new();
        control.listen_at(bound.identity.clone().into_iter().collect());
        Self { bound, control }
    }

    fn offer(&self) -> Vec<(Identity, &[socket::BoundSocket])> {
        vec![(self.bound.identity.clone().unwrap(), &self.bound.sockets)]
    }

    async fn successor(&mut self) -> Successor {
        within(WORD, async { Ok(self.control.successor().await) })
            .await
            .unwrap()
    }
}

async fn find(address: &Address) -> Result<Option<Predecessor>, HandoverError> {
    let found = Predecessor::find(&[address]).await;
    found.map_err(|(_, error)| error)
}

/// What a stranger says to a control socket.
async fn dial(identity: &Identity) -> UnixStream {
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    let address = socket2::SockAddr::unix(control_name(identity)).unwrap();
    socket.connect(&address).unwrap();
    socket.set_nonblocking(true).unwrap();
    UnixStream::from_std(socket.into()).unwrap()
}

#[tokio::test]
async fn sockets_change_hands() {
    // More than go into one batch.
    let mut running = Running::with(150);
    let address = running.bound.address.clone();
    let new = tokio::spawn(async move {
        let mut predecessor = find(&address).await.unwrap().unwrap();
        assert_eq!(predecessor.peer.pid(), i32::try_from(process::id()).ok());
        assert!(predecessor.has_port(&address));
        let bound = predecessor.inherit(&address, 160).unwrap().unwrap();
        assert_eq!((bound.sockets.len(), &bound.address), (160, &address));
        assert!(predecessor.inherit(&address, 1).unwrap().is_none());
        let taken = predecessor.taken().to_vec();
        (predecessor.dismiss().await.unwrap(), taken, bound)
    });
    let mut successor = running.successor().await;
    assert_eq!(successor.version, env!("CARGO_PKG_VERSION"));
    let taken = successor.offer(&running.offer()).await.unwrap();
    running.control.close().await;
    successor.confirm().await.unwrap();
    let (farewell, told, bound) = new.await.unwrap();
    assert!(matches!(farewell, Farewell::Drains), "{farewell:?}");
    assert_eq!(taken, told);
    assert_eq!(taken, [bound.identity.unwrap()]);
    assert!(find(&bound.address).await.unwrap().is_none());
}

#[tokio::test]
async fn one_that_stands_in_the_way_is_found() {
    let mut control = Control::new();
    let bound = socket::bind(&Address::Tcp(([0, 0, 0, 0], 0).into()), 1, &[]).unwrap();
    control.listen_at(bound.identity.clone().into_iter().collect());
    let Address::Tcp(all) = bound.address else {
        unreachable!()
    };
    for (ip, port, found) in [
        ([127, 0, 0, 1], all.port(), true),
        ([0, 0, 0, 0], all.port(), true),
        ([127, 0, 0, 1], 0, false),
    ] {
        let address = Address::Tcp((ip, port).into());
        assert_eq!(holder(&address).is_some(), found, "{address}");
    }
    control.listen_at(HashSet::new());
    control.close().await;
    tokio::task::yield_now().await;
    assert!(holder(&Address::Tcp(all)).is_none());
}

#[tokio::test]
async fn successor_that_leaves_or_talks_nonsense_changes_nothing() {
    let mut running = Running::with(1);
    let address = running.bound.address.clone();
    let identity = running.bound.identity.clone().unwrap();
    for nonsense in [
        &b""[..],
        b"\xff\xff\xff\xff",
        b"\x02\x00\x00\x00{}",
        b"\x04\x00\x00\x00\"yo\"",
    ] {
        let mut stranger = dial(&identity).await;
        tokio::io::AsyncWriteExt::write_all(&mut stranger, nonsense)
            .await
            .unwrap();
    }
    let mut stranger = dial(&identity).await;
    let ask = Message::Ask {
        protocol: PROTOCOL + 1,
        version: String::new(),
    };
    wire::send(&mut stranger, &ask).await.unwrap();
    let refusal = wire::receive(&mut stranger).await.unwrap_err();
    assert!(refusal.to_string().contains("version 1"), "{refusal}");

    let leaver = tokio::spawn(async move { drop(find(&address).await.unwrap().unwrap()) });
    let mut successor = running.successor().await;
    let error = successor.offer(&running.offer()).await.unwrap_err();
    assert!(matches!(error, HandoverError::Left), "{error:?}");
    leaver.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn successor_that_never_serves_is_given_up() {
    let mut running = Running::with(1);
    let address = running.bound.address.clone();
    let new = tokio::spawn(async move {
        let mut predecessor = find(&address).await.unwrap().unwrap();
        let bound = predecessor.inherit(&address, 1).unwrap();
        time::sleep(START + WORD).await;
        (predecessor.dismiss().await.unwrap_err(), bound)
    });
    let mut successor = running.control.successor().await;
    let error = successor.offer(&running.offer()).await.unwrap_err();
    assert!(matches!(error, HandoverError::Late { .. }), "{error:?}");
    drop(successor);
    // It has to end, since the old one goes on.
    let (error, _) = new.await.unwrap();
    assert!(matches!(error, HandoverError::Refused { .. }), "{error:?}");
}

#[tokio::test]
async fn predecessor_that_dies_is_no_obstacle() {
    let mut running = Running::with(1);
    let address = running.bound.address.clone();
    let new = tokio::spawn(async move {
        let predecessor = find(&address).await.unwrap().unwrap();
        predecessor.dismiss().await.unwrap()
    });
    let mut successor = running.successor().await;
    successor.offer(&running.offer()).await.unwrap();
    drop(successor);
    let farewell = new.await.unwrap();
    assert!(matches!(farewell, Farewell::Died), "{farewell:?}");
}

#[tokio::test]
async fn sockets_that_are_not_what_they_should_be_are_not_taken() {
    let (mut ours, mut theirs) = UnixStream::pair().unwrap();
    let elsewhere = TcpListener::bind(LOOPBACK).unwrap();
    let address = Address::Tcp(TcpListener::bind(LOOPBACK).unwrap().local_addr().unwrap());
    wire::send_sockets(&ours, &[elsewhere.as_fd()])
        .await
        .unwrap();
    let sockets: Vec<OwnedFd> = wire::receive_sockets(&theirs, 1).await.unwrap();
    let error = socket::inherit(&address, sockets, 1).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);

    let offered = Offered {
        identity: Identity::of(&address).unwrap(),
        sockets: 1,
    };
    let offer = Message::Offer {
        listeners: vec![offered],
    };
    wire::send(&mut ours, &offer).await.unwrap();
    assert_eq!(wire::receive(&mut theirs).await.unwrap(), offer);
    // Fewer, and none.
    drop(ours);
    let error = wire::receive_sockets(&theirs, 1).await.unwrap_err();
    assert!(matches!(error, HandoverError::Left), "{error:?}");
}

#[test]
fn only_the_same_user_is_let_in() {
    let peer = |uid| Peer { uid, pid: None };
    assert!(peer(1000).check(1000).is_ok());
    for (theirs, ours) in [(1000, 1001), (1000, 0), (0, 1000)] {
        let error = peer(theirs).check(ours).unwrap_err();
        assert!(
            error.to_string().contains(&format!("user {theirs}")),
            "{error}"
        );
    }
}
