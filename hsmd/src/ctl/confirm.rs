//! Before something is destroyed: `--yes`, or an answer at the terminal. Without either nothing happens, and nothing hangs.

use super::exit::{Error, Exit};
use std::io::{IsTerminal as _, Write as _};

/// Asks, unless `--yes` was said.
pub(super) fn sure(yes: bool, what: &str) -> Result<(), Error> {
    if yes {
        return Ok(());
    }
    let (mut err, input) = (std::io::stderr(), std::io::stdin());
    if !input.is_terminal() || !err.is_terminal() {
        let message = format!("{what}\n  remedy: say --yes, or look first with --dry-run");
        return Err(Error::new(Exit::Usage, message));
    }
    let asked = write!(err, "hsmctl: {what}. Go on? [y/N] ").and_then(|()| err.flush());
    let mut answer = String::new();
    let read = asked.and_then(|()| input.read_line(&mut answer));
    match (read, answer.trim().to_ascii_lowercase().as_str()) {
        (Ok(_), "y" | "yes") => Ok(()),
        _ => Err(Error::new(Exit::Failed, "nothing was changed")),
    }
}
