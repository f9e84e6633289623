//! Text on its way into an HTML page.
//!
//! Pure. It knows text and quoted attribute values; scripts, styles and addresses are not places for
//! what a client sent.

use std::fmt;

/// Prints `self.0` so that it stays text, between tags and inside quoted attributes.
pub(crate) struct Escaped<'a>(pub(crate) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(['&', '<', '>', '"', '\'']) {
            f.write_str(&rest[..at])?;
            f.write_str(match rest.as_bytes()[at] {
                b'&' => "&amp;",
                b'<' => "&lt;",
                b'>' => "&gt;",
                b'"' => "&quot;",
                _ => "&#39;",
            })?;
            rest = &rest[at + 1..];
        }
        f.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::Escaped;

    #[test]
    fn text_stays_text() {
        for (raw, escaped) in [
            ("", ""),
            ("thor", "thor"),
            ("<b a='x'>&\"ü", "&lt;b a=&#39;x&#39;&gt;&amp;&quot;ü"),
            ("a<", "a&lt;"),
        ] {
            assert_eq!(Escaped(raw).to_string(), escaped);
        }
    }
}
