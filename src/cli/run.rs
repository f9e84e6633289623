//! `hostler run`: the edge itself, until it is told to end.

use std::{io::Write, path::Path};

use crate::config::Source;

/// Serves. False if the configuration is wrong: then nothing was bound, an edge that runs was left
/// alone, and `err` says why.
pub(super) fn run(
    path: &Path,
    replace: bool,
    coloured: bool,
    err: &mut dyn Write,
) -> anyhow::Result<bool> {
    let mut source = Source::new(path);
    let Some(config) = super::load(&mut source, coloured, err)? else {
        return Ok(false);
    };
    super::serve(config, Some(source), replace, |_| Ok(()))?;
    Ok(true)
}
