//! Where a configuration comes from, and whether that has changed since.
//!
//! It polls and never watches: bind mounts and some engines lose events. What the files mean is
//! decided elsewhere.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use super::{
    Config, ConfigErrors,
    files::{BYTES_MAX, Signature, Trace, find, is_young},
    load,
};

/// Whoever writes slowly gets so many polls, and one who never stops doesn't hold off reloads for good.
const POLLS_FOR_WRITER: u32 = 3;
/// Some editors rename the old file away before they write the new one.
const POLLS_FOR_RENAME: u32 = 1;

/// The files that a configuration comes from, and how they were when they were last read.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    trace: Trace,
    /// Polls in a row that saw a change and didn't tell it yet.
    waited: u32,
}

impl Source {
    /// Nothing is read yet.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            trace: Trace::default(),
            waited: 0,
        }
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Every file that the last load read or missed, the main one first.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.trace.seen.iter().map(|seen| seen.path.as_path())
    }

    /// Reads all files anew. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// All that is wrong with them. What was read is remembered even so, so that `changed` tells when
    /// somebody has set it right.
    pub fn load(&mut self, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, ConfigErrors> {
        self.trace = Trace::default();
        self.waited = 0;
        load::load(&self.path, env, &mut self.trace)
    }

    /// Whether the files differ from what the last load saw. Costs a `stat` per file and a listing
    /// per include; a file is read again only if its times are new or can't be relied on.
    ///
    /// A change that looks unfinished is not told yet: half a file may be a whole configuration, with
    /// half of the tenants.
    pub fn changed(&mut self) -> bool {
        let matched = self.matched_now();
        let mut changed = matched != self.trace.matched;
        let mut polls_to_wait = 0;
        let new = matched.difference(&self.trace.matched);
        if new.into_iter().any(|path| is_young(path)) {
            polls_to_wait = POLLS_FOR_WRITER;
        }
        for index in 0..self.trace.seen.len() {
            let seen = &self.trace.seen[index];
            if seen.signature.is_some() && Signature::now(&seen.path) == seen.signature {
                continue;
            }
            let (_, now) = self.trace.look(&seen.path, BYTES_MAX);
            if now.content == seen.content {
                self.trace.seen[index] = now;
                continue;
            }
            changed = true;
            if now.content.is_none() {
                polls_to_wait = polls_to_wait.max(POLLS_FOR_RENAME);
            } else if is_young(&now.path) {
                polls_to_wait = POLLS_FOR_WRITER;
            }
        }
        if changed && self.waited < polls_to_wait {
            self.waited += 1;
            return false;
        }
        self.waited = 0;
        changed
    }

    /// What the include patterns match.
    fn matched_now(&self) -> BTreeSet<PathBuf> {
        let mut matched = BTreeSet::new();
        for pattern in &self.trace.patterns {
            matched.append(&mut find(pattern).0);
        }
        matched
    }
}
