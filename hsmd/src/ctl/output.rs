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

/// The rows of a single record.
pub(super) fn record<'a>(fields: impl IntoIterator<Item = (&'a str, String)>) -> Vec<Vec<String>> {
    let fields = fields.into_iter();
    fields.map(|(name, value)| vec![name.to_owned(), value]).collect()
}

/// The rows of a list, under its headings.
pub(super) fn list<const N: usize>(heading: [&str; N], rows: impl Iterator<Item = [String; N]>) -> Vec<Vec<String>> {
    let heading = heading.map(str::to_owned);
    std::iter::once(heading).chain(rows).map(Vec::from).collect()
}

/// The id at the end of an ARN.
pub(super) fn id_of(arn: &str) -> String {
    arn.rsplit(':').next().unwrap_or_default().to_owned()
}

/// The one that a name fits; `kind` is what it is called in one and in several.
pub(super) fn the_one<T>(
    mut hits: impl Iterator<Item = T>,
    (kind, kinds): (&str, &str),
    name: &str,
) -> Result<T, Error> {
    let first = hits.next();
    if hits.next().is_some() {
        let message = format!("several {kinds} are called {name}: use the id");
        return Err(Error::new(Exit::Usage, message));
    }
    first.ok_or_else(|| Error::new(Exit::NotFound, format!("there is no {kind} {name}")))
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
