//! The fields of a message, as they came: their bytes once, and where each name and value stands. Order and case are
//! the sender's.

use super::Name;

/// More fields than this are refused, on either side. nginx has no such bound, Apache and Go's have about as many.
pub(crate) const FIELDS_MAX: usize = 128;

/// The head of a message, start line included, and its fields. The memory is used again for the next.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    bytes: Vec<u8>,
    lines: Vec<Line>,
    /// A bit for each name that is there.
    names: u32,
}

/// Where one field stands. A head is shorter than 4 GiB by far.
#[derive(Debug, Clone, Copy)]
struct Line {
    name: Name,
    /// Whether it is written as we would write it: `name: value`, CR LF.
    plain: bool,
    name_start: u32,
    name_end: u32,
    value_start: u32,
    value_end: u32,
}

/// One field.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field<'a> {
    pub(crate) name: Name,
    pub(crate) text: &'a [u8],
    pub(crate) value: &'a [u8],
}

/// A part of a head, by its place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

/// A field can't be taken in: it is beyond [`FIELDS_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

impl Fields {
    /// Begins anew with the bytes of a head.
    pub(super) fn restart(&mut self, head: &[u8]) {
        self.bytes.clear();
        self.bytes.extend_from_slice(head);
        self.lines.clear();
        self.names = 0;
    }

    /// Takes in one field of `head`, whose copy [`Self::restart`] was given: both are slices of it.
    pub(super) fn push(&mut self, head: &[u8], name: &[u8], value: &[u8]) -> Result<Name, Full> {
        if self.lines.len() == FIELDS_MAX {
            return Err(Full);
        }
        let (name_at, value_at) = (Span::of(head, name), Span::of(head, value));
        let kind = Name::of(name);
        let between = &head[name_at.end as usize..];
        let after = &head[value_at.end as usize..];
        self.names |= 1 << kind as u32;
        self.lines.push(Line {
            name: kind,
            plain: between.starts_with(b": ")
                && value_at.start == name_at.end + 2
                && after.starts_with(b"\r\n"),
            name_start: name_at.start,
            name_end: name_at.end,
            value_start: value_at.start,
            value_end: value_at.end,
        });
        Ok(kind)
    }

    /// A part of the head that is no field.
    pub(crate) fn text(&self, span: Span) -> &[u8] {
        &self.bytes[span.start as usize..span.end as usize]
    }

    pub(crate) fn contains(&self, name: Name) -> bool {
        self.names & 1 << name as u32 != 0
    }

    pub(crate) fn all(&self, name: Name) -> impl DoubleEndedIterator<Item = &[u8]> {
        // Most names that are asked for aren't there.
        let lines = if self.contains(name) {
            &*self.lines
        } else {
            &[]
        };
        let lines = lines.iter().filter(move |line| line.name == name);
        lines.map(|line| self.field(line).value)
    }

    pub(crate) fn first(&self, name: Name) -> Option<&[u8]> {
        self.all(name).next()
    }

    /// Writes the fields that `passes` lets through. What stands together, and as we would write it, is copied at once.
    #[inline]
    pub(crate) fn write(&self, out: &mut Vec<u8>, mut passes: impl FnMut(Field<'_>) -> bool) {
        let mut run = 0..0;
        for line in &self.lines {
            let (start, end) = (line.name_start as usize, line.value_end as usize + 2);
            let passes = passes(self.field(line));
            if passes && line.plain && run.end == start {
                run.end = end;
                continue;
            }
            out.extend_from_slice(&self.bytes[run]);
            run = 0..0;
            if passes && line.plain {
                run = start..end;
            } else if passes {
                let field = self.field(line);
                super::write::field(out, field.text, field.value);
            }
        }
        out.extend_from_slice(&self.bytes[run]);
    }

    fn field(&self, line: &Line) -> Field<'_> {
        Field {
            name: line.name,
            text: &self.bytes[line.name_start as usize..line.name_end as usize],
            value: &self.bytes[line.value_start as usize..line.value_end as usize],
        }
    }
}

impl Span {
    /// Where `part` stands in `head`, of which it is a slice.
    pub(super) fn of(head: &[u8], part: &[u8]) -> Self {
        let start = (part.as_ptr() as usize).wrapping_sub(head.as_ptr() as usize);
        // An empty slice may be anywhere.
        let start = if part.is_empty() && start > head.len() {
            0
        } else {
            start
        };
        let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self {
            start: place(start),
            end: place(start + part.len()),
        }
    }
}
