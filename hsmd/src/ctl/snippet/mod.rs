//! `hsmctl snippet`: a configuration for a program, with the real paths and names of the daemon that was found. With `--out`
//! as files; the tests run those that say so with the program itself.

mod table;

use super::env::{self, Found};
use super::exit::{Error, Exit};
use super::output::{Table, list, raw, show};
use super::profile::Target;
use super::{Format, partition};
use crate::files::{absolute, shell_quote};
use clap::Args;
use hsmd_control::admin::ListPartitionsRequest;
use hsmd_control::admin::hsm_admin_client::HsmAdminClient;
use serde::Serialize;
use std::fmt::Write as _;
use std::path::PathBuf;
use table::{App, TABLE};

/// Arguments of `hsmctl snippet`.
#[derive(Args)]
pub(super) struct Options {
    /// The program; without one: all that there are.
    app: Option<String>,
    /// The label of the token; default: the first that is ready.
    #[arg(long, value_name = "LABEL")]
    token: Option<String>,
    /// The label of the key.
    #[arg(long, value_name = "LABEL", default_value = "web")]
    key: String,
    /// A file that holds the user PIN, without a line end (`printf %s PIN > FILE`): OpenSSL's engine takes it as it is.
    #[arg(long, value_name = "PATH", default_value = "/etc/hsmd/pin")]
    pin_file: PathBuf,
    /// Write the files into this folder; it is made if it is not there.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Runs the command.
pub(super) async fn run(options: Options, target: &Target, format: Format) -> Result<Exit, Error> {
    let Some(name) = &options.app else {
        return show(&AppList(TABLE.iter().map(AppView::from).collect()), format);
    };
    let app = TABLE.iter().find(|app| app.name == name).ok_or_else(|| {
        let names: Vec<_> = TABLE.iter().map(|app| app.name).collect();
        Error::new(
            Exit::NotFound,
            format!("there is no snippet for {name}\n  remedy: one of {}", names.join(", ")),
        )
    })?;
    let found = env::find(target).await?;
    let values = values(&options, &found).await?;
    let filled = Snippet {
        app: app.name,
        about: app.about,
        tested: app.tested,
        files: app
            .files
            .iter()
            .map(|(name, text)| File {
                name,
                text: fill(text, &values),
            })
            .collect(),
        run: app.run.iter().map(|line| fill(line, &values)).collect(),
    };
    if let Some(folder) = &options.out {
        filled.write(folder)?;
    }
    match format {
        Format::Table => raw(filled.text().as_bytes()),
        format => show(&filled, format),
    }
}

/// What stands for `{name}` in the templates.
async fn values(options: &Options, found: &Found) -> Result<Vec<(&'static str, String)>, Error> {
    let request = ListPartitionsRequest::default();
    let partitions = HsmAdminClient::new(found.channel.clone())
        .list_partitions(request)
        .await?
        .into_inner()
        .partitions;
    let wanted = |token: &str| {
        options
            .token
            .as_deref()
            .map_or(!token.is_empty(), |label| label == token)
    };
    let token = partitions
        .into_iter()
        .find(|partition| partition.user_pin && wanted(&partition.token_label));
    let token = token.ok_or_else(|| {
        let message =
            "no such token is ready\n  remedy: `hsmctl partition list`; initialise one with pkcs11-tool --init-token";
        Error::new(Exit::NotReady, message)
    })?;
    let path = |path: &PathBuf| absolute(path).map(|path| path.display().to_string());
    let explain = |failure: crate::cli::Failure| Error::new(Exit::Failed, failure.to_string());
    let folder = options.out.clone().unwrap_or_else(|| ".".into());
    let (folder, pin_file) = (
        path(&folder).map_err(explain)?,
        path(&options.pin_file).map_err(explain)?,
    );
    let token_uri = partition::uri(&token.token_label);
    let key_uri = format!("{token_uri};object={};type=private", partition::escaped(&options.key));
    let config = found.client_file.as_ref().map(|file| file.display().to_string());
    Ok(vec![
        ("module", found.module.display().to_string()),
        ("token", token.token_label),
        ("serial", token.serial),
        ("slot", token.slot.to_string()),
        ("key", options.key.clone()),
        ("token_uri", token_uri),
        ("key_uri_pin", format!("{key_uri}?pin-source=file:{pin_file}")),
        ("key_uri", key_uri),
        ("pin_file", pin_file),
        ("folder", folder.strip_suffix("/.").map(str::to_owned).unwrap_or(folder)),
        (
            "export",
            config
                .map(|file| format!("export HSMD_CONFIG={}", shell_quote(&file)))
                .unwrap_or_else(|| ":".to_owned()),
        ),
    ])
}

fn fill(template: &str, values: &[(&'static str, String)]) -> String {
    let fill = |text: String, (name, value): &(&str, String)| text.replace(&format!("<{name}>"), value);
    values.iter().fold(template.to_owned(), fill)
}

#[derive(Serialize)]
struct File {
    name: &'static str,
    text: String,
}

#[derive(Serialize)]
struct Snippet {
    app: &'static str,
    about: &'static str,
    tested: bool,
    files: Vec<File>,
    run: Vec<String>,
}

impl Snippet {
    fn text(&self) -> String {
        let tested = if self.tested {
            "our tests run it"
        } else {
            "tried by hand, not by our tests"
        };
        let mut text = format!("# {}: {} ({tested})\n", self.app, self.about);
        for file in &self.files {
            // Writing to a String cannot fail.
            let _ = write!(text, "\n# --- {} ---\n{}", file.name, file.text);
        }
        text.push_str("\n# --- in a shell ---\n");
        for line in self.run.iter().filter(|line| *line != ":") {
            let _ = writeln!(text, "{line}");
        }
        text
    }

    fn write(&self, folder: &std::path::Path) -> Result<(), Error> {
        let explain = |error: std::io::Error| Error::new(Exit::Failed, format!("{}: {error}", folder.display()));
        std::fs::create_dir_all(folder).map_err(explain)?;
        for file in &self.files {
            std::fs::write(folder.join(file.name), &file.text).map_err(explain)?;
        }
        std::fs::write(folder.join("run.sh"), self.run.join("\n") + "\n").map_err(explain)
    }
}

impl Table for Snippet {
    fn rows(&self) -> Vec<Vec<String>> {
        vec![vec!["App".to_owned(), self.app.to_owned()]]
    }
}

#[derive(Serialize)]
struct AppView {
    app: &'static str,
    tested: bool,
    about: &'static str,
}

impl From<&App> for AppView {
    fn from(app: &App) -> Self {
        Self {
            app: app.name,
            tested: app.tested,
            about: app.about,
        }
    }
}

#[derive(Serialize)]
struct AppList(Vec<AppView>);

impl Table for AppList {
    fn rows(&self) -> Vec<Vec<String>> {
        let rows = self
            .0
            .iter()
            .map(|app| [app.app.to_owned(), app.tested.to_string(), app.about.to_owned()]);
        list(["APP", "TESTED", "ABOUT"], rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mark_in_a_template_is_filled() {
        let names = [
            "module",
            "token",
            "serial",
            "slot",
            "key",
            "token_uri",
            "key_uri_pin",
            "key_uri",
            "pin_file",
            "folder",
            "export",
        ];
        let values: Vec<_> = names.iter().map(|name| (*name, "x".to_owned())).collect();
        for app in TABLE {
            for text in app.files.iter().map(|(_, text)| text).chain(app.run) {
                let filled = fill(text, &values);
                let open = filled.split('<').skip(1).filter(|rest| {
                    rest.split('>').next().is_some_and(|word| {
                        !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c == '_')
                    })
                });
                assert_eq!(open.count(), 0, "{}: {filled}", app.name);
            }
        }
    }
}
