//! From files to a configuration, or to everything that is wrong with them.
//!
//! What their keys mean is decided by `validate`; whether they have changed since, by `source`.

use std::{
    collections::{BTreeSet, HashSet},
    io,
    path::{Path, PathBuf},
};

use super::{
    Config, ConfigErrors, Routes,
    diagnostic::{Diagnostic, SourceFile, Span},
    files::{BYTES_MAX, FILES_MAX, Signature, Trace, find},
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
    embedded: Option<&'static str>,
    env: Env<'a>,
    trace: &'a mut Trace,
    files: Vec<SourceFile>,
    diagnostics: Vec<Diagnostic>,
    /// Lines that aren't TOML.
    broken: Vec<Diagnostic>,
    bytes: u64,
}

/// Reads a file, or the text that stands for it, and all that it includes. The trace tells what was
/// looked at, whatever comes of it. Routes that are as they were `before` are shared with it.
pub(super) fn load(
    path: &Path,
    embedded: Option<&'static str>,
    env: Env<'_>,
    before: &Routes,
    trace: &mut Trace,
) -> Result<Config, ConfigErrors> {
    let mut loading = Loading {
        path,
        embedded,
        env,
        trace,
        files: Vec::new(),
        diagnostics: Vec::new(),
        broken: Vec::new(),
        bytes: 0,
    };
    let config = loading.main().and_then(|mut main| {
        let included = loading.included(&mut main);
        validate(main, included, before, &mut loading.diagnostics)
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

    fn matching(&mut self, pattern: &FilePattern, span: Span) -> BTreeSet<PathBuf> {
        let (found, errors) = matching(self.path, pattern, self.trace);
        for error in errors {
            let message = format!("can't look for `{}`: {error}", pattern.0);
            let remedy = "let the edge read the directory";
            self.diagnostics
                .push(Diagnostic::new(span, message, remedy));
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
        let read = match self.embedded {
            Some(text) if wanted_by.is_none() => Ok(text.into()),
            _ => self.trace.read(path, BYTES_MAX - self.bytes),
        };
        let bytes = match read {
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

/// The files of one pattern of the file at `main`, and what could not be looked into. One that is a plain name has to exist.
pub(super) fn matching(
    main: &Path,
    pattern: &FilePattern,
    trace: &mut Trace,
) -> (BTreeSet<PathBuf>, Vec<io::Error>) {
    let directory = main.parent().unwrap_or(Path::new(""));
    let escaped = glob::Pattern::escape(&directory.to_string_lossy());
    let full = Path::new(&escaped).join(&pattern.0);
    let full = full.to_string_lossy().into_owned();
    let (mut found, errors) = find(&full);
    trace.patterns.push(full);
    trace.matched.extend(found.iter().cloned());
    if found.is_empty() && !pattern.0.contains(['*', '?', '[']) {
        found.insert(directory.join(&pattern.0));
    }
    (found, errors)
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    Signature::now(path).map(|signature| signature.identity())
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

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "tests write the files that are read"
)]
mod tests {
    use proptest::prelude::*;

    use std::sync::Arc;

    use super::super::{Source, of_text, raw};
    use super::*;

    fn route(name: &str) -> String {
        format!("[routes.{name}]\nhosts = \"{name}.local\"\nupstream = \"http://{name}:1\"\n")
    }

    /// Loads the first of some files, which are given as name and content.
    fn load_files(files: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let directory = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        let path = directory.path().join(files[0].0);
        let loaded = Source::new(path).load(&|name| Some(format!("<{name}>")));
        let name = |route: &Arc<super::super::Route>| route.tenant.to_string();
        loaded
            .map(|config| config.routes.iter().map(name).collect())
            .map_err(|errors| {
                errors
                    .to_string()
                    .replace(directory.path().to_str().unwrap(), "DIR")
            })
    }

    #[test]
    fn the_shipped_file_is_good() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("proxy.toml");
        let config = Source::new(path).load(&|_| None).unwrap();
        let tenants: Vec<_> = config.routes.iter().map(|route| &*route.tenant).collect();
        assert_eq!(tenants, ["thor", "potter"]);
    }

    /// Each example of the manual is a file that can be used, and each key stands there.
    #[test]
    fn the_manual_is_right() {
        let manual = include_str!("../../docs/config.md");
        for block in manual.split("```toml\n").skip(1) {
            let example = block.split("```").next().unwrap();
            // Some are lines of a route.
            let in_route = "[routes.x]\nhosts = \"x\"\n";
            let text = if example.starts_with("upstream") {
                format!("{in_route}{example}")
            } else {
                example.to_owned()
            };
            of_text(&text).unwrap_or_else(|errors| panic!("{errors}"));
        }
        for key in [
            RawConfig::KEYS,
            raw::RawRoute::KEYS,
            raw::RawTimeouts::KEYS,
            raw::RawLimits::KEYS,
            raw::RawHealth::KEYS,
        ]
        .concat()
        {
            let shown = [
                format!("`{key}`"),
                format!("[{key}]"),
                format!("[{key}."),
                format!(" {key}`"),
            ];
            assert!(shown.iter().any(|key| manual.contains(key)), "{key}");
        }
    }

    #[test]
    fn includes_add_routes_in_the_order_of_their_names() {
        let loaded = load_files(&[
            (
                "proxy.toml",
                &format!(
                    "include = [\"tenants/*.toml\", \"tenants/b.toml\", \"*.toml\"]\n{}",
                    route("main")
                ),
            ),
            ("tenants/b.toml", &route("b")),
            ("tenants/a.toml", &route("a")),
            ("tenants/.hidden.toml", "not = toml = at all"),
            ("tenants/c.toml~", "not = toml = at all"),
        ]);
        assert_eq!(loaded.unwrap(), ["main", "a", "b"]);
    }

    #[test]
    fn an_include_that_matches_nothing_is_fine_unless_it_is_a_name() {
        assert!(load_files(&[("proxy.toml", "include = \"tenants/*.toml\"")]).is_ok());
        let errors = load_files(&[("proxy.toml", "include = \"tenants/a.toml\"")]).unwrap_err();
        assert!(errors.contains("no file `DIR/tenants/a.toml`"), "{errors}");
        assert!(errors.contains("DIR/proxy.toml:1:11"), "{errors}");
    }

    #[test]
    fn mistakes_are_found_across_files_with_both_places() {
        let errors = load_files(&[
            ("proxy.toml", "include = [\"a.toml\", \"b.toml\", \"d\"]\n[routes.thor]\nhosts = \"x\"\nupstream = \"http://a:1\"\n"),
            ("a.toml", "listen = \"0.0.0.0:1\"\n[routes.thor]\nhosts = \"y\"\nupstream = \"http://a:1\"\n"),
            ("b.toml", "[routes.loki]\nhosts = \"X\"\nupstream = \"http://a:1\"\n[log]\n"),
            ("d/e", ""),
        ])
        .unwrap_err();
        for expected in [
            "tenant `thor` is defined twice\n --> DIR/a.toml:2:9\n",
            "host `x` belongs to two routes\n --> DIR/b.toml:2:9\n",
            "`listen` can't stand in an included file\n --> DIR/a.toml:1:1\n",
            "`log` can't stand in an included file\n --> DIR/b.toml:4:2\n",
            "can't read `DIR/d`: it is not a regular file\n --> DIR/proxy.toml:1:32\n",
            "move it to DIR/proxy.toml",
            "::: DIR/proxy.toml:2:9",
            "::: DIR/proxy.toml:3:9",
        ] {
            assert!(errors.contains(expected), "{expected}\n\nin\n\n{errors}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_named_with_what_to_do() {
        let errors = Source::new("/nowhere/proxy.toml")
            .load(&|_| None)
            .unwrap_err()
            .to_string();
        assert!(errors.contains("no file `/nowhere/proxy.toml`"), "{errors}");
        assert!(errors.contains("--config PATH"), "{errors}");
    }

    #[test]
    fn bytes_that_are_not_utf8_have_their_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("proxy.toml");
        std::fs::write(&path, b"# fine\n# b\xfccher\n").unwrap();
        let errors = Source::new(path).load(&|_| None).unwrap_err().to_string();
        assert!(errors.contains("not valid UTF-8"), "{errors}");
        assert!(errors.contains("proxy.toml:2:4"), "{errors}");
    }

    #[test]
    fn the_environment_is_used_in_values_alone() {
        let loaded = load_files(&[(
            "proxy.toml",
            "[routes.thor]\nhosts = \"a\"\nupstream = \"http://a:1\"\nresponse_headers.set.X-A = \"${B}\"\n",
        )]);
        assert_eq!(loaded.unwrap(), ["thor"]);
        let errors =
            load_files(&[("proxy.toml", "\"${A}\" = 1\nlisten = \"x${A}\"\n")]).unwrap_err();
        assert!(errors.contains("unknown key `${A}`"), "{errors}");
        assert!(errors.contains("`x<A>` is no address"), "{errors}");
        assert!(
            errors.contains("listen = \"x${A}\""),
            "the source is shown as it is: {errors}"
        );
    }

    #[test]
    fn a_mistake_is_told_once() {
        let check = |text: &str, expected: &[&str]| {
            let errors = of_text(text).unwrap_err().to_string();
            let told: Vec<_> = errors
                .lines()
                .filter(|line| line.starts_with("error: "))
                .collect();
            assert_eq!(told, expected, "{errors}");
        };
        check(
            "[routes.a]\nhosts = \"a\"\nupsteam = \"http://a:1\"\n",
            &["error: unknown key `upsteam` in [routes.a]"],
        );
        check(
            "[routes.a]\nhosts = [\"a\",\nupstream = \"http://a:1\"\n",
            &["error: invalid TOML: unexpected `=` in array"],
        );
        check(
            "[routes.a]\nhosts = \"a\"\nupstream = \"http://a:1\"\n[routes.a]\nhosts = \"b\"\n",
            &["error: table `a` is defined twice"],
        );
        check(
            "listen = \n",
            &["error: invalid TOML: string values must be quoted"],
        );
    }

    /// The manual shows what is really told.
    #[test]
    fn the_manual_shows_errors_as_they_are() {
        let manual = include_str!("../../docs/config.md");
        let shown = manual
            .split("```\n")
            .find(|block| block.starts_with("error: "))
            .unwrap();
        let text = "[routes.thor]\nhosts = [\"thor.polls.local\"]\nupsteam = \"http://thor_web:8000\"\n\n\
            [routes.potter]\nhosts = [\"thor.polls.local\"]\nupstream = \"http://potter_web\"\n";
        let errors = load_files(&[("proxy.toml", text)]).unwrap_err();
        assert_eq!(errors.replace("DIR/", ""), shown.trim_end());
    }

    #[test]
    fn of_very_many_mistakes_the_first_are_shown() {
        let text: String = (0..5000).map(|n| format!("key{n} = 1\n")).collect();
        let errors = of_text(&text).unwrap_err();
        assert_eq!(errors.count(), 5000);
        let shown = errors.to_string();
        assert!(shown.ends_with("and 4900 more errors"), "{shown}");
        assert_eq!(shown.matches("error: unknown key").count(), 100);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_explained(text in "(\\PC|\n){0,200}") {
            if let Err(errors) = of_text(&text) {
                prop_assert!(errors.count() > 0);
                prop_assert!(errors.render(true).contains("error"));
            }
        }

        #[test]
        fn any_mix_of_what_belongs_there_is_read_or_explained(
            words in prop::collection::vec(prop::sample::select(&[
                "[routes.thor]", "[routes", "hosts", "upstream", "=", "\"a\"", "'b'", "[", "]", "{", "}", ",", "\n", "\n",
                "listen", "paths", "prefix", "\"${A", "\"\"\"", "1", "true", ".", "[[routes.thor.paths]]", "include", "\u{fc}",
                "\"http://a:1\"", "\"*.b\"", "#", "\r\n", "\t",
            ][..]), 0..40),
        ) {
            if let Err(errors) = of_text(&words.concat()) {
                prop_assert!(errors.count() > 0);
                prop_assert!(errors.to_string().contains("error"));
            }
        }
    }
}
