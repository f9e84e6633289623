//! The lines that the edge prints, gathered as they come and waited for by what they say.

use std::{
    io::{BufRead, BufReader, Read},
    thread,
};

use serde_json::Value;

use super::{DEADLINE, Watched};

/// One stream of lines; a copy sees the same lines.
#[derive(Clone, Default)]
pub(crate) struct Lines(Watched<Gathered>);

#[derive(Clone, Default)]
struct Gathered {
    lines: Vec<String>,
    ended: bool,
}

impl Lines {
    pub(crate) fn gather(stream: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        let gathering = lines.clone();
        thread::spawn(move || {
            let mut reader = BufReader::new(stream);
            let mut line = Vec::new();
            while reader
                .read_until(b'\n', &mut line)
                .is_ok_and(|length| length > 0)
            {
                let text = String::from_utf8_lossy(&line)
                    .trim_end_matches('\n')
                    .to_owned();
                gathering.0.change(|gathered| gathered.lines.push(text));
                line.clear();
            }
            gathering.0.change(|gathered| gathered.ended = true);
        });
        lines
    }

    pub(crate) fn so_far(&self) -> Vec<String> {
        self.0.get().lines
    }

    /// How many there are: what comes after is looked for with [`Self::find_after`].
    pub(crate) fn count(&self) -> usize {
        self.so_far().len()
    }

    /// Waits for the first line that `wanted` turns into something.
    #[track_caller]
    pub(crate) fn find<T>(&self, what: &str, wanted: impl Fn(&str) -> Option<T>) -> T {
        self.find_after(0, what, wanted)
    }

    /// The same, leaving the first `skip` lines out.
    #[track_caller]
    pub(crate) fn find_after<T>(
        &self,
        skip: usize,
        what: &str,
        wanted: impl Fn(&str) -> Option<T>,
    ) -> T {
        let find = |gathered: &Gathered| {
            gathered
                .lines
                .iter()
                .skip(skip)
                .find_map(|line| wanted(line))
        };
        let gathered = self.0.wait(DEADLINE, |gathered| {
            gathered.ended || find(gathered).is_some()
        });
        find(&gathered)
            .unwrap_or_else(|| panic!("no line with {what} in:\n{}", gathered.lines.join("\n")))
    }

    /// Waits for the first line of JSON that `wanted` is true of.
    #[track_caller]
    pub(crate) fn json(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.json_after(0, what, wanted)
    }

    #[track_caller]
    pub(crate) fn json_after(
        &self,
        skip: usize,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        self.find_after(skip, what, |line| {
            serde_json::from_str(line).ok().filter(&wanted)
        })
    }

    /// All lines of a stream that has ended, or is about to.
    #[track_caller]
    pub(crate) fn all(&self) -> Vec<String> {
        let gathered = self.0.wait(DEADLINE, |gathered| gathered.ended);
        assert!(gathered.ended, "the stream did not end");
        gathered.lines
    }
}
