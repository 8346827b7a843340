//! `hsmd init`: a store, its master key, a configuration file, and a first HSM. Nothing that exists is overwritten.

use crate::audit::as_act;
use crate::cli::{Failure, print};
use crate::config::{Audit, Config, Pin};
use crate::control::{Model, NewHsm};
use crate::files;
use crate::pki::Pki;
use crate::slots::Slots;
use clap::Args;
use hsmd_keystore::audit::Act;
use hsmd_keystore::audit::AuditOptions;
use hsmd_keystore::{Keystore, MasterKey, Options, PinCost};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Arguments of `hsmd init`.
#[derive(Args)]
#[command(
    after_help = "Example:\n  hsmd init --config ./hsmd.toml --data-dir ./data && hsmd serve --config ./hsmd.toml"
)]
pub struct InitOptions {
    /// The configuration file to make.
    #[arg(long, value_name = "PATH", default_value = "/etc/hsmd/hsmd.toml")]
    config: PathBuf,
    /// The folder of the store. When it is given, the sockets lie in it as well.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The master key file to make, mode 0400; default: beside the configuration file.
    #[arg(long, value_name = "PATH")]
    master_key: Option<PathBuf>,
    /// An address for applications on other hosts, over mutual TLS, such as 0.0.0.0:1792; may be repeated.
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Vec<SocketAddr>,
    /// An address for administrators on other hosts, over mutual TLS, such as 0.0.0.0:1793; may be repeated.
    #[arg(long, value_name = "ADDR:PORT")]
    control_listen: Vec<SocketAddr>,
    /// The host name or address under which other hosts reach this one, for their configuration.
    #[arg(long, value_name = "HOST[:PORT]", default_value = "")]
    advertise: String,
    /// The etcd that holds the records; without it they are files in the data folder.
    #[arg(long, value_name = "etcd://HOST:PORT,HOST:PORT/PREFIX")]
    store: Option<String>,
    /// The authorities of etcd's certificates, in PEM.
    #[arg(long, value_name = "PATH", requires = "store")]
    store_ca: Option<PathBuf>,
    /// The certificate by which etcd knows this daemon, in PEM.
    #[arg(long, value_name = "PATH", requires = "store_ca", requires = "store_key")]
    store_cert: Option<PathBuf>,
    /// The key of that certificate.
    #[arg(long, value_name = "PATH", requires = "store_cert")]
    store_key: Option<PathBuf>,
    /// Offer one uninitialised slot after all others, as SoftHSM does.
    #[arg(long)]
    free_slot: bool,
    /// Policy of new partitions: standard, strict, fips or legacy.
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
}

impl InitOptions {
    /// The configuration file to make.
    pub(crate) fn config_path(&self) -> Result<PathBuf, Failure> {
        files::absolute(&self.config)
    }

    /// For a restore: the rest as by default.
    pub(crate) fn new(config: PathBuf, data_dir: Option<PathBuf>, master_key: Option<PathBuf>) -> Self {
        Self {
            listen: Vec::new(),
            control_listen: Vec::new(),
            advertise: String::new(),
            config,
            data_dir,
            master_key,
            store: None,
            store_ca: None,
            store_cert: None,
            store_key: None,
            free_slot: false,
            policy: None,
        }
    }
}

/// Runs the command.
pub(crate) fn run(options: &InitOptions) -> Result<(), Failure> {
    let config_path = files::absolute(&options.config)?;
    let config = configuration(options, &config_path)?;
    config.check()?;
    for path in [&config_path, &config.store.master_key] {
        if path.exists() {
            let message = format!("{} exists already; nothing was changed", path.display());
            return Err(Failure::Other(format!(
                "{message}\n  remedy: remove it or name another path"
            )));
        }
    }
    let folder = |path: &Path| path.parent().map(Path::to_path_buf).unwrap_or_default();
    // First the store's folder: the sockets may lie in it.
    files::private_folder(&config.store.data_dir)?;
    for path in [
        folder(&config_path),
        folder(&config.store.master_key),
        folder(&config.data.socket),
    ] {
        std::fs::create_dir_all(&path).map_err(|error| Failure::io(&path, &error))?;
    }
    let master = MasterKey::create_file(&config.store.master_key)
        .map_err(|error| Failure::keystore(&config.store.master_key, error))?;
    let fresh = !config.store.data_dir.join("root.0").exists();
    let made = create_store(&config, &master).and_then(|()| files::write_private(&config_path, &config.to_toml()));
    if let Err(failure) = made {
        if fresh && failure.is_of_etcd() {
            // A wrong address or prefix is easily corrected: nothing is in etcd that needs these keys.
            for name in ["root.0", "root.1", "etcd.anchor", "lock"] {
                let _ = std::fs::remove_file(config.store.data_dir.join(name));
            }
        }
        // A key without a store would only stand in the way of the next try.
        if !config.store.data_dir.join("lock").exists() {
            let _ = std::fs::remove_file(&config.store.master_key);
        }
        return Err(failure);
    }
    print(&report(&config, &config_path))
}

/// What was made, and what to do next.
fn report(config: &Config, config_path: &Path) -> String {
    let (config_path, key) = (config_path.display(), config.store.master_key.display());
    let (folder, socket) = (
        config.store.data_dir.display().to_string(),
        config.control.socket.display(),
    );
    let store = if config.store.url.is_empty() {
        &folder
    } else {
        &config.store.url
    };
    let mut text = format!(
        "Store       {store}\nMaster key  {key}\n            Without this file every key is lost. Keep a copy apart from backups of the store.\n\
         Settings    {config_path}\nAuthorities in the store: of servers, of administrators\n\nNext:\n  \
         hsmd serve --config {config_path}\n  hsmctl partition create NAME --endpoint unix://{socket}\n"
    );
    if let Some(address) = config.control.listen.first() {
        let host = crate::pki::host_of(&config.data.advertise).unwrap_or_else(|| "HOST".into());
        text += &format!(
            "\nThe first administrator on another host; then give NAME.key, NAME.pem and ca.pem to that host:\n  \
             hsmctl certificate issue NAME --role admin --endpoint unix://{socket}\n  \
             hsmctl status --endpoint https://{host}:{} --ca ca.pem --cert NAME.pem --cert-key NAME.key\n",
            address.port()
        );
    }
    text
}

pub(crate) fn configuration(options: &InitOptions, config_path: &Path) -> Result<Config, Failure> {
    let mut config = Config::default();
    if let Some(folder) = &options.data_dir {
        let folder = files::absolute(folder)?;
        config.data.socket = folder.join("hsmd.sock");
        config.control.socket = folder.join("control.sock");
        config.store.data_dir = folder;
    }
    config.store.master_key = match &options.master_key {
        Some(path) => files::absolute(path)?,
        None => config_path.with_file_name("master.key"),
    };
    if let Some(url) = &options.store {
        config.store.url.clone_from(url);
    }
    let absolute = |path: &Option<PathBuf>| path.as_ref().map_or(Ok(PathBuf::new()), |path| files::absolute(path));
    config.store.etcd_ca = absolute(&options.store_ca)?;
    config.store.etcd_cert = absolute(&options.store_cert)?;
    config.store.etcd_key = absolute(&options.store_key)?;
    config.data.listen.clone_from(&options.listen);
    config.control.listen.clone_from(&options.control_listen);
    config.data.advertise.clone_from(&options.advertise);
    config.hsm.free_slot = options.free_slot;
    if let Some(policy) = &options.policy {
        policy.clone_into(&mut config.hsm.policy);
    }
    Ok(config)
}

fn create_store(config: &Config, master: &MasterKey) -> Result<(), Failure> {
    let folder = &config.store.data_dir;
    let keystore = Keystore::init(folder, master, &keystore_options(config, false))
        .map_err(|error| Failure::keystore(folder, error))?;
    let explain = |error: crate::control::ModelError| Failure::Other(error.to_string());
    let model = Model::load(keystore.clone(), config.hsm.clone(), Arc::new(Slots::default())).map_err(explain)?;
    let model = model.over(config.subnet.clone());
    // The authorities: what other hosts will know the daemon by.
    Pki::open(&keystore, config, model.client_pins(), model.admin_pins())
        .map_err(|error| Failure::Other(format!("identity: {error}")))?;
    let first = || {
        let hsm = model.create_hsm(&first_hsm(config))?;
        model.confirm(&hsm.id)
    };
    as_act(Act::HsmCreate, first).map_err(explain)?;
    keystore.close().map_err(|error| Failure::keystore(folder, error))
}

/// The HSM that a new store begins with.
pub(crate) fn first_hsm(config: &Config) -> NewHsm {
    NewHsm {
        subnet_id: config
            .subnet
            .first()
            .map_or_else(|| "subnet-00000000".into(), |subnet| subnet.id.clone()),
        iam_role_arn: format!("arn:aws:iam::{}:role/hsmd", config.hsm.account),
        subscription_type: "PRODUCTION".into(),
        free_slot: config.hsm.free_slot,
        ..NewHsm::default()
    }
}

/// What the configuration tells the keystore.
pub(crate) fn keystore_options(config: &Config, dev: bool) -> Options {
    let pin = &config.pin;
    let mut options = Options {
        dev,
        pin_cost: pin_cost(pin),
        pin_length: pin.min_length..=pin.max_length,
        pin_tries: pin.tries,
        idle_wipe: Duration::from_secs(pin.idle_wipe_s),
        max_logins: pin.max_logins,
        segment_bytes: config.store.segment_bytes,
        audit: audit_options(&config.audit),
        ..Options::default()
    };
    crate::config::etcd::tell(&config.store, &mut options);
    options
}

fn audit_options(audit: &Audit) -> AuditOptions {
    AuditOptions {
        max_bytes: audit.max_bytes,
        keep: (audit.keep_days > 0).then(|| Duration::from_secs(u64::from(audit.keep_days) * 86_400)),
        labels: audit.labels,
        ..AuditOptions::default()
    }
}

fn pin_cost(pin: &Pin) -> PinCost {
    let mut cost = PinCost::default();
    if pin.memory_kib != 0 {
        cost.memory_kib = pin.memory_kib;
    }
    if pin.passes != 0 {
        cost.passes = pin.passes;
    }
    cost
}
