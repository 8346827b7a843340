//! Structured logs on standard error, as text or JSON. Never a PIN, a ticket or a key value; labels at debug only.

use crate::config::Log;
use tracing_subscriber::EnvFilter;

/// Starts logging. `HSMD_LOG` overrides the configured level.
///
/// # Errors
/// A sentence, when the level is not one, or logging has been started before.
pub fn start(config: &Log) -> Result<(), String> {
    let level = std::env::var("HSMD_LOG").unwrap_or_else(|_| config.level.clone());
    let filter = EnvFilter::try_new(directives(&level))
        .map_err(|error| format!("log.level = {level:?}: {error}; use error, warn, info, debug or trace"))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false);
    let started = if config.format == "json" {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.with_target(false).try_init()
    };
    started.map_err(|error| error.to_string())
}

/// A plain level is that of hsmd's own crates; what its dependencies do is of interest to nobody else.
fn directives(level: &str) -> String {
    if level.contains(['=', ',']) {
        level.to_owned()
    } else {
        format!("warn,hsmd={level},hsmd_keystore={level},hsmd_store={level}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_level_is_for_our_own_crates() {
        assert!(directives("debug").contains("hsmd=debug"));
        assert_eq!(directives("info,sled=debug"), "info,sled=debug");
        assert!(EnvFilter::try_new(directives("hsmd=loud")).is_err());
    }
}
