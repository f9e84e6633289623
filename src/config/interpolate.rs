//! `${NAME}` and `${NAME:-default}` inside string values.
//!
//! It never asks the environment itself: it is given a function that does.

use std::{borrow::Cow, ops::Range};

use super::scalar::Problem;

/// What a variable of the environment holds, if it is set.
pub(super) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Replaces what is named, once: a value that holds `${` is not looked at again. `$${` stands for `${`.
///
/// A variable that is set to nothing counts as not set where there is a default, as in a shell.
///
/// # Errors
/// What is wrong, and the bytes of the text that it is about.
pub(super) fn interpolate<'t>(
    text: &'t str,
    env: Env<'_>,
) -> Result<Cow<'t, str>, (Range<usize>, Problem)> {
    if !text.contains("${") {
        return Ok(Cow::Borrowed(text));
    }
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(found) = text[at..].find("${") {
        let open = at + found;
        if text[at..open].ends_with('$') {
            out.push_str(&text[at..open - 1]);
            out.push_str("${");
            at = open + 2;
            continue;
        }
        out.push_str(&text[at..open]);
        let Some(close) = text[open..].find('}').map(|length| open + length) else {
            let problem = Problem::new(
                "`${` is not closed",
                "close it with `}`, or write `$${` for the characters themselves",
            );
            return Err((open..text.len(), problem));
        };
        let value = variable(&text[open + 2..close], env);
        out.push_str(&value.map_err(|problem| (open..close + 1, problem))?);
        at = close + 1;
    }
    out.push_str(&text[at..]);
    Ok(Cow::Owned(out))
}

fn variable(inside: &str, env: Env<'_>) -> Result<String, Problem> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let letters = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty()
        || !name.chars().all(letters)
        || name.starts_with(|c: char| c.is_ascii_digit())
    {
        return Err(Problem::new(
            format!("`{name}` is no name of a variable"),
            "write `${NAME}` or `${NAME:-default}`",
        ));
    }
    match (env(name), default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(Problem::new(
            format!("the environment has no `{name}`"),
            format!("set it, or give a default: `${{{name}:-default}}`"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "HOST" => Some("thor_web".to_owned()),
            "EMPTY" => Some(String::new()),
            "NESTED" => Some("${HOST}".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn variables_are_replaced_once() {
        let check = |text: &str, expected: &str| {
            assert_eq!(interpolate(text, &env).unwrap(), expected, "{text}");
        };
        check("plain $HOST {HOST}", "plain $HOST {HOST}");
        check("http://${HOST}:${PORT:-8000}", "http://thor_web:8000");
        check("${HOST:-other}", "thor_web");
        check("${EMPTY}|${EMPTY:-full}|${NONE:-}", "|full|");
        check("${NESTED}", "${HOST}");
        check("$${HOST} ${HOST}", "${HOST} thor_web");
        check("\u{fc}${HOST}\u{fc}", "\u{fc}thor_web\u{fc}");
    }

    #[test]
    fn mistakes_have_their_place_and_remedy() {
        let check = |text: &str, place: Range<usize>, message: &str| {
            let (range, problem) = interpolate(text, &env).unwrap_err();
            assert_eq!(range, place, "{text}");
            assert!(problem.message.contains(message), "{}", problem.message);
        };
        check("a ${NONE} b", 2..9, "no `NONE`");
        check("a ${HOST", 2..8, "not closed");
        check("${}", 0..3, "no name");
        check("${1A}", 0..5, "no name");
        check("${HOST}${A B:-x}", 7..16, "no name");
    }
}
