//! Host patterns, path prefixes and the tables that they are looked up in.

/// A host that a route answers for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPattern(Box<str>);

/// The beginning of a path that a route treats apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PathPrefix(Box<str>);
