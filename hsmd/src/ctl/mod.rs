//! `hsmctl`: a client of the control plane. Data on standard output, everything else on standard error; exit codes are
//! part of the interface.

mod client;
mod commands;
mod connect;
mod exit;
mod group;
mod hsm;
mod output;
mod tag;

pub use exit::Exit;

use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};
use std::io::Write as _;
use std::process::ExitCode;

/// Administers hsmd: HSMs, partitions, groups, clients, the state of the daemon.
#[derive(Parser)]
#[command(
    name = "hsmctl",
    version,
    about,
    after_help = "Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 refused, \
    5 locked or not initialised, 6 unavailable, 7 conflict, 8 timeout\n\nExamples:\n  hsmctl status\n  \
    hsmctl partition create web\n  hsmctl partition list -o json"
)]
struct Cli {
    /// The control plane's address, unix:///path; default: $HSMD_ENDPOINT, a running `hsmd dev`, the system's daemon.
    #[arg(long, global = true, value_name = "URI")]
    endpoint: Option<String>,
    /// Form of the output.
    #[arg(short, long, global = true, value_enum, default_value = "table")]
    output: Format,
    #[command(subcommand)]
    command: Command,
}

/// Form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Table,
    /// For programs; the same fields and more.
    Json,
}

#[derive(Subcommand)]
enum Command {
    /// The state of the daemon; exit code 0 when all is well, 1 when something in the store is in trouble.
    #[command(after_help = "Example:\n  hsmctl status -o json")]
    Status,
    /// Virtual appliances.
    #[command(subcommand)]
    Hsm(hsm::Hsm),
    /// Partitions: tokens in slots.
    #[command(subcommand)]
    Partition(Partition),
    /// High-availability partition groups.
    #[command(subcommand)]
    Group(group::Group),
    /// Application hosts, known by their certificates.
    #[command(subcommand)]
    Client(client::Client),
    /// Tags of HSMs, groups and clients.
    #[command(subcommand)]
    Tag(tag::Tag),
    /// Lists availability zones.
    #[command(after_help = "Example:\n  hsmctl zones -o json")]
    Zones,
    /// Writes completions for a shell to standard output.
    #[command(after_help = "Example:\n  hsmctl completion bash > ~/.local/share/bash-completion/completions/hsmctl")]
    Completion {
        /// bash, zsh, fish, elvish or powershell.
        shell: clap_complete::Shell,
    },
    /// Writes the manual page to standard output.
    #[command(after_help = "Example:\n  hsmctl man | man -l -")]
    Man,
}

#[derive(Subcommand)]
enum Partition {
    /// Creates an uninitialised partition; C_InitToken (`pkcs11-tool --init-token`) initialises it.
    #[command(after_help = "Example:\n  hsmctl partition create web --policy strict")]
    Create {
        /// The label.
        label: String,
        /// standard, strict, fips or legacy; default: the daemon's.
        #[arg(long, value_name = "NAME", default_value = "")]
        policy: String,
        /// Id, serial number or ARN of the HSM; default: the only one.
        #[arg(long, value_name = "HSM", default_value = "")]
        hsm: String,
    },
    /// Lists partitions in the order of their slots.
    List {
        /// Id, serial number or ARN of an HSM; default: all.
        #[arg(long, value_name = "HSM", default_value = "")]
        hsm: String,
    },
    /// Deletes a partition with all its keys.
    #[command(after_help = "Example:\n  hsmctl partition delete 157541001 --yes")]
    Delete {
        /// Serial number or ARN.
        partition: String,
        /// Do it without asking.
        #[arg(long)]
        yes: bool,
        /// Say what would go, and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
}

/// Parses the arguments, runs the command, says what went wrong.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(code) => code.into(),
        Err(error) => {
            // Nobody to tell when standard error is closed.
            let _ = writeln!(std::io::stderr(), "hsmctl: {error}");
            error.exit().into()
        }
    }
}

fn run(cli: Cli) -> Result<Exit, exit::Error> {
    match cli.command {
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "hsmctl", &mut script);
            output::raw(&script)
        }
        Command::Man => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command())
                .render(&mut page)
                .map_err(|error| exit::Error::failed(&error))?;
            output::raw(&page)
        }
        command => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| exit::Error::failed(&error))?;
            runtime.block_on(commands::run(command, cli.endpoint.as_deref(), cli.output))
        }
    }
}

/// Asks for `--yes` before something is destroyed.
fn sure(yes: bool, what: &str) -> Result<(), exit::Error> {
    if yes {
        return Ok(());
    }
    let message = format!("{what}\n  remedy: say --yes, or look first with --dry-run");
    Err(exit::Error::new(Exit::Usage, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_hang_together() {
        Cli::command().debug_assert();
    }
}
