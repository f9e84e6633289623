//! `hostler usage`: what each tenant's requests add up to, by the ledger that the edge keeps.
//!
//! It reads the file and asks no edge, so it makes no difference whether one runs.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use bytesize::ByteSize;
use clap::Args;
use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};
use serde::Serialize;

use super::table::{
    self,
    Side::{Left, Right},
};
use crate::{
    config::Source,
    telemetry::ledger::{Totals, Unreadable, read, secs_and_micros},
};

#[derive(Debug, Args)]
pub(super) struct Given {
    /// Leave out hours that were over by then: a span such as 24h or 7d, a date, or a time of RFC 3339; dates are UTC
    #[arg(long, value_name = "WHEN", value_parser = since)]
    since: Option<Timestamp>,
    /// Instead of the one that the configuration names, such as one that was put away
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    #[arg(long)]
    json: bool,
}

/// Which file to read. None if the configuration is wrong, and then `err` has what is wrong with it.
pub(super) fn file(
    given: &Given,
    config: PathBuf,
    coloured: bool,
    err: &mut dyn Write,
) -> anyhow::Result<Option<PathBuf>> {
    if let Some(file) = &given.file {
        return Ok(Some(file.clone()));
    }
    let mut source = Source::new(config);
    let Some(config) = super::load(&mut source, coloured, err)? else {
        return Ok(None);
    };
    let path = source.path().display();
    let file = config.usage.with_context(|| {
        format!("no usage is kept; for that, add to {path}:\n\n[usage]\npath = \"usage.jsonl\"")
    });
    file.map(Some)
}

/// Writes the table, or with `json` an array of its rows. What is no line of a ledger is told on `err`.
pub(super) fn usage(
    file: &Path,
    given: &Given,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<()> {
    let mut tenants: BTreeMap<String, Totals> = BTreeMap::new();
    let Unreadable { lines, first } = read(file, |entry| {
        if given.since.is_none_or(|since| entry.hour.ends_after(since)) {
            match tenants.get_mut(&*entry.tenant) {
                Some(totals) => totals.add(entry.totals),
                None => {
                    tenants.insert(entry.tenant.clone().into_owned(), entry.totals);
                }
            }
        }
    })
    .with_context(|| format!("can't read {}", file.display()))?;
    if lines > 0 {
        let file = file.display();
        let lines = super::check::count(usize::try_from(lines).unwrap_or(usize::MAX), "line");
        writeln!(
            err,
            "hostler: {file}:{first}: {lines} left out that can't be read, as a crash may leave them"
        )?;
    }
    if given.json {
        let rows: Vec<Row<'_>> = tenants.iter().map(Row::of).collect();
        serde_json::to_writer_pretty(&mut *out, &rows).map_err(io::Error::from)?;
        return Ok(writeln!(out)?);
    }
    Ok(table(&tenants, out)?)
}

fn table(tenants: &BTreeMap<String, Totals>, out: &mut dyn Write) -> io::Result<()> {
    let mut all = Totals::default();
    tenants.values().for_each(|totals| all.add(*totals));
    let columns = [
        ("TENANT", Left),
        ("REQUESTS", Right),
        ("BYTES IN", Right),
        ("BYTES OUT", Right),
        ("UPSTREAM SECONDS", Right),
    ];
    // No tenant has such a name.
    let rows: Vec<_> = tenants
        .iter()
        .map(|(tenant, totals)| cells(tenant, totals))
        .chain([cells("(all)", &all)])
        .collect();
    table::write(columns, &rows, out)
}

fn cells(tenant: &str, totals: &Totals) -> [String; 5] {
    let (secs, micros) = secs_and_micros(totals.upstream_us);
    [
        tenant.to_owned(),
        totals.requests.to_string(),
        ByteSize(totals.bytes_in).to_string(),
        ByteSize(totals.bytes_out).to_string(),
        format!("{secs}.{:03}", micros / 1000),
    ]
}

#[derive(Serialize)]
struct Row<'a> {
    tenant: &'a str,
    requests: u64,
    bytes_in: u64,
    bytes_out: u64,
    upstream_seconds: f64,
}

impl<'a> Row<'a> {
    #[allow(
        clippy::cast_precision_loss,
        reason = "exact to the microsecond for two hundred years"
    )]
    fn of((tenant, totals): (&'a String, &'a Totals)) -> Self {
        Self {
            tenant,
            requests: totals.requests,
            bytes_in: totals.bytes_in,
            bytes_out: totals.bytes_out,
            upstream_seconds: totals.upstream_us as f64 / 1e6,
        }
    }
}

fn since(text: &str) -> Result<Timestamp, String> {
    since_as_of(text, Timestamp::now())
}

fn since_as_of(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    // A date would be read from the beginning of a time without an offset, too.
    let date = (text.len() == "2026-11-27".len()).then(|| text.parse::<Date>());
    if let Some(Ok(date)) = date
        && let Ok(midnight) = date.to_zoned(TimeZone::UTC)
    {
        return Ok(midnight.timestamp());
    }
    let span = humantime::parse_duration(text).ok();
    let span = span.and_then(|span| SignedDuration::try_from(span).ok());
    span.and_then(|span| now.checked_sub(span).ok())
        .ok_or_else(|| "write 24h, 7d, 2026-11-27 or 2026-11-27T06:00:00Z".to_owned())
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "no worker waits for a test")]
mod tests {
    use super::*;

    const LEDGER: &str = "\
{\"hour\":\"2026-11-27T05:00:00Z\",\"tenant\":\"thor\",\"run\":\"1\",\"requests\":1,\"bytes_in\":1,\"bytes_out\":1,\"upstream_seconds\":1.000001}
{\"hour\":\"2026-11-27T06:00:00Z\",\"tenant\":\"thor\",\"run\":\"1\",\"requests\":   20,\"bytes_in\":0,\"bytes_out\":2048,\"upstream_seconds\":0.5}
{\"hour\":\"2026-11-27T06:00
{\"hour\":\"2026-11-27T06:00:00Z\",\"tenant\":\"thor\",\"run\":\"2\",\"requests\":300,\"bytes_in\":2,\"bytes_out\":0,\"upstream_seconds\":0.25}
{\"hour\":\"2026-11-27T07:00:00Z\",\"tenant\":\"potter\",\"run\":\"2\",\"requests\":4,\"bytes_in\":0,\"bytes_out\":9,\"upstream_seconds\":7}
";

    fn run(since: Option<&str>, json: bool) -> (String, String) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("usage.jsonl");
        std::fs::write(&file, LEDGER).unwrap();
        let given = Given {
            since: since.map(|since| since.parse().unwrap()),
            file: None,
            json,
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        usage(&file, &given, &mut out, &mut err).unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (text(out), text(err))
    }

    #[test]
    fn tenants_stand_in_the_order_of_their_names() {
        let (out, err) = run(None, false);
        assert_eq!(
            out,
            "\
TENANT  REQUESTS  BYTES IN  BYTES OUT  UPSTREAM SECONDS
potter         4       0 B        9 B             7.000
thor         321       3 B    2.0 KiB             1.750
(all)        325       3 B    2.0 KiB             8.750
"
        );
        assert!(err.contains("usage.jsonl:3: 1 line left out"), "{err}");
    }

    #[test]
    fn hours_that_were_over_are_left_out() {
        for (since, requests) in [
            ("2026-11-27T05:59:59.9Z", &["4", "321"][..]),
            ("2026-11-27T06:00:00Z", &["4", "320"]),
            ("2026-11-27T07:00:00Z", &["4"]),
            ("2026-11-27T08:00:00Z", &[]),
        ] {
            let (out, _) = run(Some(since), false);
            let told: Vec<_> = out
                .lines()
                .skip(1)
                .filter(|line| !line.starts_with('('))
                .filter_map(|line| line.split_whitespace().nth(1))
                .collect();
            assert_eq!(told, requests, "{since}");
        }
    }

    #[test]
    fn json_has_the_same_rows_to_the_byte() {
        let (out, _) = run(None, true);
        let rows: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(rows.as_array().unwrap().len(), 2);
        assert_eq!(
            rows[1],
            serde_json::json!({
                "tenant": "thor",
                "requests": 321,
                "bytes_in": 3,
                "bytes_out": 2049,
                "upstream_seconds": 1.750_001,
            })
        );
    }

    #[test]
    fn since_is_a_span_a_date_or_a_time() {
        let now: Timestamp = "2026-11-27T06:30:00Z".parse().unwrap();
        let since = |text: &str| since_as_of(text, now).map(|time| time.to_string());
        for (text, time) in [
            ("24h", "2026-11-26T06:30:00Z"),
            ("7d", "2026-11-20T06:30:00Z"),
            ("1h 30m", "2026-11-27T05:00:00Z"),
            ("2026-11-01", "2026-11-01T00:00:00Z"),
            ("2026-11-27T06:00:00Z", "2026-11-27T06:00:00Z"),
            ("2026-11-27T06:00:00+01:00", "2026-11-27T05:00:00Z"),
        ] {
            assert_eq!(since(text).as_deref(), Ok(time), "{text}");
        }
        for text in [
            "",
            "yesterday",
            "2026-11-31",
            "2026-11-27T06:00:00",
            "7",
            "99999999999years",
        ] {
            let error = since(text).unwrap_err();
            assert!(error.starts_with("write 24h, 7d"), "{text}");
        }
    }
}
