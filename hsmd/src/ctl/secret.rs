//! Where PINs and passwords come from: a file, a descriptor, a systemd credential, a prompt on the terminal. Never an
//! argument of our own commands, which other users can see; the original's `--so-password PASSWORD` is taken with a warning.

use super::exit::{Error, Exit};
use clap::Args;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// A PIN or password, wiped when it goes.
pub(super) type Secret = Zeroizing<String>;

/// The longest PIN or password.
const LONGEST: u64 = 1024;

/// Where a PIN comes from.
#[derive(Args, Clone, Default)]
pub(super) struct PinSource {
    /// Read the PIN from a file; one line end at its end is left out.
    #[arg(long, value_name = "PATH")]
    pin_file: Option<PathBuf>,
    /// Read the PIN from an open file descriptor.
    #[arg(long, value_name = "NUMBER", conflicts_with = "pin_file")]
    pin_fd: Option<u32>,
}

impl PinSource {
    /// From this file or descriptor, under flags of another name.
    pub(super) const fn of(pin_file: Option<PathBuf>, pin_fd: Option<u32>) -> Self {
        Self { pin_file, pin_fd }
    }

    /// Whether the arguments name it.
    pub(super) const fn is_given(&self) -> bool {
        self.pin_file.is_some() || self.pin_fd.is_some()
    }

    /// The PIN: from what the arguments name, the systemd credential `credential`, or a prompt.
    pub(super) fn read(&self, credential: &str, prompt: &str) -> Result<Secret, Error> {
        if let Some(path) = &self.pin_file {
            return file(path);
        }
        if let Some(number) = self.pin_fd {
            return descriptor(number);
        }
        let folder = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        if let Some(path) = folder
            .map(|folder| folder.join(credential))
            .filter(|path| path.is_file())
        {
            return file(&path);
        }
        ask(prompt)
    }

    /// As [`Self::read`]; a prompt is repeated, because it sets what is typed blindly.
    pub(super) fn read_new(&self, credential: &str, prompt: &str) -> Result<Secret, Error> {
        let first = self.read(credential, prompt)?;
        let prompted =
            self.pin_file.is_none() && self.pin_fd.is_none() && std::env::var_os("CREDENTIALS_DIRECTORY").is_none();
        if prompted && *ask("The same again: ")? != *first {
            return Err(Error::new(Exit::Usage, "the two differ; nothing was changed"));
        }
        Ok(first)
    }
}

/// The value of a flag of the original: `file:PATH`, `fd:NUMBER`, or the secret itself.
pub(super) fn argument(flag: &str, value: &str) -> Result<Secret, Error> {
    if let Some(path) = value.strip_prefix("file:") {
        return file(Path::new(path));
    }
    if let Some(number) = value.strip_prefix("fd:") {
        let number = number.parse();
        return descriptor(number.map_err(|_| Error::new(Exit::Usage, format!("{flag} {value}: no number")))?);
    }
    // Nobody to tell when standard error is closed.
    let _ = writeln!(
        std::io::stderr(),
        "hsmctl: {flag}: other users of this machine can see it in the list of processes; use file:PATH or fd:NUMBER"
    );
    Ok(Secret::new(value.to_owned()))
}

fn descriptor(number: u32) -> Result<Secret, Error> {
    file(Path::new(&format!("/dev/fd/{number}")))
}

fn file(path: &Path) -> Result<Secret, Error> {
    let explain = |error: std::io::Error| Error::new(Exit::Usage, format!("{}: {error}", path.display()));
    // As long as the longest at once: a buffer that grows would leave copies behind.
    let mut text = Secret::new(String::with_capacity(2048));
    let file = File::open(path).map_err(explain)?;
    file.take(LONGEST + 2).read_to_string(&mut text).map_err(explain)?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() || line.len() as u64 > LONGEST || line.contains('\n') {
        let message = format!("{}: must hold one line of 1 to {LONGEST} bytes", path.display());
        return Err(Error::new(Exit::Usage, message));
    }
    Ok(Secret::new(line.to_owned()))
}

/// Asks at the terminal, without echo.
pub(super) fn ask(prompt: &str) -> Result<Secret, Error> {
    let terminal = File::options().read(true).write(true).open("/dev/tty");
    let terminal = terminal.map_err(|_| {
        let message =
            "a PIN is needed and there is no terminal to ask at\n  remedy: give it with --pin-file or --pin-fd";
        Error::new(Exit::Usage, message)
    })?;
    let explain = |error: std::io::Error| Error::new(Exit::Failed, format!("the terminal: {error}"));
    let echo = Quiet::begin(&terminal).map_err(explain)?;
    (&terminal).write_all(prompt.as_bytes()).map_err(explain)?;
    let mut line = Secret::new(String::with_capacity(2048));
    let read = BufReader::new((&terminal).take(LONGEST))
        .read_line(&mut line)
        .map_err(explain);
    drop(echo);
    (&terminal).write_all(b"\n").map_err(explain)?;
    read?;
    Ok(Secret::new(line.trim_end_matches(['\r', '\n']).to_owned()))
}

/// A terminal without echo, until it goes.
struct Quiet<'a>(&'a File, Termios);

impl<'a> Quiet<'a> {
    fn begin(terminal: &'a File) -> std::io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(terminal, OptionalActions::Flush, &quiet)?;
        Ok(Self(terminal, before))
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.0, OptionalActions::Flush, &self.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_gives_its_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pin");
        for (text, expected) in [
            ("1234", Some("1234")),
            ("1234\n", Some("1234")),
            ("12 34\r\n", Some("12 34")),
            ("", None),
            ("a\nb\n", None),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(file(&path).ok().as_deref().map(String::as_str), expected, "{text:?}");
        }
        assert_eq!(*argument("--x", "plain").unwrap(), "plain");
        assert!(argument("--x", "fd:many").is_err());
        assert!(argument("--x", &format!("file:{}.none", path.display())).is_err());
    }
}
