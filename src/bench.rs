//! What the micro-benchmarks of bench/micro call: the parts of a request and of a start that are worth a figure of their
//! own.
//!
//! Only the feature `bench` compiles it, so nothing of it is in the edge.

use std::path::Path;

use crate::{
    config::{Config, HeaderEdits, Source},
    headers::{self, BodyLength, Homeward, Onward, Persistence},
    http1::{RequestHead, ResponseHead},
    route::Authority,
    snapshot::Snapshot,
};

/// Heads are no larger here.
const HEAD_BYTES_MAX: usize = 32 * 1024;

/// A configuration that was read, to be read again or to be routed by.
#[derive(Debug)]
pub struct Routes {
    source: Source,
    config: Config,
    snapshot: Snapshot,
}

impl Routes {
    /// # Panics
    /// If the file at `path` is wrong.
    #[must_use]
    pub fn load(path: &Path) -> Self {
        let mut source = Source::new(path);
        let config = loaded(&mut source);
        Self {
            snapshot: Snapshot::first(&config),
            source,
            config,
        }
    }

    /// Takes up what has changed: how many routes there are now.
    ///
    /// # Panics
    /// If the file is wrong now.
    pub fn load_again(&mut self) -> usize {
        self.config = loaded(&mut self.source);
        (self.snapshot, ..) = self.snapshot.next(&self.config);
        self.snapshot.routes()
    }

    /// From the value of a Host field to the tenant.
    #[must_use]
    pub fn find(&self, host: &[u8]) -> Option<&str> {
        let authority = Authority::parse(host).ok()?;
        let route = self.snapshot.route(authority.host())?;
        Some(route.tenant())
    }
}

fn loaded(source: &mut Source) -> Config {
    let loaded = source.load(&|_| None);
    loaded.unwrap_or_else(|errors| panic!("{}", errors.render(false)))
}

/// The heads of a request and of its response, on their way through.
#[derive(Debug, Default)]
pub struct Heads {
    request: RequestHead,
    response: ResponseHead,
    edits: HeaderEdits,
}

impl Heads {
    /// # Panics
    /// If `wire` is no whole head.
    pub fn read_request(&mut self, wire: &[u8]) {
        let read = self.request.parse(wire, HEAD_BYTES_MAX);
        assert!(matches!(read, Ok(Some(length)) if length == wire.len()));
    }

    /// # Panics
    /// If `wire` is no whole head.
    pub fn read_response(&mut self, wire: &[u8]) {
        let read = self.response.parse(wire, &self.request.method);
        assert!(matches!(read, Ok(Some(length)) if length == wire.len()));
    }

    /// As the app sees it.
    pub fn write_request(&self, out: &mut Vec<u8>) {
        let onward = Onward {
            head: &self.request,
            target: self.request.target(),
            authority: b"t0.bench.test",
            host: b"t0.bench.test",
            port: None,
            peer: b"192.0.2.1",
            client: b"192.0.2.1",
            peer_trusted: false,
            request_id: b"0123456789abcdef0123456789abcdef",
            body: BodyLength::None,
            upgrade: None,
            edits: &self.edits,
        };
        headers::write_request(out, &onward);
    }

    /// As the client sees it.
    pub fn write_response(&self, out: &mut Vec<u8>) {
        let homeward = Homeward {
            head: &self.response,
            body: BodyLength::Known(100),
            connection: Persistence::Persists,
            date: Some(b"Sun, 06 Nov 1994 08:49:37 GMT"),
            edits: &self.edits,
        };
        headers::write_response(out, &homeward);
    }
}
