//! Finds the daemon: the argument, `HSMD_ENDPOINT`, the profile file, a running `hsmd dev`, the system's. Says which one, when
//! it had to look.

use super::exit::{Error, Exit};
use super::profile::Target;
use super::remote::{self, Files};
use crate::config::Control;
use crate::dev;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};

/// How long a request may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// Connects.
pub(super) async fn connect(target: &Target) -> Result<Channel, Error> {
    Ok(reach(target).await?.1)
}

/// Connects, and says to which address: the one that was given, or found.
pub(super) async fn reach(target: &Target) -> Result<(String, Channel), Error> {
    let target = target.complete()?;
    let uri = match &target.endpoint {
        Some(uri) => uri.clone(),
        None => search()?,
    };
    let channel = if uri.starts_with("https:") {
        remote::connect(&uri, files(&uri, target)?, DEADLINE).await?
    } else {
        local(&uri).await?
    };
    Ok((uri, channel))
}

async fn local(uri: &str) -> Result<Channel, Error> {
    if !uri.starts_with("unix:") {
        return Err(Error::new(
            Exit::Usage,
            format!("{uri}: an endpoint is unix:///path/to/control.sock or https://host:port"),
        ));
    }
    let endpoint = Endpoint::from_shared(uri.to_owned())
        .map_err(|error| Error::new(Exit::Usage, format!("{uri}: {error}")))?
        .timeout(DEADLINE);
    endpoint.connect().await.map_err(|_| {
        let message =
            format!("{uri}: no daemon answers\n  remedy: start `hsmd serve` or `hsmd dev`, or correct the endpoint");
        Error::new(Exit::Unavailable, message)
    })
}

/// All three files, or an error that names the missing one.
fn files(uri: &str, target: Target) -> Result<Files, Error> {
    let missing = |option: &str, name: &str, variable: &str| {
        let message = format!(
            "{uri}: no {name} is named\n  remedy: say --{option} PATH, set {variable}, or write {name} = \"PATH\" into \
             ~/.config/hsmd/hsmctl.toml; `hsmctl certificate issue` on the daemon's host makes these files"
        );
        Error::new(Exit::Usage, message)
    };
    Ok(Files {
        ca: target.ca.ok_or_else(|| missing("ca", "ca", "HSMD_CA"))?,
        cert: target.cert.ok_or_else(|| missing("cert", "cert", "HSMD_CERT"))?,
        key: target.key.ok_or_else(|| missing("cert-key", "key", "HSMD_KEY"))?,
    })
}

/// The first well-known socket where somebody answers.
fn search() -> Result<String, Error> {
    let candidates: Vec<PathBuf> = [
        dev::runtime_link("dev-control.sock"),
        dev::default_folder().map(|folder| folder.join("control.sock")),
        Some(Control::default().socket),
    ]
    .into_iter()
    .flatten()
    .collect();
    let found = candidates.iter().find(|path| UnixStream::connect(path).is_ok());
    let Some(path) = found else {
        let tried: Vec<_> = candidates.iter().map(|path| path.display().to_string()).collect();
        let message = format!(
            "no daemon found; looked at {}\n  remedy: start `hsmd dev`, or name one with --endpoint or HSMD_ENDPOINT",
            tried.join(", ")
        );
        return Err(Error::new(Exit::Unavailable, message));
    };
    // Nobody to tell when standard error is closed.
    let _ = writeln!(std::io::stderr(), "hsmctl: using {}", path.display());
    Ok(format!("unix://{}", path.display()))
}
