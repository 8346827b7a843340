//! Where the daemon is: arguments, then the environment, then the profile file. What no argument and no variable says, the
//! file `hsmctl.toml` may: in `$XDG_CONFIG_HOME/hsmd`, or `~/.config/hsmd`.

use super::exit::{Error, Exit};
use clap::Args;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Where the daemon is and how to be let in. The ids are their own: commands have arguments that are called `key`.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct Target {
    /// The control plane's address, unix:///path or https://host:port; default: $HSMD_ENDPOINT, the profile file, a running
    /// `hsmd dev`, the system's daemon.
    #[arg(long, global = true, value_name = "URI")]
    pub(super) endpoint: Option<String>,
    /// For https: the authority to trust, in PEM; default: $HSMD_CA, the profile file.
    #[arg(id = "tls-ca", long = "ca", global = true, value_name = "PATH")]
    pub(super) ca: Option<PathBuf>,
    /// For https: your certificate, in PEM; default: $HSMD_CERT, the profile file.
    #[arg(id = "tls-cert", long = "cert", global = true, value_name = "PATH")]
    pub(super) cert: Option<PathBuf>,
    /// For https: its private key, in PEM; default: $HSMD_KEY, the profile file.
    #[arg(id = "tls-key", long = "cert-key", global = true, value_name = "PATH")]
    pub(super) key: Option<PathBuf>,
}

/// `hsmctl.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Profile {
    endpoint: Option<String>,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
}

impl Target {
    /// The same with what the environment and the profile file add.
    ///
    /// # Errors
    /// A profile file that is there and cannot be used.
    pub(super) fn complete(&self) -> Result<Self, Error> {
        let profile = read(path().as_deref())?;
        let text = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let file = |name| text(name).map(PathBuf::from);
        Ok(Self {
            endpoint: self
                .endpoint
                .clone()
                .or_else(|| text("HSMD_ENDPOINT"))
                .or(profile.endpoint),
            ca: self.ca.clone().or_else(|| file("HSMD_CA")).or(profile.ca),
            cert: self.cert.clone().or_else(|| file("HSMD_CERT")).or(profile.cert),
            key: self.key.clone().or_else(|| file("HSMD_KEY")).or(profile.key),
        })
    }
}

fn path() -> Option<PathBuf> {
    let folder = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".config"));
    Some(folder.or_else(home)?.join("hsmd/hsmctl.toml"))
}

/// Paths in the file are relative to its folder.
fn read(path: Option<&Path>) -> Result<Profile, Error> {
    let Some(path) = path else {
        return Ok(Profile::default());
    };
    let wrong = |error: &dyn std::fmt::Display| {
        let message = format!(
            "{}: {error}\n  remedy: the keys are endpoint, ca, cert and key; correct the file or move it away",
            path.display()
        );
        Error::new(Exit::Usage, message)
    };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Profile::default()),
        Err(error) => return Err(wrong(&error)),
    };
    let mut profile: Profile = toml::from_str(&text).map_err(|error| wrong(&error))?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    for file in [&mut profile.ca, &mut profile.cert, &mut profile.key]
        .into_iter()
        .flatten()
    {
        *file = folder.join(&*file);
    }
    Ok(profile)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_lie_beside_the_profile_and_unknown_keys_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hsmctl.toml");
        assert!(read(Some(&path)).unwrap().endpoint.is_none());
        std::fs::write(
            &path,
            "endpoint = \"https://hsm:1793\"\nca = \"ca.pem\"\nkey = \"/k/a.key\"\n",
        )
        .unwrap();
        let profile = read(Some(&path)).unwrap();
        assert_eq!(profile.endpoint.as_deref(), Some("https://hsm:1793"));
        assert_eq!(profile.ca, Some(folder.path().join("ca.pem")));
        assert_eq!((profile.cert, profile.key), (None, Some("/k/a.key".into())));
        std::fs::write(&path, "endpont = \"\"\n").unwrap();
        let error = read(Some(&path)).unwrap_err();
        assert_eq!(error.exit(), Exit::Usage);
        assert!(error.to_string().contains("endpont"), "{error}");
    }
}
