//! Manual pages, the page of the book and completions: all written from the definition of the arguments.

use super::Cli;
use super::exit::{Error, Exit};
use super::output::raw;
use clap::{Args, CommandFactory as _};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Arguments of `hsmctl man`.
#[derive(Args)]
pub(super) struct Options {
    /// Write a page for every command into this folder; it is made if it is not there.
    #[arg(long, value_name = "DIR")]
    all: Option<PathBuf>,
    /// All commands as one page of Markdown (docs/hsmctl.md).
    #[arg(long, conflicts_with = "all")]
    markdown: bool,
}

/// `hsmctl man`.
pub(super) fn run(options: &Options) -> Result<Exit, Error> {
    if let Some(folder) = &options.all {
        return pages(folder);
    }
    if options.markdown {
        return raw(markdown().as_bytes());
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command())
        .render(&mut page)
        .map_err(|error| Error::failed(&error))?;
    raw(&page)
}

fn pages(folder: &Path) -> Result<Exit, Error> {
    let explain = |error: std::io::Error| Error::new(Exit::Failed, format!("{}: {error}", folder.display()));
    std::fs::create_dir_all(folder).map_err(explain)?;
    clap_mangen::generate_to(built(), folder).map_err(explain)?;
    Ok(Exit::Ok)
}

/// `hsmctl completion`.
pub(super) fn completion(shell: clap_complete::Shell) -> Result<Exit, Error> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "hsmctl", &mut script);
    raw(&script)
}

/// The commands with everything that clap adds when it is asked, at the width of a page.
fn built() -> clap::Command {
    let mut command = Cli::command().disable_help_subcommand(true).term_width(140);
    command.build();
    command
}

fn markdown() -> String {
    let mut page =
        "# hsmctl\n\nEvery command with its arguments, written from the program (`hsmctl man --markdown`); a test \
                    compares, another runs the examples.\n"
            .to_owned();
    let mut command = built();
    section(&mut command, &mut page);
    page
}

/// What every command has, and is on the first page already.
const COMMON: [&str; 8] = [
    "endpoint",
    "output",
    "help",
    "aws-region",
    "aws-access-key-id",
    "aws-secret-access-key",
    "aws-host",
    "aws-port",
];

fn section(command: &mut clap::Command, page: &mut String) {
    let title = command.get_bin_name().unwrap_or(command.get_name()).to_owned();
    let help = command.render_help().to_string();
    let help: String = help.lines().map(|line| line.trim_end().to_owned() + "\n").collect();
    // Writing to a String cannot fail.
    let _ = write!(page, "\n## {title}\n\n```text\n{}\n```\n", help.trim_end());
    let names: Vec<_> = command
        .get_subcommands()
        .filter(|sub| !sub.is_hide_set())
        .map(|sub| sub.get_name().to_owned())
        .collect();
    for name in names {
        let Some(sub) = command.find_subcommand_mut(&name) else {
            continue;
        };
        let common: Vec<_> = sub
            .get_arguments()
            .map(|arg| arg.get_id().clone())
            .filter(|id| COMMON.contains(&id.as_str()))
            .collect();
        *sub = common
            .into_iter()
            .fold(sub.clone(), |sub, id| sub.mut_arg(id, |arg| arg.hide(true)));
        section(sub, page);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(command: &clap::Command, missing: &mut Vec<String>) {
        let leaf = command.get_subcommands().next().is_none();
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        if leaf && !help.contains("Example") {
            missing.push(command.get_bin_name().unwrap_or_default().to_owned());
        }
        command.get_subcommands().for_each(|sub| walk(sub, missing));
    }

    #[test]
    fn every_command_shows_an_example() {
        let mut missing = Vec::new();
        walk(&built(), &mut missing);
        assert!(missing.is_empty(), "without `Example:` in after_help: {missing:?}");
    }
}
