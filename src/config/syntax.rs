//! TOML's own mistakes in the shape of ours, and its tree as far as it can be read.

use std::collections::HashSet;

use toml::{
    Spanned,
    de::{DeTable, Error},
};

use super::diagnostic::{Diagnostic, SourceFile, Span, line_start};

/// A file that isn't TOML at all has one in every line.
const ERRORS_MAX: usize = 1000;

/// Parses a file. What follows a mistake is still in the tree, so that its mistakes are found too.
/// Lines that aren't TOML are told apart from keys and tables that are given twice.
pub(super) fn parse<'t>(
    file: u32,
    text: &'t str,
    diagnostics: &mut Vec<Diagnostic>,
    broken: &mut Vec<Diagnostic>,
) -> Spanned<DeTable<'t>> {
    let (tree, errors) = DeTable::parse_recoverable(text);
    let mut told_lines = HashSet::new();
    let mut doubled_header = None;
    for error in errors.into_iter().take(ERRORS_MAX) {
        let range = error.span().unwrap_or(0..0);
        let line = line_start(text, range.start);
        let header = header_before(text, line);
        // After one mistake in a line the rest of it makes little sense, and the keys below a table's
        // second header are doubled because it is.
        if (header.is_some() && doubled_header == header) || !told_lines.insert(line) {
            continue;
        }
        let span = Span::new(file, range);
        if error.message() == "duplicate key" {
            if header == Some(line) {
                doubled_header = header;
            }
            diagnostics.push(duplicate(span, text, line));
        } else {
            broken.push(invalid(span, &error));
        }
    }
    tree
}

/// Takes out what is said of lines that aren't TOML, since it is about what the parser made up for
/// them, and what is missed in their tables, since it may stand in them.
pub(super) fn drop_echoes(
    diagnostics: &mut Vec<Diagnostic>,
    broken: &[Diagnostic],
    files: &[SourceFile],
) {
    let line = |diagnostic: &Diagnostic| {
        let span = diagnostic.span()?;
        let text = &files.get(span.file as usize)?.text;
        Some((span.file, line_start(text, span.start as usize)))
    };
    let lines: HashSet<_> = broken.iter().filter_map(line).collect();
    if lines.is_empty() {
        return;
    }
    let header = |&(file, line): &(u32, usize)| {
        let text = &files.get(file as usize)?.text;
        Some((file, header_before(text, line)?))
    };
    let headers: HashSet<_> = lines.iter().filter_map(header).collect();
    diagnostics.retain(|diagnostic| {
        let Some(line) = line(diagnostic) else {
            return true;
        };
        !(lines.contains(&line) || diagnostic.is_absence() && headers.contains(&line))
    });
}

fn invalid(span: Span, error: &Error) -> Diagnostic {
    match error.message().split_once(", expected ") {
        Some((message, expected)) => {
            Diagnostic::new(span, format!("invalid TOML: {message}"), remedy(expected))
        }
        None => Diagnostic::new(span, format!("invalid TOML: {}", error.message()), ""),
    }
}

fn remedy(expected: &str) -> String {
    match expected {
        "nothing" => "take it out".to_owned(),
        _ => format!("write {expected}"),
    }
}

fn duplicate(span: Span, text: &str, line: usize) -> Diagnostic {
    let name = text
        .get(span.start as usize..span.end as usize)
        .unwrap_or_default();
    let (message, remedy) = if text[line..].trim_start().starts_with('[') {
        (
            format!("table `{name}` is defined twice"),
            "rename it or take it out",
        )
    } else {
        (
            format!("key `{name}` is given twice"),
            "take one of them out",
        )
    };
    let diagnostic = Diagnostic::new(span, message, remedy);
    match first_of(text, line, name) {
        Some(range) => diagnostic.also(Span::new(span.file, range), "here first"),
        None => diagnostic,
    }
}

/// The parser tells the second place only; the first is the same line of a header, or the same key
/// of the same table, further up.
fn first_of(text: &str, line: usize, name: &str) -> Option<std::ops::Range<usize>> {
    let this = text[line..].lines().next()?.trim();
    let key = |candidate: &str| Some(candidate.split_once('=')?.0.trim().to_owned());
    let in_header = this.starts_with('[');
    let from = if in_header {
        0
    } else {
        header_before(text, line).unwrap_or(0)
    };
    let mut at = from;
    for candidate in text[from..line].split_inclusive('\n') {
        let trimmed = candidate.trim();
        let same = if in_header {
            trimmed == this
        } else {
            key(trimmed).is_some_and(|found| Some(found) == key(this))
        };
        if same {
            let column = candidate.find(name)?;
            return Some(at + column..at + column + name.len());
        }
        at += candidate.len();
    }
    None
}

/// Where the line of the header begins that a line stands below, or is.
fn header_before(text: &str, line: usize) -> Option<usize> {
    let mut at = line;
    loop {
        if text[at..].trim_start_matches([' ', '\t']).starts_with('[') {
            return Some(at);
        }
        at = line_start(text, at.checked_sub(1)?);
    }
}
