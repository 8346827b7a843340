//! `hsmd restore`: a daemon out of a backup of everything, in an empty folder. With the configuration and master key that are there
//! already, or with new ones. Nothing is made unless the backup was read to its end and found whole.

use crate::cli::{Failure, print};
use crate::config::Config;
use crate::files;
use crate::init::{self, InitOptions, keystore_options};
use crate::passphrase::SecretOptions;
use clap::Args;
use hsmd_keystore::{BackupHeader, BackupKey, Contents, Error, Incoming, Keystore, MasterKey, RestoreError};
use std::fs::File;
use std::io::{BufReader, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

/// Arguments of `hsmd restore`.
#[derive(Args)]
#[command(
    after_help = "Example:\n  hsmd restore --from all.hsmdbackup --key-file backup.key --config ./hsmd.toml --data-dir ./data"
)]
pub struct RestoreOptions {
    /// The backup, made by `hsmctl backup create` without `--hsm` or `--partition`.
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// The configuration file; one that is not there is made.
    #[arg(long, value_name = "PATH", default_value = "/etc/hsmd/hsmd.toml")]
    config: PathBuf,
    /// The folder of the store, for a new configuration file.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The master key file, for a new configuration file; one that is not there is made. It need not be that of the backup.
    #[arg(long, value_name = "PATH")]
    master_key: Option<PathBuf>,
    /// Read and check everything, and make nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    secret: SecretOptions,
}

/// Runs the command.
pub(crate) fn run(options: &RestoreOptions) -> Result<(), Failure> {
    let secret = options
        .secret
        .read()
        .map_err(|error| Failure::Other(error.to_string()))?;
    let explain = |error: Error| Failure::keystore(&options.from, error);
    let (header, _) = open(&options.from)?;
    let key = secret.open(header).map_err(explain)?;
    let contents = read(&options.from, &key)?.verify(&mut |records| say("checked", records));
    let contents = contents.map_err(|error| explain(error.into()))?;
    if options.dry_run {
        return print(&described(&contents));
    }
    let config_path = files::absolute(&options.config)?;
    let known = config_path.exists();
    if known && (options.data_dir.is_some() || options.master_key.is_some()) {
        return Err(Failure::Other(format!(
            "{} exists already and says where store and master key are\n  remedy: leave out --data-dir and --master-key, or \
             name another file with --config",
            config_path.display()
        )));
    }
    let config = if known {
        Config::read(&config_path)?
    } else {
        let init = InitOptions::new(
            config_path.clone(),
            options.data_dir.clone(),
            options.master_key.clone(),
        );
        init::configuration(&init, &config_path)?
    };
    config.check()?;
    if !config.store.url.is_empty() {
        let message = "a backup is restored into files: take `url` out of [store], and move the store with `hsmctl store migrate`";
        return Err(Failure::Other(message.to_owned()));
    }
    files::private_folder(&config.store.data_dir)?;
    for path in [&config_path, &config.store.master_key, &config.data.socket] {
        let folder = path.parent().unwrap_or(Path::new("/"));
        std::fs::create_dir_all(folder).map_err(|error| Failure::io(folder, &error))?;
    }
    let master_path = &config.store.master_key;
    let master = match master_path.exists() {
        true => MasterKey::from_file(master_path),
        false => MasterKey::create_file(master_path),
    };
    let master = master.map_err(|error| Failure::keystore(master_path, error))?;
    let folder = &config.store.data_dir;
    let incoming = read(&options.from, &key)?;
    Keystore::restore(
        folder,
        &master,
        &keystore_options(&config, false),
        incoming,
        &mut |records| {
            say("restored", records);
        },
    )
    .map_err(|error| Failure::keystore(folder, error))?;
    if !known {
        files::write_private(&config_path, &config.to_toml())?;
    }
    print(&format!(
        "{}\nStore       {}\nMaster key  {}\nSettings    {}\n\nNext:\n  hsmd serve --config {}\n",
        described(&contents).trim_end(),
        folder.display(),
        master_path.display(),
        config_path.display(),
        config_path.display(),
    ))
}

fn open(path: &Path) -> Result<(BackupHeader, BufReader<File>), Failure> {
    let file = File::open(path).map_err(|error| Failure::io(path, &error))?;
    let mut from = BufReader::with_capacity(256 << 10, file);
    let header =
        BackupHeader::read(&mut from).map_err(|error| Failure::keystore(path, RestoreError::from(error).into()))?;
    Ok((header, from))
}

fn read(path: &Path, key: &BackupKey) -> Result<Incoming<'static>, Failure> {
    let (_, from) = open(path)?;
    Incoming::open(from, key).map_err(|error| Failure::keystore(path, error.into()))
}

fn described(contents: &Contents) -> String {
    let manifest = &contents.manifest;
    let objects: u64 = contents.key_sets.iter().map(|key_set| key_set.objects).sum();
    let name = format!("{} {}", manifest.scope.name(), manifest.name);
    format!(
        "Backup      {}, node {}, revision {}\nHolds       {} key sets with {objects} objects, {} records\n",
        name.trim_end(),
        manifest.node,
        manifest.revision,
        contents.key_sets.len(),
        contents.documents,
    )
}

/// Progress, for a terminal only.
fn say(what: &str, records: u64) {
    let mut err = std::io::stderr();
    if records.is_multiple_of(1000) && err.is_terminal() {
        // Nobody to tell when it is closed.
        let _ = write!(err, "\rhsmd: {what} {records} records\x1b[K");
    }
}
