//! The commands that ask the daemon.

use super::connect::connect;
use super::exit::{Error, Exit};
use super::{Command, Format, client, group, hsm, partition, status, tag, wait, watch};

/// Runs a command.
pub(super) async fn run(command: Command, endpoint: Option<&str>, format: Format) -> Result<Exit, Error> {
    if let Command::Wait(wait::For::Ready { patience }) = command {
        return wait::ready(endpoint, patience, format).await;
    }
    let channel = connect(endpoint).await?;
    match command {
        Command::Status(options) => status::run(channel, options, format).await,
        Command::Watch(options) => watch::run(channel, options, format).await,
        Command::Wait(command) => wait::run(channel, command, format).await,
        Command::Hsm(command) => hsm::run(channel, command, format).await,
        Command::Partition(command) => partition::run(channel, command, format).await,
        Command::Group(command) => group::run(channel, command, format).await,
        Command::Client(command) => client::run(channel, command, format).await,
        Command::Tag(command) => tag::run(channel, command, format).await,
        Command::Zones => hsm::zones(channel, format).await,
        Command::Completion { .. } | Command::Man(_) => Ok(Exit::Ok),
    }
}
