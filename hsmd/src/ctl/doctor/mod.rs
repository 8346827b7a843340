//! `hsmctl doctor`: what is wrong, why, and what to do about it; of the daemon on this machine, or of the PKCS#11 module as
//! an application would load it. It changes nothing.

mod module;
mod place;
mod probe;
mod remote;
mod server;

use super::Format;
use super::exit::{Error, Exit};
use super::output::{Table, show};
use super::profile::Target;
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;

/// Arguments of `hsmctl doctor`.
#[derive(Args)]
pub(super) struct Options {
    /// Load this PKCS#11 module in a process of its own, as an application would; without a path: ours.
    #[arg(long, value_name = "PATH", num_args = 0..=1)]
    module: Option<Option<PathBuf>>,
    /// The daemon's configuration file; default: /etc/hsmd/hsmd.toml, or what a running `hsmd dev` works with.
    #[arg(long, value_name = "PATH", conflicts_with = "module")]
    config: Option<PathBuf>,
    /// The process in which the module is loaded.
    #[arg(long, hide = true, requires = "module")]
    probe: bool,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    Warning,
    Failure,
    Skipped,
}

/// One check.
#[derive(Clone, Debug, Serialize)]
struct Finding {
    check: &'static str,
    state: State,
    message: String,
    /// What to do; empty when there is nothing to do.
    remedy: String,
}

impl Finding {
    fn new(check: &'static str, state: State, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            check,
            state,
            message: message.into(),
            remedy: remedy.into(),
        }
    }

    fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self::new(check, State::Ok, message, "")
    }

    fn warning(check: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(check, State::Warning, message, remedy)
    }

    fn failure(check: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(check, State::Failure, message, remedy)
    }

    fn skipped(check: &'static str, message: impl Into<String>) -> Self {
        Self::new(check, State::Skipped, message, "")
    }
}

/// All checks.
#[derive(Serialize)]
struct Report {
    healthy: bool,
    findings: Vec<Finding>,
}

impl Report {
    fn new(findings: Vec<Finding>) -> Self {
        Self {
            healthy: findings.iter().all(|finding| finding.state != State::Failure),
            findings,
        }
    }
}

impl Table for Report {
    fn rows(&self) -> Vec<Vec<String>> {
        let mut rows = Vec::new();
        for finding in &self.findings {
            let state = match finding.state {
                State::Ok => "[ok]",
                State::Warning => "[warning]",
                State::Failure => "[failure]",
                State::Skipped => "[skipped]",
            };
            rows.push(vec![
                state.to_owned(),
                finding.check.to_owned(),
                finding.message.clone(),
            ]);
            if !finding.remedy.is_empty() {
                rows.push(vec![String::new(), "  do:".to_owned(), finding.remedy.clone()]);
            }
        }
        rows
    }
}

/// Runs the command: exit code 1 when a check failed.
pub(super) fn run(options: &Options, target: &Target, format: Format) -> Result<Exit, Error> {
    let findings = match &options.module {
        Some(Some(path)) if options.probe => return Ok(probe::run(path)),
        Some(path) => module::examine(path.as_deref())?,
        None => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| Error::failed(&error))?;
            runtime.block_on(server::examine(options.config.as_deref(), target))
        }
    };
    let report = Report::new(findings);
    show(&report, format)?;
    Ok(if report.healthy { Exit::Ok } else { Exit::Failed })
}
