//! The rules of the tree that neither rustc nor clippy knows. What is a lint stays a lint; what no tool can see is here.

mod graph;
mod invariants;
mod licence;
mod manifest;
mod scan;
mod source;

use crate::workspace::Workspace;

/// What tidy found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Breaches: one sentence each, beginning with file and line where there is one.
    pub(crate) errors: Vec<String>,
    /// Files read, so that an empty report is not the report of an empty tree.
    pub(crate) files: usize,
}

impl Report {
    /// Writes everything found to the screen.
    pub(crate) fn print(&self) {
        for sentence in &self.errors {
            println!("error: {sentence}");
        }
        println!("tidy: {} files, {} errors", self.files, self.errors.len());
    }
}

/// Holds the whole tree against every rule.
pub(crate) fn check(workspace: &Workspace) -> Result<Report, String> {
    let files = workspace.texts()?;
    let mut report = Report {
        files: files.len(),
        ..Report::default()
    };
    for (path, text) in &files {
        source::check_text(path, text, &mut report.errors);
        if path.ends_with(".rs") {
            source::check_rust(path, text, &mut report.errors);
        }
        // A crate with a workspace of its own inherits nothing from the root.
        let apart = path == "Cargo.toml" || text.contains("\n[workspace]\n");
        if path.ends_with("Cargo.toml") && !apart {
            manifest::check(path, text, &mut report.errors);
        }
    }
    let dependencies = files.iter().find(|(path, _)| path == "docs/dependencies.md");
    let documented = dependencies.map_or("", |(_, text)| text.as_str());
    graph::check(workspace, documented, &mut report.errors)?;
    invariants::check(&files, &mut report.errors);
    Ok(report)
}

#[cfg(test)]
mod tests {
    use crate::workspace::Workspace;

    #[test]
    fn the_tree_is_tidy() {
        let workspace = Workspace::find().expect("tests run inside the workspace");
        let report = super::check(&workspace).expect("tidy can read the tree");
        assert!(report.files > 50, "only {} files read", report.files);
        assert!(report.errors.is_empty(), "{}", report.errors.join("\n"));
    }
}
