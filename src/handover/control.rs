//! The running edge's side: control sockets at which a successor asks, and what it is given. One that falls silent or
//! dies leaves the edge as it was.

use std::{
    collections::{HashMap, HashSet},
    io,
    os::fd::AsFd as _,
    time::Duration,
};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::mpsc,
    task::JoinHandle,
    time,
};

use super::{
    HandoverError, PROTOCOL, Peer, START, WORD, control_name, own_uid,
    wire::{self, Message, Offered},
    within,
};
use crate::socket::{BoundSocket, Identity};

/// Successors that wait for their turn.
const BACKLOG: i32 = 8;

/// After somebody who isn't let in, so that nobody can flood the log.
const PAUSE: Duration = Duration::from_millis(500);

/// Where successors ask: a socket for each address, and what they said there.
#[derive(Debug)]
pub(crate) struct Control {
    listening: HashMap<Identity, JoinHandle<()>>,
    asked: mpsc::Sender<Successor>,
    successors: mpsc::Receiver<Successor>,
}

/// Another edge that has asked to take over.
#[derive(Debug)]
pub(crate) struct Successor {
    stream: UnixStream,
    pub(crate) peer: Peer,
    pub(crate) version: String,
}

impl Control {
    pub(crate) fn new() -> Self {
        let (asked, successors) = mpsc::channel(1);
        Self {
            listening: HashMap::new(),
            asked,
            successors,
        }
    }

    /// From now on, listens for successors at exactly these addresses. Where it can't, the log says so: an edge that
    /// can't be replaced serves no worse.
    pub(crate) fn listen_at(&mut self, identities: HashSet<Identity>) {
        self.listening.retain(|identity, task| {
            let wanted = identities.contains(identity);
            if !wanted {
                task.abort();
            }
            wanted
        });
        for identity in identities {
            if self.listening.contains_key(&identity) {
                continue;
            }
            match bind(&identity) {
                Ok(listener) => {
                    let task = tokio::spawn(hear(listener, self.asked.clone()));
                    self.listening.insert(identity, task);
                }
                Err(error) => tracing::warn!(
                    at = identity.as_str(),
                    %error,
                    "no other edge can take over here"
                ),
            }
        }
    }

    /// The next one that asks.
    pub(crate) async fn successor(&mut self) -> Successor {
        match self.successors.recv().await {
            Some(successor) => successor,
            // It can't be: we hold a sender ourselves.
            None => std::future::pending().await,
        }
    }

    /// Leaves the names to the successor.
    pub(crate) async fn close(&mut self) {
        for (_, task) in self.listening.drain() {
            task.abort();
            // Until it has ended, the name is still taken.
            let _ = task.await;
        }
    }
}

fn bind(identity: &Identity) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(control_name(identity))?)?;
    socket.listen(BACKLOG)?;
    UnixListener::from_std(socket.into())
}

/// Lets in who may ask, one after the other.
async fn hear(listener: UnixListener, asked: mpsc::Sender<Successor>) {
    loop {
        let question = match listener.accept().await {
            Ok((stream, _)) => question(stream).await,
            Err(error) => Err(error.into()),
        };
        match question {
            Ok(successor) => {
                // Full as long as another one is taking over; then this one waits.
                if asked.send(successor).await.is_err() {
                    return;
                }
            }
            // Somebody who starts without --replace has looked who is here.
            Err(HandoverError::Left) => {}
            Err(error) => {
                tracing::warn!(%error, "asked to be replaced, but not properly");
                time::sleep(PAUSE).await;
            }
        }
    }
}

async fn question(mut stream: UnixStream) -> Result<Successor, HandoverError> {
    let peer = Peer::of(&stream)?;
    let why = match peer.check(own_uid()) {
        Ok(()) => match within(WORD, wire::receive(&mut stream)).await? {
            Message::Ask { protocol, version } if protocol == PROTOCOL => {
                return Ok(Successor {
                    stream,
                    peer,
                    version,
                });
            }
            Message::Ask { protocol, .. } => {
                format!("it knows version {PROTOCOL} of handing over, not {protocol}")
            }
            Message::Offer { .. }
            | Message::Serving { .. }
            | Message::Yours {}
            | Message::Refusal { .. } => return Err(HandoverError::Garbled),
        },
        Err(error) => {
            let why = format!("it runs as user {}", own_uid());
            refuse(&mut stream, why).await;
            return Err(error);
        }
    };
    refuse(&mut stream, why.clone()).await;
    Err(HandoverError::Refused { why })
}

async fn refuse(stream: &mut UnixStream, why: String) {
    // Whoever doesn't hear it sees that the connection ends.
    let _ = within(WORD, wire::send(stream, &Message::Refusal { why })).await;
}

impl Successor {
    /// Gives it copies of all sockets, and returns once it serves: with what it has taken.
    ///
    /// # Errors
    /// If it doesn't come to serve. Then nothing has changed.
    pub(crate) async fn offer(
        &mut self,
        listeners: &[(Identity, &[BoundSocket])],
    ) -> Result<Vec<Identity>, HandoverError> {
        let serving = within(START, self.try_offer(listeners)).await;
        if let Err(error) = &serving {
            let why = format!("it goes on, since: {error}");
            refuse(&mut self.stream, why).await;
        }
        serving
    }

    async fn try_offer(
        &mut self,
        listeners: &[(Identity, &[BoundSocket])],
    ) -> Result<Vec<Identity>, HandoverError> {
        let offered = listeners.iter().map(|(identity, sockets)| Offered {
            identity: identity.clone(),
            sockets: sockets.len(),
        });
        let offer = Message::Offer {
            listeners: offered.collect(),
        };
        wire::send(&mut self.stream, &offer).await?;
        for (_, sockets) in listeners {
            let sockets: Vec<_> = sockets.iter().map(|socket| socket.as_fd()).collect();
            wire::send_sockets(&self.stream, &sockets).await?;
        }
        match wire::receive(&mut self.stream).await? {
            Message::Serving { taken } => Ok(taken),
            Message::Ask { .. }
            | Message::Offer { .. }
            | Message::Yours {}
            | Message::Refusal { .. } => Err(HandoverError::Garbled),
        }
    }

    /// Tells it that the sockets are its own.
    ///
    /// # Errors
    /// If it is gone: then they aren't.
    pub(crate) async fn confirm(mut self) -> Result<(), HandoverError> {
        within(WORD, wire::send(&mut self.stream, &Message::Yours {})).await
    }
}
