//! What a message says of its connection (RFC 9110 §7.6.1): whether it ends, what it turns into, and which fields are for
//! the neighbour alone.

use super::Name;

/// Fields that one message may name as its neighbour's alone. Each is looked for among all the others; nobody who
/// means it names more.
const NOMINATED_MAX: usize = 32;

/// What the Connection fields of one message say (RFC 9110 §7.6.1).
#[derive(Debug, Default)]
pub(crate) struct ConnectionOptions {
    close: bool,
    keep_alive: bool,
    upgrade: bool,
    pub(crate) te: bool,
    /// Further fields that the sender meant for its neighbour alone.
    nominated: Vec<Box<[u8]>>,
}

impl ConnectionOptions {
    /// Forgets what another message has said.
    pub(crate) fn restart(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn read(&mut self, value: &[u8]) {
        for option in value.split(|&byte| byte == b',') {
            let option = option.trim_ascii();
            match option.len() {
                0 => {}
                2 if option.eq_ignore_ascii_case(b"te") => self.te = true,
                5 if option.eq_ignore_ascii_case(b"close") => self.close = true,
                7 if option.eq_ignore_ascii_case(b"upgrade") => self.upgrade = true,
                10 if option.eq_ignore_ascii_case(b"keep-alive") => self.keep_alive = true,
                _ => self.nominate(option),
            }
        }
    }

    /// A nomination may not take away what the edge or the app must be able to rely on: `Connection: host` or
    /// `Connection: authorization` is an attack, not a wish.
    fn nominate(&mut self, option: &[u8]) {
        let nominable = match Name::of(option) {
            Name::Authorization
            | Name::ContentLength
            | Name::Cookie
            | Name::Host
            | Name::SetCookie
            | Name::TransferEncoding
            | Name::XForwardedFor
            | Name::XForwardedHost
            | Name::XForwardedPort
            | Name::XForwardedProto
            | Name::XRealIp
            | Name::XRequestId
            | Name::Twin => false,
            Name::Accept
            | Name::Connection
            | Name::Date
            | Name::Expect
            | Name::Te
            | Name::Trailer
            | Name::Upgrade
            | Name::HopByHop
            | Name::Claim
            | Name::NoTrailer
            | Name::Other => true,
        };
        if nominable && self.nominated.len() < NOMINATED_MAX {
            self.nominated.push(option.into());
        }
    }

    pub(crate) fn nominates(&self, name: &[u8]) -> bool {
        self.nominated
            .iter()
            .any(|nominated| nominated.eq_ignore_ascii_case(name))
    }

    /// Whether the connection outlives the message (RFC 9112 §9.3).
    pub(crate) fn keep_alive(&self, http11: bool) -> bool {
        !self.close && (http11 || self.keep_alive)
    }

    pub(crate) fn upgrade(&self) -> bool {
        self.upgrade
    }
}
