//! A value that stands alone, what is wrong with it, and what was probably meant. It knows no key.

use schemars::Schema;
use toml::de::DeValue;

/// What is wrong with a value, and what would be right.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) message: String,
    pub(super) remedy: String,
    pub(super) note: Option<String>,
}

/// A value that is written as one string, number or boolean.
pub(super) trait Leaf: Sized {
    /// As in "expected …".
    const EXPECTED: &'static str;

    fn read(scalar: Scalar<'_>) -> Result<Self, Problem>;

    fn schema() -> Schema;
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Scalar<'a> {
    Text(&'a str),
    Integer(Option<i64>),
    Boolean(bool),
    Other(&'static str),
}

/// The nearest of the known keys, if it is near enough to be what was meant.
pub(super) fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let folded = name.to_lowercase().replace('-', "_");
    let distance = |key: &&&str| strsim::damerau_levenshtein(&folded, key);
    let nearest = known.iter().min_by_key(distance)?;
    let near = distance(&nearest) <= 1.max(nearest.len() / 3);
    let longer =
        nearest.len() >= 4 && (folded.starts_with(*nearest) || nearest.starts_with(&folded));
    (near || (longer && folded.len() >= 3)).then_some(*nearest)
}

pub(super) fn article(noun: &str) -> String {
    match noun.chars().next() {
        Some('a' | 'e' | 'i' | 'o' | 'u') => format!("an {noun}"),
        _ => format!("a {noun}"),
    }
}

impl Problem {
    pub(super) fn new(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            remedy: remedy.into(),
            note: None,
        }
    }
}

impl<'a> Scalar<'a> {
    /// The string, or what is wrong where a string is asked for.
    pub(super) fn text(self, expected: &str) -> Result<&'a str, Problem> {
        let found = match self {
            Self::Text(text) => return Ok(text),
            Self::Integer(_) => "integer",
            Self::Boolean(_) => "boolean",
            Self::Other(kind) => kind,
        };
        Err(Self::wrong(expected, found))
    }

    pub(super) fn wrong(expected: &str, found: &str) -> Problem {
        let found = article(found);
        Problem::new(
            format!("expected {expected}, found {found}"),
            format!("write {expected}"),
        )
    }

    pub(super) fn of(value: &'a DeValue<'_>) -> Self {
        match value {
            DeValue::String(text) => Self::Text(text),
            DeValue::Integer(integer) => {
                Self::Integer(i64::from_str_radix(integer.as_str(), integer.radix()).ok())
            }
            DeValue::Boolean(boolean) => Self::Boolean(*boolean),
            DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
                Self::Other(value.type_str())
            }
        }
    }
}
