//! Taking up a changed configuration: look, load, build, swap. Whatever fails on the way changes nothing of what is
//! served, and is said once.

use std::time::Duration;

use crate::{
    config::{Config, ConfigErrors, Source},
    edge::Edge,
};

/// How often the files are looked at. Mounts lose file events, so nothing quicker can be relied on; SIGHUP is at once.
pub(crate) const POLL: Duration = Duration::from_secs(1);

/// Takes up what `source` says if it has changed, or if somebody has asked. Gives the source back.
pub(crate) async fn reload(edge: &mut Edge, source: Source, asked: bool) -> Source {
    // A large configuration takes a while to read; the control thread has names to look up meanwhile.
    let read = tokio::task::spawn_blocking(move || read(source, asked)).await;
    let (source, loaded) = match read {
        Ok(read) => read,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    };
    match loaded {
        None => {}
        Some(Ok(config)) if config == *edge.config() => {
            edge.status().reload_unneeded();
            if asked {
                tracing::info!(generation = edge.generation(), "configuration unchanged");
            }
        }
        Some(Ok(config)) => match edge.apply(config).await {
            Ok(changes) => tracing::info!(
                generation = edge.generation(),
                added = changes.added,
                removed = changes.removed,
                changed = changes.changed,
                "configuration reloaded"
            ),
            Err(error) => reject(edge, error.to_string()),
        },
        Some(Err(errors)) => reject(edge, errors.render(false)),
    }
    source
}

fn read(mut source: Source, asked: bool) -> (Source, Option<Result<Config, ConfigErrors>>) {
    if !asked && !source.changed() {
        return (source, None);
    }
    let loaded = source.load(&|name| std::env::var(name).ok());
    (source, Some(loaded))
}

fn reject(edge: &Edge, errors: String) {
    tracing::error!(
        generation = edge.generation(),
        errors,
        "configuration rejected"
    );
    edge.status().reload_failed(errors);
}
