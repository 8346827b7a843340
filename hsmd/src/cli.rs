//! The arguments of `hsmd`. What the subcommands do is in `init`, `server` and `dev`.

use crate::config::{Config, ConfigError};
use crate::dev::{self, DevOptions};
use crate::init::{self, InitOptions};
use crate::join::{self, JoinOptions};
use crate::node::{Node, StartError};
use crate::restore::{self, RestoreOptions};
use crate::server::{self, ServeError};
use crate::{log, memory, trouble};
use clap::{Parser, Subcommand};
use hsmd_keystore::{Keystore, MasterKey};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

/// A network HSM in software: keys live in this daemon, applications use them through PKCS#11.
#[derive(Parser)]
#[command(
    version = crate::provider::VERSION,
    about,
    after_help = "Examples:\n  hsmd dev\n  hsmd init --data-dir /var/lib/hsmd && hsmd serve"
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A token to try things with: no configuration, everything printed. Not for production.
    Dev(DevOptions),
    /// Makes a store, its master key and a configuration file.
    Init(InitOptions),
    /// Makes a place for a further node of the fleet that shares an etcd.
    Join(JoinOptions),
    /// Makes a daemon out of a backup of everything, in an empty folder.
    Restore(RestoreOptions),
    /// Serves a store.
    Serve {
        /// The configuration file.
        #[arg(long, value_name = "PATH", default_value = "/etc/hsmd/hsmd.toml")]
        config: PathBuf,
    },
    /// Prints every key of the configuration with its value.
    Config {
        /// The configuration file; without one: the defaults.
        #[arg(long, value_name = "PATH")]
        config: Option<PathBuf>,
    },
}

/// How long a start waits for its place in the fleet before it says that it is ready all the same.
const ENTERING: Duration = Duration::from_secs(10);

/// Why a command failed: one to three lines for the user.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The keystore, with what to do about it.
    #[error("{context}: {error}{remedy}")]
    Keystore {
        /// The folder or file.
        context: String,
        /// What the keystore says.
        error: hsmd_keystore::Error,
        /// A sentence, or nothing.
        remedy: &'static str,
    },
    /// Putting the daemon together.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Serving.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// Anything else, in words.
    #[error("{0}")]
    Other(String),
}

impl Failure {
    pub(crate) fn io(path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::Other(format!("{}: {error}", path.display()))
    }

    /// There is no etcd, or it is no place for a new store.
    pub(crate) fn is_of_etcd(&self) -> bool {
        use hsmd_keystore::Error as E;
        matches!(
            self,
            Self::Keystore {
                error: E::PrefixTaken | E::Unreachable(_),
                ..
            }
        )
    }

    pub(crate) fn keystore(path: &std::path::Path, error: hsmd_keystore::Error) -> Self {
        use hsmd_keystore::Error as E;
        let remedy = match &error {
            E::NotInitialized => "\n  remedy: run `hsmd init`, or correct store.data_dir",
            E::AlreadyInitialized => "\n  remedy: `hsmd serve` uses it; name another folder for a new one",
            E::MasterKeyExposed { .. } => {
                "\n  remedy: chmod 0400 the master key file, and think about who may have read it"
            }
            E::WrongMasterKey => {
                "\n  remedy: name the key file that `hsmd init` made for this store in store.master_key"
            }
            E::DevMark { dev: true } => "\n  remedy: use `hsmd dev`, or make a store for production with `hsmd init`",
            E::DevMark { dev: false } => "\n  remedy: use `hsmd serve`; `hsmd dev` touches no other store than its own",
            E::RestoreUnfinished => "\n  remedy: repeat `hsmd restore` with the same arguments",
            E::BackupKeyExposed { .. } => "\n  remedy: chmod 0400 the key file, and think about who may have read it",
            E::PrefixTaken => {
                "\n  remedy: a further node of that fleet is made by `hsmd join`; for a store of its own name another prefix"
            }
            E::Unreachable(_) => {
                "\n  remedy: see that etcd runs there (etcdctl endpoint health), and that store.url, store.etcd_ca, store.etcd_cert and store.etcd_key are right"
            }
            E::Store(hsmd_store::OpenError::InUse { .. }) => "\n  remedy: stop that daemon",
            E::Store(hsmd_store::OpenError::WentBack { .. }) => {
                "\n  remedy: bring the newer etcd back; if it is lost, `hsmctl fleet accept-rollback` (docs/fleet.md)"
            }
            E::NoFleet => {
                "\n  remedy: see that --store names the prefix of the fleet, and that its first node has been started once"
            }
            E::StoreLost => {
                "\n  remedy: see that store.url and store.data_dir name the store that is in use (after `hsmctl store migrate`: the new one)"
            }
            E::Locked => "\n  remedy: stop that daemon, or name another folder with --data-dir",
            _ => "",
        };
        Self::Keystore {
            context: path.display().to_string(),
            error,
            remedy,
        }
    }
}

impl Cli {
    /// Runs the command to its end.
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::Dev(options) => dev::run(&options),
            Command::Init(options) => init::run(&options),
            Command::Join(options) => join::run(&options),
            Command::Restore(options) => restore::run(&options),
            Command::Serve { config } => serve(Config::read(&config)?),
            Command::Config { config } => {
                let config = config.map_or_else(|| Ok(Config::default()), |path| Config::read(&path))?;
                print(&config.to_toml())
            }
        }
    }
}

fn serve(config: Config) -> Result<(), Failure> {
    log::start(&config.log).map_err(Failure::Other)?;
    let protection = memory::protect();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        memory = protection.describe(),
        "hsmd starts"
    );
    let master = MasterKey::from_file(&config.store.master_key)
        .map_err(|error| Failure::keystore(&config.store.master_key, error))?;
    let options = init::keystore_options(&config, false);
    let keystore = Keystore::open(&config.store.data_dir, &master, &options)
        .map_err(|error| Failure::keystore(&config.store.data_dir, error))?;
    drop(master);
    let mut node = Node::new(keystore, config, protection)?;
    trouble::report(&node.keystore);
    node.enter_fleet().map_err(Failure::Other)?;
    Ok(server::run(node, |node| {
        if let Some(fleet) = &node.fleet
            && !fleet.wait_until_it_serves(ENTERING)
        {
            tracing::warn!("this node has no place in the fleet yet; requests are refused until it has");
        }
        Ok(())
    })?)
}

/// Writes to standard output, the place for data.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Failure::Other(format!("standard output: {error}")))
}
