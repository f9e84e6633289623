//! Passing listening sockets on from one edge to the next, so that none is ever closed and no client is refused or
//! reset: two that merely share a port lose who waits in the queue of the one that ends.
//!
//! A running edge has a control socket for each address (`control`); `hostler run --replace` looks for one at its own
//! addresses (`predecessor`), asks, gets descriptors, serves, and says so; only then the old one stops accepting. It never decides what is bound
//! or when an edge ends: `edge` does.
//!
//! ```text
//! successor                         predecessor
//!   Ask { protocol, pid }    →
//!                            ←      Offer { pid, listeners }, and then the descriptors
//!   (binds the rest, serves)
//!   Serving { taken }        →
//!                            ←      Yours; it stops accepting, drains, ends
//! ```
//!
//! Instead of an answer there may be a `Refusal`. Whatever goes wrong before `Yours`, the old one goes on.

mod control;
mod predecessor;
mod wire;

use std::{fmt, io, path::PathBuf, time::Duration};

use tokio::{net::UnixStream, time};

pub(crate) use self::{
    control::{Control, Successor},
    predecessor::{Farewell, Predecessor, holder},
};
use crate::socket::Identity;

/// Raised when an edge couldn't understand its successor any more.
const PROTOCOL: u32 = 1;

/// For the other side to say its next word, where it has nothing to do before.
const WORD: Duration = Duration::from_secs(5);

/// For a successor to serve, from the moment that it has the sockets.
const START: Duration = Duration::from_secs(15);

/// Why sockets don't change hands.
#[derive(Debug)]
pub(crate) enum HandoverError {
    /// Only the same user's processes trust each other.
    OtherUser {
        uid: u32,
    },
    Refused {
        why: String,
    },
    Left,
    Late {
        wait: Duration,
    },
    /// What came isn't what was due.
    Garbled,
    System(io::Error),
}

impl fmt::Display for HandoverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherUser { uid } => {
                write!(f, "it runs as user {uid}; both have to run as the same")
            }
            Self::Refused { why } => write!(f, "it refuses: {why}"),
            Self::Left => write!(f, "it went away"),
            Self::Late { wait } => {
                let wait = humantime::format_duration(*wait);
                write!(f, "no word from it for {wait}")
            }
            Self::Garbled => write!(f, "it says what this version doesn't understand"),
            Self::System(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for HandoverError {}

impl From<io::Error> for HandoverError {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionReset, InvalidData, UnexpectedEof};
        if matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof) {
            Self::Left
        } else if error.kind() == InvalidData {
            Self::Garbled
        } else {
            Self::System(error)
        }
    }
}

/// The process at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer {
    uid: u32,
    /// None in a container that numbers its processes apart from ours.
    pid: Option<i32>,
}

impl Peer {
    fn of(stream: &UnixStream) -> io::Result<Self> {
        let credentials = stream.peer_cred()?;
        Ok(Self {
            uid: credentials.uid(),
            pid: credentials.pid().filter(|pid| *pid > 0),
        })
    }

    /// Whoever passes a socket on may have kept a copy, and takes half of the clients with it; and whoever is given
    /// one sees every client. So not even root is an exception.
    fn check(self, uid: u32) -> Result<(), HandoverError> {
        if self.uid == uid {
            Ok(())
        } else {
            Err(HandoverError::OtherUser { uid: self.uid })
        }
    }

    pub(crate) fn uid(self) -> u32 {
        self.uid
    }

    pub(crate) fn pid(self) -> Option<i32> {
        self.pid
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "{pid}"),
            None => write!(f, "in another container"),
        }
    }
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The name of a control socket. It is an abstract one: it has no file that could be left behind, and is seen in the
/// same network namespace, as the address itself is.
fn control_name(identity: &Identity) -> PathBuf {
    format!("\0hostler/{}", identity.as_str()).into()
}

/// What comes within `wait`.
async fn within<T>(
    wait: Duration,
    coming: impl Future<Output = Result<T, HandoverError>>,
) -> Result<T, HandoverError> {
    let late = HandoverError::Late { wait };
    time::timeout(wait, coming).await.unwrap_or(Err(late))
}

#[cfg(test)]
mod tests;
