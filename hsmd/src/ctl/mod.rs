//! `hsmctl`: a client of the control plane. Data on standard output, everything else on standard error; exit codes are
//! part of the interface.

mod alias;
mod assign;
mod audit;
mod backup;
mod certificate;
mod client;
mod commands;
mod confirm;
mod connect;
mod doctor;
mod env;
mod exit;
mod expiry;
mod fleet;
mod group;
mod hsm;
mod import;
mod manual;
mod officer;
mod output;
mod partition;
mod profile;
mod provision;
mod record;
mod remote;
mod secret;
mod setup;
mod snippet;
mod status;
mod store;
mod tag;
mod usage;
mod wait;
mod watch;

pub use exit::Exit;

use clap::{Parser, Subcommand, ValueEnum};
use std::io::Write as _;
use std::process::ExitCode;

/// Administers hsmd: HSMs, partitions, groups, clients, the state of the daemon.
#[derive(Parser)]
#[command(
    name = "hsmctl",
    version = crate::provider::VERSION,
    after_help = "Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 refused, \
    5 locked or not initialised, 6 unavailable, 7 conflict, 8 timeout\n\nExamples:\n  hsmctl status\n  \
    hsmctl partition create payments --hsm hsm-2b3c4d5e\n  hsmctl partition list -o json"
)]
struct Cli {
    #[command(flatten)]
    target: profile::Target,
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
    /// The same as JSON, for people who like it.
    Yaml,
    /// Names alone, one a line: for scripts.
    Name,
}

#[derive(Subcommand)]
enum Command {
    /// Everything at a glance; exit code 0 when all is well, 1 when a group is degraded or the store in trouble.
    #[command(
        after_help = "Examples:\n  hsmctl status\n  hsmctl status -o json\n  hsmctl status --watch --interval 500 --count 2"
    )]
    Status(status::Options),
    /// What changes, as it changes: HSMs, partitions, groups, clients.
    #[command(
        after_help = "Examples:\n  hsmctl watch --count 2 --interval 100\n  hsmctl watch --all --count 1 -o json"
    )]
    Watch(watch::Options),
    /// Waits until something is ready; exit code 8 when it takes too long.
    #[command(subcommand)]
    Wait(wait::For),
    /// Virtual appliances.
    #[command(subcommand)]
    Hsm(hsm::Hsm),
    /// Partitions: tokens in slots.
    #[command(subcommand)]
    Partition(partition::Partition),
    /// High-availability partition groups.
    #[command(subcommand)]
    Group(group::Group),
    /// Application hosts, known by their certificates.
    #[command(subcommand)]
    Client(client::Client),
    /// Everything for a client on another host in one step: key pair, registration, assignment, configuration files.
    #[command(
        after_help = "Examples:\n  hsmctl setup-client shop1 --group web\n  hsmctl setup-client shop2 --partition old --out shop2-files"
    )]
    SetupClient(setup::Options),
    /// Certificates of those who administer the daemon from other hosts.
    #[command(subcommand)]
    Certificate(certificate::Verb),
    /// Tags of HSMs, groups and clients.
    #[command(subcommand)]
    Tag(tag::Tag),
    /// Records of front ends.
    #[command(subcommand)]
    Record(record::RecordCommand),
    /// Logins of applications: records in the store.
    #[command(subcommand)]
    Login(usage::Login),
    /// Connections of applications.
    #[command(subcommand)]
    Connection(usage::Connection),
    /// What the daemon logs.
    #[command(subcommand)]
    Log(usage::Log),
    /// The audit log: what was done, by whom, with what result.
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Backups of everything, of an HSM, or of a partition.
    #[command(subcommand)]
    Backup(backup::Backup),
    /// Restores an HSM or a partition into this daemon; `hsmd restore` restores everything into a new one.
    #[command(
        after_help = "Examples:\n  hsmctl backup key-create backup.key\n  hsmctl backup create web.hsmdbackup --partition web --key-file backup.key\n  hsmctl restore web.hsmdbackup --key-file backup.key --hsm hsm-1a2b3c4d --label web-again --dry-run\n  hsmctl restore web.hsmdbackup --key-file backup.key --hsm hsm-1a2b3c4d --label web-again"
    )]
    Restore(backup::Restore),
    /// The daemon's store as a whole, while the daemon is stopped.
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// Brings keys and certificates of elsewhere into a token: files, SoftHSM2 folders, other PKCS#11 modules.
    ///
    /// It goes through the PKCS#11 module, as an application does, with the PIN of the token's user. Private keys arrive
    /// sensitive; a pair gets one id. What is there already, by class and id, is left alone: run it again after a failure.
    #[command(
        after_help = "Examples:\n  hsmctl import app.key app.pem --token payments --pin-file pin.txt\n  hsmctl import new.key --label signer --id 01 --token payments --pin-file pin.txt --dry-run\n  hsmctl import --softhsm softhsm-tokens --from-pin-file pin.txt --token payments --pin-file pin.txt"
    )]
    Import(import::Options),
    /// The nodes that share this daemon's store.
    #[command(subcommand)]
    Fleet(fleet::Fleet),
    /// Lists availability zones.
    #[command(after_help = "Example:\n  hsmctl zones -o json")]
    Zones,
    /// What is wrong, why, and what to do: of the daemon, or of the module as an application loads it.
    #[command(
        after_help = "Examples:\n  hsmctl doctor\n  hsmctl doctor --module\n  hsmctl doctor --module libhsmd_pkcs11.so -o json"
    )]
    Doctor(doctor::Options),
    /// Writes `export` lines for a shell, so that programs find the daemon that hsmctl found.
    #[command(after_help = "Examples:\n  eval \"$(hsmctl env)\"\n  hsmctl env -o json")]
    Env,
    /// Writes a configuration for a program, with the real paths and names.
    #[command(
        after_help = "Examples:\n  hsmctl snippet\n  hsmctl snippet nginx --key web\n  hsmctl snippet openssl --pin-file pin.txt --out ."
    )]
    Snippet(snippet::Options),
    /// The commands of the original CloudHSM Classic command line; `cloudhsm` as this program's name means the same.
    Cloudhsm(alias::Cloudhsm),
    /// Writes completions for a shell to standard output.
    #[command(
        after_help = "Examples:\n  hsmctl completion bash > hsmctl.bash\n  hsmctl completion zsh > _hsmctl\n  hsmctl completion fish > hsmctl.fish"
    )]
    Completion {
        /// bash, zsh, fish, elvish or powershell.
        shell: clap_complete::Shell,
    },
    /// Writes manual pages.
    #[command(
        after_help = "Examples:\n  hsmctl man > hsmctl.1\n  hsmctl man --all man1\n  hsmctl man --markdown > hsmctl.md"
    )]
    Man(manual::Options),
}

/// Parses the arguments, runs the command, says what went wrong.
#[must_use]
pub fn main() -> ExitCode {
    let mut words: Vec<_> = std::env::args_os().collect();
    if words.first().is_some_and(|name| alias::is_called_so(name)) {
        words.splice(0..1, ["hsmctl".into(), alias::NAME.into()]);
    }
    let cli = Cli::parse_from(words);
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
        Command::Completion { shell } => manual::completion(shell),
        Command::Man(options) => manual::run(&options),
        Command::Doctor(options) => doctor::run(&options, &cli.target, cli.output),
        Command::Store(command) => store::run(&command),
        Command::Import(options) => import::run(&options, cli.output),
        Command::Fleet(fleet::Fleet::AcceptRollback(options)) => fleet::accept(&options),
        command => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| exit::Error::failed(&error))?;
            runtime.block_on(commands::run(command, &cli.target, cli.output))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_arguments_hang_together() {
        Cli::command().debug_assert();
    }
}
