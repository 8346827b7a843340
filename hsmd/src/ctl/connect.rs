//! Finds the daemon: the argument, `HSMD_ENDPOINT`, a running `hsmd dev`, the system's. Says which one, when it had to
//! look.

use super::exit::{Error, Exit};
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
pub(super) async fn connect(given: Option<&str>) -> Result<Channel, Error> {
    connect_to(&locate(given)?).await
}

/// The address: what was given, or found.
pub(super) fn locate(given: Option<&str>) -> Result<String, Error> {
    match given {
        Some(uri) => Ok(uri.to_owned()),
        None => match std::env::var("HSMD_ENDPOINT") {
            Ok(uri) if !uri.is_empty() => Ok(uri),
            _ => search(),
        },
    }
}

/// Connects to an address.
pub(super) async fn connect_to(uri: &str) -> Result<Channel, Error> {
    if !uri.starts_with("unix:") {
        return Err(Error::new(
            Exit::Usage,
            format!("{uri}: an endpoint is unix:///path/to/control.sock"),
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
