//! One typed view per command, rendered as a table or as JSON: the JSON has every column of the table.

use super::Format;
use super::exit::{Error, Exit};
use serde::Serialize;
use std::io::Write as _;

/// Something that can be shown as lines of columns.
pub(super) trait Table: Serialize {
    /// Headings; a single record has none and is shown as name and value.
    fn rows(&self) -> Vec<Vec<String>>;
}

/// Writes a view to standard output.
pub(super) fn show(view: &impl Table, format: Format) -> Result<Exit, Error> {
    let text = match format {
        Format::Json => serde_json::to_string_pretty(view).map_err(|error| Error::failed(&error))? + "\n",
        Format::Table => align(&view.rows()),
    };
    raw(text.as_bytes())
}

/// Writes bytes to standard output; a closed pipe is no error.
pub(super) fn raw(bytes: &[u8]) -> Result<Exit, Error> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::failed(&error)),
        _ => Ok(Exit::Ok),
    }
}

fn align(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
    };
    let widths: Vec<_> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<_> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::align;

    #[test]
    fn columns_are_aligned_without_trailing_blanks() {
        let rows = [
            vec!["a".to_owned(), "b".to_owned()],
            vec!["long".to_owned(), String::new()],
        ];
        assert_eq!(align(&rows), "a     b\nlong\n");
    }
}
