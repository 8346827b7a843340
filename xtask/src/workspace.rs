//! Where the workspace is and what cargo says about it. It runs no build.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The checked-out tree.
pub(crate) struct Workspace {
    /// The folder of the root `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// `cargo metadata` of the workspace, dependencies of this machine's platform only.
    pub(crate) metadata: Value,
}

impl Workspace {
    /// Finds the workspace around this package (cargo says where) or around the current folder.
    pub(crate) fn find() -> Result<Self, String> {
        let start = match std::env::var_os("CARGO_MANIFEST_DIR") {
            Some(package) => PathBuf::from(package),
            None => std::env::current_dir().map_err(|e| format!("the current folder: {e}"))?,
        };
        let root = start
            .ancestors()
            .find(|folder| folder.join("Cargo.lock").exists())
            .ok_or_else(|| format!("no Cargo.lock above {}: not inside the workspace", start.display()))?
            .to_path_buf();
        let metadata = metadata(&root)?;
        Ok(Self { root, metadata })
    }

    /// Cargo, run in the root of the workspace.
    pub(crate) fn cargo(&self) -> Command {
        cargo(&self.root)
    }

    /// The folder in which cargo leaves the binaries of `profile`.
    pub(crate) fn binaries(&self, profile: &str) -> PathBuf {
        let folder = if profile == "dev" { "debug" } else { profile };
        PathBuf::from(self.metadata["target_directory"].as_str().unwrap_or("target")).join(folder)
    }

    /// Every text file of the tree with its content, in order of path; paths are relative to the root.
    pub(crate) fn texts(&self) -> Result<Vec<(String, String)>, String> {
        let mut found = Vec::new();
        walk(&self.root, &self.root, &mut found)?;
        found.sort();
        Ok(found)
    }
}

fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}

/// What a command wrote to its standard output, or a sentence with what it wrote to the other.
pub(crate) fn output_of(command: &mut Command) -> Result<String, String> {
    let output = command
        .output()
        .map_err(|e| format!("{command:?} does not start: {e}"))?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn metadata(root: &Path) -> Result<Value, String> {
    let version = output_of(Command::new("rustc").arg("-vV"))?;
    let host = version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .unwrap_or("x86_64-unknown-linux-gnu");
    let text = output_of(cargo(root).args(["metadata", "--format-version", "1", "--filter-platform", host]))?;
    serde_json::from_str(&text).map_err(|e| format!("cargo metadata: {e}"))
}

fn walk(root: &Path, folder: &Path, found: &mut Vec<(String, String)>) -> Result<(), String> {
    let entries = std::fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    for entry in entries {
        let path = entry.map_err(|e| format!("{}: {e}", folder.display()))?.path();
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        if path.is_dir() {
            let hidden = name.starts_with('.') && name != ".ci" && name != ".cargo";
            if !hidden && name != "target" {
                walk(root, &path, found)?;
            }
        } else if let Ok(text) = std::fs::read_to_string(&path) {
            let relative = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            found.push((relative, text));
        }
    }
    Ok(())
}
