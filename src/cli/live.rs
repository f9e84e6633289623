//! `hostler routes --live`: how each tenant fares now, as the running edge tells it on its admin listener.

use std::{
    fmt::Write as _,
    io::{self, Write},
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail};
use http::StatusCode;

use super::{
    ask::ask,
    table::{
        self, Column,
        Side::{Left, Right},
    },
};
use crate::{
    admin::live::{Live, Row},
    config::Address,
};

/// Asked for at once.
const ROWS: usize = 500;
/// There are no rates before the edge has counted for so long.
const FIRST_RATES: Duration = Duration::from_millis(1100);

const COLUMNS: [Column; 9] = [
    ("TENANT", Left),
    ("STATE", Left),
    ("REQ/S", Right),
    ("P50 MS", Right),
    ("P99 MS", Right),
    ("ERR/S", Right),
    ("IN FLIGHT", Right),
    ("QUEUED", Right),
    ("LAST ERROR", Left),
];

/// Writes the table, or with `json` an array of its rows.
///
/// # Errors
/// Where no edge answers at `admin`.
pub(super) fn live(admin: &Address, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    if page(admin, 0)?.interval_ms == 0 {
        thread::sleep(FIRST_RATES);
    }
    let mut rows = Vec::new();
    loop {
        let live = page(admin, rows.len())?;
        let ended = live.rows.len() < ROWS;
        rows.extend(live.rows);
        // Tenants that come meanwhile don't keep this from ending.
        if ended || rows.len() >= live.tenants {
            break;
        }
    }
    if json {
        serde_json::to_writer_pretty(&mut *out, &rows).map_err(io::Error::from)?;
        return Ok(writeln!(out)?);
    }
    let rows: Vec<_> = rows.iter().map(cells).collect();
    Ok(table::write(COLUMNS, &rows, out)?)
}

fn page(admin: &Address, offset: usize) -> anyhow::Result<Live> {
    let target = format!("/live?sort=tenant&limit={ROWS}&offset={offset}");
    let (status, body) = ask(admin, &target).with_context(|| {
        format!("no edge answers at {admin}, which is [admin] listen of the configuration; is it running?")
    })?;
    if status != StatusCode::OK {
        bail!("what answers at {admin} is another program, or an older edge: {status}");
    }
    serde_json::from_slice(&body).with_context(|| format!("what answers at {admin} is no edge"))
}

fn cells(row: &Row) -> [String; 9] {
    let ms = |ms: Option<f64>| ms.map_or_else(|| "–".to_owned(), |ms| format!("{ms:.1}"));
    let mut error = String::new();
    if let Some(last) = &row.last_error {
        // Writing to a string can't fail.
        let _ = write!(error, "{} {}, ", last.label, last.status);
        let _ = match last.ms_ago / 1000 {
            seconds @ 0..60 => write!(error, "{seconds} s ago"),
            seconds @ 60..3600 => write!(error, "{} min ago", seconds / 60),
            seconds => write!(error, "{} h ago", seconds / 3600),
        };
    }
    [
        row.tenant.clone(),
        row.state.to_string(),
        format!("{:.1}", row.requests_per_second),
        ms(row.p50_ms),
        ms(row.p99_ms),
        format!("{:.1}", row.errors_per_second),
        format!("{}/{}", row.in_flight, row.limits.requests),
        format!("{}/{}", row.queued, row.limits.queue),
        error,
    ]
}
