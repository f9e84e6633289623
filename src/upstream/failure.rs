//! What ends an exchange with an app early, and how far it had got. What that means for the request is decided elsewhere.

use std::{fmt, io};

use super::download::DownloadError;
use crate::http1::{InvalidBody, InvalidHead};

/// What ended an exchange early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The app closed or reset the connection.
    Closed(io::Error),
    InvalidHead(InvalidHead),
    InvalidBody(InvalidBody),
    /// A 101 that nobody had asked for.
    UnaskedUpgrade,
    TooManyInterim,
    /// The app didn't answer, or sent nothing more.
    UpstreamTimeout,
    /// The client stopped sending its body, or taking its response.
    ClientTimeout,
    /// The client's body was not valid.
    ClientBody(InvalidBody),
    /// The client's body is larger than its tenant takes.
    BodyTooLarge,
    ClientGone,
}

/// How far an exchange has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The app may have seen some of the request.
    pub(crate) sent: bool,
    /// Some of the request's body has been taken from the client.
    pub(crate) pulled: bool,
    /// The app has said something.
    pub(crate) answered: bool,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(error) => error.fmt(f),
            Self::InvalidHead(error) => error.fmt(f),
            Self::InvalidBody(error) | Self::ClientBody(error) => error.fmt(f),
            Self::UnaskedUpgrade => f.write_str("101 without an upgrade being asked for"),
            Self::TooManyInterim => f.write_str("interim responses without end"),
            Self::UpstreamTimeout => f.write_str("the app stood still"),
            Self::ClientTimeout => f.write_str("the client stood still"),
            Self::BodyTooLarge => f.write_str("the client's body is too large"),
            Self::ClientGone => f.write_str("the client left"),
        }
    }
}

impl From<DownloadError> for Failure {
    fn from(error: DownloadError) -> Self {
        match error {
            DownloadError::ClientGone => Self::ClientGone,
            DownloadError::Invalid(error) => Self::InvalidBody(error),
            DownloadError::Upstream(error) => Self::Closed(error),
        }
    }
}
