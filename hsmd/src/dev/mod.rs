//! `hsmd dev`: a token to try things with, from nothing to a signature in two commands. Everything in one folder, which
//! `hsmd serve` refuses; random PINs per store unless given; no listener beyond Unix sockets, and the loopback if asked.
//!
//! Without `--data-dir` the folder is `$XDG_STATE_HOME/hsmd/dev` (`~/.local/state/hsmd/dev`), so that keys survive a
//! restart and `hsmctl` finds the daemon; with `--ephemeral` it is a temporary one, removed at the end. The AWS side (`aws/`)
//! comes with it, if its program is installed.

mod aws;
mod banner;
mod place;
mod token;

pub(crate) use place::{default_folder, runtime_link};

use crate::cli::{Failure, print};
use crate::config::Config;
use crate::files;
use crate::init::keystore_options;
use crate::node::Node;
use crate::pki::{NO_TLS, TLS};
use crate::{log, memory, server, trouble};
use clap::Args;
use hsmd_keystore::{Error, Keystore, MasterKey};
use place::Place;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Arguments of `hsmd dev`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  hsmd dev\n  hsmd dev --ephemeral --env-file ./hsmd.env   # then: . ./hsmd.env\n  \
                        hsmd dev --data-dir ./token --token-label web --pin 123456 --so-pin 87654321 --free-slot"
)]
pub struct DevOptions {
    /// Folder of keys, PINs and sockets; default: $XDG_STATE_HOME/hsmd/dev.
    #[arg(long, value_name = "DIR", conflicts_with = "ephemeral")]
    data_dir: Option<PathBuf>,
    /// A temporary folder, removed at the end.
    #[arg(long)]
    ephemeral: bool,
    /// Label of the token.
    #[arg(long, value_name = "LABEL", default_value = "demo")]
    token_label: String,
    /// The security officer's PIN of a new token; default: random, kept in the folder.
    #[arg(long, value_name = "PIN")]
    so_pin: Option<String>,
    /// The user's PIN of a new token; default: random, kept in the folder.
    #[arg(long, value_name = "PIN")]
    pin: Option<String>,
    /// Policy of a new token: standard, strict, fips or legacy.
    #[arg(long, value_name = "NAME", default_value = "standard")]
    policy: String,
    /// Offer an uninitialised slot after all others, as SoftHSM does.
    #[arg(long)]
    free_slot: bool,
    /// Serve clients with certificates on this address of the loopback as well, as on another host.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Write `export` lines for a shell to this file (mode 0600) once everything listens.
    #[arg(long, value_name = "PATH")]
    env_file: Option<PathBuf>,
    /// The PKCS#11 module; default: libhsmd_pkcs11.so beside this program or in ../lib.
    #[arg(long, value_name = "PATH")]
    module: Option<PathBuf>,
    #[command(flatten)]
    aws: aws::AwsOptions,
    /// What is logged: error, warn, info, debug, trace.
    #[arg(long, value_name = "LEVEL", default_value = "warn")]
    log: String,
}

/// What an application needs to know, for the banner and the env file.
struct Facts {
    folder: PathBuf,
    module: PathBuf,
    client_file: PathBuf,
    endpoint: String,
    hsmctl: PathBuf,
    slot: u32,
    token: token::Token,
    aws: Option<aws::Variables>,
}

/// Runs the command until a signal.
pub(crate) fn run(options: &DevOptions) -> Result<(), Failure> {
    let place = Place::choose(options.data_dir.as_deref(), options.ephemeral)?;
    let plan = aws::Plan::of(&options.aws)?;
    let mut config = configuration(options, &place)?;
    if plan.is_some() {
        aws::Plan::configure(&mut config);
    }
    config.check()?;
    log::start(&config.log).map_err(Failure::Other)?;
    let protection = memory::protect();
    let keystore = open(&config)?;
    let node = Node::new(keystore, config, protection)?;
    let token = token::Token::prepare(&node, options, &place.folder)?;
    let mut facts = facts(options, &place, token)?;
    let ready = match &plan {
        Some(plan) => Some(plan.prepare(&node, &place, &facts.module, &facts.token)?),
        None => None,
    };
    trouble::report(&node.keystore);
    let links = place.links(&node.config);
    let mut child = None;
    let served = server::run(node, |node| {
        write_client_file(node, &facts)?;
        if let (Some(plan), Some(ready)) = (&plan, ready) {
            let started = plan
                .start(ready, &facts.client_file, &options.log)
                .map_err(|failure| failure.to_string())?;
            facts.aws = Some(started.1);
            child = Some(started.0);
        }
        announce(options, &facts, &links)
    });
    drop(child);
    drop(links);
    drop(place);
    Ok(served?)
}

fn configuration(options: &DevOptions, place: &Place) -> Result<Config, Failure> {
    let mut config = Config::default();
    config.store.data_dir = place.folder.join("store");
    config.store.master_key = place.folder.join("master.key");
    config.store.segment_bytes = 8 << 20;
    config.data.socket = place.socket("data.sock")?;
    config.data.socket_mode = "0600".into();
    config.control.socket = place.socket("control.sock")?;
    if let Some(address) = options.listen {
        if !TLS {
            return Err(Failure::Other(format!("--listen {address}: {NO_TLS}")));
        }
        if !address.ip().is_loopback() {
            let message = format!(
                "--listen {address}: a development server stays on this machine\n  remedy: 127.0.0.1, ::1, or `hsmd serve`"
            );
            return Err(Failure::Other(message));
        }
        config.data.listen = vec![address];
        config.data.advertise = address.to_string();
    }
    // A start and a login take milliseconds; guessing is as cheap. The store is marked as one for development.
    config.pin.memory_kib = 1024;
    config.pin.passes = 1;
    config.hsm.policy.clone_from(&options.policy);
    config.log.level.clone_from(&options.log);
    Ok(config)
}

/// Opens the store of the folder, or makes it.
fn open(config: &Config) -> Result<Keystore, Failure> {
    let (folder, key) = (&config.store.data_dir, &config.store.master_key);
    if key.with_file_name("root.0").exists() {
        return Err(Failure::keystore(
            key.parent().unwrap_or(key),
            Error::DevMark { dev: false },
        ));
    }
    let options = keystore_options(config, true);
    files::private_folder(folder)?;
    let master = if key.exists() {
        MasterKey::from_file(key)
    } else {
        MasterKey::create_file(key)
    };
    let master = master.map_err(|error| Failure::keystore(key, error))?;
    let opened = match Keystore::open(folder, &master, &options) {
        Err(Error::NotInitialized) => Keystore::init(folder, &master, &options),
        opened => opened,
    };
    opened.map_err(|error| Failure::keystore(folder, error))
}

fn facts(options: &DevOptions, place: &Place, token: token::Token) -> Result<Facts, Failure> {
    let program = std::env::current_exe().map_err(|error| Failure::Other(format!("own path: {error}")))?;
    let beside = program.parent().unwrap_or(Path::new("/")).to_path_buf();
    let module = match &options.module {
        Some(path) => files::absolute(path)?,
        None => module_near(&beside),
    };
    Ok(Facts {
        folder: place.folder.clone(),
        module,
        client_file: place.folder.join("hsmd-client.toml"),
        endpoint: format!("unix://{}", place.socket("control.sock")?.display()),
        hsmctl: beside.join("hsmctl"),
        slot: token.slot,
        token,
        aws: None,
    })
}

/// The module of a build folder, of an installed `bin` and `lib`, or where the distribution puts modules.
pub(crate) fn module_near(beside: &Path) -> PathBuf {
    const NAME: &str = "libhsmd_pkcs11.so";
    let candidates = [
        beside.join(NAME),
        beside.join("../lib").join(NAME),
        beside.join("../lib/pkcs11").join(NAME),
    ];
    let found = candidates.iter().find_map(|path| path.canonicalize().ok());
    found.unwrap_or_else(|| beside.join(NAME))
}

/// The file by which the module finds this daemon.
fn write_client_file(node: &Node, facts: &Facts) -> Result<(), String> {
    let client = format!("socket = {:?}\ndeadline_ms = 5000\n", node.config.data.socket);
    // On a full disk the file of an earlier start is as good.
    if std::fs::read_to_string(&facts.client_file).is_ok_and(|there| there == client) {
        return Ok(());
    }
    files::write_private(&facts.client_file, &client).map_err(|failure| failure.to_string())
}

/// Everything listens: the env file for shells, then the words for people.
fn announce(options: &DevOptions, facts: &Facts, links: &place::Links) -> Result<(), String> {
    links.make();
    if let Some(path) = &options.env_file {
        files::write_private(path, &banner::exports(facts)).map_err(|failure| failure.to_string())?;
    }
    // A closed terminal is no reason to stop.
    let _ = print(&banner::banner(facts));
    Ok(())
}
