//! Members' `Cargo.toml` files: every version stands in the root's. It reads lines, not TOML: the files are ours.

/// Finds dependencies that carry a version of their own.
pub(super) fn check(path: &str, text: &str, errors: &mut Vec<String>) {
    let mut in_dependencies = false;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            in_dependencies = section.ends_with("dependencies");
            if section.contains("dependencies.") {
                errors.push(format!("{path}:{}: write the dependency on one line", number + 1));
            }
        } else if in_dependencies && !line.is_empty() && !line.starts_with('#') {
            let squeezed: String = line.split_whitespace().collect();
            // A member of the workspace by its path has no version to drift.
            let member = squeezed.contains("path=\"../") && !squeezed.contains("version=");
            if !member && !squeezed.contains("workspace=true") {
                errors.push(format!(
                    "{path}:{}: `{line}`: versions stand in the root Cargo.toml",
                    number + 1
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn a_version_in_a_member_is_named() {
        let text = "[package]\nversion = \"1\"\n[dependencies]\na.workspace = true\n\
                    b = { workspace = true, features = [\"x\"] }\nd = { path = \"../d\" }\nc = \"1.0\"\n";
        let mut errors = Vec::new();
        check("m/Cargo.toml", text, &mut errors);
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].starts_with("m/Cargo.toml:7:"), "{errors:?}");
    }
}
