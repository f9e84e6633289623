//! Rows in columns, as wide as what stands in them.

use std::io::{self, Write};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

/// A column's head, and on which side its cells stand.
pub(super) type Column = (&'static str, Side);

/// Writes the head and the rows. The last column isn't filled up.
pub(super) fn write<const N: usize>(
    columns: [Column; N],
    rows: &[[String; N]],
    out: &mut dyn Write,
) -> io::Result<()> {
    let heads = columns.map(|(head, _)| head.to_owned());
    let all = || std::iter::once(&heads).chain(rows);
    let widths: [usize; N] = std::array::from_fn(|column| {
        let widths = all().map(|cells| cells[column].chars().count());
        widths.max().unwrap_or(0)
    });
    for cells in all() {
        for (column, cell) in cells.iter().enumerate() {
            let width = widths[column];
            match columns[column].1 {
                Side::Left if column + 1 == N => write!(out, "{cell}")?,
                Side::Left => write!(out, "{cell:<width$}")?,
                Side::Right => write!(out, "{cell:>width$}")?,
            }
            out.write_all(if column + 1 == N { b"\n" } else { b"  " })?;
        }
    }
    Ok(())
}
