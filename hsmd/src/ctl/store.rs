//! `hsmctl store`: the daemon's store as a whole, while the daemon does not run. It reads the daemon's own configuration and keys.

use super::confirm;
use super::exit::{Error, Exit};
use crate::cli::Failure;
use crate::config::Config;
use crate::files;
use crate::init::keystore_options;
use clap::{Args, Subcommand};
use hsmd_keystore::{Keystore, MasterKey};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// What can be done.
#[derive(Subcommand)]
pub(super) enum StoreCommand {
    /// Moves all records between files and an etcd, and changes the configuration. The daemon must be stopped.
    #[command(
        after_help = "To an etcd, and back. Examples:\n  hsmctl store migrate --to etcd://10.0.0.1:2379,10.0.0.2:2379/hsmd --yes\n  hsmctl store migrate --config ./hsmd.toml --to files --yes"
    )]
    Migrate(Migrate),
}

/// Arguments of `hsmctl store migrate`.
#[derive(Args)]
pub(super) struct Migrate {
    /// The daemon's configuration file, which is changed; the old one stays beside it.
    #[arg(long, value_name = "PATH", default_value = "/etc/hsmd/hsmd.toml")]
    config: PathBuf,
    /// Where to: an etcd, or `files` in the daemon's data folder.
    #[arg(long, value_name = "etcd://HOST:PORT/PREFIX|files")]
    to: String,
    /// The authorities of etcd's certificates, in PEM.
    #[arg(long, value_name = "PATH")]
    store_ca: Option<PathBuf>,
    /// The certificate by which etcd knows the daemon, in PEM.
    #[arg(long, value_name = "PATH", requires = "store_key")]
    store_cert: Option<PathBuf>,
    /// The key of that certificate.
    #[arg(long, value_name = "PATH", requires = "store_cert")]
    store_key: Option<PathBuf>,
    /// Do it without asking.
    #[arg(short, long)]
    yes: bool,
}

/// Runs a command.
pub(super) fn run(command: &StoreCommand) -> Result<Exit, Error> {
    let StoreCommand::Migrate(options) = command;
    migrate(options)
}

fn failed(failure: impl Into<Failure>) -> Error {
    Error::new(Exit::Failed, failure.into().to_string())
}

fn migrate(options: &Migrate) -> Result<Exit, Error> {
    let old = Config::read(&options.config).map_err(failed)?;
    let mut new = old.clone();
    let absolute = |path: &Option<PathBuf>| path.as_ref().map_or(Ok(PathBuf::new()), |path| files::absolute(path));
    new.store.url = if options.to == "files" {
        String::new()
    } else {
        options.to.clone()
    };
    new.store.etcd_ca = absolute(&options.store_ca).map_err(failed)?;
    new.store.etcd_cert = absolute(&options.store_cert).map_err(failed)?;
    new.store.etcd_key = absolute(&options.store_key).map_err(failed)?;
    new.check().map_err(failed)?;
    if new.store.url.is_empty() && old.store.url.is_empty() {
        return Err(Error::new(Exit::Usage, "the store is in files already"));
    }
    let name = |config: &Config| match config.store.url.as_str() {
        "" => config.store.data_dir.display().to_string(),
        url => url.to_owned(),
    };
    let (from, to) = (name(&old), name(&new));
    confirm::sure(
        options.yes,
        &format!("all records move from {from} to {to}; the daemon must be stopped"),
    )?;
    let (folder, key) = (&old.store.data_dir, &old.store.master_key);
    let master = MasterKey::from_file(key).map_err(|error| failed(Failure::keystore(key, error)))?;
    let (from_options, to_options) = (keystore_options(&old, false), keystore_options(&new, false));
    let moved = Keystore::migrate(folder, &master, &from_options, &to_options, &mut |_| {});
    let moved = moved.map_err(|error| failed(Failure::keystore(folder, error)))?;
    let kept = beside(&options.config);
    std::fs::rename(&options.config, &kept).map_err(|error| failed(Failure::io(&kept, &error)))?;
    files::write_private(&options.config, &new.to_toml()).map_err(failed)?;
    let text = format!(
        "Moved       {moved} records\nFrom        {from} (stays as it is; the daemon does not open it any more)\nTo          {to}\n\
         Settings    {}, the old ones in {}\n",
        options.config.display(),
        kept.display()
    );
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(|error| Error::failed(&error))?;
    Ok(Exit::Ok)
}

/// A name for the old configuration that is not in use.
fn beside(config: &Path) -> PathBuf {
    let name = |number: u32| {
        let mut name = config.as_os_str().to_owned();
        name.push(format!(".before-migrate.{number}"));
        PathBuf::from(name)
    };
    (1..).map(name).find(|path| !path.exists()).unwrap_or_else(|| name(0))
}
