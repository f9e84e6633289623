//! The file of the ledger: lines that are added to its end, and lines of this process that are written again in their places.
//!
//! Several processes write to one file, as an edge and its successor do. Whoever writes has a lock on it meanwhile, and
//! touches no line of anybody else's. It never reads what a line says.

use std::{
    fs::{self, File, Metadata, TryLockError},
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use super::line::Line;

/// The others hold their locks for milliseconds; so often half a second passes.
const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(5);
/// Lines that are added in one piece: about a megabyte.
const PIECE_LINES: usize = 4096;

#[derive(Debug)]
pub(crate) struct LedgerFile {
    path: PathBuf,
    file: File,
}

impl LedgerFile {
    /// Makes the file if there is none. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// If it can't be written, or isn't a regular file.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens what is at the path now, if that is something else: whoever has renamed the file or taken it away wants
    /// another. True if it was so.
    pub(super) fn follow(&mut self) -> io::Result<bool> {
        let there = fs::metadata(&self.path).ok();
        let ours = identity(&self.file.metadata()?);
        if there.is_some_and(|there| identity(&there) == ours) {
            return Ok(false);
        }
        *self = Self::open(&self.path)?;
        Ok(true)
    }

    /// Writes lines of `run`: in their places those that have one, at the end the others. After an error those are due
    /// still that weren't written.
    pub(super) fn write<'a>(
        &self,
        run: &str,
        lines: impl Iterator<Item = &'a mut Line>,
    ) -> io::Result<()> {
        let _lock = Lock::exclusive(&self.file)?;
        let mut new = Vec::new();
        for line in lines {
            if let Some(place) = line.place {
                if self.write_again(run, line, place)? {
                    continue;
                }
                line.lose_place();
            }
            if line.is_due() {
                new.push(line);
            }
        }
        new.chunks_mut(PIECE_LINES)
            .try_for_each(|piece| self.append(run, piece))
    }

    /// False if the line isn't there: somebody has rewritten the file.
    fn write_again(&self, run: &str, line: &mut Line, place: u64) -> io::Result<bool> {
        let mut text = Vec::new();
        let head = line.write(run, &mut text);
        let mut there = vec![0; text.len()];
        match self.file.read_exact_at(&mut there, place) {
            Ok(()) if there[..head] == text[..head] && there.ends_with(b"\n") => {}
            Ok(()) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error),
        }
        self.file.write_all_at(&text, place)?;
        line.stands_at(place);
        Ok(true)
    }

    fn append(&self, run: &str, lines: &mut [&mut Line]) -> io::Result<()> {
        let end = self.file.metadata()?.len();
        let mut text = Vec::new();
        if !self.ends_with_a_line(end)? {
            // What a crash has left of one.
            text.push(b'\n');
        }
        let mut bounds = Vec::with_capacity(lines.len());
        for line in &*lines {
            let start = text.len();
            line.write(run, &mut text);
            bounds.push(start..text.len());
        }
        let (written, outcome) = self.write_some(&text, end);
        for (line, bounds) in lines.iter_mut().zip(bounds) {
            // A line is one without its end, too, and whoever writes next sees to that.
            if written + 1 >= bounds.end {
                line.stands_at(end + bounds.start as u64);
            }
        }
        outcome
    }

    fn ends_with_a_line(&self, end: u64) -> io::Result<bool> {
        let Some(last) = end.checked_sub(1) else {
            return Ok(true);
        };
        let mut byte = [0];
        self.file.read_exact_at(&mut byte, last)?;
        Ok(byte == *b"\n")
    }

    /// How much of it could be written, and why no more.
    fn write_some(&self, text: &[u8], at: u64) -> (usize, io::Result<()>) {
        let mut written = 0;
        while written < text.len() {
            match self.file.write_at(&text[written..], at + written as u64) {
                Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
                Ok(more) => written += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (written, Err(error)),
            }
        }
        (written, Ok(()))
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// Keeps others from writing, until it is dropped. They keep to it, as lines can't be relied on to be written whole.
#[derive(Debug)]
pub(super) struct Lock<'a>(Option<&'a File>);

impl<'a> Lock<'a> {
    fn exclusive(file: &'a File) -> io::Result<Self> {
        Self::take(file, File::try_lock)
    }

    /// One that readers can have at the same time.
    pub(super) fn shared(file: &'a File) -> io::Result<Self> {
        Self::take(file, File::try_lock_shared)
    }

    fn take(file: &'a File, take: fn(&File) -> Result<(), TryLockError>) -> io::Result<Self> {
        for _ in 0..LOCK_TRIES {
            match take(file) {
                Ok(()) => return Ok(Self(Some(file))),
                Err(TryLockError::WouldBlock) => thread::sleep(LOCK_PAUSE),
                // A file system without locks.
                Err(TryLockError::Error(_)) => return Ok(Self(None)),
            }
        }
        let message = "another process has it locked";
        Err(io::Error::new(io::ErrorKind::WouldBlock, message))
    }
}

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        if let Some(file) = self.0 {
            // Otherwise it goes with the file.
            let _ = file.unlock();
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "no worker waits for a test")]
pub(super) mod tests {
    use super::{
        super::line::{Hour, Totals},
        *,
    };

    const ONE: &str = "1111111111111111";
    const TWO: &str = "2222222222222222";

    pub(in super::super) struct Directory(tempfile::TempDir);

    impl Directory {
        pub(in super::super) fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        pub(in super::super) fn path(&self) -> PathBuf {
            self.0.path().join("usage.jsonl")
        }

        pub(in super::super) fn open(&self) -> LedgerFile {
            LedgerFile::open(&self.path()).unwrap()
        }

        pub(in super::super) fn text(&self) -> String {
            fs::read_to_string(self.path()).unwrap()
        }

        /// The tenant, the first digit of the run, and the requests of each line.
        fn lines(&self) -> Vec<(String, String, u64)> {
            let lines = self.text();
            let lines = lines.lines().map(|line| {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                let run = line["run"].as_str().unwrap()[..1].to_owned();
                let tenant = line["tenant"].as_str().unwrap().to_owned();
                (tenant, run, line["requests"].as_u64().unwrap())
            });
            lines.collect()
        }
    }

    impl LedgerFile {
        /// One that can't be written.
        pub(in super::super) fn broken(path: &Path) -> Self {
            Self {
                path: path.to_owned(),
                file: File::open(path).unwrap(),
            }
        }
    }

    fn line(tenant: &str) -> Line {
        Line::new(
            Hour::of("2026-11-27T06:00:00Z".parse().unwrap()),
            tenant.into(),
        )
    }

    fn ask(line: &mut Line, requests: u64) {
        line.totals.add(Totals {
            requests,
            ..Totals::default()
        });
    }

    fn told(lines: &[(&str, &str, u64)]) -> Vec<(String, String, u64)> {
        let told = lines.iter();
        told.map(|(tenant, run, requests)| ((*tenant).to_owned(), (*run).to_owned(), *requests))
            .collect()
    }

    #[test]
    fn two_that_write_to_one_file_keep_to_their_own_lines() {
        let directory = Directory::new();
        let (one, two) = (directory.open(), directory.open());
        let (mut thor, mut potter, mut other_thor) = (line("thor"), line("potter"), line("thor"));
        for _ in 0..3 {
            ask(&mut thor, 1);
            one.write(ONE, [&mut thor].into_iter()).unwrap();
            ask(&mut other_thor, 10);
            two.write(TWO, [&mut other_thor].into_iter()).unwrap();
            ask(&mut potter, 100);
            one.write(ONE, [&mut potter, &mut thor].into_iter())
                .unwrap();
        }
        let expected = [("thor", "1", 3), ("thor", "2", 30), ("potter", "1", 300)];
        assert_eq!(directory.lines(), told(&expected));
    }

    #[test]
    fn many_threads_lose_nothing_of_each_other() {
        let directory = Directory::new();
        let write = |run: &str| {
            let file = directory.open();
            let mut lines: Vec<_> = (0..20).map(|n| line(&format!("t{n}"))).collect();
            for round in 0..50 {
                for line in &mut lines[..=round * 19 / 49] {
                    ask(line, 1);
                }
                let due = lines.iter_mut().filter(|line| line.is_due());
                file.write(run, due).unwrap();
            }
            lines.iter().map(|line| line.totals.requests).sum::<u64>()
        };
        let asked: u64 = thread::scope(|scope| {
            let threads = [ONE, TWO, "3333333333333333"].map(|run| scope.spawn(move || write(run)));
            threads.map(|thread| thread.join().unwrap()).iter().sum()
        });
        let lines = directory.lines();
        assert_eq!(lines.len(), 60);
        assert_eq!(lines.iter().map(|(.., n)| n).sum::<u64>(), asked);
    }

    #[test]
    fn what_a_crash_has_left_of_a_line_is_left_alone() {
        let directory = Directory::new();
        fs::write(directory.path(), "{\"hour\":\"2026-").unwrap();
        let file = directory.open();
        let mut thor = line("thor");
        for _ in 0..2 {
            ask(&mut thor, 1);
            file.write(ONE, [&mut thor].into_iter()).unwrap();
        }
        let text = directory.text();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!((lines.len(), lines[0]), (2, "{\"hour\":\"2026-"));
        assert!(lines[1].contains("\"requests\":                   2,"));
    }

    #[test]
    fn a_line_that_was_moved_is_not_written_over() {
        let directory = Directory::new();
        let file = directory.open();
        let (mut thor, mut potter) = (line("thor"), line("potter"));
        ask(&mut thor, 1);
        ask(&mut potter, 5);
        file.write(ONE, [&mut thor, &mut potter].into_iter())
            .unwrap();
        // Somebody takes thor's line out, in place.
        let text = directory.text();
        fs::write(directory.path(), text.lines().nth(1).unwrap()).unwrap();
        ask(&mut potter, 2);
        file.write(ONE, [&mut potter].into_iter()).unwrap();
        let expected = [("potter", "1", 5), ("potter", "1", 2)];
        assert_eq!(directory.lines(), told(&expected));
    }

    #[test]
    fn a_file_that_was_moved_is_followed_by_another() {
        let directory = Directory::new();
        let mut file = directory.open();
        assert!(!file.follow().unwrap());
        fs::rename(directory.path(), directory.path().with_extension("old")).unwrap();
        assert!(file.follow().unwrap());
        assert!(!file.follow().unwrap());
        assert_eq!(directory.text(), "");
    }

    #[test]
    fn a_file_that_stays_locked_is_an_error_and_not_a_wait() {
        let directory = Directory::new();
        let file = directory.open();
        let mut thor = line("thor");
        ask(&mut thor, 1);
        let other = File::open(directory.path()).unwrap();
        other.lock_shared().unwrap();
        let error = file.write(ONE, [&mut thor].into_iter()).unwrap_err();
        assert_eq!(error.to_string(), "another process has it locked");
        assert!(thor.is_due());
        other.unlock().unwrap();
        file.write(ONE, [&mut thor].into_iter()).unwrap();
        assert_eq!(directory.lines(), told(&[("thor", "1", 1)]));
    }

    #[test]
    fn what_is_no_file_is_refused() {
        for path in [Path::new("/dev/null"), &std::env::temp_dir()] {
            LedgerFile::open(path).unwrap_err();
        }
    }
}
