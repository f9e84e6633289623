//! Reads proxy.toml and what it includes, and tells later whether they have changed.
//!
//! The only place that touches the files of the configuration. What they mean is decided elsewhere.

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
use schemars::{Schema, generate::SchemaSettings};

use super::{
    Config, ConfigErrors,
    diagnostic::{Diagnostic, SourceFile, Span},
    interpolate::Env,
    leaf::FilePattern,
    raw::{RawConfig, RawInclude},
    reader::{At, Field, Reader, Table as _},
    syntax,
    validate::validate,
};

/// All files together; 100,000 tenants of two lines are a twentieth of it.
const BYTES_MAX: u64 = 256 * 1024 * 1024;
const FILES_MAX: usize = 100_000;
/// A file that was written this recently when it was read may be written again without a sign of
/// it in its times, whose steps can be that coarse.
const TIMES_COARSE: Duration = Duration::from_secs(2);
/// A file that was written this recently may be half written.
const WRITING: Duration = Duration::from_millis(100);
/// So many polls in a row may wait for a writer to finish.
const WAITS_MAX: u32 = 3;
/// Files whose names begin with a dot are editors' own.
const GLOB: glob::MatchOptions = glob::MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// The files that a configuration comes from, and how they were when they were last read.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    /// Stands for the file at `path`.
    embedded: Option<&'static str>,
    seen: Vec<Seen>,
    patterns: Vec<String>,
    matched: BTreeSet<PathBuf>,
    hasher: RandomState,
    waits: u32,
}

/// One file as it was when it was read.
#[derive(Debug)]
struct Seen {
    path: PathBuf,
    /// None if there was none, or none that could be read.
    content: Option<u64>,
    /// None if it can't be relied on.
    signature: Option<Signature>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Signature {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// A load under way: files read so far and what is wrong with them.
struct Loading<'a> {
    source: &'a mut Source,
    env: Env<'a>,
    files: Vec<SourceFile>,
    diagnostics: Vec<Diagnostic>,
    /// TOML's own mistakes.
    syntax: Vec<Diagnostic>,
    bytes: u64,
}

impl Source {
    /// Nothing is read yet.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            embedded: None,
            seen: Vec::new(),
            patterns: Vec::new(),
            matched: BTreeSet::new(),
            hasher: RandomState::default(),
            waits: 0,
        }
    }

    /// A main file that is part of the program, under the name by which mistakes in it are told. It
    /// can't be polled.
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
        self.seen.iter().map(|seen| seen.path.as_path())
    }

    /// Reads all files anew. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// All that is wrong with them. What was read is remembered even so, so that `changed` tells when
    /// somebody has set it right.
    pub fn load(&mut self, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, ConfigErrors> {
        self.seen.clear();
        self.patterns.clear();
        self.matched.clear();
        self.waits = 0;
        let mut loading = Loading {
            source: self,
            env,
            files: Vec::new(),
            diagnostics: Vec::new(),
            syntax: Vec::new(),
            bytes: 0,
        };
        let mut config = None;
        if let Some(mut main) = loading.main() {
            let included = loading.included(&mut main);
            config = validate(main, included, &mut loading.diagnostics);
        }
        let Loading {
            files,
            mut diagnostics,
            syntax,
            ..
        } = loading;
        match config {
            Some(config) if diagnostics.is_empty() && syntax.is_empty() => Ok(config),
            _ => {
                syntax::drop_echoes(&mut diagnostics, &syntax, &files);
                diagnostics.extend(syntax);
                Err(ConfigErrors::new(files, diagnostics))
            }
        }
    }

    /// Whether the files differ from what the last load saw. Costs a `stat` per file and a listing
    /// per include; a file is read again only if its times are new or can't be relied on.
    pub fn changed(&mut self) -> bool {
        let (matched, _) = self.matches_now();
        let mut changed = matched != self.matched;
        let mut young = changed && matched.iter().any(|path| is_young(path, WRITING));
        for index in 0..self.seen.len() {
            let seen = &self.seen[index];
            let now = std::fs::metadata(&seen.path).ok();
            if now.is_some() && now.as_ref().map(Signature::of) == seen.signature {
                continue;
            }
            let (content, signature) = match read(&seen.path, BYTES_MAX) {
                Ok((bytes, signature)) => (Some(self.hasher.hash_one(&bytes)), signature),
                Err(_) => (None, None),
            };
            if content == seen.content {
                self.seen[index].signature = signature;
            } else {
                young |= content.is_none() || is_young(&seen.path, WRITING);
                changed = true;
            }
        }
        // Half a file may be a whole configuration, with half of the tenants. Whoever writes gets a
        // moment, and one who never stops doesn't hold off reloads for good.
        if changed && young && self.waits < WAITS_MAX {
            self.waits += 1;
            return false;
        }
        if !changed {
            self.waits = 0;
        }
        changed
    }

    /// What the include patterns match, the main file apart, and what could not be looked into.
    fn matches_now(&self) -> (BTreeSet<PathBuf>, Vec<io::Error>) {
        let mut matched = BTreeSet::new();
        let mut errors = Vec::new();
        for pattern in &self.patterns {
            let found = glob::glob_with(pattern, GLOB).into_iter().flatten();
            for path in found.take(FILES_MAX + 1) {
                match path {
                    Ok(path) => {
                        matched.insert(path);
                    }
                    Err(error) => errors.push(error.into()),
                }
            }
        }
        matched.remove(&self.path);
        (matched, errors)
    }
}

impl Loading<'_> {
    fn main(&mut self) -> Option<RawConfig> {
        let path = self.source.path.clone();
        let file = self.read(&path, None)?;
        let text = self.files[file as usize].text.as_str();
        let tree = syntax::parse(file, text, &mut self.syntax);
        let mut reader = Reader::new(file, text, self.env, &mut self.diagnostics);
        Some(reader.table(tree.get_ref(), None))
    }

    fn included(&mut self, main: &mut RawConfig) -> Vec<RawInclude> {
        let patterns = std::mem::replace(&mut main.include, Field::Absent).given();
        let mut included = Vec::new();
        for At { value, span } in patterns.map(|many| many.items).unwrap_or_default() {
            for path in self.matching(&value, span) {
                if !self.source.matched.insert(path.clone()) {
                    continue;
                }
                if self.source.matched.len() > FILES_MAX {
                    let remedy = format!("at most {FILES_MAX} files are read");
                    self.diagnostics
                        .push(Diagnostic::new(span, "too many included files", remedy));
                    return included;
                }
                included.extend(self.include(&path, span));
            }
        }
        included
    }

    /// The files of one pattern. One that is a plain name has to exist.
    fn matching(&mut self, pattern: &FilePattern, span: Span) -> BTreeSet<PathBuf> {
        let directory = self.source.path.parent().unwrap_or(Path::new(""));
        let full = glob::Pattern::escape(&directory.to_string_lossy());
        let full = Path::new(&full)
            .join(&pattern.0)
            .to_string_lossy()
            .into_owned();
        let before = std::mem::replace(&mut self.source.patterns, vec![full.clone()]);
        let (mut found, errors) = self.source.matches_now();
        self.source.patterns = before;
        self.source.patterns.push(full);
        for error in errors {
            let message = format!("can't look for `{}`: {error}", pattern.0);
            self.diagnostics.push(Diagnostic::new(
                span,
                message,
                "let the edge read the directory",
            ));
        }
        if found.is_empty() && !pattern.0.contains(['*', '?', '[']) {
            found.insert(directory.join(&pattern.0));
        }
        found
    }

    fn include(&mut self, path: &Path, span: Span) -> Option<RawInclude> {
        let file = self.read(path, Some(span))?;
        let text = self.files[file as usize].text.as_str();
        let mut tree = syntax::parse(file, text, &mut self.syntax).into_inner();
        let misplaced = |key: &str| key != "routes" && RawConfig::KEYS.contains(&key);
        let foreign: Vec<_> = tree
            .keys()
            .filter(|key| misplaced(key.get_ref()))
            .map(|key| (key.get_ref().clone(), key.span()))
            .collect();
        for (key, range) in foreign {
            tree.remove(&*key);
            let remedy = format!("move it to {}", self.source.path.display());
            let message = format!("`{key}` can't stand in an included file");
            let diagnostic = Diagnostic::new(Span::new(file, range), message, remedy);
            let note = "included files hold [routes.NAME] and nothing else";
            self.diagnostics
                .push(diagnostic.also(span, "included here").note(note));
        }
        let mut reader = Reader::new(file, text, self.env, &mut self.diagnostics);
        Some(reader.table(&tree, None))
    }

    /// Reads one file, remembers how it was, and gives its number if it is text.
    fn read(&mut self, path: &Path, wanted_by: Option<Span>) -> Option<u32> {
        let name = path.display().to_string();
        let file = u32::try_from(self.files.len()).ok()?;
        let mut seen = Seen {
            path: path.to_owned(),
            content: None,
            signature: None,
        };
        let outcome = match self.source.embedded {
            Some(text) if wanted_by.is_none() => Ok((text.into(), None)),
            _ => read(path, BYTES_MAX - self.bytes),
        };
        if let Ok((bytes, signature)) = &outcome {
            seen.content = Some(self.source.hasher.hash_one(bytes));
            seen.signature = *signature;
            self.bytes += bytes.len() as u64;
        }
        self.source.seen.push(seen);
        let bytes = match outcome {
            Ok((bytes, _)) => bytes,
            Err(error) => {
                self.diagnostics.push(unreadable(&name, &error, wanted_by));
                return None;
            }
        };
        let (text, bad) = match String::from_utf8(bytes) {
            Ok(text) => (text, None),
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                (
                    String::from_utf8_lossy(error.as_bytes()).into_owned(),
                    Some(at),
                )
            }
        };
        self.files.push(SourceFile { name, text });
        if let Some(at) = bad {
            // What stands there now is the mark that took the place of the bytes.
            let span = Span::new(file, at..at + char::REPLACEMENT_CHARACTER.len_utf8());
            let remedy = "save the file as UTF-8";
            self.diagnostics
                .push(Diagnostic::new(span, "not valid UTF-8", remedy));
            return None;
        }
        Some(file)
    }
}

fn unreadable(name: &str, error: &io::Error, wanted_by: Option<Span>) -> Diagnostic {
    let missing = error.kind() == io::ErrorKind::NotFound;
    match wanted_by {
        Some(span) if missing => {
            let remedy = "create it, or take it out of `include`";
            Diagnostic::new(span, format!("no file `{name}`"), remedy)
        }
        Some(span) => Diagnostic::new(
            span,
            format!("can't read `{name}`: {error}"),
            "let the edge read it, or take it out of `include`",
        ),
        None if missing => Diagnostic::of_file(name, format!("no file `{name}`")).note(
            "create it, or name another: `--config PATH`, or HOSTLER_CONFIG in the environment",
        ),
        None => Diagnostic::of_file(name, format!("can't read `{name}`: {error}"))
            .note("let the edge read it, or name another: `--config PATH`"),
    }
}

/// The bytes of a regular file, and its signature if that can be relied on.
#[expect(
    clippy::disallowed_methods,
    reason = "the configuration is read by the control thread, which serves no request"
)]
fn read(path: &Path, bytes_max: u64) -> io::Result<(Vec<u8>, Option<Signature>)> {
    // Asked first, since to open a named pipe is to wait for whoever writes to it.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    let mut bytes = Vec::new();
    file.by_ref().take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::other(format!(
            "more than {BYTES_MAX} bytes of configuration"
        )));
    }
    let young = age(&metadata).is_none_or(|age| age < TIMES_COARSE);
    Ok((bytes, (!young).then(|| Signature::of(&metadata))))
}

fn is_young(path: &Path, than: Duration) -> bool {
    let metadata = std::fs::metadata(path);
    metadata.is_ok_and(|metadata| age(&metadata).is_some_and(|age| age < than))
}

/// None for a file from the future, of which nothing can be said.
fn age(metadata: &Metadata) -> Option<Duration> {
    SystemTime::now()
        .duration_since(metadata.modified().ok()?)
        .ok()
}

impl Signature {
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

/// The JSON Schema of proxy.toml, for editors.
#[must_use]
pub fn schema() -> Schema {
    SchemaSettings::draft07()
        .into_generator()
        .into_root_schema_for::<RawConfig>()
}
