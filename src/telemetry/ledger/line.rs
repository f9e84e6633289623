//! One line of the ledger: what it says, in a width that stays the same whatever it says, so that it can be written
//! again in its place.

use std::{borrow::Cow, fmt, io::Write as _, sync::Arc, time::Duration};

use jiff::Timestamp;
use serde::Deserialize;

use crate::telemetry::counters::Sums;

const HOUR_SECS: i64 = 3600;

/// What requests add up to.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) requests: u64,
    /// Of the bodies of requests.
    pub(crate) bytes_in: u64,
    /// Of the bodies of responses.
    pub(crate) bytes_out: u64,
    /// To the heads of the apps' responses.
    pub(crate) upstream_us: u64,
}

/// One that begins with a full hour of UTC, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hour(i64);

/// A line that this process writes.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) hour: Hour,
    pub(super) tenant: Arc<str>,
    pub(super) totals: Totals,
    /// What the file says.
    pub(super) written: Totals,
    /// Where in the file it begins, if it stands there.
    pub(super) place: Option<u64>,
}

/// A line as somebody has written it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    pub(crate) hour: Hour,
    pub(crate) tenant: Cow<'a, str>,
    pub(crate) totals: Totals,
}

impl Totals {
    pub(super) fn of(sums: &Sums) -> Self {
        Self {
            requests: sums.requests(),
            bytes_in: sums.bytes_in,
            bytes_out: sums.bytes_out,
            upstream_us: sums.upstream_us,
        }
    }

    pub(crate) fn add(&mut self, more: Self) {
        *self = self.each(more, u64::saturating_add);
    }

    pub(super) fn since(self, before: Self) -> Self {
        self.each(before, u64::saturating_sub)
    }

    fn each(self, other: Self, with: fn(u64, u64) -> u64) -> Self {
        Self {
            requests: with(self.requests, other.requests),
            bytes_in: with(self.bytes_in, other.bytes_in),
            bytes_out: with(self.bytes_out, other.bytes_out),
            upstream_us: with(self.upstream_us, other.upstream_us),
        }
    }
}

impl Hour {
    pub(crate) fn of(time: Timestamp) -> Self {
        let second = time.as_second();
        Self(second - second.rem_euclid(HOUR_SECS))
    }

    /// Whether some of it is later than `time`.
    pub(crate) fn ends_after(self, time: Timestamp) -> bool {
        Timestamp::from_second(self.0 + HOUR_SECS).is_ok_and(|end| end > time)
    }
}

impl fmt::Display for Hour {
    /// RFC 3339, UTC.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Beyond the year 9999 the clock is wrong, and which wrong hour is told is no matter.
        let time = Timestamp::from_second(self.0).unwrap_or(Timestamp::UNIX_EPOCH);
        time.fmt(f)
    }
}

impl Line {
    pub(super) fn new(hour: Hour, tenant: Arc<str>) -> Self {
        Self {
            hour,
            tenant,
            totals: Totals::default(),
            written: Totals::default(),
            place: None,
        }
    }

    /// Whether the file says something else.
    pub(super) fn is_due(&self) -> bool {
        self.totals != self.written
    }

    /// What was written of it stays where it is, which is nobody knows where; the rest becomes a line of its own.
    pub(super) fn lose_place(&mut self) {
        self.totals = self.totals.since(self.written);
        self.written = Totals::default();
        self.place = None;
    }

    /// What is in its place now has been written.
    pub(super) fn stands_at(&mut self, place: u64) {
        self.place = Some(place);
        self.written = self.totals;
    }

    /// Appends it to `out`, its end included; gives the length of what says whose line it is.
    pub(super) fn write(&self, run: &str, out: &mut Vec<u8>) -> usize {
        let start = out.len();
        let Self { hour, tenant, .. } = self;
        // A tenant's name has no characters that JSON would have escaped. Writing to memory doesn't fail.
        let _ = write!(
            out,
            r#"{{"hour":"{hour}","tenant":"{tenant}","run":"{run}","#
        );
        let head = out.len() - start;
        let totals = &self.totals;
        let (secs, micros) = secs_and_micros(totals.upstream_us);
        let _ = writeln!(
            out,
            r#""requests":{:>20},"bytes_in":{:>20},"bytes_out":{:>20},"upstream_seconds":{secs:>14}.{micros:06}}}"#,
            totals.requests, totals.bytes_in, totals.bytes_out,
        );
        head
    }
}

/// The whole seconds, and what is left of them.
pub(crate) fn secs_and_micros(micros: u64) -> (u64, u64) {
    (micros / 1_000_000, micros % 1_000_000)
}

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(borrow)]
    hour: Cow<'a, str>,
    #[serde(borrow)]
    tenant: Cow<'a, str>,
    requests: u64,
    bytes_in: u64,
    bytes_out: u64,
    upstream_seconds: f64,
}

impl<'a> Entry<'a> {
    /// None of what is no line of a ledger, or only a part of one.
    pub(super) fn read(line: &'a [u8]) -> Option<Self> {
        let raw: Raw<'a> = serde_json::from_slice(line).ok()?;
        let upstream = Duration::try_from_secs_f64(raw.upstream_seconds).ok()?;
        let nearest = upstream.checked_add(Duration::from_nanos(500))?;
        Some(Self {
            hour: Hour::of(raw.hour.parse().ok()?),
            tenant: raw.tenant,
            totals: Totals {
                requests: raw.requests,
                bytes_in: raw.bytes_in,
                bytes_out: raw.bytes_out,
                upstream_us: u64::try_from(nearest.as_micros()).ok()?,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(totals: Totals) -> String {
        let hour = Hour::of("2026-11-27T06:59:59.9Z".parse().unwrap());
        let line = Line {
            totals,
            ..Line::new(hour, "thor".into())
        };
        let mut out = Vec::new();
        let head = line.write("0123456789abcdef", &mut out);
        assert!(out[..head].ends_with(br#""run":"0123456789abcdef","#));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_is_as_wide_whatever_it_says() {
        let most = Totals {
            requests: u64::MAX,
            bytes_in: u64::MAX,
            bytes_out: u64::MAX,
            upstream_us: u64::MAX,
        };
        let (least, most) = (text(Totals::default()), text(most));
        assert_eq!(least.len(), most.len());
        assert!(most.contains("\"upstream_seconds\":18446744073709.551615}\n"));
        assert_eq!(
            least,
            "{\"hour\":\"2026-11-27T06:00:00Z\",\"tenant\":\"thor\",\"run\":\"0123456789abcdef\",\
             \"requests\":                   0,\"bytes_in\":                   0,\
             \"bytes_out\":                   0,\"upstream_seconds\":             0.000000}\n"
        );
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        for upstream_us in [0, 1, 999_999, 1_234_567, 86_400_000_001, 3_000_000_000_007] {
            let totals = Totals {
                requests: u64::MAX,
                bytes_in: 2,
                bytes_out: 3,
                upstream_us,
            };
            let text = text(totals);
            let entry = Entry::read(text.as_bytes()).unwrap();
            assert_eq!((&*entry.tenant, entry.totals), ("thor", totals));
            assert_eq!(entry.hour.to_string(), "2026-11-27T06:00:00Z");
            let text = text.trim_end();
            for cut in 0..text.len() {
                assert_eq!(Entry::read(&text.as_bytes()[..cut]), None, "{cut}");
            }
        }
        for wrong in [
            "null",
            "{\"hour\":\"x\"}",
            &text(Totals::default()).replace("0.0", "-1.0"),
        ] {
            assert_eq!(Entry::read(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn an_hour_ends_with_the_next() {
        let at = |time: &str| time.parse::<Timestamp>().unwrap();
        let hour = Hour::of(at("2026-11-27T06:30:00+00:15"));
        assert_eq!(hour, Hour::of(at("2026-11-27T06:59:59.999Z")));
        assert_ne!(hour, Hour::of(at("2026-11-27T07:00:00Z")));
        assert!(hour.ends_after(at("2026-11-27T06:59:59.999Z")));
        assert!(!hour.ends_after(at("2026-11-27T07:00:00Z")));
    }
}
