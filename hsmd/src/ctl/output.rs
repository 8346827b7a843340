//! One typed view per command, rendered as a table, JSON, YAML or names. A list's heading is the JSON key in capitals
//! (`TOKEN LABEL` is `token_label`), so that the table shows nothing that the JSON lacks.

use super::Format;
use super::exit::{Error, Exit};
use serde::Serialize;
use serde_json::Value;
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
    raw(render(view, format)?.as_bytes())
}

/// The text of a view.
pub(super) fn render(view: &impl Table, format: Format) -> Result<String, Error> {
    let value = || serde_json::to_value(view).map_err(|error| Error::failed(&error));
    Ok(match format {
        Format::Json => serde_json::to_string_pretty(view).map_err(|error| Error::failed(&error))? + "\n",
        Format::Yaml => yaml(&value()?),
        Format::Name => names(&view.rows(), value()?.is_array()),
        Format::Table => align(&view.rows()),
    })
}

/// Writes one line of JSON: an event among others.
pub(super) fn line(event: &impl Serialize) -> Result<Exit, Error> {
    let text = serde_json::to_string(event).map_err(|error| Error::failed(&error))?;
    raw(format!("{text}\n").as_bytes())
}

/// The first column of a list, or the first value of a record.
fn names(rows: &[Vec<String>], list: bool) -> String {
    let name = |row: &Vec<String>| row.get(usize::from(!list)).cloned().unwrap_or_default() + "\n";
    let rows = if list { rows.get(1..) } else { rows.get(..1) };
    rows.unwrap_or_default().iter().map(name).collect()
}

/// YAML 1.2: scalars as JSON writes them, which YAML reads alike.
fn yaml(value: &Value) -> String {
    let mut text = String::new();
    block(value, 0, &mut text);
    text
}

fn block(value: &Value, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                let mut inner = String::new();
                block(item, depth + 1, &mut inner);
                let inner = inner
                    .strip_prefix("  ")
                    .map_or(inner.as_str(), |rest| &rest[indent.len()..]);
                text.push_str(&format!("{indent}- {inner}"));
            }
        }
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                let nested = match value {
                    Value::Array(items) => !items.is_empty(),
                    Value::Object(fields) => !fields.is_empty(),
                    _ => false,
                };
                if nested {
                    text.push_str(&format!("{indent}{name}:\n"));
                    block(value, depth + 1, text);
                } else {
                    text.push_str(&format!("{indent}{name}: {value}\n"));
                }
            }
        }
        scalar => text.push_str(&format!("{indent}{scalar}\n")),
    }
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
    use super::{align, names, yaml};
    use serde_json::json;

    #[test]
    fn yaml_nests_lists_and_records() {
        let value = json!([{"a": 1, "list": ["x: y", "z"], "none": []}, {"b": {"c": null}}]);
        let text = "- a: 1\n  list:\n    - \"x: y\"\n    - \"z\"\n  none: []\n- b:\n    c: null\n";
        assert_eq!(yaml(&value), text);
        assert_eq!(yaml(&json!([])), "[]\n");
    }

    #[test]
    fn a_name_is_the_first_column_or_the_first_value() {
        let cells = |row: [&str; 2]| row.map(str::to_owned).to_vec();
        assert_eq!(names(&[cells(["ID", "LABEL"]), cells(["hsm-1", "x"])], true), "hsm-1\n");
        assert_eq!(
            names(&[cells(["ARN", "arn:x"]), cells(["Label", "x"])], false),
            "arn:x\n"
        );
    }

    #[test]
    fn columns_are_aligned_without_trailing_blanks() {
        let rows = [
            vec!["a".to_owned(), "b".to_owned()],
            vec!["long".to_owned(), String::new()],
        ];
        assert_eq!(align(&rows), "a     b\nlong\n");
    }
}
