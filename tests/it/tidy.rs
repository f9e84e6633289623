//! The rules of the house that a compiler can't keep: which module may name what.
//!
//! It reads the sources as text. A rule that is in the way is changed in ARCHITECTURE.md first, and here second.

use std::{
    fs,
    path::{Path, PathBuf},
};

struct Source {
    /// Below `src`, with `/`.
    name: String,
    text: String,
}

impl Source {
    /// The lines that are code and not tests, with their numbers.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self
            .text
            .lines()
            .enumerate()
            .map(|(index, line)| (index + 1, line));
        let body = lines.take_while(|(_, line)| *line != "#[cfg(test)]");
        body.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    fn is_of(&self, modules: &[&str]) -> bool {
        modules.iter().any(|module| {
            let rest = self.name.strip_prefix(module);
            rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        })
    }
}

fn sources_below(directory: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let mut found = Vec::new();
    let mut directories = vec![root.clone()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path
                    .strip_prefix(&root)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .replace('\\', "/");
                found.push(Source {
                    name,
                    text: fs::read_to_string(path).unwrap(),
                });
            }
        }
    }
    assert!(!found.is_empty(), "no sources in {}", root.display());
    found
}

/// Fails where a line of code in a module that `applies` holds one of `words`.
#[track_caller]
fn refuse(words: &[&str], rule: &str, applies: impl Fn(&Source) -> bool) {
    let mut found = Vec::new();
    for source in sources_below("src").iter().filter(|source| applies(source)) {
        for (number, line) in source.code() {
            if let Some(word) = words.iter().find(|word| names(line, word)) {
                found.push(format!(
                    "src/{}:{number}: {word}: {}",
                    source.name,
                    line.trim()
                ));
            }
        }
    }
    assert!(found.is_empty(), "{rule}\n{}", found.join("\n"));
}

/// Whether `line` holds `word` that is not a part of a longer one.
fn names(line: &str, word: &str) -> bool {
    let part = |char: char| char.is_alphanumeric() || char == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !(word.starts_with(part) && before.is_some_and(part)
            || word.ends_with(part) && after.is_some_and(part))
    })
}

/// The time is an argument there, and so is everything that was read.
const PURE: [&str; 9] = [
    "method",
    "request",
    "route",
    "headers",
    "limits",
    "proxy_header",
    "error",
    "config/validate",
    "http1",
];

/// The path of a request, from the socket to the record.
const REQUEST_PATH: [&str; 24] = [
    "listener",
    "worker",
    "connection",
    "handle",
    "request",
    "route",
    "limits",
    "headers",
    "forward",
    "upstream",
    "upgrade",
    "client",
    "date",
    "deadline",
    "method",
    "snapshot",
    "stream",
    "proxy_header",
    "wire",
    "http1",
    "error",
    "session",
    "bulkhead",
    "rounds",
];

#[test]
fn pure_modules_do_no_input_or_output() {
    let words = [
        "std::fs",
        "std::net::TcpStream",
        "TcpListener",
        "UnixStream",
        "tokio",
        "socket2",
        "std::env",
        "hickory_resolver",
        "std::thread",
        "println!",
        "eprintln!",
    ];
    refuse(&words, "these compute and return", |source| {
        source.is_of(&PURE)
    });
}

#[test]
fn pure_modules_do_not_look_at_the_clock() {
    let words = ["Instant::now", "SystemTime", "UNIX_EPOCH", "Timestamp::now"];
    refuse(&words, "these take the time as an argument", |source| {
        source.is_of(&PURE)
    });
}

#[test]
fn configuration_as_typed_is_seen_by_config_alone() {
    let words = ["config::raw", "RawConfig", "RawRoute"];
    refuse(&words, "others see it as trusted", |source| {
        !source.is_of(&["config"])
    });
}

#[test]
fn request_path_does_not_know_who_changes_or_shows_the_configuration() {
    let words = [
        "crate::reload",
        "crate::admin",
        "crate::cli",
        "reload::",
        "admin::",
        "cli::",
    ];
    refuse(&words, "it reads a snapshot and no more", |source| {
        source.is_of(&REQUEST_PATH)
    });
}

#[test]
fn only_upstream_dials() {
    let words = [
        "TcpStream::connect",
        "UnixStream::connect",
        "TcpSocket",
        "connect_timeout(",
    ];
    let rule = "a tenant's containers are reached from one place";
    // `ask` belongs to commands, which are processes of their own: it asks the admin listener; `socket` asks whether
    // the edge that left a unix socket behind is still alive, and `handover` asks the edge that it replaces.
    refuse(&words, rule, |source| {
        !source.is_of(&["upstream/dial", "cli/ask", "socket", "handover"])
    });
}

#[test]
fn only_those_who_must_touch_files() {
    let rule = "a worker never waits for a disk";
    // The file of a unix socket has to be taken away by whoever binds it, who has an address stands in /proc, and
    // /etc/hosts is read at the start.
    refuse(&["std::fs", "fs::"], rule, |source| {
        !source.is_of(&["config", "telemetry", "socket", "holder", "upstream/hosts"])
    });
}

#[test]
fn anyhow_stays_in_main_and_the_commands() {
    refuse(&["anyhow"], "errors are enums elsewhere", |source| {
        !source.is_of(&["main", "cli"])
    });
}

#[test]
fn only_main_ends_the_process() {
    refuse(
        &["process::exit", "process::abort"],
        "exit codes are returned",
        |source| !source.is_of(&["main"]),
    );
}

#[test]
fn every_module_says_what_it_owns() {
    for directory in ["src", "tests"] {
        for source in sources_below(directory) {
            assert!(
                source.text.starts_with("//! "),
                "{directory}/{} doesn't open with `//! `",
                source.name
            );
        }
    }
}

#[test]
fn files_are_short_enough_to_be_read() {
    for source in sources_below("src") {
        let lines = source
            .text
            .lines()
            .take_while(|line| *line != "#[cfg(test)]")
            .count();
        assert!(
            lines <= 400,
            "src/{} has {lines} lines without its tests",
            source.name
        );
    }
}

#[test]
fn functions_are_kept_short_by_clippy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let clippy = fs::read_to_string(root.join("clippy.toml")).unwrap();
    assert!(manifest.contains("too_many_lines = \"warn\""));
    assert!(manifest.contains("unsafe_code = \"forbid\""));
    assert!(clippy.contains("too-many-lines-threshold = 70"));
}

#[test]
fn lints_are_not_silenced_without_a_reason() {
    for source in sources_below("src").iter().chain(&sources_below("tests")) {
        let mut rest = source.text.as_str();
        while let Some(start) = rest.find("#[allow(").or_else(|| rest.find("#![allow(")) {
            let attribute = &rest[start..];
            let attribute = &attribute[..attribute.find(")]").unwrap_or(attribute.len())];
            let own = source.name == "it/tidy.rs";
            assert!(
                own || attribute.contains("reason"),
                "{}: {attribute}",
                source.name
            );
            rest = &rest[start + 8..];
        }
    }
}

#[test]
fn tests_are_not_ignored_without_a_reason() {
    for directory in ["src", "tests"] {
        for source in sources_below(directory) {
            let bare = concat!("#[", "ignore]");
            assert!(
                !source.text.contains(bare),
                "{directory}/{}: {bare}",
                source.name
            );
        }
    }
}

#[test]
fn nothing_is_left_to_be_done_later() {
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("HA", "CK"),
    ];
    for directory in ["src", "tests"] {
        for source in sources_below(directory) {
            for (index, line) in source.text.lines().enumerate() {
                let found = words.iter().find(|word| names(line, word));
                assert!(
                    found.is_none(),
                    "{directory}/{}:{}: {line}",
                    source.name,
                    index + 1
                );
            }
        }
    }
}
