//! What systemd is told (`Type=notify`): ready, stopping, alive. Nothing happens where there is no systemd.

use sd_notify::NotifyState;

/// Everything listens.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// A stop has begun.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Pats the watchdog for as long as the runtime's timers run.
pub(crate) async fn watchdog() {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return;
    };
    let mut ticks = tokio::time::interval(limit / 2);
    loop {
        ticks.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot notify systemd");
    }
}
