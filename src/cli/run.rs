//! `hostler run`: the edge itself.

use std::path::Path;

use anyhow::{Context, Result};

use crate::{config::Source, edge::Edge, telemetry};

/// Serves what the file at `path` says until the process is told to end.
///
/// # Errors
/// All that is wrong with the file, before anything listens; and whatever else keeps the edge from starting.
pub fn run(path: &Path) -> Result<()> {
    let mut source = Source::new(path);
    let config = source.load(&|name| std::env::var(name).ok())?;
    let level = telemetry::init(config.log.format, config.log.level).context("can't log")?;
    control_runtime()?.block_on(async {
        let edge = Edge::start(config, level).await?;
        Ok(edge.run(Some(source)).await?)
    })
}

/// The control thread's runtime: names, files, signals and the admin listener, but no tenant's traffic.
pub(super) fn control_runtime() -> Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("can't start the control thread's runtime")
}
