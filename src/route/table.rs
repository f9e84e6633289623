//! Where a host leads, and where a path. It never parses: it is given what was checked.

use super::{
    HostPattern, PathPrefix,
    sharded::{Keyed, Sharded},
};

/// From a host to what its owner keeps for it: the exact host, else the longest wildcard.
///
/// The cost of a look-up depends on the labels of the host asked for, never on the entries; that of a copy with a change
/// hardly does.
#[derive(Debug, Clone)]
pub struct HostTable<T> {
    exact: Sharded<Entry<T>>,
    below: Sharded<Entry<T>>,
}

#[derive(Debug, Clone)]
struct Entry<T> {
    pattern: HostPattern,
    value: T,
}

impl<T> Keyed for Entry<T> {
    fn key(&self) -> &str {
        key(&self.pattern)
    }
}

/// The host itself, or that below which a wildcard is.
fn key(pattern: &HostPattern) -> &str {
    pattern.wildcard_suffix().unwrap_or(pattern.as_str())
}

/// How a host fits an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit<'h> {
    /// It is the very host.
    Exact,
    /// It is below this one, which has a wildcard.
    Below(&'h str),
}

impl<T: Clone> Default for HostTable<T> {
    fn default() -> Self {
        Self::with_capacity(0)
    }
}

impl<T: Clone> HostTable<T> {
    #[must_use]
    pub fn with_capacity(exact_hosts: usize) -> Self {
        Self {
            exact: Sharded::with_capacity(exact_hosts),
            below: Sharded::default(),
        }
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// Gives the value back if the pattern has an entry already, which stays.
    pub fn insert(&mut self, pattern: &HostPattern, value: T) -> Result<(), T> {
        let entry = Entry {
            pattern: pattern.clone(),
            value,
        };
        self.side(pattern)
            .insert(entry)
            .map_err(|entry| entry.value)
    }

    /// Takes an entry out, if the pattern has one.
    pub fn remove(&mut self, pattern: &HostPattern) -> Option<T> {
        let entry = self.side(pattern).remove(key(pattern));
        entry.map(|entry| entry.value)
    }

    fn side(&mut self, pattern: &HostPattern) -> &mut Sharded<Entry<T>> {
        match pattern.wildcard_suffix() {
            Some(_) => &mut self.below,
            None => &mut self.exact,
        }
    }

    /// Looks up a host that is written as [`super::Authority::host`] writes it.
    #[must_use]
    #[inline]
    pub fn find(&self, host: &str) -> Option<&T> {
        self.matches(host).next().map(|(_, value)| value)
    }

    /// Every entry that a host fits, the one that it gets first.
    #[inline]
    pub fn matches<'t, 'h>(&'t self, host: &'h str) -> impl Iterator<Item = (Fit<'h>, &'t T)> {
        let exact = self.exact.find(host);
        let exact = exact.map(|entry| (Fit::Exact, &entry.value));
        let mut rest = host;
        let below = std::iter::from_fn(move || {
            if self.below.is_empty() {
                return None;
            }
            while let Some((_, suffix)) = rest.split_once('.') {
                rest = suffix;
                if let Some(entry) = self.below.find(suffix) {
                    return Some((Fit::Below(suffix), &entry.value));
                }
            }
            None
        });
        exact.into_iter().chain(below)
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
    longest_first: Box<[(PathPrefix, T)]>,
}

impl<T> Default for PathTable<T> {
    fn default() -> Self {
        Self {
            longest_first: Box::default(),
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
        let mut all = std::mem::take(&mut self.longest_first).into_vec();
        all.insert(at, (prefix, value));
        self.longest_first = all.into();
        Ok(())
    }

    /// Looks up a path as the client sent it, with or without its query.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<(&PathPrefix, &T)> {
        self.iter().find(|(prefix, _)| prefix.matches(path))
    }

    /// Every entry, in the order in which they are tried.
    pub fn iter(&self) -> impl Iterator<Item = (&PathPrefix, &T)> {
        self.longest_first
            .iter()
            .map(|(prefix, value)| (prefix, value))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::route::PathPrefix;

    fn table(patterns: &[&str]) -> HostTable<String> {
        let mut table = HostTable::default();
        for pattern in patterns {
            let pattern = HostPattern::parse(pattern).unwrap();
            table.insert(&pattern, pattern.to_string()).unwrap();
        }
        table
    }

    #[test]
    fn the_exact_host_wins_then_the_longest_wildcard() {
        let table = table(&[
            "thor.polls.local",
            "*.polls.local",
            "*.thor.polls.local",
            "*.local",
        ]);
        let check = |host, expected: Option<&str>| {
            assert_eq!(table.find(host).map(String::as_str), expected, "{host}");
        };
        check("thor.polls.local", Some("thor.polls.local"));
        check("a.thor.polls.local", Some("*.thor.polls.local"));
        check("b.a.thor.polls.local", Some("*.thor.polls.local"));
        check("potter.polls.local", Some("*.polls.local"));
        check("polls.local", Some("*.local"));
        check("local", None);
        check("xthor.polls.local.example", None);
    }

    #[test]
    fn a_taken_place_stays_taken() {
        let mut table = table(&["a.b", "*.b"]);
        for pattern in ["A.b.", "*.B"] {
            let pattern = HostPattern::parse(pattern).unwrap();
            assert_eq!(
                table.insert(&pattern, "new".to_owned()),
                Err("new".to_owned())
            );
        }
        assert_eq!(table.len(), 2);
    }

    #[test]
    fn the_longest_prefix_wins() {
        let mut table = PathTable::default();
        for prefix in ["/static", "/static/admin/", "/s"] {
            let prefix = PathPrefix::parse(prefix).unwrap();
            table.insert(prefix.clone(), prefix.to_string()).unwrap();
        }
        let check = |path, expected: Option<&str>| {
            assert_eq!(
                table.find(path).map(|(prefix, _)| prefix.as_str()),
                expected,
                "{path}"
            );
        };
        check("/static/admin/x", Some("/static/admin/"));
        check("/static/admin", Some("/static"));
        check("/s/static", Some("/s"));
        check("/staticfiles", None);
        let twice = PathPrefix::parse("/s").unwrap();
        assert!(table.insert(twice, String::new()).is_err());
    }

    /// What [`HostTable::matches`] means, by looking at every pattern.
    fn oracle<'p>(patterns: &'p [HostPattern], host: &str) -> Vec<&'p HostPattern> {
        let below = |pattern: &&HostPattern| {
            let suffix = pattern.wildcard_suffix().unwrap_or("\0");
            host.strip_suffix(suffix)
                .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
        };
        let mut wildcards: Vec<_> = patterns.iter().filter(below).collect();
        wildcards.sort_by_key(|pattern| std::cmp::Reverse(pattern.as_str().len()));
        let exact = patterns.iter().filter(|pattern| pattern.as_str() == host);
        exact.chain(wildcards).collect()
    }

    proptest! {
        #[test]
        fn hosts_are_found_as_by_looking_at_every_pattern(
            patterns in prop::collection::btree_set("(\\*\\.)?[ab](\\.[ab]){0,3}", 0..12),
            hosts in prop::collection::vec("[ab](\\.[ab]){0,4}", 1..8),
        ) {
            let patterns: Vec<_> = patterns.iter().map(|text| HostPattern::parse(text).unwrap()).collect();
            let mut table = HostTable::with_capacity(patterns.len());
            for pattern in &patterns {
                table.insert(pattern, pattern.clone()).unwrap();
            }
            for host in &hosts {
                let fitting = oracle(&patterns, host);
                prop_assert_eq!(table.find(host), fitting.first().copied());
                for (fit, pattern) in table.matches(host) {
                    let shown = match fit {
                        Fit::Exact => host.clone(),
                        Fit::Below(suffix) => format!("*.{suffix}"),
                    };
                    prop_assert_eq!(shown, pattern.to_string());
                }
                let found: Vec<_> = table.matches(host).map(|(_, pattern)| pattern).collect();
                prop_assert_eq!(found, fitting);
            }
        }

        #[test]
        fn paths_are_found_as_by_looking_at_every_prefix(
            prefixes in prop::collection::btree_set("(/[ab]{0,2}){1,3}", 0..10),
            path in "(/[ab]{0,2}){1,4}(\\?[ab/]{0,3})?",
        ) {
            let prefixes: Vec<_> = prefixes.iter().map(|text| PathPrefix::parse(text).unwrap()).collect();
            let mut table = PathTable::default();
            for prefix in &prefixes {
                table.insert(prefix.clone(), ()).unwrap();
            }
            let longest = prefixes.iter().filter(|prefix| prefix.matches(&path)).max_by_key(|prefix| prefix.as_str().len());
            prop_assert_eq!(table.find(&path).map(|(prefix, ())| prefix), longest);
        }
    }
}
