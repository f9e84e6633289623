//! The access log's way out: batches of lines from the workers, one thread that writes them.
//!
//! A worker formats its lines into a [`Batch`] of its own and hands that over when it is full or on
//! its tick; the hand-over is one short lock for each 16 KiB. No worker ever waits for the log: when
//! the writer is behind by more than the queue holds, or the output fails, lines are lost and
//! counted, and the count is said in the edge's own log. Lines of one worker are in order; those of
//! different workers may be a tick apart.
//!
//! The format is chosen at start; a new one takes a restart, so that no reader of the log meets both
//! in one stream.

mod line;

use std::{
    collections::VecDeque,
    io::Write,
    mem,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use self::line::{Clock, UnixMillis};
use super::Format;

pub(crate) use self::line::Line;

/// A batch is handed over when it holds this much: a handful of writes a second at any load, and
/// small enough to stay in a core's cache.
const BATCH_BYTES: usize = 16 * 1024;

/// Batches that wait for the writer: about 2 MiB, a second of a busy edge.
const QUEUE_BATCHES_MAX: usize = 128;

/// Buffers kept for reuse; as many as workers commonly fill at once.
const SPARE_BUFFERS_MAX: usize = 16;

/// A buffer that one enormous line has grown beyond this is not kept.
const SPARE_BYTES_MAX: usize = 4 * BATCH_BYTES;

/// Lost lines are reported at most this often.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// How long the end of the process waits for an output that does not take its lines.
const FINISH_WAIT: Duration = Duration::from_secs(2);

/// The running log. Clones are handles to the same one; it ends when the last of them is gone or
/// with [`AccessLog::finish`].
#[derive(Debug, Clone)]
pub(crate) struct AccessLog {
    format: Format,
    queue: Arc<Owner>,
}

/// Lines on their way, of one worker.
#[derive(Debug)]
pub(crate) struct Batch {
    log: AccessLog,
    bytes: Vec<u8>,
    lines: u64,
    clock: Clock,
}

impl AccessLog {
    /// Starts the writer on a thread of its own. Fails if there can be no thread.
    pub(crate) fn start(format: Format, output: Box<dyn Write + Send>) -> std::io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let writer = Arc::clone(&queue);
        thread::Builder::new()
            .name("access-log".into())
            .spawn(move || writer.write_all(output))?;
        Ok(Self {
            format,
            queue: Arc::new(Owner(queue)),
        })
    }

    /// A batch for one worker.
    pub(crate) fn batch(&self) -> Batch {
        Batch {
            log: self.clone(),
            bytes: Vec::new(),
            lines: 0,
            clock: Clock::default(),
        }
    }

    /// Lines that nobody will ever read.
    pub(crate) fn lines_lost(&self) -> u64 {
        self.queue.0.lines_lost.load(Ordering::Relaxed)
    }

    /// Waits, for a bounded time, until everything that was handed over is written. What is handed
    /// over from now on is lost.
    pub(crate) fn finish(self) {
        let queue = &self.queue.0;
        queue.close();
        let state = queue.lock();
        let waited = queue
            .written
            .wait_timeout_while(state, FINISH_WAIT, |state| state.writing);
        drop(waited);
    }
}

impl Batch {
    /// Adds one line, of a request that is over now; hands the batch over if it is full.
    pub(crate) fn push(&mut self, line: &Line<'_>) {
        let now = UnixMillis::now();
        line.write(self.log.format, now, &mut self.clock, &mut self.bytes);
        self.lines += 1;
        if self.bytes.len() >= BATCH_BYTES {
            self.flush();
        }
    }

    /// Hands over what there is. Costs nothing when there is nothing.
    pub(crate) fn flush(&mut self) {
        if self.lines > 0 {
            let lines = mem::take(&mut self.lines);
            self.log.queue.0.hand_over(&mut self.bytes, lines);
        }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Closes the queue with the last handle, so that the writer's thread ends too.
#[derive(Debug)]
struct Owner(Arc<Queue>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// What the workers and the writer share.
#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    /// There is something to write, or the queue was closed.
    work: Condvar,
    /// The writer has ended.
    written: Condvar,
    lines_lost: AtomicU64,
}

#[derive(Debug)]
struct State {
    full: VecDeque<Full>,
    spare: Vec<Vec<u8>>,
    open: bool,
    writing: bool,
}

#[derive(Debug)]
struct Full {
    bytes: Vec<u8>,
    lines: u64,
}

impl Default for State {
    fn default() -> Self {
        Self {
            full: VecDeque::with_capacity(QUEUE_BATCHES_MAX),
            spare: Vec::with_capacity(SPARE_BUFFERS_MAX),
            open: true,
            writing: true,
        }
    }
}

impl Queue {
    /// Takes the content of `bytes` and leaves an empty buffer there, a used one if there is one.
    fn hand_over(&self, bytes: &mut Vec<u8>, lines: u64) {
        let mut state = self.lock();
        if !state.open || state.full.len() == QUEUE_BATCHES_MAX {
            drop(state);
            self.lines_lost.fetch_add(lines, Ordering::Relaxed);
            bytes.clear();
            return;
        }
        let spare = state.spare.pop().unwrap_or_default();
        let bytes = mem::replace(bytes, spare);
        state.full.push_back(Full { bytes, lines });
        drop(state);
        self.work.notify_one();
    }

    /// The writer's thread: until the queue is closed and empty.
    fn write_all(&self, mut output: Box<dyn Write + Send>) {
        let mut report = Report::default();
        while let Some(next) = self.next(&report) {
            if let Next::Batch(full) = next {
                // A reader that went away must not end the process, and may come back (a FIFO).
                let written = output.write_all(&full.bytes).and_then(|()| output.flush());
                if written.is_err() {
                    self.lines_lost.fetch_add(full.lines, Ordering::Relaxed);
                }
                self.keep(full.bytes);
            }
            report.say(self.lines_lost.load(Ordering::Relaxed), REPORT_INTERVAL);
        }
        report.say(self.lines_lost.load(Ordering::Relaxed), Duration::ZERO);
        self.lock().writing = false;
        self.written.notify_all();
    }

    /// The next thing for the writer to do; `None` at the end.
    fn next(&self, report: &Report) -> Option<Next> {
        let mut state = self.lock();
        loop {
            if let Some(full) = state.full.pop_front() {
                return Some(Next::Batch(full));
            }
            if !state.open {
                return None;
            }
            if report.said == self.lines_lost.load(Ordering::Relaxed) {
                state = self
                    .work
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let (woken, waited) = self
                .work
                .wait_timeout(state, REPORT_INTERVAL)
                .unwrap_or_else(PoisonError::into_inner);
            if waited.timed_out() {
                return Some(Next::Report);
            }
            state = woken;
        }
    }

    fn keep(&self, mut bytes: Vec<u8>) {
        if bytes.capacity() > SPARE_BYTES_MAX {
            return;
        }
        bytes.clear();
        let mut state = self.lock();
        if state.spare.len() < SPARE_BUFFERS_MAX {
            state.spare.push(bytes);
        }
    }

    fn close(&self) {
        self.lock().open = false;
        self.work.notify_one();
    }

    /// No code under this lock can panic half-way, so a poisoned state is still a whole one.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Next {
    Batch(Full),
    Report,
}

/// What was said of lost lines, and when.
#[derive(Default)]
struct Report {
    said: u64,
    #[expect(
        clippy::disallowed_types,
        reason = "the writer's thread has no tokio clock"
    )]
    at: Option<std::time::Instant>,
}

impl Report {
    fn say(&mut self, lines_lost: u64, interval: Duration) {
        let recently = self.at.is_some_and(|at| at.elapsed() < interval);
        if lines_lost == self.said || recently {
            return;
        }
        tracing::warn!(
            lines = lines_lost - self.said,
            total = lines_lost,
            "access log lines lost"
        );
        self.said = lines_lost;
        #[expect(clippy::disallowed_types, reason = "as above")]
        let now = std::time::Instant::now();
        self.at = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::mpsc::{Receiver, Sender, channel, sync_channel},
    };

    use super::*;

    #[test]
    fn what_was_handed_over_is_written_before_finish_returns() {
        let (output, written) = recorder();
        let log = AccessLog::start(Format::Json, Box::new(output)).unwrap();
        let mut first = log.batch();
        let mut second = log.batch();
        for _ in 0..1000 {
            first.push(&Line::example());
            second.push(&Line::example());
        }
        first.flush();
        drop(second);
        log.finish();
        let written: Vec<u8> = written.try_iter().flatten().collect();
        let lines = written
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        assert_eq!(lines.count(), 2000);
    }

    #[test]
    fn a_batch_goes_out_by_itself_when_it_is_full() {
        let (output, written) = recorder();
        let log = AccessLog::start(Format::Json, Box::new(output)).unwrap();
        let mut batch = log.batch();
        while batch.bytes.len() < BATCH_BYTES - 4096 {
            batch.push(&Line::example());
        }
        assert!(written.try_recv().is_err(), "too early");
        for _ in 0..100 {
            batch.push(&Line::example());
        }
        assert!(written.recv().unwrap().len() >= BATCH_BYTES);
    }

    #[test]
    fn a_writer_that_is_stuck_costs_lines_and_nothing_else() {
        let (release, stuck) = sync_channel::<()>(0);
        let (entered, inside) = channel();
        let output = Stuck { stuck, entered };
        let log = AccessLog::start(Format::Json, Box::new(output)).unwrap();
        let mut batch = log.batch();
        let mut flush_one = || {
            batch.push(&Line::example());
            batch.flush();
        };
        flush_one();
        inside.recv().unwrap(); // From here on the writer holds one batch, and the queue is empty.
        for _ in 0..QUEUE_BATCHES_MAX + 7 {
            flush_one();
        }
        assert_eq!(lines_lost(&log), 7);
        drop(release);
        log.finish();
    }

    #[test]
    fn an_output_that_fails_is_counted_and_tried_again() {
        let (written, lines) = channel();
        let output = FailsOnce {
            failed: false,
            written,
        };
        let log = AccessLog::start(Format::Json, Box::new(output)).unwrap();
        let mut batch = log.batch();
        for _ in 0..3 {
            batch.push(&Line::example());
        }
        batch.flush();
        batch.push(&Line::example());
        batch.flush();
        lines.recv().unwrap();
        assert_eq!(lines_lost(&log), 3);
        log.clone().finish();
        batch.push(&Line::example());
        batch.flush();
        assert_eq!(lines_lost(&log), 4, "after the end");
    }

    #[test]
    fn the_writer_ends_with_the_last_handle() {
        let (output, written) = recorder();
        let log = AccessLog::start(Format::Json, Box::new(output)).unwrap();
        drop(log.batch());
        drop(log);
        assert!(written.recv().is_err(), "the writer still holds its output");
    }

    #[test]
    fn buffers_are_used_again() {
        let queue = Queue::default();
        queue.keep(Vec::with_capacity(100));
        queue.keep(Vec::with_capacity(SPARE_BYTES_MAX + 1));
        let mut bytes = b"line\n".to_vec();
        queue.hand_over(&mut bytes, 1);
        assert_eq!((bytes.len(), bytes.capacity()), (0, 100));
        queue.hand_over(&mut bytes, 1);
        assert_eq!(bytes.capacity(), 0);
    }

    fn recorder() -> (impl Write + Send, Receiver<Vec<u8>>) {
        struct Recorder(Sender<Vec<u8>>);
        impl Write for Recorder {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let _ = self.0.send(bytes.to_vec());
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (written, receiver) = channel();
        (Recorder(written), receiver)
    }

    /// Takes nothing until the other end of `stuck` is dropped.
    struct Stuck {
        stuck: Receiver<()>,
        entered: Sender<()>,
    }

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.entered.send(());
            let _ = self.stuck.recv();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct FailsOnce {
        failed: bool,
        written: Sender<()>,
    }

    impl Write for FailsOnce {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if !mem::replace(&mut self.failed, true) {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let _ = self.written.send(());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines_lost(log: &AccessLog) -> u64 {
        log.queue.0.lines_lost.load(Ordering::Relaxed)
    }
}
