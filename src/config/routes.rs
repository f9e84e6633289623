//! The tenants of a configuration, in the order of its files. What two configurations have in common they share, so that
//! to compare them costs what is different.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use foldhash::fast::RandomState;

use super::Route;

/// Routes by file. Their names are unique, and so are host patterns across all of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Routes {
    files: Vec<FileRoutes>,
}

/// Those of one file.
pub(super) type FileRoutes = Arc<[Arc<Route>]>;

impl Routes {
    /// The caller has seen to it that names and hosts are unique.
    pub(super) fn of_files(files: Vec<FileRoutes>) -> Self {
        Self { files }
    }

    /// The same routes, and where one is as it was `before`, the very one.
    pub(super) fn taken_from(routes: Vec<Route>, before: &Self) -> Self {
        let known: HashMap<&str, &Arc<Route>, RandomState> =
            before.iter().map(|route| (&*route.tenant, route)).collect();
        let shared = routes
            .into_iter()
            .map(|route| match known.get(&*route.tenant) {
                Some(known) if ***known == route => Arc::clone(known),
                _ => Arc::new(route),
            });
        Self::of_files(vec![shared.collect()])
    }

    pub(crate) fn len(&self) -> usize {
        self.files.iter().map(|file| file.len()).sum()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.files.iter().flat_map(|file| file.iter())
    }

    /// What `before` has and this has not, and what this has and `before` has not. A route that was read anew counts as
    /// another, even if it says the same.
    pub(crate) fn differences<'a>(
        &'a self,
        before: &'a Self,
    ) -> (Vec<&'a Arc<Route>>, Vec<&'a Arc<Route>>) {
        let (old, new) = between(&before.files, &self.files, Arc::ptr_eq);
        // Of one large file hardly more than a route or two is left in between, so no list of all is made.
        let flat = |files: &'a [FileRoutes]| files.iter().flat_map(|file| file.iter());
        let same = |(one, other): &(&Arc<Route>, &Arc<Route>)| Arc::ptr_eq(one, other);
        let counts = [old, new].map(|files| files.iter().map(|file| file.len()).sum::<usize>());
        let least = counts[0].min(counts[1]);
        let start = flat(old).zip(flat(new)).take_while(same).count();
        let backwards = flat(old).rev().zip(flat(new).rev());
        let end = backwards.take(least - start).take_while(same).count();
        let middle = |files, count: usize| -> Vec<&'a Arc<Route>> {
            flat(files).skip(start).take(count - start - end).collect()
        };
        let (old, new) = (middle(old, counts[0]), middle(new, counts[1]));
        let all = |routes: &[&Arc<Route>]| -> HashSet<*const Route, RandomState> {
            routes.iter().map(|route| Arc::as_ptr(route)).collect()
        };
        let (in_old, in_new) = (all(&old), all(&new));
        let without = |routes: &[&'a Arc<Route>], others: &HashSet<*const Route, RandomState>| {
            let routes = routes.iter().copied();
            routes
                .filter(|route| !others.contains(&Arc::as_ptr(route)))
                .collect()
        };
        (without(&old, &in_new), without(&new, &in_old))
    }
}

/// What is left of two lists without the beginning and the end that they have in common: of a large configuration
/// mostly one or two routes.
fn between<'l, T>(
    mut one: &'l [T],
    mut other: &'l [T],
    same: impl Fn(&T, &T) -> bool,
) -> (&'l [T], &'l [T]) {
    let start = one
        .iter()
        .zip(other)
        .take_while(|(a, b)| same(a, b))
        .count();
    (one, other) = (&one[start..], &other[start..]);
    let backwards = one.iter().rev().zip(other.iter().rev());
    let end = backwards.take_while(|(a, b)| same(a, b)).count();
    (&one[..one.len() - end], &other[..other.len() - end])
}

impl FromIterator<Route> for Routes {
    fn from_iter<I: IntoIterator<Item = Route>>(routes: I) -> Self {
        Self::of_files(vec![routes.into_iter().map(Arc::new).collect()])
    }
}

impl PartialEq for Routes {
    /// Whatever files they come from.
    fn eq(&self, other: &Self) -> bool {
        let (one, other) = between(&self.files, &other.files, Arc::ptr_eq);
        let [one, other] = [one, other].map(|files| files.iter().flat_map(|file| file.iter()));
        one.map(Same).eq(other.map(Same))
    }
}

struct Same<'a>(&'a Arc<Route>);

impl PartialEq for Same<'_> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(self.0, other.0) || self.0 == other.0
    }
}

#[cfg(test)]
impl std::ops::Index<usize> for Routes {
    type Output = Route;

    fn index(&self, index: usize) -> &Route {
        self.iter().nth(index).unwrap()
    }
}
