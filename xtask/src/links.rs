//! Checks that links between the project's Markdown files lead somewhere. It never opens the network.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

/// One sentence for each broken link among `files` (path relative to the root, content).
pub(crate) fn check(files: &[(String, String)]) -> Vec<String> {
    let known: BTreeSet<PathBuf> = files
        .iter()
        .flat_map(|(path, _)| Path::new(path).ancestors().map(Path::to_path_buf).collect::<Vec<_>>())
        .collect();
    let mut broken = Vec::new();
    for (path, text) in files.iter().filter(|(path, _)| path.ends_with(".md")) {
        for link in links(text) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (target, anchor) = link.split_once('#').unwrap_or((link, ""));
            let full = if target.is_empty() {
                PathBuf::from(path)
            } else {
                resolve(path, target)
            };
            if !known.contains(&full) {
                broken.push(format!("{path}: the link to `{link}` leads nowhere"));
            } else if !anchor.is_empty() && !has_heading(files, &full, anchor) {
                broken.push(format!("{path}: `{}` has no heading `#{anchor}`", full.display()));
            }
        }
    }
    broken
}

/// Targets of `[text](target)` outside code.
fn links(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for line in prose(text) {
        let mut rest = line;
        while let Some((_, after)) = rest.split_once("](") {
            let Some((target, next)) = after.split_once(')') else {
                break;
            };
            found.push(target.split_whitespace().next().unwrap_or_default());
            rest = next;
        }
    }
    found
}

/// The lines that are not inside a fenced block.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

fn resolve(from: &str, target: &str) -> PathBuf {
    let mut full = Path::new(from).parent().unwrap_or(Path::new("")).to_path_buf();
    for part in Path::new(target).components() {
        match part {
            Component::ParentDir => {
                full.pop();
            }
            Component::Normal(name) => full.push(name),
            _ => {}
        }
    }
    full
}

/// Whether a Markdown file has a heading with that anchor; other files have no anchors to check.
fn has_heading(files: &[(String, String)], path: &Path, anchor: &str) -> bool {
    if path.extension().is_none_or(|extension| extension != "md") {
        return true;
    }
    let Some((_, text)) = files.iter().find(|(name, _)| Path::new(name) == path) else {
        return false;
    };
    prose(text)
        .filter(|line| line.starts_with('#'))
        .any(|line| slug(line.trim_start_matches('#')) == anchor)
}

/// The anchor that common renderers give a heading.
fn slug(heading: &str) -> String {
    heading
        .trim()
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c.to_ascii_lowercase()),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn the_links_of_the_tree_lead_somewhere() {
        let workspace = crate::workspace::Workspace::find().expect("tests run inside the workspace");
        let broken = check(&workspace.texts().expect("the tree can be read"));
        assert!(broken.is_empty(), "{}", broken.join("\n"));
    }

    fn tree(readme: &str) -> Vec<(String, String)> {
        vec![
            ("README.md".to_owned(), readme.to_owned()),
            (
                "docs/a.md".to_owned(),
                "# Title one\n[up](../README.md) [other](decisions/0001-x.md)\n".to_owned(),
            ),
            ("docs/decisions/0001-x.md".to_owned(), "# X\n".to_owned()),
        ]
    }

    #[test]
    fn links_to_files_folders_and_headings_that_exist_pass() {
        let good = "[a](docs/a.md) [b](docs/a.md#title-one) [c](docs/decisions) [d](https://example.org/x)\n";
        assert_eq!(check(&tree(good)), Vec::<String>::new());
    }

    #[test]
    fn a_missing_file_and_a_missing_heading_are_named() {
        let broken = check(&tree(
            "[a](docs/b.md)\n```\n[not](a link)\n```\n[b](docs/a.md#title-two)\n",
        ));
        assert_eq!(broken.len(), 2, "{broken:?}");
        assert!(broken[0].contains("docs/b.md"), "{broken:?}");
        assert!(broken[1].contains("title-two"), "{broken:?}");
    }
}
