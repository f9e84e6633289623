//! A set of values that are found by a text which each of them has. A copy shares all that isn't changed in it, so that
//! a set of 100,000 with one more costs what one costs.
//!
//! It never orders, and never keeps a text of its own.

use std::{hash::BuildHasher as _, sync::Arc};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// Values of a part when it is made, on average; a part is what a change copies.
const PER_SHARD: usize = 256;
/// More of them, and the parts are made anew: so much larger may a set become by single insertions.
const PER_SHARD_MAX: usize = 4 * PER_SHARD;

/// What a value is found by.
pub trait Keyed {
    fn key(&self) -> &str;
}

/// Values by their texts.
#[derive(Debug, Clone)]
pub struct Sharded<T> {
    /// A power of two of them.
    shards: Vec<Arc<HashTable<T>>>,
    len: usize,
    hasher: RandomState,
}

impl<T: Keyed + Clone> Default for Sharded<T> {
    fn default() -> Self {
        Self::with_capacity(0)
    }
}

impl<T: Keyed + Clone> Sharded<T> {
    #[must_use]
    pub fn with_capacity(values: usize) -> Self {
        let shards = (values / PER_SHARD).max(1).next_power_of_two();
        Self {
            shards: (0..shards).map(|_| Arc::default()).collect(),
            len: 0,
            hasher: RandomState::default(),
        }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[must_use]
    #[inline]
    pub fn find(&self, key: &str) -> Option<&T> {
        let hash = self.hasher.hash_one(key);
        self.shards[self.shard(hash)].find(hash, |value| value.key() == key)
    }

    /// In no order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.shards.iter().flat_map(|shard| shard.iter())
    }

    /// Adds a value.
    ///
    /// # Errors
    /// Gives it back if there is one with its text, which stays.
    pub fn insert(&mut self, value: T) -> Result<(), T> {
        if self.find(value.key()).is_some() {
            return Err(value);
        }
        if self.len >= PER_SHARD_MAX * self.shards.len() {
            self.grow();
        }
        self.put(value);
        Ok(())
    }

    /// Takes a value out, if there is one with this text.
    pub fn remove(&mut self, key: &str) -> Option<T> {
        // Looked for first: a part that doesn't change isn't copied.
        self.find(key)?;
        let hash = self.hasher.hash_one(key);
        let shard = self.shard(hash);
        let found = Arc::make_mut(&mut self.shards[shard])
            .find_entry(hash, |value| value.key() == key)
            .ok()?;
        self.len -= 1;
        Some(found.remove().0)
    }

    fn put(&mut self, value: T) {
        let hash = self.hasher.hash_one(value.key());
        let shard = self.shard(hash);
        let hasher = &self.hasher;
        Arc::make_mut(&mut self.shards[shard])
            .insert_unique(hash, value, |value| hasher.hash_one(value.key()));
        self.len += 1;
    }

    fn grow(&mut self) {
        let values: Vec<T> = self.iter().cloned().collect();
        *self = Self::with_capacity(values.len());
        for value in values {
            self.put(value);
        }
    }

    /// The table takes the lowest bits and the highest seven for itself.
    #[inline]
    fn shard(&self, hash: u64) -> usize {
        let middle = (hash >> 32) & (self.shards.len() as u64 - 1);
        usize::try_from(middle).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    impl Keyed for String {
        fn key(&self) -> &str {
            self
        }
    }

    proptest! {
        /// As a set of the standard library would have it, and the copy that was made on the way as it was then.
        #[test]
        fn a_copy_never_changes_with_its_original(
            before in prop::collection::vec(0..2000_u32, 0..1500),
            after in prop::collection::vec((0..2000_u32, any::<bool>()), 0..50),
            capacity in 0..2000_usize,
        ) {
            let mut set = Sharded::with_capacity(capacity);
            let mut oracle = BTreeSet::new();
            for number in before {
                prop_assert_eq!(set.insert(number.to_string()).is_ok(), oracle.insert(number.to_string()));
            }
            let (copy, as_it_was) = (set.clone(), oracle.clone());
            for (number, add) in after {
                let text = number.to_string();
                if add {
                    prop_assert_eq!(set.insert(text.clone()).is_ok(), oracle.insert(text));
                } else {
                    prop_assert_eq!(set.remove(&text).is_some(), oracle.remove(&text));
                }
            }
            for (set, oracle) in [(&set, &oracle), (&copy, &as_it_was)] {
                prop_assert_eq!(set.len(), oracle.len());
                prop_assert_eq!(&set.iter().cloned().collect::<BTreeSet<_>>(), oracle);
                prop_assert!(oracle.iter().all(|text| set.find(text) == Some(text)));
            }
        }
    }

    #[test]
    fn a_change_copies_one_part() {
        let mut set = Sharded::with_capacity(10_000);
        for number in 0..10_000 {
            set.insert(number.to_string()).unwrap();
        }
        let copy = set.clone();
        set.insert("one more".to_owned()).unwrap();
        assert_eq!(set.remove("no such"), None);
        let parts = set.shards.iter().zip(&copy.shards);
        assert_eq!(
            parts
                .filter(|(one, other)| !Arc::ptr_eq(one, other))
                .count(),
            1
        );
    }
}
