//! Where `hsmd dev` keeps things: its folder, sockets whose paths are short enough, and the well-known names under which
//! module and `hsmctl` find it without a variable.

use crate::cli::Failure;
use crate::config::Config;
use crate::files;
use crate::memory;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// Socket paths from this length on go elsewhere (`sun_path` has 108 bytes).
const LONG: usize = 100;

/// The folder, and what to do with it at the end.
pub(super) struct Place {
    pub(super) folder: PathBuf,
    ephemeral: bool,
}

impl Place {
    pub(super) fn choose(data_dir: Option<&Path>, ephemeral: bool) -> Result<Self, Failure> {
        let folder = match data_dir {
            Some(folder) => files::absolute(folder)?,
            None if ephemeral => temporary(&format!("dev-{}", std::process::id()))?,
            None => default_folder()
                .ok_or_else(|| Failure::Other("no HOME: name a folder with --data-dir, or use --ephemeral".into()))?,
        };
        files::private_folder(&folder)?;
        Ok(Self { folder, ephemeral })
    }

    /// The path of a socket: in the folder, or under the temporary folder when that would be too long.
    pub(super) fn socket(&self, name: &str) -> Result<PathBuf, Failure> {
        let inside = self.folder.join(name);
        if inside.as_os_str().len() < LONG {
            return Ok(inside);
        }
        let digest = hsmd_crypto::seal::sha256(&[self.folder.as_os_str().as_encoded_bytes()]);
        let hash: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        let folder = temporary(&hash)?;
        Ok(folder.join(name))
    }

    /// The well-known names, if the user has a runtime folder.
    pub(super) fn links(&self, config: &Config) -> Links {
        let pairs = [
            ("dev.sock", &config.data.socket),
            ("dev-control.sock", &config.control.socket),
        ];
        Links(
            pairs
                .into_iter()
                .filter_map(|(name, target)| Some((runtime_link(name)?, target.clone())))
                .collect(),
        )
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.ephemeral
            && let Err(error) = std::fs::remove_dir_all(&self.folder)
        {
            tracing::warn!(folder = %self.folder.display(), %error, "cannot remove the temporary folder");
        }
    }
}

/// `$XDG_STATE_HOME/hsmd/dev`, or the same under `~/.local/state`.
pub(crate) fn default_folder() -> Option<PathBuf> {
    let absolute = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    Some(state.join("hsmd/dev"))
}

/// A well-known name in `$XDG_RUNTIME_DIR/hsmd`.
pub(crate) fn runtime_link(name: &str) -> Option<PathBuf> {
    let folder = PathBuf::from(std::env::var_os("XDG_RUNTIME_DIR")?);
    folder.is_absolute().then(|| folder.join("hsmd").join(name))
}

/// A folder of one's own under the temporary folder, mode 0700.
fn temporary(name: &str) -> Result<PathBuf, Failure> {
    let user = memory::effective_user();
    let parent = std::env::temp_dir().join(format!("hsmd-{user}"));
    for folder in [&parent, &parent.join(name)] {
        files::private_folder(folder)?;
        let found = std::fs::symlink_metadata(folder).map_err(|error| Failure::io(folder, &error))?;
        // Anybody can make names in /tmp: what is there already must be ours, and no link.
        if !found.is_dir() || found.uid() != user || found.mode() & 0o077 != 0 {
            let message = format!("{} is not a private folder of this user; remove it", folder.display());
            return Err(Failure::Other(message));
        }
    }
    Ok(parent.join(name))
}

/// Well-known names and what they lead to. Removed at the end, if they are still ours.
pub(super) struct Links(Vec<(PathBuf, PathBuf)>);

impl Links {
    /// Makes them, unless another `hsmd dev` is found under them. A failure costs the convenience only.
    pub(super) fn make(&self) {
        for (link, target) in &self.0 {
            if link.exists() && UnixStream::connect(link).is_ok() {
                continue;
            }
            let made = link
                .parent()
                .map_or(Ok(()), |folder| files::private_folder(folder).map_err(|_| ()));
            let _ = std::fs::remove_file(link);
            if made.is_err() || symlink(target, link).is_err() {
                tracing::warn!(link = %link.display(), "no well-known name for this daemon");
            }
        }
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        for (link, target) in &self.0 {
            if std::fs::read_link(link).is_ok_and(|found| found == *target) {
                let _ = std::fs::remove_file(link);
            }
        }
    }
}
