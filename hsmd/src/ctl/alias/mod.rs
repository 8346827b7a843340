//! `hsmctl cloudhsm`, and this program under the name `cloudhsm`: the commands of the original CloudHSM Classic command
//! line with the same flags and JSON, over our control plane. Names are taken where the original wants ARNs.

mod act;
mod answer;
mod settings;
mod table;

use super::connect::connect;
use super::exit::{Error, Exit};
use super::output::raw;
use super::profile::Target;
use clap::builder::{ArgAction, Resettable};
use clap::{Arg, ArgMatches, Command};
use serde::Serialize;
use serde_json::Value;
use settings::Settings;
use std::path::Path;
use table::{COMMON, Flag, LEADING, Row, TABLE, Takes};

/// The name by which the original was called.
pub(super) const NAME: &str = "cloudhsm";

/// What was asked for.
pub(super) struct Cloudhsm(ArgMatches);

impl clap::FromArgMatches for Cloudhsm {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self(matches.clone()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0 = matches.clone();
        Ok(())
    }
}

impl clap::Args for Cloudhsm {
    fn augment_args(command: Command) -> Command {
        let leading = LEADING.iter().map(|flag| arg(*flag));
        let commands = TABLE.iter().map(subcommand);
        command
            .args(leading)
            .subcommands(commands)
            .subcommand_required(true)
            .arg_required_else_help(true)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn subcommand(row: &Row) -> Command {
    let example = format!("Example:\n  hsmctl {NAME} {} {}", row.name, row.example);
    let flags = row.flags.iter().chain(COMMON).map(|flag| arg(*flag));
    Command::new(row.name)
        .about(row.about)
        .args(flags)
        .after_help(example.trim_end().to_owned())
}

/// No flag is required here: the settings file may name it.
fn arg(flag: Flag) -> Arg {
    let arg = Arg::new(flag.long)
        .long(flag.long)
        .help(flag.help)
        .short(Resettable::from(flag.short));
    match flag.takes {
        Takes::Nothing => arg.action(ArgAction::SetTrue),
        Takes::One => arg.action(ArgAction::Set).value_name(flag.value),
        Takes::Many => arg.action(ArgAction::Append).num_args(1..).value_name(flag.value),
    }
}

/// The flags of one call: from the command line, else from the settings file.
pub(super) struct Call<'a> {
    row: &'static Row,
    matches: &'a ArgMatches,
    settings: Settings,
}

impl Call<'_> {
    fn lookup(&self, long: &str) -> Vec<String> {
        let given = self.matches.get_many::<String>(long);
        let given: Vec<_> = given.into_iter().flatten().cloned().collect();
        if given.is_empty() {
            self.settings.of(long)
        } else {
            given
        }
    }

    /// The values of a flag, if there are any.
    fn all(&self, long: &str) -> Vec<String> {
        self.lookup(long)
    }

    /// The value of a flag.
    fn maybe(&self, long: &str) -> Option<String> {
        self.lookup(long).into_iter().next()
    }

    /// The value of a flag that [`Self::check`] has found.
    fn text(&self, long: &str) -> String {
        self.maybe(long).unwrap_or_default()
    }

    /// A switch.
    fn is_set(&self, long: &str) -> bool {
        self.matches.get_flag(long)
    }

    fn check(&self) -> Result<(), Error> {
        let missing = |flag: &&Flag| flag.required && self.lookup(flag.long).is_empty();
        let Some(flag) = self.row.flags.iter().find(missing) else {
            return Ok(());
        };
        let short = flag.short.map(|short| format!("-{short}/")).unwrap_or_default();
        let message = format!(
            "{}: {short}--{} {} is missing\n  remedy: give it, or `{}` in the file of -c",
            self.row.name,
            flag.long,
            flag.value,
            flag.long.replace('-', "_")
        );
        Err(Error::new(Exit::Usage, message))
    }
}

/// Runs a command.
pub(super) async fn run(command: Cloudhsm, target: &Target) -> Result<Exit, Error> {
    let matches = &command.0;
    let Some((name, flags)) = matches.subcommand() else {
        return Err(Error::new(Exit::Usage, "no command"));
    };
    let row = TABLE.iter().find(|row| row.name == name);
    let row = row.ok_or_else(|| Error::new(Exit::Usage, format!("there is no command {name}")))?;
    let settings = match matches.get_one::<String>("conf_file") {
        Some(path) => Settings::read(Path::new(path))?,
        None => Settings::default(),
    };
    let call = Call {
        row,
        matches: flags,
        settings,
    };
    call.check()?;
    if row.act == table::Act::Version {
        return show(&serde_json::json!({ "Version": env!("CARGO_PKG_VERSION") }));
    }
    let channel = connect(target).await?;
    show(&act::run(channel, &call).await?)
}

/// As the original: indented by four, keys in order.
fn show(answer: &Value) -> Result<Exit, Error> {
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
    answer
        .serialize(&mut serializer)
        .map_err(|error| Error::failed(&error))?;
    text.push(b'\n');
    raw(&text)
}

/// Whether the program was called by the original's name, and so its arguments are meant.
pub(super) fn is_called_so(program: &std::ffi::OsStr) -> bool {
    Path::new(program).file_name().is_some_and(|name| name == NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_name_decides() {
        assert!(is_called_so("/usr/bin/cloudhsm".as_ref()));
        assert!(!is_called_so("hsmctl".as_ref()));
    }

    #[test]
    fn commands_are_those_of_the_original_in_order() {
        let names: Vec<_> = TABLE.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), 25);
        assert!(names.is_sorted());
    }

    #[test]
    fn a_flag_comes_from_the_line_then_from_the_file() {
        let row = TABLE.iter().find(|row| row.name == "describe-hsm").unwrap();
        let settings = || Settings::parse("[x]\nhsm_arn = from-file\n");
        for (arguments, expected) in [(vec!["x", "-H", "here"], "here"), (vec!["x"], "from-file")] {
            let matches = subcommand(row).get_matches_from(arguments);
            let call = Call {
                row,
                matches: &matches,
                settings: settings(),
            };
            call.check().unwrap();
            assert_eq!(call.text("hsm-arn"), expected);
        }
        let matches = subcommand(row).get_matches_from(["x"]);
        let call = Call {
            row,
            matches: &matches,
            settings: Settings::default(),
        };
        let error = call.check().unwrap_err().to_string();
        assert!(error.contains("-H/--hsm-arn ARN is missing"), "{error}");
    }
}
