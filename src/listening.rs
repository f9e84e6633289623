//! What the edge listens on, as its control thread knows it: each address with copies of its sockets, to be handed over
//! to a successor, and the admin listener. It accepts nobody.

use std::{collections::HashSet, io, thread, time::Duration};

use tokio::{sync::oneshot, time};

use crate::{
    admin::{Admin, Told},
    config::{Address, Config},
    edge_error::EdgeError,
    handover::Predecessor,
    holder::Holder,
    socket::{self, Bound, BoundSocket, Identity},
};

/// How long an address that is in use may turn out to be that of an edge that can be replaced.
const APPEARS: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(100);
/// Of the admin listener's threads: a tenth of the time of those that serve, where both want it.
const NICE: i32 = 10;

/// An address as it was asked for and as it was bound: they differ in the port if that was 0.
#[derive(Debug)]
pub(crate) struct Listening {
    pub(crate) wanted: Address,
    pub(crate) bound: Address,
    pub(crate) identity: Option<Identity>,
    /// Copies of the workers' own. As long as one is open, clients can connect.
    copies: Vec<BoundSocket>,
}

/// What is left of a listener whose sockets are closed here.
#[derive(Debug)]
pub(crate) struct Leftover {
    address: Address,
    identity: Option<Identity>,
}

#[derive(Debug)]
pub(crate) struct RunningAdmin {
    listening: Listening,
    /// Dropped, it accepts nobody any more, and finishes with those who are there.
    accepting: oneshot::Sender<()>,
    /// Told, it ends.
    ending: oneshot::Sender<()>,
    thread: thread::JoinHandle<()>,
}

impl Listening {
    /// # Errors
    /// If there are no descriptors left for the copies.
    pub(crate) fn new(wanted: Address, bound: &Bound) -> Result<Self, EdgeError> {
        // The workers share one unix socket.
        let distinct = match bound.address {
            Address::Tcp(_) => bound.sockets.len(),
            Address::Unix(_) => 1,
        };
        let copies = bound.sockets.iter().take(distinct);
        let copies = copies.map(BoundSocket::try_clone);
        Ok(Self {
            wanted,
            bound: bound.address.clone(),
            identity: bound.identity.clone(),
            copies: copies
                .collect::<io::Result<_>>()
                .map_err(EdgeError::System)?,
        })
    }

    pub(crate) fn offer(&self) -> Option<(Identity, &[BoundSocket])> {
        let identity = self.identity.clone()?;
        Some((identity, &self.copies))
    }

    pub(crate) fn is_in(&self, identities: &HashSet<Identity>) -> bool {
        let identity = self.identity.as_ref();
        identity.is_some_and(|identity| identities.contains(identity))
    }

    /// Closes the copies; the workers' are next.
    pub(crate) fn close(self) -> Leftover {
        Leftover {
            address: self.bound,
            identity: self.identity,
        }
    }
}

impl Leftover {
    /// To be called when nobody listens any more.
    pub(crate) fn clean_up(&self) {
        socket::clean_up(&self.address, self.identity.as_ref());
    }
}

impl RunningAdmin {
    /// On a thread of its own, which goes after all others: whoever asks much of it takes nothing from requests.
    pub(crate) fn start(wanted: &Address, bound: Bound, told: &Told) -> Result<Self, EdgeError> {
        let listening = Listening::new(wanted.clone(), &bound)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(EdgeError::System)?;
        let admin = {
            let _inside = runtime.enter();
            Admin::on(bound).map_err(EdgeError::System)?
        };
        tracing::info!(address = %listening.bound, "admin listening");
        let (accepting, stopped) = oneshot::channel();
        let (ending, ended) = oneshot::channel();
        let told = told.clone();
        let serve = move || {
            // Of this thread alone, and of those that it starts; it fails nowhere.
            let _ = rustix::process::setpriority_process(None, NICE);
            runtime.block_on(async {
                tokio::select! {
                    () = admin.serve(told, stopped) => {}
                    Ok(()) = ended => {}
                }
            });
            // Whoever is being told something long is told no more.
            runtime.shutdown_background();
        };
        let thread = thread::Builder::new().name("admin".into()).spawn(serve);
        Ok(Self {
            listening,
            accepting,
            ending,
            thread: thread.map_err(EdgeError::System)?,
        })
    }

    pub(crate) fn listening(&self) -> &Listening {
        &self.listening
    }

    /// Closes its socket and its connections.
    pub(crate) fn end(self) {
        let _ = self.ending.send(());
        // It ends at once: nothing that it does takes longer than a listing's piece.
        let _ = self.thread.join();
        self.listening.close().clean_up();
    }

    /// Leaves its socket to the process that has taken it over, and goes on with the connections that are there.
    pub(crate) fn leave(self) {
        drop(self.accepting);
    }
}

/// What a new edge has bound, or taken over.
#[derive(Debug)]
pub(crate) struct FirstSockets {
    pub(crate) listen: Vec<(Address, Bound)>,
    pub(crate) admin: Bound,
}

impl FirstSockets {
    /// All or none.
    pub(crate) fn bind(
        config: &Config,
        workers: usize,
        mut predecessor: Option<&mut Predecessor>,
    ) -> Result<Self, EdgeError> {
        let mut ours = Vec::new();
        let mut listen = Vec::new();
        for address in &config.listen {
            let predecessor = predecessor.as_deref_mut();
            let bound = bind_or_inherit(address, workers, &ours, predecessor)?;
            ours.push(bound.address.clone());
            listen.push((address.clone(), bound));
        }
        let mut admin = bind_or_inherit(&config.admin, 1, &[], predecessor)?;
        // More than one only where tenants were served at this address before.
        admin.sockets.truncate(1);
        Ok(Self { listen, admin })
    }

    /// The sockets for `config`, and whose they were so far, if somebody's.
    pub(crate) async fn take_over(
        config: &Config,
        workers: usize,
    ) -> Result<(Self, Option<Predecessor>), EdgeError> {
        let mut addresses: Vec<_> = config.listen.iter().collect();
        addresses.push(&config.admin);
        let began = time::Instant::now();
        loop {
            let found = Predecessor::find(&addresses).await;
            let mut found =
                found.map_err(|(predecessor, error)| EdgeError::Replace { predecessor, error })?;
            if let Some(predecessor) = &found {
                tracing::info!(predecessor = %predecessor.peer, "replacing");
            }
            match Self::bind(config, workers, found.as_mut()) {
                // One that has just started or taken over has the address a moment before it can be asked for it.
                Err(EdgeError::InUse { .. }) if found.is_none() && began.elapsed() < APPEARS => {
                    time::sleep(PAUSE).await;
                }
                Err(error) => return Err(error),
                Ok(sockets) => {
                    if found.is_none() {
                        tracing::info!("nothing runs here that could be replaced, starting");
                    }
                    return Ok((sockets, found));
                }
            }
        }
    }
}

fn bind_or_inherit(
    address: &Address,
    workers: usize,
    ours: &[Address],
    predecessor: Option<&mut Predecessor>,
) -> Result<Bound, EdgeError> {
    let mut shared = ours.to_vec();
    if let Some(predecessor) = predecessor {
        let inherited = predecessor.inherit(address, workers);
        if let Some(bound) = inherited.map_err(|error| bind_error(address, error))? {
            return Ok(bound);
        }
        // Such as 127.0.0.1 where it has all addresses: for a moment, both are listened on.
        if predecessor.has_port(address) {
            shared.push(address.clone());
        }
    }
    bind(address, workers, &shared)
}

/// Binds one address. `ours` are those that this process has already.
pub(crate) fn bind(
    address: &Address,
    workers: usize,
    ours: &[Address],
) -> Result<Bound, EdgeError> {
    socket::bind(address, workers, ours).map_err(|error| bind_error(address, error))
}

fn bind_error(address: &Address, error: io::Error) -> EdgeError {
    let address = address.clone();
    if error.kind() == io::ErrorKind::AddrInUse {
        let holder = Holder::of(&address);
        EdgeError::InUse { address, holder }
    } else {
        EdgeError::Bind { address, error }
    }
}
