//! The arguments of `hsmd-aws`, and its life: read the configuration, listen, serve until told to stop.

use crate::config::Config;
use crate::control::Endpoints;
use crate::listen::Listener;
use crate::operations;
use crate::redshift::agent;
use crate::server::Server;
use crate::tls;
use crate::xks::proxy::Gateway;
use clap::{Parser, Subcommand};
use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Speaks the AWS wire protocols in front of hsmd, so that SDKs and the AWS CLI work on its HSMs.
#[derive(Parser)]
#[command(
    name = "hsmd-aws",
    version,
    about,
    after_help = "Example:\n  hsmd-aws --config /etc/hsmd/hsmd-aws.toml\n  \
                  aws --endpoint-url http://127.0.0.1:4599 cloudhsm list-hsms"
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// The configuration file, mode 0600: it holds access keys.
    #[arg(long, value_name = "PATH", default_value = "/etc/hsmd/hsmd-aws.toml")]
    config: PathBuf,
    /// Where to listen, instead of what the file says; port 0: any.
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// The control plane of hsmd, instead of what the file says; once for each node of a fleet.
    #[arg(long, value_name = "URI")]
    endpoint: Vec<String>,
    /// Accept requests whatever their signature. For tests only.
    #[arg(long)]
    no_verify_signatures: bool,
    /// End when standard input ends, so as not to outlive whoever started this.
    #[arg(long)]
    exit_with_stdin: bool,
    /// error, warn, info, debug or trace.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: String,
}

#[derive(Subcommand)]
enum Command {
    /// Shows which operations are served, as tables of Markdown.
    Operations {
        /// Of one service only: cloudhsm, kms.
        service: Option<String>,
        /// As Markdown, the only form that there is.
        #[arg(long)]
        markdown: bool,
    },
}

/// Parses the arguments and serves until SIGTERM or SIGINT.
#[must_use]
pub fn main() -> ExitCode {
    // Not a command for people: the front end starts itself so for each job with a cluster's HSM.
    if std::env::args_os().nth(1).is_some_and(|first| first == agent::COMMAND) {
        return agent::main();
    }
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody to tell when standard error is closed.
            let _ = writeln!(std::io::stderr(), "hsmd-aws: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<(), String> {
    if let Some(Command::Operations { service, markdown: _ }) = &cli.command {
        let table = operations::markdown(service.as_deref())?;
        return write!(std::io::stdout(), "{table}").map_err(|error| format!("standard output: {error}"));
    }
    let filter = EnvFilter::try_new(&cli.log_level).map_err(|error| format!("--log-level: {error}"))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let mut config = Config::read(&cli.config)?;
    if let Some(listen) = cli.listen {
        config.listen = listen;
    }
    if !cli.endpoint.is_empty() {
        config.endpoint = Endpoints::Many(cli.endpoint);
    }
    if cli.no_verify_signatures {
        config.verify_signatures = false;
    }
    config.check()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("hsmd-aws")
        .build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(serve(cli.config, config, cli.exit_with_stdin))
}

async fn serve(path: PathBuf, config: Config, exit_with_stdin: bool) -> Result<(), String> {
    if !config.verify_signatures {
        tracing::warn!("signatures are not verified: whoever reaches the port may do everything");
    }
    let tls = config.tls.as_ref().map(tls::acceptor).transpose()?;
    let listener = Listener::bind(config.listen, tls).await?;
    let url = listener.url();
    let limits = config.limits();
    let xks = Xks::open(&config).await?;
    let server = Arc::new(Server::new(config)?);
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| error.to_string())?;
    // Data on standard output: who started us with port 0 reads it there.
    let mut lines = format!("{url}\n");
    if let Some(xks) = &xks {
        lines.push_str(&format!("xks {}\n", xks.url));
    }
    let said = std::io::stdout()
        .write_all(lines.as_bytes())
        .and_then(|()| std::io::stdout().flush());
    said.map_err(|error| format!("standard output: {error}"))?;
    tracing::info!(%url, "ready");
    if let Some(xks) = xks {
        tracing::info!(url = xks.url, "the XKS proxy is ready");
        tokio::spawn(renew_credentials(path, xks.gateway.clone()));
        tokio::spawn(xks.gateway.run(xks.listener, limits));
    }
    tokio::select! {
        () = server.run(listener) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = end_of_stdin(), if exit_with_stdin => {}
    }
    tracing::info!("stopped");
    Ok(())
}

/// The proxy of external key stores, and where it listens.
struct Xks {
    gateway: Arc<Gateway>,
    listener: Listener,
    url: String,
}

impl Xks {
    /// `None`: none is configured.
    async fn open(config: &Config) -> Result<Option<Self>, String> {
        let Some(settings) = &config.xks else { return Ok(None) };
        let tls = settings.tls.as_ref().or(config.tls.as_ref()).map(tls::acceptor);
        let listener = Listener::bind(settings.listen, tls.transpose()?).await?;
        let gateway = Arc::new(Gateway::new(settings)?);
        let url = format!("{}{}", listener.url(), gateway.path());
        Ok(Some(Self { gateway, listener, url }))
    }
}

/// Reads the credentials of the XKS proxy again with each SIGHUP. A file that is not good changes nothing.
async fn renew_credentials(path: PathBuf, gateway: Arc<Gateway>) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else {
        tracing::error!("SIGHUP cannot be listened for: credentials of XKS change with a restart only");
        return;
    };
    while hangup.recv().await.is_some() {
        match Config::read(&path).map(|config| config.xks) {
            Ok(Some(xks)) => {
                let ids: Vec<_> = xks.credentials.iter().map(|pair| pair.access_key_id.as_str()).collect();
                tracing::info!(?ids, "credentials of the XKS proxy read again");
                gateway.use_credentials(xks.credentials.clone());
            }
            Ok(None) => tracing::error!("the configuration has no [xks] any more; its credentials stay"),
            Err(error) => {
                tracing::error!(%error, "the configuration cannot be read again; the credentials of XKS stay")
            }
        }
    }
}

/// Done when standard input has ended or cannot be read. A thread reads it: tokio could not give up the read at the end.
async fn end_of_stdin() {
    let (ended, end) = tokio::sync::oneshot::channel::<()>();
    let reader = std::thread::Builder::new().name("stdin".into()).spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        drop(ended);
    });
    if let Err(error) = reader {
        tracing::error!(%error, "the end of standard input will not be noticed");
        return std::future::pending().await;
    }
    let _ = end.await;
}
