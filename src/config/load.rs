//! From files to a configuration, or to everything that is wrong with them.
//!
//! What their keys mean is decided by `validate`; whether they have changed since, by `source`.

use std::{
    collections::{BTreeSet, HashSet},
    io,
    path::{Path, PathBuf},
};

use super::{
    Config, ConfigErrors,
    diagnostic::{Diagnostic, SourceFile, Span},
    files::{BYTES_MAX, FILES_MAX, Trace, find, identity},
    interpolate::Env,
    leaf::FilePattern,
    raw::{RawConfig, RawInclude},
    reader::{At, Field, Reader, Table as _},
    syntax,
    validate::validate,
};

/// A load under way: files read so far and what is wrong with them.
struct Loading<'a> {
    path: &'a Path,
    env: Env<'a>,
    trace: &'a mut Trace,
    files: Vec<SourceFile>,
    diagnostics: Vec<Diagnostic>,
    /// Lines that aren't TOML.
    broken: Vec<Diagnostic>,
    bytes: u64,
}

/// Reads a file and all that it includes. The trace tells what was looked at, whatever comes of it.
pub(super) fn load(path: &Path, env: Env<'_>, trace: &mut Trace) -> Result<Config, ConfigErrors> {
    let mut loading = Loading {
        path,
        env,
        trace,
        files: Vec::new(),
        diagnostics: Vec::new(),
        broken: Vec::new(),
        bytes: 0,
    };
    let config = loading.main().and_then(|mut main| {
        let included = loading.included(&mut main);
        validate(main, included, &mut loading.diagnostics)
    });
    let Loading {
        files,
        mut diagnostics,
        broken,
        ..
    } = loading;
    match config {
        Some(config) if diagnostics.is_empty() && broken.is_empty() => Ok(config),
        _ => {
            syntax::drop_echoes(&mut diagnostics, &broken, &files);
            diagnostics.extend(broken);
            Err(ConfigErrors::new(files, diagnostics))
        }
    }
}

impl Loading<'_> {
    fn main(&mut self) -> Option<RawConfig> {
        let file = self.read(self.path, None)?;
        let text = self.files[file as usize].text.as_str();
        let tree = syntax::parse(file, text, &mut self.diagnostics, &mut self.broken);
        let mut reader = Reader::new(file, text, self.env, &mut self.diagnostics);
        Some(reader.table(tree.get_ref(), None))
    }

    fn included(&mut self, main: &mut RawConfig) -> Vec<RawInclude> {
        let patterns = std::mem::replace(&mut main.include, Field::Absent).given();
        let mut taken = HashSet::new();
        // A pattern such as `*.toml` finds the file that it stands in.
        taken.extend(identity(self.path));
        let mut included = Vec::new();
        for At { value, span } in patterns.map(|many| many.items).unwrap_or_default() {
            for path in self.matching(&value, span) {
                if identity(&path).is_some_and(|file| !taken.insert(file)) {
                    continue;
                }
                if self.trace.seen.len() > FILES_MAX {
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
        let directory = self.path.parent().unwrap_or(Path::new(""));
        let escaped = glob::Pattern::escape(&directory.to_string_lossy());
        let full = Path::new(&escaped).join(&pattern.0);
        let full = full.to_string_lossy().into_owned();
        let literal = directory.join(&pattern.0);
        let (mut found, errors) = find(&full);
        self.trace.patterns.push(full);
        self.trace.matched.extend(found.iter().cloned());
        for error in errors {
            let message = format!("can't look for `{}`: {error}", pattern.0);
            let remedy = "let the edge read the directory";
            self.diagnostics
                .push(Diagnostic::new(span, message, remedy));
        }
        if found.is_empty() && !pattern.0.contains(['*', '?', '[']) {
            found.insert(literal);
        }
        found
    }

    fn include(&mut self, path: &Path, span: Span) -> Option<RawInclude> {
        let file = self.read(path, Some(span))?;
        let text = self.files[file as usize].text.as_str();
        let mut tree =
            syntax::parse(file, text, &mut self.diagnostics, &mut self.broken).into_inner();
        let misplaced = |key: &str| key != "routes" && RawConfig::KEYS.contains(&key);
        let foreign: Vec<_> = tree
            .keys()
            .filter(|key| misplaced(key.get_ref()))
            .map(|key| (key.get_ref().clone(), key.span()))
            .collect();
        for (key, range) in foreign {
            tree.remove(&*key);
            let remedy = format!("move it to {}", self.path.display());
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
        let bytes = match self.trace.read(path, BYTES_MAX - self.bytes) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.diagnostics.push(unreadable(&name, &error, wanted_by));
                return None;
            }
        };
        self.bytes += bytes.len() as u64;
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
