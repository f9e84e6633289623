//! Why an edge can't start, or can't take up a configuration, in words for whoever runs it. It never reaches a client.

use std::{fmt, io, path::PathBuf};

use crate::{
    config::Address,
    handover::{HandoverError, Peer},
    holder::Holder,
};

/// Why an edge can't start, or can't take up a configuration.
#[derive(Debug)]
pub(crate) enum EdgeError {
    InUse {
        address: Address,
        holder: Holder,
    },
    Bind {
        address: Address,
        error: io::Error,
    },
    /// The one that runs doesn't make way.
    Replace {
        predecessor: Peer,
        error: HandoverError,
    },
    /// The file that `usage.path` names can't be written.
    Usage {
        path: PathBuf,
        error: io::Error,
    },
    Resolver(Box<dyn std::error::Error + Send + Sync>),
    System(io::Error),
}

impl fmt::Display for EdgeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse { address, holder } => write!(f, "can't listen on {address}: {holder}"),
            Self::Bind { address, error } if error.kind() == io::ErrorKind::PermissionDenied => {
                write!(
                    f,
                    "can't listen on {address}: not permitted; take a port above 1023, or grant CAP_NET_BIND_SERVICE"
                )
            }
            Self::Bind { address, error } => write!(f, "can't listen on {address}: {error}"),
            Self::Replace { predecessor, error } => {
                write!(f, "can't replace process {predecessor}: {error}")
            }
            Self::Usage { path, error } => {
                let path = path.display();
                let remedy = match error.kind() {
                    io::ErrorKind::NotFound => "; make its directory",
                    io::ErrorKind::PermissionDenied => "; let the edge write there",
                    _ => "",
                };
                write!(f, "can't write {path} ([usage] path): {error}{remedy}")
            }
            Self::Resolver(error) => write!(f, "can't look up names: {error}"),
            Self::System(error) => write!(f, "can't start: {error}"),
        }
    }
}

impl std::error::Error for EdgeError {}
