//! The access log, into memory.

use std::{
    io::{self, Write},
    sync::mpsc::{Receiver, Sender, channel},
    time::Duration,
};

use serde::Deserialize;
use tokio::time::Instant;

use crate::{
    telemetry::{
        Format,
        access_log::{self, AccessLog},
    },
    worker::Worker,
};

/// A line as a reader of the log gets it.
#[derive(Debug, Deserialize)]
pub(super) struct Line {
    pub(super) tenant: Option<String>,
    pub(super) method: Option<String>,
    pub(super) path: Option<String>,
    pub(super) status: u16,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) attempts: u32,
    pub(super) request_id: Option<String>,
    pub(super) error: Option<String>,
}

/// No request is called so.
const END: &str = "end of run";

pub(super) struct Log(Receiver<Vec<u8>>);

impl Log {
    pub(super) fn start() -> (AccessLog, Self) {
        let (sender, receiver) = channel();
        let log = AccessLog::start(Format::Json, Box::new(Output(sender))).expect("a thread");
        (log, Self(receiver))
    }

    /// All lines of a run, which is over. The writer is a thread of its own, so a last line marks the end: lines of one
    /// worker stay in order.
    pub(super) fn lines(&self, worker: &Worker, began: Instant) -> Vec<Line> {
        worker.over(
            None,
            &access_log::Line {
                tenant: None,
                host: None,
                method: None,
                path: None,
                status: 0,
                bytes_in: 0,
                bytes_out: 0,
                duration: Duration::ZERO,
                upstream: None,
                endpoint: None,
                attempts: 0,
                held: None,
                queued: None,
                client: b"",
                request_id: Some(END.as_bytes()),
                error: None,
            },
        );
        worker.tick(began);
        let mut lines = Vec::new();
        loop {
            let written = self.0.recv().expect("the writer's thread lives");
            for line in written
                .split(|&byte| byte == b'\n')
                .filter(|line| !line.is_empty())
            {
                let line: Line = serde_json::from_slice(line).expect("a line is JSON");
                if line.request_id.as_deref() == Some(END) {
                    return lines;
                }
                lines.push(line);
            }
        }
    }
}

/// Gets whole batches.
struct Output(Sender<Vec<u8>>);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
