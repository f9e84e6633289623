//! The beginnings of paths that a route treats apart. It never decodes or normalises a path.

use std::fmt;

/// Longer prefixes than this are a mistake: most servers refuse such a path.
const PREFIX_BYTES_MAX: usize = 4096;

/// The beginning of a path that a route treats apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PathPrefix(Box<str>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathPrefixError {
    /// Without `/` at its start.
    Relative,
    /// Something that can't be in the path of a request as it is sent (RFC 3986 §3.3).
    Character(char),
    Length,
}

impl PathPrefix {
    /// Reads `/static/`. It is compared byte by byte with the path as the client sends it.
    ///
    /// # Errors
    /// What no path of a request could begin with, see [`PathPrefixError`].
    pub fn parse(text: &str) -> Result<Self, PathPrefixError> {
        let in_path = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@/%".contains(c);
        if !text.starts_with('/') {
            return Err(PathPrefixError::Relative);
        }
        if let Some(odd) = text.chars().find(|&c| !in_path(c)) {
            return Err(PathPrefixError::Character(odd));
        }
        if text.len() > PREFIX_BYTES_MAX {
            return Err(PathPrefixError::Length);
        }
        Ok(Self(text.into()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a path, with or without its query, lies below: `/static` matches `/static`,
    /// `/static?v=1` and `/static/x` but not `/staticfiles`.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        path.strip_prefix(&*self.0).is_some_and(|rest| {
            self.0.ends_with('/') || rest.is_empty() || rest.starts_with(['/', '?'])
        })
    }
}

impl fmt::Display for PathPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for PathPrefixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Relative => f.write_str("a prefix begins with `/`"),
            Self::Character(c) => write!(f, "a prefix can't hold {c:?}"),
            Self::Length => f.write_str("a prefix is too long"),
        }
    }
}

impl std::error::Error for PathPrefixError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_where_a_segment_does() {
        let check = |prefix: &str, path: &str, expected: bool| {
            let prefix = PathPrefix::parse(prefix).unwrap();
            assert_eq!(prefix.matches(path), expected, "{prefix} {path}");
        };
        check("/static", "/static", true);
        check("/static", "/static/", true);
        check("/static", "/static/a.css", true);
        check("/static", "/static?v=1", true);
        check("/static", "/staticfiles", false);
        check("/static", "/Static", false);
        check("/static/", "/static", false);
        check("/static/", "/static?v=/static/", false);
        check("/static/", "/static/", true);
        check("/static/", "/static/a", true);
        check("/", "/anything", true);
        check("/", "*", false);
    }

    #[test]
    fn what_is_no_prefix() {
        let check = |text: &str, error| assert_eq!(PathPrefix::parse(text), Err(error));
        check("", PathPrefixError::Relative);
        check("static/", PathPrefixError::Relative);
        check("/a b", PathPrefixError::Character(' '));
        check("/a?b", PathPrefixError::Character('?'));
        check("/\u{fc}", PathPrefixError::Character('\u{fc}'));
        check(
            &format!("/{}", "a".repeat(PREFIX_BYTES_MAX)),
            PathPrefixError::Length,
        );
    }
}
