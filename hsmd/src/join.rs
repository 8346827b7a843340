//! `hsmd join`: a place for a further node of a fleet, and its configuration file. The fleet's master key must be there; the rest
//! comes from etcd, sealed by it.

use crate::cli::{Failure, print};
use crate::files;
use crate::init::{InitOptions, configuration, keystore_options};
use clap::Args;
use hsmd_keystore::{Keystore, MasterKey};

/// Arguments of `hsmd join`.
#[derive(Args)]
#[command(
    after_help = "Example:\n  install -m 0400 /from/the/first/node/master.key ./master.key\n  hsmd join --config ./hsmd.toml --data-dir ./data --store etcd://10.0.0.1:2379/hsmd && hsmd serve --config ./hsmd.toml"
)]
pub struct JoinOptions {
    #[command(flatten)]
    place: InitOptions,
}

/// Runs the command.
pub(crate) fn run(options: &JoinOptions) -> Result<(), Failure> {
    let config_path = options.place.config_path()?;
    let config = configuration(&options.place, &config_path)?;
    config.check()?;
    if config.store.url.is_empty() {
        return Err(Failure::Other("a fleet shares an etcd: name it with --store".into()));
    }
    if config_path.exists() {
        let message = format!("{} exists already; nothing was changed", config_path.display());
        return Err(Failure::Other(message));
    }
    let key = &config.store.master_key;
    let master = MasterKey::from_file(key).map_err(|error| match error {
        hsmd_keystore::Error::Io(_) => Failure::Other(format!(
            "{}: {error}\n  remedy: copy the fleet's master key there, mode 0400, by a way that nobody else can read",
            key.display()
        )),
        error => Failure::keystore(key, error),
    })?;
    let folder = &config.store.data_dir;
    files::private_folder(folder)?;
    for path in [&config_path, &config.data.socket] {
        let folder = path.parent().map(std::path::Path::to_path_buf).unwrap_or_default();
        std::fs::create_dir_all(&folder).map_err(|error| Failure::io(&folder, &error))?;
    }
    let fresh = !folder.join("root.0").exists();
    let joined = Keystore::join(folder, &master, &keystore_options(&config, false));
    let joined = joined.and_then(|keystore| keystore.close().map(|()| keystore.node()));
    let node = match joined {
        Ok(node) => node,
        Err(error) => {
            if fresh {
                // A wrong address or key is easily corrected: nothing is in etcd that needs this folder.
                for name in ["root.0", "root.1", "etcd.anchor", "lock"] {
                    let _ = std::fs::remove_file(folder.join(name));
                }
            }
            return Err(Failure::keystore(folder, error));
        }
    };
    files::write_private(&config_path, &config.to_toml())?;
    print(&format!(
        "Node        {node}\nStore       {}\nSettings    {}\n\nNext:\n  hsmd serve --config {}\n  hsmctl fleet status --endpoint unix://{}\n",
        config.store.url,
        config_path.display(),
        config_path.display(),
        config.control.socket.display()
    ))
}
