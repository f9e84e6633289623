//! `hostler schema`: the JSON Schema of proxy.toml, so that editors complete and check it.

use std::io::{self, Write};

use crate::config;

/// Writes the schema, indented.
///
/// # Errors
/// Only those of writing.
pub fn schema(out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, &config::schema())?;
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_is_json_that_knows_routes() {
        let mut out = Vec::new();
        schema(&mut out).unwrap();
        let schema: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert!(schema["properties"]["routes"].is_object(), "{schema}");
    }
}
