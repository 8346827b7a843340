//! `--wait` and `hsmctl wait`: asks again until a state is reached, and says on standard error what it sees meanwhile.

use super::connect::connect;
use super::exit::{Error, Exit};
use super::output::{Table, record, show};
use super::profile::Target;
use super::{Format, group, hsm};
use clap::{Args, Subcommand};
use hsmd_control::admin::StatusRequest;
use hsmd_control::admin::hsm_admin_client::HsmAdminClient;
use hsmd_control::cloudhsm::cloud_hsm_client::CloudHsmClient;
use serde::Serialize;
use std::io::Write as _;
use std::time::Duration;
use tokio::time::Instant;
use tonic::transport::Channel;

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(100);

/// `--timeout` of all that waits.
#[derive(Args, Clone, Copy)]
pub(super) struct Patience {
    /// How long to wait; then the exit code is 8.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
}

/// `--wait` of a command that starts something.
#[derive(Args, Clone, Copy)]
pub(super) struct Wait {
    /// Wait until it is done.
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    patience: Patience,
}

/// `hsmctl wait`.
#[derive(Subcommand)]
pub(super) enum For {
    /// Until a daemon answers.
    #[command(after_help = "Example:\n  hsmctl wait ready --timeout 10")]
    Ready {
        #[command(flatten)]
        patience: Patience,
    },
    /// Until an HSM has a status.
    #[command(after_help = "Example:\n  hsmctl wait hsm hsm-1a2b3c4d --for RUNNING")]
    Hsm {
        /// Id, serial number or ARN.
        name: String,
        /// PENDING, RUNNING, UPDATING, SUSPENDED, TERMINATING, TERMINATED or DEGRADED.
        #[arg(long = "for", value_name = "STATUS", default_value = "RUNNING")]
        status: String,
        #[command(flatten)]
        patience: Patience,
    },
    /// Until a group has a state.
    #[command(after_help = "Example:\n  hsmctl wait group web --for READY --timeout 120")]
    Group {
        /// Id, ARN, serial number or label.
        name: String,
        /// READY, UPDATING or DEGRADED.
        #[arg(long = "for", value_name = "STATE", default_value = "READY")]
        state: String,
        #[command(flatten)]
        patience: Patience,
    },
}

/// Runs `hsmctl wait hsm` and `hsmctl wait group`.
pub(super) async fn run(channel: Channel, command: For, format: Format) -> Result<Exit, Error> {
    match command {
        For::Ready { .. } => Ok(Exit::Ok),
        For::Hsm { name, status, patience } => {
            let mut client = CloudHsmClient::new(channel);
            let arn = hsm::find(&mut client, &name).await?.arn;
            hsm_until(&mut client, &arn, &status, patience).await?;
            show(&hsm::describe(&mut client, &arn).await?, format)
        }
        For::Group { name, state, patience } => {
            let mut client = CloudHsmClient::new(channel);
            let arn = group::find(&mut client, &name).await?.arn;
            group_until(&mut client, &arn, &state, patience).await?;
            show(&group::describe(&mut client, &arn).await?, format)
        }
    }
}

/// Runs `hsmctl wait ready`: connects as often as it takes.
pub(super) async fn ready(target: &Target, patience: Patience, format: Format) -> Result<Exit, Error> {
    let mut progress = Progress::new("the daemon", patience);
    loop {
        let answer = match connect(target).await {
            Ok(channel) => HsmAdminClient::new(channel)
                .status(StatusRequest {})
                .await
                .map_err(Into::into),
            Err(error) => Err(error),
        };
        match answer {
            Ok(status) => {
                let status = status.into_inner();
                let view = Ready {
                    node: status.node,
                    version: status.version,
                    uptime_seconds: status.uptime_seconds,
                };
                return show(&view, format);
            }
            Err(error) if matches!(error.exit(), Exit::Unavailable | Exit::Timeout) => {
                progress.see("no answer").await?;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Waits for an HSM that was created or modified, if that was asked for.
pub(super) async fn after_hsm(client: &mut CloudHsmClient<Channel>, arn: &str, wait: Wait) -> Result<(), Error> {
    if wait.wait {
        hsm_until(client, arn, "RUNNING", wait.patience).await?;
    }
    Ok(())
}

/// Waits for a group that was changed, if that was asked for.
pub(super) async fn after_group(client: &mut CloudHsmClient<Channel>, arn: &str, wait: Wait) -> Result<(), Error> {
    if wait.wait {
        group_until(client, arn, "READY", wait.patience).await?;
    }
    Ok(())
}

async fn hsm_until(
    client: &mut CloudHsmClient<Channel>,
    arn: &str,
    wanted: &str,
    patience: Patience,
) -> Result<(), Error> {
    let mut progress = Progress::new(arn, patience);
    loop {
        let status = hsm::describe(client, arn).await?.status;
        if status.eq_ignore_ascii_case(wanted) {
            return Ok(());
        }
        progress.see(&status).await?;
    }
}

async fn group_until(
    client: &mut CloudHsmClient<Channel>,
    arn: &str,
    wanted: &str,
    patience: Patience,
) -> Result<(), Error> {
    let mut progress = Progress::new(arn, patience);
    loop {
        let state = group::describe(client, arn).await?.state;
        if state.eq_ignore_ascii_case(wanted) {
            return Ok(());
        }
        progress.see(&state).await?;
    }
}

/// What was seen so far, and how long that may go on.
struct Progress<'a> {
    what: &'a str,
    patience: Patience,
    start: Instant,
    last: String,
}

impl<'a> Progress<'a> {
    fn new(what: &'a str, patience: Patience) -> Self {
        Self {
            what,
            patience,
            start: Instant::now(),
            last: String::new(),
        }
    }

    /// Tells of a state that is new, and pauses before the next question.
    async fn see(&mut self, state: &str) -> Result<(), Error> {
        let seconds = self.start.elapsed().as_secs();
        if self.last != state {
            // Nobody to tell when standard error is closed.
            let _ = writeln!(std::io::stderr(), "hsmctl: {}: {state} ({seconds} s)", self.what);
            state.clone_into(&mut self.last);
        }
        if self.start.elapsed() >= Duration::from_secs(self.patience.timeout) {
            let message = format!(
                "{}: still {state} after {} s\n  remedy: it goes on without us; ask again with a longer --timeout",
                self.what, self.patience.timeout
            );
            return Err(Error::new(Exit::Timeout, message));
        }
        tokio::time::sleep(PAUSE).await;
        Ok(())
    }
}

#[derive(Serialize)]
struct Ready {
    node: String,
    version: String,
    uptime_seconds: u64,
}

impl Table for Ready {
    fn rows(&self) -> Vec<Vec<String>> {
        record([
            ("Node", self.node.clone()),
            ("Version", self.version.clone()),
            ("Uptime", format!("{} s", self.uptime_seconds)),
        ])
    }
}
