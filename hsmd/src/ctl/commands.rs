//! The commands that ask the daemon.

use super::connect::connect;
use super::exit::{Error, Exit};
use super::profile::Target;
use super::{
    Command, Format, alias, audit, backup, certificate, client, env, fleet, group, hsm, partition, setup, snippet,
    status, tag, usage, wait, watch,
};

/// Runs a command.
pub(super) async fn run(command: Command, target: &Target, format: Format) -> Result<Exit, Error> {
    let command = match command {
        Command::Wait(wait::For::Ready { patience }) => return wait::ready(target, patience, format).await,
        Command::Env => return env::run(target, format).await,
        Command::Snippet(options) => return snippet::run(options, target, format).await,
        Command::Cloudhsm(command) => return alias::run(command, target).await,
        // Some of these need no daemon.
        Command::Audit(command) => return audit::run(command, target, format).await,
        Command::Backup(command) => return backup::run(command, target, format).await,
        Command::Restore(options) => return backup::run_restore(options, target, format).await,
        command => command,
    };
    let channel = connect(target).await?;
    match command {
        Command::Status(options) => status::run(channel, options, format).await,
        Command::Watch(options) => watch::run(channel, options, format).await,
        Command::Wait(command) => wait::run(channel, command, format).await,
        Command::Hsm(command) => hsm::run(channel, command, format).await,
        Command::Partition(command) => partition::run(channel, command, format).await,
        Command::Group(command) => group::run(channel, command, format).await,
        Command::Client(command) => client::run(channel, command, format).await,
        Command::Certificate(verb) => certificate::run(channel, verb, format).await,
        Command::Tag(command) => tag::run(channel, command, format).await,
        Command::Record(command) => super::record::run(channel, command, format).await,
        Command::Login(command) => usage::login(channel, command, format).await,
        Command::Connection(command) => usage::connection(channel, command, format).await,
        Command::Log(command) => usage::log(channel, command, format).await,
        Command::SetupClient(options) => setup::run(channel, options, format).await,
        Command::Fleet(command) => fleet::run(channel, command, format).await,
        Command::Zones => hsm::zones(channel, format).await,
        // Answered above, or before a daemon is looked for.
        Command::Env | Command::Snippet(_) | Command::Cloudhsm(_) => Ok(Exit::Ok),
        Command::Audit(_) | Command::Backup(_) | Command::Restore(_) => Ok(Exit::Ok),
        Command::Completion { .. } | Command::Man(_) | Command::Doctor(_) | Command::Store(_) => Ok(Exit::Ok),
        Command::Import(_) => Ok(Exit::Ok),
    }
}
