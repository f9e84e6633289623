//! Host patterns, path prefixes and the tables that they are looked up in.
//!
//! It owns what a host is, in a request and in the configuration, and that both are written the
//! same way before they are compared. It does no I/O and knows no upstream: the tables lead to
//! whatever their owner puts into them.

mod authority;
mod pattern;
mod prefix;
mod sharded;
mod table;

pub use self::{
    authority::{Authority, InvalidHost},
    pattern::{HostPattern, HostPatternError},
    prefix::{PathPrefix, PathPrefixError},
    sharded::{Keyed, Sharded},
    table::{Fit, HostTable, PathTable},
};
