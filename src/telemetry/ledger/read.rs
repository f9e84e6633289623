//! Reading a ledger, while others write to it.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt as _,
    path::Path,
};

use memchr::memrchr;

use super::{file::Lock, line::Entry};

/// What is read at a time, and more than a line may have.
const BLOCK_BYTES: usize = 256 * 1024;

/// Lines that are none of a ledger's, such as what a crash has left of one.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Unreadable {
    pub(crate) lines: u64,
    /// Where the first one is, counted from 1.
    pub(crate) first: u64,
}

/// Gives `each` the lines of the file at `path`, each as it is at one moment.
///
/// # Errors
/// If there is none, or it can't be read.
#[expect(
    clippy::disallowed_methods,
    reason = "a command reads it, which is a process of its own"
)]
pub(crate) fn read(path: &Path, mut each: impl FnMut(&Entry<'_>)) -> io::Result<Unreadable> {
    // Asked first, since to open a named pipe is to wait for whoever writes to it.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let file = File::open(path)?;
    let mut block = vec![0; BLOCK_BYTES];
    let (mut at, mut number) = (0, 0);
    let mut unreadable = Unreadable::default();
    let mut line = |line: &[u8]| {
        number += 1;
        if line.is_empty() {
            return;
        }
        match Entry::read(line) {
            Some(entry) => each(&entry),
            None => {
                if unreadable.lines == 0 {
                    unreadable.first = number;
                }
                unreadable.lines += 1;
            }
        }
    };
    loop {
        let filled = {
            // Without it, a line could be half what it was and half what it becomes. Who can't have it may be late by that.
            let _lock = Lock::shared(&file);
            fill(&file, &mut block, at)?
        };
        let lines = match memrchr(b'\n', &block[..filled]) {
            Some(end) => end + 1,
            // The last one may lack its end; a block full of something else isn't a line at all.
            None => filled,
        };
        if lines == 0 {
            return Ok(unreadable);
        }
        let text = &block[..lines];
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        text.split(|byte| *byte == b'\n').for_each(&mut line);
        at += lines as u64;
    }
}

/// How much there was.
fn fill(file: &File, block: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < block.len() {
        match file.read_at(&mut block[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "no worker waits for a test")]
mod tests {
    use super::*;

    fn line(tenant: &str, requests: u64) -> String {
        format!(
            "{{\"hour\":\"2026-11-27T06:00:00Z\",\"tenant\":\"{tenant}\",\"run\":\"1\",\"requests\":{requests:>20},\
             \"bytes_in\":1,\"bytes_out\":2,\"upstream_seconds\":0.5}}\n"
        )
    }

    fn read_text(text: &[u8]) -> (Vec<(String, u64)>, Unreadable) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("usage.jsonl");
        fs::write(&path, text).unwrap();
        let mut entries = Vec::new();
        let unreadable = read(&path, |entry| {
            entries.push((entry.tenant.clone().into_owned(), entry.totals.requests));
        });
        (entries, unreadable.unwrap())
    }

    #[test]
    fn lines_that_are_none_are_passed_over_and_counted() {
        let torn = &line("torn", 1)[..100];
        let text = format!(
            "{}{torn}\n\n{}\u{fffd}\n{}",
            line("a", 1),
            line("b", 2),
            line("c", 3).trim_end()
        );
        let (entries, unreadable) = read_text(text.as_bytes());
        let expected = [("a", 1), ("b", 2), ("c", 3)].map(|(name, n)| (name.to_owned(), n));
        assert_eq!(entries, expected);
        assert_eq!(unreadable, Unreadable { lines: 2, first: 2 });
        assert_eq!(read_text(b""), (Vec::new(), Unreadable::default()));
        let (entries, unreadable) = read_text(&vec![0; 3 * BLOCK_BYTES]);
        assert_eq!((entries, unreadable.lines), (Vec::new(), 3));
    }

    #[test]
    fn lines_across_blocks_are_whole() {
        let text: String = (0..8000).map(|n| line(&format!("t{n}"), n)).collect();
        assert!(text.len() > 3 * BLOCK_BYTES);
        let (entries, unreadable) = read_text(text.as_bytes());
        assert_eq!((entries.len(), unreadable.lines), (8000, 0));
        assert!(entries.iter().zip(0..).all(|((_, read), n)| *read == n));
    }

    #[test]
    fn what_is_no_file_is_an_error() {
        for path in ["/nowhere/usage.jsonl", "/dev/null", "/"] {
            read(Path::new(path), |_| ()).unwrap_err();
        }
    }
}
