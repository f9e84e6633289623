//! Names to addresses, by the system's configuration and /etc/hosts.
//!
//! Answers are never kept: Docker gives a TTL of 600 s to names whose address changes with the next restart.

use std::{fmt, net::IpAddr, sync::Arc};

use hickory_resolver::{
    Resolver as Hickory, TokioResolver,
    config::ResolverConfig,
    net::{NetError, runtime::TokioRuntimeProvider},
    proto::rr::Name,
};
use tokio::runtime::Handle;

/// Looks names up on the control thread, so that a slow name server costs a worker nothing.
#[derive(Clone)]
pub(crate) struct Resolver {
    hickory: Arc<TokioResolver>,
    control: Handle,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

/// A name that has no address now.
#[derive(Debug)]
pub(crate) enum Unresolved {
    NotAName,
    Lookup(NetError),
    /// The control thread is gone; the edge is about to end.
    Stopped,
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAName => f.write_str("not a name that can be looked up"),
            Self::Lookup(error) => error.fmt(f),
            Self::Stopped => f.write_str("the edge is stopping"),
        }
    }
}

impl Resolver {
    /// # Errors
    ///
    /// Where the system's configuration can't be read by the resolver's rules.
    pub(crate) fn from_system(control: Handle) -> Result<Self, NetError> {
        let mut builder = match Hickory::builder_tokio() {
            Ok(builder) => builder,
            // No resolv.conf is no reason not to start: /etc/hosts and literal addresses work without one.
            Err(error) => {
                tracing::warn!(%error, "no name server is configured; only /etc/hosts is asked");
                let no_server = ResolverConfig::from_parts(None, Vec::new(), Vec::new());
                Hickory::builder_with_config(no_server, TokioRuntimeProvider::default())
            }
        };
        builder.options_mut().cache_size = 0;
        Ok(Self {
            hickory: Arc::new(builder.build()?),
            control,
        })
    }

    /// The addresses of `host` now, which may be a literal one.
    pub(crate) async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, Unresolved> {
        let literal = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(host);
        if let Ok(address) = literal.parse() {
            return Ok(vec![address]);
        }
        // `from_ascii` takes the underscores that container names have; parsing by IDNA would not.
        let name = Name::from_ascii(host).map_err(|_| Unresolved::NotAName)?;
        let hickory = Arc::clone(&self.hickory);
        let lookup = self
            .control
            .spawn(async move { hickory.lookup_ip(name).await });
        match lookup.await {
            Ok(Ok(answer)) => Ok(answer.iter().collect()),
            Ok(Err(error)) => Err(Unresolved::Lookup(error)),
            Err(_) => Err(Unresolved::Stopped),
        }
    }
}
