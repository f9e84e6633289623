//! Where a host leads, and where a path. It never parses: it is given what was checked.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::{HostPattern, PathPrefix};

/// From a host to what its owner keeps for it: the exact host, else the longest wildcard.
///
/// The cost of a look-up depends on the labels of the host asked for, never on the entries.
#[derive(Debug, Clone)]
pub struct HostTable<T> {
    exact: HashMap<Box<str>, T, RandomState>,
    below: HashMap<Box<str>, T, RandomState>,
}

impl<T> Default for HostTable<T> {
    fn default() -> Self {
        Self {
            exact: HashMap::default(),
            below: HashMap::default(),
        }
    }
}

impl<T> HostTable<T> {
    #[must_use]
    pub fn with_capacity(entries: usize) -> Self {
        Self {
            exact: HashMap::with_capacity_and_hasher(entries, RandomState::default()),
            below: HashMap::default(),
        }
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// Gives the value back if the pattern has an entry already, which stays.
    pub fn insert(&mut self, pattern: &HostPattern, value: T) -> Result<(), T> {
        let (map, key) = match pattern.wildcard_suffix() {
            Some(suffix) => (&mut self.below, suffix),
            None => (&mut self.exact, pattern.as_str()),
        };
        if map.contains_key(key) {
            return Err(value);
        }
        map.insert(key.into(), value);
        Ok(())
    }

    /// Looks up a host that is written as [`Authority::host`] writes it.
    #[must_use]
    pub fn find(&self, host: &str) -> Option<&T> {
        if let Some(value) = self.exact.get(host) {
            return Some(value);
        }
        if self.below.is_empty() {
            return None;
        }
        let mut rest = host;
        while let Some((_, suffix)) = rest.split_once('.') {
            if let Some(value) = self.below.get(suffix) {
                return Some(value);
            }
            rest = suffix;
        }
        None
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.exact.len() + self.below.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.below.is_empty()
    }
}

/// From a path to what its owner keeps for it: the longest prefix that matches.
///
/// A route has a handful of prefixes, so they are tried in turn, the longest first.
#[derive(Debug, Clone)]
pub struct PathTable<T> {
    longest_first: Vec<(PathPrefix, T)>,
}

impl<T> Default for PathTable<T> {
    fn default() -> Self {
        Self {
            longest_first: Vec::new(),
        }
    }
}

impl<T> PathTable<T> {
    /// Adds an entry.
    ///
    /// # Errors
    /// Gives the value back if the prefix has an entry already, which stays.
    pub fn insert(&mut self, prefix: PathPrefix, value: T) -> Result<(), T> {
        if self.longest_first.iter().any(|(known, _)| *known == prefix) {
            return Err(value);
        }
        let longer = |(known, _): &(PathPrefix, T)| known.as_str().len() >= prefix.as_str().len();
        let at = self.longest_first.partition_point(longer);
        self.longest_first.insert(at, (prefix, value));
        Ok(())
    }

    /// Looks up a path as the client sent it, with or without its query.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<(&PathPrefix, &T)> {
        let (prefix, value) = self
            .longest_first
            .iter()
            .find(|(prefix, _)| prefix.matches(path))?;
        Some((prefix, value))
    }

    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.longest_first.iter().map(|(_, value)| value)
    }
}
