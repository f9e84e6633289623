//! Cutting a file into what each tenant has of it, without reading what that says.
//!
//! What a line of TOML means depends on those before it only by the header that it stands below. So a file that is cut
//! before headers means what its pieces mean, each read by itself. Where a line looks like a header and is none, the
//! piece before it ends inside of a list, which is a mistake by itself, or inside of a string of several lines; a file
//! with such strings isn't cut at all.

use std::{
    io::{self, Read},
    ops::Range,
};

use memchr::{memchr, memmem::Finder};

use super::files::{BYTES_MAX, Digest, read_block};

/// What one tenant may have in a file that is cut.
const PIECE_BYTES_MAX: usize = 1024 * 1024;

/// A file on its way from its first byte to its last.
#[derive(Debug)]
pub(super) struct Pieces<R> {
    file: R,
    buffer: Vec<u8>,
    /// Where the next piece begins.
    at: usize,
    ended: bool,
    pub(super) bytes: u64,
    pub(super) digest: Digest,
    /// Of what may be a header's line.
    header: Finder<'static>,
    /// Of what opens and closes a string of several lines.
    quotes: [Finder<'static>; 2],
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// A header of a tenant and all that follows, up to a header of something else.
    Tenant(&'a str),
    Rest(&'a str),
}

/// Why a file can't be cut.
#[derive(Debug)]
pub(super) enum Uncut {
    /// It has to be read as a whole.
    Odd,
    Io,
}

impl From<io::Error> for Uncut {
    fn from(_: io::Error) -> Self {
        Self::Io
    }
}

impl<R: Read> Pieces<R> {
    pub(super) fn of(file: R, digest: Digest) -> Self {
        Self {
            file,
            buffer: Vec::new(),
            at: 0,
            ended: false,
            bytes: 0,
            digest,
            header: Finder::new(b"\n["),
            quotes: [Finder::new(br#"""""#), Finder::new(b"'''")],
        }
    }

    /// The next piece, until there is none.
    pub(super) fn next(&mut self) -> Result<Option<Piece<'_>>, Uncut> {
        let length = self.length()?;
        if length == 0 {
            return Ok(None);
        }
        let piece = self.at..self.at + length;
        self.at = piece.end;
        let piece = &self.buffer[piece];
        let text = std::str::from_utf8(piece).map_err(|_| Uncut::Odd)?;
        if self
            .quotes
            .iter()
            .any(|quotes| quotes.find(piece).is_some())
        {
            return Err(Uncut::Odd);
        }
        Ok(Some(match tenant(piece) {
            Some(_) => Piece::Tenant(text),
            None => Piece::Rest(text),
        }))
    }

    /// Of the piece that begins where the last one ended.
    fn length(&mut self) -> Result<usize, Uncut> {
        let mut from = 0;
        loop {
            let here = &self.buffer[self.at..];
            let header = self
                .header
                .find(&here[from..])
                .map(|found| from + found + 1);
            match header {
                Some(header) if self.ended || memchr(b'\n', &here[header..]).is_some() => {
                    let first = tenant(here);
                    let same = first.is_some_and(|first| {
                        let next = tenant(&here[header..]);
                        next.is_some_and(|next| here[header..][next] == here[first])
                    });
                    if !same {
                        return Ok(header);
                    }
                    from = header;
                }
                None if self.ended => return Ok(here.len()),
                Some(_) => self.fill()?,
                None => {
                    from = here.len().saturating_sub(1);
                    self.fill()?;
                }
            }
        }
    }

    /// Reads on. What was cut already is forgotten.
    fn fill(&mut self) -> Result<(), Uncut> {
        self.buffer.drain(..self.at);
        self.at = 0;
        let before = self.buffer.len();
        if before > PIECE_BYTES_MAX {
            return Err(Uncut::Odd);
        }
        self.ended = !read_block(&mut self.file, &mut self.buffer)?;
        self.bytes += (self.buffer.len() - before) as u64;
        if self.bytes > BYTES_MAX {
            return Err(Uncut::Odd);
        }
        self.digest.add(&self.buffer[before..]);
        Ok(())
    }
}

/// Where the name stands in `[routes.NAME]`, `[routes.NAME.timeouts]` or `[[routes.NAME.paths]]`, if `text` begins so,
/// with a name that is written as it is.
fn tenant(text: &[u8]) -> Option<Range<usize>> {
    let [one, many] = ["[routes.", "[[routes."];
    let start = [one, many]
        .into_iter()
        .find(|header| text.starts_with(header.as_bytes()))?
        .len();
    let bare = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let length = text[start..].iter().position(|byte| !bare(byte))?;
    let ends = matches!(text[start + length], b']' | b'.');
    (length > 0 && ends).then_some(start..start + length)
}

#[cfg(test)]
mod tests {
    use super::{super::files::BLOCK_BYTES, *};

    fn cut(text: &str) -> Result<Vec<(bool, String)>, Uncut> {
        let mut pieces = Pieces::of(text.as_bytes(), Digest::default());
        let mut all = Vec::new();
        while let Some(piece) = pieces.next()? {
            all.push(match piece {
                Piece::Tenant(text) => (true, text.to_owned()),
                Piece::Rest(text) => (false, text.to_owned()),
            });
        }
        assert_eq!(pieces.bytes, text.len() as u64);
        Ok(all)
    }

    fn check(pieces: &[(bool, &str)]) {
        let whole: String = pieces.iter().map(|(_, text)| *text).collect();
        let expected: Vec<_> = pieces
            .iter()
            .map(|(tenant, text)| (*tenant, (*text).to_owned()))
            .collect();
        assert_eq!(cut(&whole).unwrap(), expected);
    }

    #[test]
    fn a_file_is_cut_before_the_headers_of_tenants() {
        check(&[]);
        check(&[(false, "listen = \"x\"\n")]);
        check(&[
            (false, "# it begins\nlisten = \"x\"\n"),
            (true, "[routes.thor]\nhosts = \"t\"\n# of thor\n"),
            (
                true,
                "[routes.potter]\n[routes.potter.timeouts]\n[[routes.potter.paths]]\n",
            ),
            (false, "[log]\n"),
            (false, "[routes . odd]\n"),
            (false, "[routes]\nx.hosts = \"x\"\n"),
            (false, "[routes.\"quoted\"]\n"),
            (true, "[routes.thor-2]"),
        ]);
    }

    #[test]
    fn what_lies_across_two_blocks_is_one_piece() {
        for filler in BLOCK_BYTES - 40..BLOCK_BYTES + 20 {
            let comment = format!("#{}\n", "x".repeat(filler));
            check(&[
                (false, &comment),
                (true, "[routes.thor]\nhosts = \"t\"\n[routes.thor.limits]\n"),
                (true, "[routes.potter]\n"),
            ]);
        }
    }

    #[test]
    fn what_may_hold_a_line_that_only_looks_like_a_header_is_not_cut() {
        let odd = |text: &str| matches!(cut(text), Err(Uncut::Odd));
        assert!(odd("a = \"\"\"\n[routes.thor]\n\"\"\"\n"));
        assert!(odd("a = '''\n[routes.thor]\n'''\n"));
        assert!(odd(&format!(
            "#{}",
            "x".repeat(PIECE_BYTES_MAX + 2 * BLOCK_BYTES)
        )));
        let bytes: &[u8] = b"# \xff\n";
        let mut pieces = Pieces::of(bytes, Digest::default());
        assert!(matches!(pieces.next(), Err(Uncut::Odd)));
    }
}
