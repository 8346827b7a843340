//! Structured logs on standard error, as text or JSON. Never a PIN, a ticket or a key value; labels at debug only.

use crate::config::Log;
use parking_lot::Mutex;
use tracing_subscriber::{EnvFilter, reload};

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
    let (started, reload): (_, Reload) = if config.format == "json" {
        let builder = builder.json().flatten_event(true).with_filter_reloading();
        let handle = builder.reload_handle();
        (builder.try_init(), Box::new(move |filter| handle.reload(filter)))
    } else {
        let builder = builder.with_target(false).with_filter_reloading();
        let handle = builder.reload_handle();
        (builder.try_init(), Box::new(move |filter| handle.reload(filter)))
    };
    started.map_err(|error| error.to_string())?;
    *RUNNING.lock() = Some(Running { level, reload });
    Ok(())
}

/// Sets what is logged from now on, and says what it was.
///
/// # Errors
/// A sentence, when the level is not one, or nothing is logged.
pub(crate) fn set_level(level: &str) -> Result<String, String> {
    let mut running = RUNNING.lock();
    let running = running.as_mut().ok_or("Level: this process keeps no log")?;
    let filter = EnvFilter::try_new(directives(level))
        .map_err(|error| format!("Level must be error, warn, info, debug, trace or directives: {error}"))?;
    (running.reload)(filter).map_err(|error| error.to_string())?;
    Ok(std::mem::replace(&mut running.level, level.to_owned()))
}

type Reload = Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send>;

/// The log of this process.
struct Running {
    level: String,
    reload: Reload,
}

static RUNNING: Mutex<Option<Running>> = Mutex::new(None);

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
