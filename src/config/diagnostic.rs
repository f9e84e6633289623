//! What is wrong with a configuration, where, and what would be right, shown as rustc shows it.
//!
//! It never decides what is wrong.

use std::{fmt, ops::Range};

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Origin, Renderer, Snippet};

/// So many are shown; a file of 100,000 tenants may hold as many mistakes.
const SHOWN_MAX: usize = 100;
/// Two places of one file stand in one excerpt unless they are farther apart than this.
const EXCERPT_BYTES_MAX: usize = 32 * 1024;

/// A file as it was read.
#[derive(Debug, Clone)]
pub(super) struct SourceFile {
    /// As it is shown: the path that was given, or the one that an include found.
    pub(super) name: String,
    pub(super) text: String,
}

/// A range of bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Span {
    pub(super) file: u32,
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Span {
    pub(super) fn new(file: u32, range: Range<usize>) -> Self {
        // Files are bounded far below 4 GiB.
        let short = |at| u32::try_from(at).unwrap_or(u32::MAX);
        Self {
            file,
            start: short(range.start),
            end: short(range.end),
        }
    }

    fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// One mistake.
#[derive(Debug, Clone)]
pub(super) struct Diagnostic {
    place: Place,
    /// What is wrong.
    message: String,
    /// What would be right; empty where the message says it.
    remedy: String,
    /// Further places that belong to it.
    related: Vec<(Span, String)>,
    notes: Vec<String>,
    absence: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// A file that could not be read.
    File(String),
    Text(Span),
}

impl Diagnostic {
    pub(super) fn new(span: Span, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            place: Place::Text(span),
            message: message.into(),
            remedy: remedy.into(),
            related: Vec::new(),
            notes: Vec::new(),
            absence: false,
        }
    }

    /// A mistake of a file as a whole.
    pub(super) fn of_file(name: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            place: Place::File(name.into()),
            message: message.into(),
            remedy: String::new(),
            related: Vec::new(),
            notes: Vec::new(),
            absence: false,
        }
    }

    /// Something that should be there and isn't; the place is the table that lacks it.
    pub(super) fn missing(table: Span, message: String, remedy: impl Into<String>) -> Self {
        Self {
            absence: true,
            ..Self::new(table, message, remedy)
        }
    }

    pub(super) fn is_absence(&self) -> bool {
        self.absence
    }

    pub(super) fn also(mut self, span: Span, label: impl Into<String>) -> Self {
        self.related.push((span, label.into()));
        self
    }

    pub(super) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    pub(super) fn span(&self) -> Option<Span> {
        match self.place {
            Place::Text(span) => Some(span),
            Place::File(_) => None,
        }
    }

    fn render(&self, files: &[SourceFile], renderer: &Renderer) -> String {
        let mut group = Level::ERROR
            .primary_title(self.message.as_str())
            .elements([] as [Origin<'_>; 0]);
        group = match &self.place {
            Place::File(name) => group.element(Origin::path(name.as_str())),
            Place::Text(span) => self.excerpts(group, *span, files),
        };
        for note in &self.notes {
            group = group.element(Level::HELP.message(note.as_str()));
        }
        renderer.render(&[group])
    }

    fn excerpts<'a>(
        &'a self,
        group: Group<'a>,
        primary: Span,
        files: &'a [SourceFile],
    ) -> Group<'a> {
        let mark = |(span, label): (Span, &'a str), kind| Mark { span, label, kind };
        let mut excerpts = vec![vec![mark((primary, &self.remedy), AnnotationKind::Primary)]];
        for (span, label) in &self.related {
            let near = span.file == primary.file
                && span.start.abs_diff(primary.start) as usize <= EXCERPT_BYTES_MAX;
            if near {
                excerpts[0].push(mark((*span, label), AnnotationKind::Context));
            } else {
                excerpts.push(vec![mark((*span, label), AnnotationKind::Primary)]);
            }
        }
        excerpts
            .into_iter()
            .filter_map(|marks| excerpt(&marks, files))
            .fold(group, Group::element)
    }
}

struct Mark<'a> {
    span: Span,
    label: &'a str,
    kind: AnnotationKind,
}

/// The lines of one file that hold the marks, and no others: rendering looks at all that it is given.
fn excerpt<'a>(marks: &[Mark<'a>], files: &'a [SourceFile]) -> Option<Snippet<'a, Annotation<'a>>> {
    let first = marks.first()?;
    let file = files.get(first.span.file as usize)?;
    let text = file.text.as_str();
    let start = marks.iter().map(|mark| mark.span.range().start).min()?;
    let end = marks.iter().map(|mark| mark.span.range().start).max()?;
    let from = line_start(text, start);
    let to = line_end(text, end);
    let line = 1 + text.get(..from)?.bytes().filter(|&b| b == b'\n').count();
    let annotations = marks.iter().map(|mark| {
        let range = mark.span.range();
        // Of something that goes over several lines, its first is shown.
        let end = range.end.min(line_end(text, range.start)).max(range.start);
        let annotation = mark.kind.span(range.start - from..end - from);
        if mark.label.is_empty() {
            annotation
        } else {
            annotation.label(mark.label)
        }
    });
    Some(
        Snippet::source(text.get(from..to)?)
            .path(file.name.as_str())
            .line_start(line)
            .annotations(annotations),
    )
}

pub(super) fn line_start(text: &str, at: usize) -> usize {
    let before = text.get(..at).unwrap_or(text);
    before.rfind('\n').map_or(0, |newline| newline + 1)
}

fn line_end(text: &str, at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    let end = rest.find('\n').map_or(text.len(), |newline| at + newline);
    let line = text.get(..end).unwrap_or(text);
    line.strip_suffix('\r')
        .unwrap_or(line)
        .len()
        .max(at.min(text.len()))
}

/// Everything that is wrong with a configuration, in the order of its files and lines.
#[derive(Debug, Clone)]
pub struct ConfigErrors {
    files: Vec<SourceFile>,
    diagnostics: Vec<Diagnostic>,
}

impl ConfigErrors {
    pub(super) fn new(files: Vec<SourceFile>, mut diagnostics: Vec<Diagnostic>) -> Self {
        diagnostics.sort_by(|a, b| a.place.cmp(&b.place));
        Self { files, diagnostics }
    }

    #[must_use]
    pub fn count(&self) -> usize {
        self.diagnostics.len()
    }

    /// All of them as rustc shows its own, with colours for a terminal if they are wanted.
    #[must_use]
    pub fn render(&self, coloured: bool) -> String {
        let renderer = if coloured {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let mut text = String::new();
        for diagnostic in self.diagnostics.iter().take(SHOWN_MAX) {
            text.push_str(&diagnostic.render(&self.files, &renderer));
            text.push_str("\n\n");
        }
        let left = self.diagnostics.len().saturating_sub(SHOWN_MAX);
        if left > 0 {
            text.push_str(&format!("and {left} more errors\n"));
        }
        text.truncate(text.trim_end().len());
        text
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for ConfigErrors {}
