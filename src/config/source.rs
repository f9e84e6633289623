//! Where a configuration comes from, and whether that has changed since.
//!
//! It polls and never watches: bind mounts and some engines lose events. What the files mean is
//! decided elsewhere.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use super::{
    Config, ConfigErrors, Routes,
    files::{Signature, Trace, find, is_young},
    load,
    remembered::{self, Remembered},
};

/// Whoever writes slowly gets so many polls, and one who never stops doesn't hold off reloads for good.
const POLLS_FOR_WRITER: u32 = 3;
/// Some editors rename the old file away before they write the new one.
const POLLS_FOR_RENAME: u32 = 1;

/// The files that a configuration comes from, and how they were when they were last read.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    /// Stands for the file at `path`.
    embedded: Option<&'static str>,
    trace: Trace,
    /// Of the last load that went well.
    routes: Routes,
    remembered: Remembered,
    /// Polls in a row that saw a change and didn't tell it yet.
    waited: u32,
}

impl Source {
    /// Nothing is read yet.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            embedded: None,
            trace: Trace::default(),
            routes: Routes::default(),
            remembered: Remembered::default(),
            waited: 0,
        }
    }

    /// A main file that is part of the program, under the name by which its mistakes are told. It
    /// never changes.
    #[must_use]
    pub fn embedded(name: &str, text: &'static str) -> Self {
        Self {
            embedded: Some(text),
            ..Self::new(name)
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

    /// What the files say now; those that have surely not changed aren't read again. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// All that is wrong with them. What was read is remembered even so, so that `changed` tells when
    /// somebody has set it right.
    pub fn load(&mut self, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, ConfigErrors> {
        let mut config = self.read(env)?;
        let directory = self.path.parent().unwrap_or(Path::new(""));
        config.usage = config.usage.map(|path| directory.join(path));
        Ok(config)
    }

    fn read(&mut self, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, ConfigErrors> {
        self.waited = 0;
        self.trace = self.trace.next();
        let (path, trace) = (&self.path, &mut self.trace);
        if self.embedded.is_none()
            && let Some((config, remembered)) = remembered::load(path, env, &self.remembered, trace)
        {
            self.remembered = remembered;
            self.routes = config.routes.clone();
            return Ok(config);
        }
        *trace = trace.next();
        let config = load::load(path, self.embedded, env, &self.routes, trace)?;
        self.remembered = Remembered::default();
        self.routes = config.routes.clone();
        Ok(config)
    }

    /// Whether the last good load was one that the next can build on.
    #[cfg(test)]
    pub(super) fn remembers(&self) -> bool {
        self.remembered.holds()
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
            let now = self.trace.look(&seen.path);
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

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "tests write the files that are read"
)]
mod tests {
    use std::fs;

    use super::{super::write_aged, *};

    struct Files(tempfile::TempDir);

    impl Files {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn write(&self, name: &str, content: &str, seconds_ago: u64) {
            write_aged(&self.path(name), content, seconds_ago);
        }

        fn load(&self) -> (Source, bool) {
            let mut source = Source::new(self.path("proxy.toml"));
            let fine = source.load(&|_| None).is_ok();
            (source, fine)
        }
    }

    #[test]
    fn only_new_content_is_a_change() {
        let files = Files::new();
        files.write("proxy.toml", "", 60);
        let (mut source, fine) = files.load();
        assert!(fine && !source.changed());
        files.write("proxy.toml", "", 30);
        assert!(!source.changed(), "new times, same content");
        files.write("proxy.toml", "#", 20);
        assert!(source.changed());
        assert!(source.changed(), "until it is loaded");
        source.load(&|_| None).unwrap();
        assert!(!source.changed());
    }

    #[test]
    fn a_file_of_the_same_size_and_times_is_read_again_while_it_is_young() {
        let files = Files::new();
        let path = files.path("proxy.toml");
        fs::write(&path, "#1").unwrap();
        let (source, _) = files.load();
        assert_eq!(
            source.trace.seen[0].signature, None,
            "its times can't be relied on"
        );
        files.write("proxy.toml", "#1", 60);
        let (source, _) = files.load();
        assert!(source.trace.seen[0].signature.is_some());
    }

    #[test]
    fn the_ledger_is_found_from_where_the_file_is() {
        let files = Files::new();
        let usage = |path: &str| {
            files.write("proxy.toml", &format!("usage.path = {path:?}"), 60);
            let mut source = Source::new(files.path("proxy.toml"));
            // Both ways to a configuration: the quick one, and the one that builds on the last.
            let first = source.load(&|_| None).unwrap().usage;
            assert_eq!(source.load(&|_| None).unwrap().usage, first);
            first.unwrap()
        };
        assert_eq!(usage("books/usage.jsonl"), files.path("books/usage.jsonl"));
        assert_eq!(usage("/var/usage.jsonl"), Path::new("/var/usage.jsonl"));
    }

    #[test]
    fn a_file_that_replaces_another_is_seen() {
        let files = Files::new();
        files.write("proxy.toml", "#1", 60);
        let (mut source, _) = files.load();
        files.write("new", "#2", 60);
        fs::rename(files.path("new"), files.path("proxy.toml")).unwrap();
        assert!(source.changed());
    }

    #[test]
    fn a_file_that_is_being_written_is_waited_for_but_not_for_good() {
        let files = Files::new();
        files.write("proxy.toml", "#1", 60);
        let (mut source, _) = files.load();
        for _ in 0..POLLS_FOR_WRITER {
            files.write("proxy.toml", "#2", 0);
            assert!(!source.changed());
        }
        files.write("proxy.toml", "#3", 0);
        assert!(source.changed());
    }

    #[test]
    fn a_failed_load_sees_what_sets_it_right() {
        let files = Files::new();
        let (mut source, fine) = files.load();
        assert!(!fine && !source.changed(), "there is no file, still");
        files.write("proxy.toml", "include = [\"a.toml\"]", 60);
        assert!(source.changed());
        source.load(&|_| None).unwrap_err();
        assert!(!source.changed());
        files.write("a.toml", "oops", 60);
        assert!(source.changed(), "the included file is there");
        source.load(&|_| None).unwrap_err();
        assert!(!source.changed());
        files.write("a.toml", "", 50);
        assert!(source.changed());
        source.load(&|_| None).unwrap();
        assert!(!source.changed());
        assert_eq!(source.files().count(), 2);
    }

    #[test]
    fn files_that_come_and_go_below_an_include_are_changes() {
        let files = Files::new();
        files.write("proxy.toml", "include = [\"t/*.toml\"]", 60);
        let (mut source, fine) = files.load();
        assert!(fine && !source.changed());
        fs::create_dir(files.path("t")).unwrap();
        files.write("t/.a.toml.swp", "", 60);
        assert!(!source.changed());
        files.write("t/a.toml", "", 60);
        assert!(source.changed());
        source.load(&|_| None).unwrap();
        fs::remove_file(files.path("t/a.toml")).unwrap();
        assert!(!source.changed(), "it may be being renamed");
        assert!(source.changed());
        source.load(&|_| None).unwrap();
        assert!(!source.changed());
    }
}
