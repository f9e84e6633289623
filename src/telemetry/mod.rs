//! What the edge tells: its own events on standard error, one line a request on standard output.
//!
//! Never on the way of a request: [`access_log`] takes lines without waiting, and the edge's own
//! events are few.

pub(crate) mod access_log;
pub(crate) mod counters;
pub(crate) mod ledger;
pub(crate) mod record;
pub(crate) mod request_id;

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::{self, IsTerminal},
    panic::{self, PanicHookInfo},
    thread,
};

use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer, Registry,
    filter::Targets,
    fmt::{self, MakeWriter},
    layer::SubscriberExt,
    reload,
    util::{SubscriberInitExt, TryInitError},
};

use crate::config::{LogFormat, LogLevel};

/// How a stream is written, once it is known where it leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Json,
}

impl Format {
    /// `stream` is the one that will be written to.
    pub(crate) fn of(configured: LogFormat, stream: &impl IsTerminal) -> Self {
        match configured {
            LogFormat::Text => Self::Text,
            LogFormat::Json => Self::Json,
            LogFormat::Auto if stream.is_terminal() => Self::Text,
            LogFormat::Auto => Self::Json,
        }
    }
}

/// The level of the edge's own log, to be changed while it runs.
#[derive(Debug, Clone)]
pub(crate) struct Level(reload::Handle<Targets, Registry>);

impl Level {
    pub(crate) fn set(&self, level: LogLevel) {
        // It fails only when the subscriber is gone, and then there is nothing to set.
        let _ = self.0.reload(filter(level));
    }
}

/// Sends the edge's own events to standard error, panics among them. Fails if the process has a subscriber already.
pub(crate) fn init(format: LogFormat, level: LogLevel) -> Result<Level, TryInitError> {
    let format = Format::of(format, &io::stderr());
    let (subscriber, level) = subscriber(format, level, io::stderr);
    subscriber.try_init()?;
    panic::set_hook(Box::new(tell));
    Ok(level)
}

/// A panic is told as the other events are. It costs one connection, and nobody else.
fn tell(panic: &PanicHookInfo<'_>) {
    let backtrace = Backtrace::capture();
    tracing::error!(
        thread = thread::current().name(),
        at = panic.location().map(ToString::to_string),
        cause = panic.payload_as_str(),
        backtrace =
            (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string()),
        "panicked",
    );
}

fn subscriber<W>(
    format: Format,
    level: LogLevel,
    writer: W,
) -> (impl Subscriber + Send + Sync, Level)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(filter(level));
    let events = fmt::layer().with_writer(writer);
    let events = match format {
        Format::Text => events
            .with_ansi(io::stderr().is_terminal())
            .with_target(false)
            .boxed(),
        Format::Json => events
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .boxed(),
    };
    let subscriber = tracing_subscriber::registry().with(filter).with(events);
    (subscriber, Level(handle))
}

/// `level` is of our own events; libraries are heard when they warn, and at `trace` with all they say.
fn filter(level: LogLevel) -> Targets {
    let (ours, theirs) = match level {
        LogLevel::Error => (LevelFilter::ERROR, LevelFilter::ERROR),
        LogLevel::Warn => (LevelFilter::WARN, LevelFilter::WARN),
        LogLevel::Info => (LevelFilter::INFO, LevelFilter::WARN),
        LogLevel::Debug => (LevelFilter::DEBUG, LevelFilter::WARN),
        LogLevel::Trace => (LevelFilter::TRACE, LevelFilter::TRACE),
    };
    Targets::new()
        .with_target(env!("CARGO_CRATE_NAME"), ours)
        .with_default(theirs)
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        sync::{Arc, Mutex},
    };

    use serde_json::Value;

    use super::*;

    #[test]
    fn json_events_are_flat() {
        let output = Output::default();
        let (subscriber, _level) = subscriber(Format::Json, LogLevel::Info, output.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(address = %"127.0.0.1:8080", "listening");
        });
        let event: Value = serde_json::from_str(&output.text()).unwrap();
        assert_eq!(event["level"], "INFO");
        assert_eq!(event["message"], "listening");
        assert_eq!(event["address"], "127.0.0.1:8080");
        assert_eq!(event["target"], module_path!());
        assert!(event["timestamp"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn the_level_changes_while_running() {
        let output = Output::default();
        let (subscriber, level) = subscriber(Format::Text, LogLevel::Info, output.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::debug!("one");
            level.set(LogLevel::Debug);
            tracing::debug!("two");
            tracing::debug!(target: "library", "three");
            tracing::warn!(target: "library", "four");
            level.set(LogLevel::Error);
            tracing::warn!("five");
            level.set(LogLevel::Trace);
            tracing::trace!(target: "library", "six");
        });
        let text = output.text();
        let said: Vec<&str> = text
            .lines()
            .filter_map(|line| line.split(' ').next_back())
            .collect();
        assert_eq!(said, ["two", "four", "six"], "{text}");
    }

    #[test]
    fn a_stream_that_is_no_terminal_gets_json() {
        let file = tempfile::tempfile().unwrap();
        for (configured, format) in [
            (LogFormat::Auto, Format::Json),
            (LogFormat::Json, Format::Json),
            (LogFormat::Text, Format::Text),
        ] {
            assert_eq!(Format::of(configured, &file), format);
        }
    }

    #[derive(Clone, Default)]
    struct Output(Arc<Mutex<Vec<u8>>>);

    impl Output {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Output {
        type Writer = Self;
        fn make_writer(&self) -> Self {
            self.clone()
        }
    }
}
