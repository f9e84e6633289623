//! From TOML's tree to the raw types, collecting every mistake on the way.
//!
//! serde stops at the first mistake, so the tree is walked here. It knows tables, keys, lists and
//! `${NAME}`, and no key by name.

use std::{borrow::Cow, fmt, ops::Range};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    diagnostic::{Diagnostic, Span},
    interpolate::{Env, interpolate},
    scalar::{Leaf, Problem, Scalar, article, nearest},
};

/// One file's tree on its way to a raw type.
pub(super) struct Reader<'a> {
    file: u32,
    text: &'a str,
    env: Env<'a>,
    diagnostics: &'a mut Vec<Diagnostic>,
}

/// Where the reader is, for messages: `[routes.thor.timeouts]`.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    above: Option<&'a Self>,
    key: &'a str,
}

/// A key of a table.
#[derive(Debug, Default)]
pub(super) enum Field<T> {
    #[default]
    Absent,
    /// Given, and refused; the mistake has been told.
    Wrong,
    Given(T),
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Span,
}

/// A list, or one value that stands for a list of one.
#[derive(Debug)]
pub(super) struct Many<T> {
    pub(super) items: Vec<At<T>>,
    pub(super) span: Span,
    /// Whether an item was refused, so that the list may be shorter than it was written.
    pub(super) cut: bool,
}

/// A list of tables.
#[derive(Debug)]
pub(super) struct Tables<T>(pub(super) Vec<At<T>>);

/// A table whose keys are names that the operator chooses, in the order of the file.
#[derive(Debug)]
pub(super) struct Named<K, V>(pub(super) Vec<(At<K>, V)>);

/// Something that can be the value of a key.
pub(super) trait FromToml: Sized {
    /// Reads it, or tells what is wrong and gives nothing.
    fn from_toml(
        value: &Spanned<DeValue<'_>>,
        place: Place<'_>,
        reader: &mut Reader<'_>,
    ) -> Option<Self>;
}

/// A table with a fixed list of keys.
pub(super) trait Table: Default {
    const KEYS: &'static [&'static str];

    /// Reads one key; false if there is no such key.
    fn set(
        &mut self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        place: Place<'_>,
        reader: &mut Reader<'_>,
    ) -> bool;

    /// Notes that a key was given, if by another name, so that nobody says it is missing.
    fn meant(&mut self, key: &str);
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        file: u32,
        text: &'a str,
        env: Env<'a>,
        diagnostics: &'a mut Vec<Diagnostic>,
    ) -> Self {
        Self {
            file,
            text,
            env,
            diagnostics,
        }
    }

    pub(super) fn span(&self, range: Range<usize>) -> Span {
        Span::new(self.file, range)
    }

    pub(super) fn tell(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    fn refuse(&mut self, span: Span, problem: Problem) {
        let mut diagnostic = Diagnostic::new(span, problem.message, problem.remedy);
        if let Some(note) = problem.note {
            diagnostic = diagnostic.note(note);
        }
        self.tell(diagnostic);
    }

    /// Reads a table of fixed keys, telling each that it doesn't have.
    pub(super) fn table<T: Table>(&mut self, table: &DeTable<'_>, place: Option<Place<'_>>) -> T {
        let mut read = T::default();
        for (key, value) in table {
            let within = Place {
                above: place.as_ref(),
                key: key.get_ref(),
            };
            if !read.set(key.get_ref(), value, within, self) {
                self.unknown_key(key, value, place, T::KEYS);
                if let Some(near) = nearest(key.get_ref(), T::KEYS) {
                    read.meant(near);
                }
            }
        }
        read
    }

    fn unknown_key(
        &mut self,
        key: &Spanned<Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
        place: Option<Place<'_>>,
        known: &[&str],
    ) {
        let name = key.get_ref();
        let what = if value.get_ref().is_table() {
            "table"
        } else {
            "key"
        };
        let whose = place
            .map(|place| format!(" in [{place}]"))
            .unwrap_or_default();
        let remedy = nearest(name, known).map(|near| format!("did you mean `{near}`?"));
        let mut list: Vec<_> = known.iter().map(|key| format!("`{key}`")).collect();
        list.sort();
        let note = remedy
            .is_none()
            .then(|| format!("what may stand here: {}", list.join(", ")));
        let problem = Problem {
            message: format!("unknown {what} `{name}`{whose}"),
            remedy: remedy.unwrap_or_else(|| format!("there is no such {what}")),
            note,
        };
        self.refuse(self.span(key.span()), problem);
    }

    fn expected(&mut self, expected: &str, value: &Spanned<DeValue<'_>>) {
        let found = article(value.get_ref().type_str());
        let problem = Problem {
            message: format!("expected {expected}, found {found}"),
            remedy: format!("write {expected}"),
            note: None,
        };
        self.refuse(self.span(value.span()), problem);
    }

    /// The value of a string, with what it names of the environment.
    fn interpolated<'t>(&mut self, text: &'t str, literal: Range<usize>) -> Option<Cow<'t, str>> {
        match interpolate(text, self.env) {
            Ok(text) => Some(text),
            Err((at, problem)) => {
                // Where the string is written without escapes the very place can be shown.
                let source = self.text.get(literal.clone()).unwrap_or_default();
                let quoted = source.get(1..source.len().saturating_sub(1));
                let range = if quoted == Some(text) {
                    literal.start + 1 + at.start..literal.start + 1 + at.end
                } else {
                    literal
                };
                self.refuse(self.span(range), problem);
                None
            }
        }
    }
}

impl<T: FromToml> Field<T> {
    pub(super) fn read(
        value: &Spanned<DeValue<'_>>,
        place: Place<'_>,
        reader: &mut Reader<'_>,
    ) -> Self {
        if is_made_up(value) {
            return Self::Wrong;
        }
        T::from_toml(value, place, reader).map_or(Self::Wrong, Self::Given)
    }
}

/// Whether the parser put it where there was no value that it could read, which has been told.
fn is_made_up(value: &Spanned<DeValue<'_>>) -> bool {
    value.span().is_empty()
}

impl<T> Field<T> {
    pub(super) fn given(self) -> Option<T> {
        match self {
            Self::Given(value) => Some(value),
            Self::Absent | Self::Wrong => None,
        }
    }

    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

/// What few routes have is boxed, so that the many others stay small.
impl<T: FromToml> FromToml for Box<T> {
    fn from_toml(
        value: &Spanned<DeValue<'_>>,
        place: Place<'_>,
        reader: &mut Reader<'_>,
    ) -> Option<Self> {
        T::from_toml(value, place, reader).map(Self::new)
    }
}

impl<T: Leaf> FromToml for At<T> {
    fn from_toml(
        value: &Spanned<DeValue<'_>>,
        _: Place<'_>,
        reader: &mut Reader<'_>,
    ) -> Option<Self> {
        if is_made_up(value) {
            return None;
        }
        let span = reader.span(value.span());
        let scalar = Scalar::of(value.get_ref());
        let text;
        let scalar = match scalar {
            Scalar::Text(written) => {
                text = reader.interpolated(written, value.span())?;
                Scalar::Text(&text)
            }
            Scalar::Integer(_) | Scalar::Boolean(_) | Scalar::Other(_) => scalar,
        };
        match T::read(scalar) {
            Ok(value) => Some(Self { value, span }),
            Err(problem) => {
                reader.refuse(span, problem);
                None
            }
        }
    }
}

impl<T: Leaf> FromToml for Many<T> {
    fn from_toml(
        value: &Spanned<DeValue<'_>>,
        place: Place<'_>,
        reader: &mut Reader<'_>,
    ) -> Option<Self> {
        let span = reader.span(value.span());
        let Some(array) = value.get_ref().as_array() else {
            let items = vec![At::from_toml(value, place, reader)?];
            return Some(Self {
                items,
                span,
                cut: false,
            });
        };
        let items: Vec<_> = array
            .iter()
            .filter_map(|item| At::from_toml(item, place, reader))
            .collect();
        let cut = items.len() < array.len();
        Some(Self { items, span, cut })
    }
}

impl<T: Table> FromToml for Tables<T> {
    fn from_toml(
        value: &Spanned<DeValue<'_>>,
        place: Place<'_>,
        reader: &mut Reader<'_>,
    ) -> Option<Self> {
        let Some(array) = value.get_ref().as_array() else {
            reader.expected("a list of tables", value);
            return None;
        };
        let mut tables = Vec::with_capacity(array.len());
        for item in array.iter() {
            if let Some(table) = item.get_ref().as_table() {
                tables.push(At {
                    value: reader.table(table, Some(place)),
                    span: reader.span(item.span()),
                });
            } else {
                reader.expected("a table", item);
            }
        }
        Some(Self(tables))
    }
}

impl<K: Leaf, V: FromToml> FromToml for Named<K, V> {
    fn from_toml(
        value: &Spanned<DeValue<'_>>,
        place: Place<'_>,
        reader: &mut Reader<'_>,
    ) -> Option<Self> {
        let Some(table) = value.get_ref().as_table() else {
            reader.expected("a table", value);
            return None;
        };
        let mut entries = Vec::with_capacity(table.len());
        for (key, value) in table {
            let span = reader.span(key.span());
            let within = Place {
                above: Some(&place),
                key: key.get_ref(),
            };
            let read = V::from_toml(value, within, reader);
            match K::read(Scalar::Text(key.get_ref())) {
                Ok(key) => entries.extend(read.map(|value| (At { value: key, span }, value))),
                Err(problem) => reader.refuse(span, problem),
            }
        }
        entries.sort_by_key(|(key, _)| key.span);
        Some(Self(entries))
    }
}

/// A nested table of fixed keys; its span is its header, or its braces.
pub(super) fn table_from_toml<T: Table>(
    value: &Spanned<DeValue<'_>>,
    place: Place<'_>,
    reader: &mut Reader<'_>,
) -> Option<T> {
    let Some(table) = value.get_ref().as_table() else {
        reader.expected("a table", value);
        return None;
    };
    Some(reader.table(table, Some(place)))
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(above) = self.above {
            write!(f, "{above}.")?;
        }
        f.write_str(self.key)
    }
}
