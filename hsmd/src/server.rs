//! A running daemon: listens, says that it is ready, waits for a signal, and stops in order: no new connections, running
//! requests finish, the store closes.

use crate::control;
use crate::data::{Listener, bind_socket};
use crate::node::Node;
use crate::notify;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

/// How often idle key sets are looked for.
const HOUSEKEEPING: Duration = Duration::from_secs(10);

/// Why serving ended with an error.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A socket cannot be made.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// What was to be done when everything listens failed.
    #[error("{0}")]
    Ready(String),
    /// The store did not close cleanly. Nothing acknowledged is lost.
    #[error("closing the store: {0}")]
    Close(String),
}

/// Serves until SIGTERM or SIGINT. `ready` runs when everything listens.
///
/// # Errors
/// See [`ServeError`].
pub fn run(node: Node, ready: impl FnOnce(&Node) -> Result<(), String>) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("hsmd-io").build()?;
    let node = Arc::new(node);
    let result = runtime.block_on(async {
        let stopped = signalled()?;
        serve(node.clone(), ready, stopped).await
    });
    // Pools and connections that outlived the grace must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// Serves until `stopped` is done.
///
/// # Errors
/// See [`ServeError`].
pub async fn serve(
    node: Arc<Node>,
    ready: impl FnOnce(&Node) -> Result<(), String>,
    stopped: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let data = Listener::bind(&node.config.data)?;
    let control_listener = bind_socket(&node.config.control.socket, 0o600, None)?;
    let (stop, stopping) = watch::channel(false);
    let (alive, mut ended) = mpsc::channel::<()>(1);
    tokio::spawn(data.run(node.clone(), stopping.clone(), alive.clone()));
    let control = {
        let (node, stopping, alive) = (node.clone(), stopping.clone(), alive);
        async move {
            let served = control::serve(node, control_listener, stopping).await;
            drop(alive);
            served
        }
    };
    let control = tokio::spawn(control);
    let housekeeper = tokio::spawn(housekeeping(node.clone()));
    let watchdog = tokio::spawn(notify::watchdog());
    ready(&node).map_err(ServeError::Ready)?;
    notify::ready();
    tracing::info!(data = %node.config.data.socket.display(), control = %node.config.control.socket.display(), "ready");

    stopped.await;
    tracing::info!("stopping");
    notify::stopping();
    let _ = stop.send(true);
    let grace = Duration::from_millis(node.config.stop.grace_ms);
    if tokio::time::timeout(grace, ended.recv()).await.is_err() {
        tracing::warn!(grace_ms = node.config.stop.grace_ms, "some requests did not end in time");
    }
    control.abort();
    housekeeper.abort();
    watchdog.abort();
    for socket in [&node.config.data.socket, &node.config.control.socket] {
        // It may be gone already; a stale one would be replaced at the next start.
        let _ = std::fs::remove_file(socket);
    }
    let keystore = node.keystore.clone();
    let closed = tokio::task::spawn_blocking(move || keystore.close()).await;
    match closed {
        Ok(Ok(())) => tracing::info!("stopped"),
        Ok(Err(error)) => return Err(ServeError::Close(error.to_string())),
        Err(error) => return Err(ServeError::Close(error.to_string())),
    }
    Ok(())
}

fn signalled() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Wipes the keys of partitions that nobody has asked for a while.
async fn housekeeping(node: Arc<Node>) {
    let mut ticks = tokio::time::interval(HOUSEKEEPING);
    loop {
        ticks.tick().await;
        let keystore = node.keystore.clone();
        if tokio::task::spawn_blocking(move || keystore.idle_wipe()).await.is_err() {
            tracing::error!("housekeeping panicked; please report this");
        }
    }
}
