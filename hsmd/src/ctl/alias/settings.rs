//! The ini file of the original's `-c`: `key = value` lines in any section; a value goes on in indented lines.

use crate::ctl::exit::{Error, Exit};
use std::collections::BTreeMap;
use std::path::Path;

/// Values by the long flag's name with `_` for `-`.
#[derive(Default)]
pub(super) struct Settings(BTreeMap<String, Vec<String>>);

impl Settings {
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|error| Error::new(Exit::Usage, format!("{}: {error}", path.display())))?;
        Ok(Self::parse(&text))
    }

    pub(super) fn parse(text: &str) -> Self {
        let mut values = BTreeMap::<String, Vec<String>>::new();
        let mut last = String::new();
        for line in text.lines() {
            let word = line.trim();
            if word.is_empty() || word.starts_with(['#', ';', '[']) {
                continue;
            }
            if line.starts_with([' ', '\t']) {
                values.entry(last.clone()).or_default().push(word.to_owned());
            } else if let Some((key, value)) = word.split_once(['=', ':']) {
                last = key.trim().to_ascii_lowercase();
                let value = value.trim();
                let value = (!value.is_empty()).then(|| value.to_owned());
                values.insert(last.clone(), value.into_iter().collect());
            }
        }
        Self(values)
    }

    /// What the file says about a flag.
    pub(super) fn of(&self, long: &str) -> Vec<String> {
        self.0.get(&long.replace('-', "_")).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::Settings;

    #[test]
    fn keys_of_all_sections_count_and_values_go_on_in_indented_lines() {
        let text = "# a\n[one]\naws_region = eu-1\n[two]\nhapg_arns =\n   arn:1\n   arn:2\nlabel: x\n";
        let settings = Settings::parse(text);
        assert_eq!(settings.of("aws-region"), ["eu-1"]);
        assert_eq!(settings.of("hapg-arns"), ["arn:1", "arn:2"]);
        assert_eq!(settings.of("label"), ["x"]);
        assert!(settings.of("none").is_empty());
    }
}
