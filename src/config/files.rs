//! The files of a configuration as the disk has them: their bytes, their times, their names.
//!
//! It never looks at what is in them.

use std::{
    collections::BTreeSet,
    fs::{File, Metadata},
    hash::BuildHasher as _,
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use foldhash::quality::RandomState;

/// All files together; 100,000 tenants of two lines are a twentieth of it.
pub(super) const BYTES_MAX: u64 = 256 * 1024 * 1024;
pub(super) const FILES_MAX: usize = 100_000;
/// What is read and hashed at a time: little enough for the allocator to use it again.
pub(super) const BLOCK_BYTES: usize = 64 * 1024;
/// A file that was written this recently when it was read may be written again without a sign of
/// it in its times, whose steps can be that coarse.
const TIMES_COARSE: Duration = Duration::from_secs(2);

/// Files whose names begin with a dot are editors' own.
const GLOB: glob::MatchOptions = glob::MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// A file that was written this recently may be half written.
const WRITING: Duration = Duration::from_millis(100);

/// Everything that a load looked at, and how it was then.
#[derive(Debug, Default)]
pub(super) struct Trace {
    /// In the order of reading, the main file first.
    pub(super) seen: Vec<Seen>,
    pub(super) patterns: Vec<String>,
    /// What the patterns matched.
    pub(super) matched: BTreeSet<PathBuf>,
    hasher: RandomState,
}

/// One file as it was when it was read.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) path: PathBuf,
    /// None if there was none, or none that could be read.
    pub(super) content: Option<u64>,
    /// None if it can't be relied on.
    pub(super) signature: Option<Signature>,
}

impl Seen {
    /// Whether it is surely what it was, and is at this path.
    pub(super) fn is_still(&self, path: &Path) -> bool {
        self.path == path && self.signature.is_some() && self.signature == Signature::now(path)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Signature {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Trace {
    /// Reads a file of at most so many bytes and remembers how it was, readable or not.
    pub(super) fn read(&mut self, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
        let mut seen = Seen {
            path: path.to_owned(),
            content: None,
            signature: None,
        };
        let outcome = read(path, bytes_max).map(|(bytes, signature)| {
            let mut digest = self.digest();
            for block in bytes.chunks(BLOCK_BYTES) {
                digest.add(block);
            }
            seen.content = Some(digest.value());
            seen.signature = signature;
            bytes
        });
        self.seen.push(seen);
        outcome
    }

    /// How a file is now; it isn't remembered.
    pub(super) fn look(&self, path: &Path) -> Seen {
        let read = Opened::open(path).and_then(|opened| {
            let mut digest = self.digest();
            let (mut block, mut bytes) = (Vec::new(), 0);
            while read_block(&mut &opened.file, &mut block)? {
                digest.add(&block);
                bytes += block.len() as u64;
                if bytes > BYTES_MAX {
                    return Err(too_large());
                }
                block.clear();
            }
            Ok((digest.value(), opened.signature))
        });
        let (content, signature) = read.map_or((None, None), |(content, signature)| {
            (Some(content), signature)
        });
        Seen {
            path: path.to_owned(),
            content,
            signature,
        }
    }

    /// What is to be seen after this one, so that both can be compared.
    pub(super) fn next(&self) -> Self {
        Self {
            hasher: self.hasher.clone(),
            ..Self::default()
        }
    }

    pub(super) fn digest(&self) -> Digest {
        Digest {
            hasher: self.hasher.clone(),
            value: 0,
        }
    }

    pub(super) fn hash(&self, text: &str) -> u64 {
        self.hasher.hash_one(text)
    }
}

/// The files that a pattern matches, and what could not be looked into.
pub(super) fn find(pattern: &str) -> (BTreeSet<PathBuf>, Vec<io::Error>) {
    let mut matched = BTreeSet::new();
    let mut errors = Vec::new();
    let found = glob::glob_with(pattern, GLOB).into_iter().flatten();
    for path in found.take(FILES_MAX + 1) {
        match path {
            Ok(path) => {
                matched.insert(path);
            }
            Err(error) => errors.push(error.into()),
        }
    }
    (matched, errors)
}

/// The bytes of a regular file, and its signature if that can be relied on.
fn read(path: &Path, bytes_max: u64) -> io::Result<(Vec<u8>, Option<Signature>)> {
    let opened = Opened::open(path)?;
    let mut bytes = Vec::new();
    (&opened.file).take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(too_large());
    }
    Ok((bytes, opened.signature))
}

fn too_large() -> io::Error {
    io::Error::other(format!("more than {BYTES_MAX} bytes of configuration"))
}

/// Appends the next block of a file; false if there was nothing left. Only the last is of less than `BLOCK_BYTES`.
pub(super) fn read_block(file: &mut impl io::Read, buffer: &mut Vec<u8>) -> io::Result<bool> {
    let mut block = file.take(BLOCK_BYTES as u64);
    Ok(block.read_to_end(buffer)? > 0)
}

/// A regular file that is about to be read.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) file: File,
    /// None if it can't be relied on.
    pub(super) signature: Option<Signature>,
}

impl Opened {
    #[expect(
        clippy::disallowed_methods,
        reason = "the configuration is read by the control thread, which serves no request"
    )]
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        // Asked first, since to open a named pipe is to wait for whoever writes to it.
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        let young = age(&metadata).is_none_or(|age| age < TIMES_COARSE);
        let signature = (!young).then(|| Signature::of(&metadata));
        Ok(Self { file, signature })
    }
}

/// Stands for the bytes of a file, block by block.
#[derive(Debug, Default)]
pub(super) struct Digest {
    hasher: RandomState,
    value: u64,
}

impl Digest {
    /// Each block but the last has to be of `BLOCK_BYTES`.
    pub(super) fn add(&mut self, block: &[u8]) {
        if block.is_empty() {
            return;
        }
        self.value = self.hasher.hash_one((self.value, block));
    }

    pub(super) fn value(&self) -> u64 {
        self.value
    }
}

/// None for a file from the future, of which nothing can be said.
fn age(metadata: &Metadata) -> Option<Duration> {
    SystemTime::now()
        .duration_since(metadata.modified().ok()?)
        .ok()
}

impl Signature {
    /// Of what a path leads to now.
    pub(super) fn now(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().as_ref().map(Self::of)
    }

    /// Two names of one file are one file.
    pub(super) fn identity(&self) -> (u64, u64) {
        (self.device, self.inode)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Whether somebody may still be writing it.
pub(super) fn is_young(path: &Path) -> bool {
    let metadata = std::fs::metadata(path);
    metadata.is_ok_and(|metadata| age(&metadata).is_some_and(|age| age < WRITING))
}
