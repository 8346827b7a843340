//! The keeper of a store: a task that makes the connection be what the record says, tries again what may pass by itself, and
//! finds out when a connection has ceased to work or works again. Everything it needs is in the record, so a keeper that is
//! started anew goes on where the last one was killed.

use super::record::{Code, Settings, State};
use super::{Shared, Store, cluster, external};
use crate::module::Module;
use crate::xks::client::Proxy;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// Between looks at a connection that works.
const CALM: Duration = Duration::from_secs(10);
/// The same for a proxy, which belongs to somebody else.
const CALM_PROXY: Duration = Duration::from_secs(30);
/// Between tries of one that does not.
const AGAIN: Duration = Duration::from_secs(1);
/// Between looks at a store that nobody wants connected.
const REST: Duration = Duration::from_secs(3_600);
/// What may pass by itself has so long to pass before a connection that is being made has failed.
const PATIENCE: Duration = Duration::from_secs(10);
/// The same for a proxy: several of the times in which it must answer.
const PATIENCE_PROXY: Duration = Duration::from_secs(2);

/// A connection.
#[derive(Clone)]
pub(super) enum Connection {
    /// The pool of the group's token.
    Cluster(Arc<Module>),
    External(Arc<Proxy>),
}

/// How a store is connected now.
#[derive(Default)]
pub(super) struct Link {
    pub(super) connection: Option<Connection>,
    /// Why it does not work now.
    pub(super) trouble: Option<Code>,
    /// The store has been deleted.
    pub(super) gone: bool,
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) code: Code,
    /// Nothing but a new order of the customer helps.
    pub(super) is_lasting: bool,
}

impl Trouble {
    pub(super) const fn passing(code: Code) -> Self {
        Self {
            code,
            is_lasting: false,
        }
    }

    /// Of a proxy that was connected, everything may pass, and a new credential may come.
    const fn may_pass(self) -> Self {
        Self::passing(self.code)
    }

    pub(super) const fn lasting(code: Code) -> Self {
        Self { code, is_lasting: true }
    }
}

/// Keeps a store until it is deleted.
pub(super) async fn keep(shared: Arc<Shared>, store: Arc<Store>) {
    let mut begun = Instant::now();
    loop {
        let state = store.record().record.state;
        if state != State::Connecting {
            begun = Instant::now();
        }
        let pause = match state {
            State::Connecting => connect(&shared, &store, begun).await,
            State::Connected => watch(&shared, &store).await,
            State::Disconnecting => leave(&shared, &store).await,
            State::Disconnected | State::Failed => {
                close(&store, None).await;
                REST
            }
        };
        if store.link.read().unwrap_or_else(PoisonError::into_inner).gone {
            return;
        }
        // What was asked for while it worked is a permit of the nudge, so it is not missed.
        let _ = tokio::time::timeout(pause, store.nudge.notified()).await;
    }
}

/// Makes a connection that was asked for.
async fn connect(shared: &Shared, store: &Store, begun: Instant) -> Duration {
    let patience = match store.cluster() {
        Some(_) => PATIENCE,
        None => PATIENCE_PROXY,
    };
    match attempt(shared, store).await {
        Ok(connection) => {
            open(store, connection);
            let written = store.change(&shared.records, |record| {
                // It may have been disconnected meanwhile.
                if record.state == State::Connecting {
                    (record.state, record.error) = (State::Connected, None);
                }
                Ok(())
            });
            match written.await {
                Ok(()) => Duration::ZERO,
                Err(_) => AGAIN,
            }
        }
        Err(trouble) if !trouble.is_lasting && begun.elapsed() < patience => AGAIN,
        Err(trouble) => fail(shared, store, trouble.code).await,
    }
}

async fn attempt(shared: &Shared, store: &Store) -> Result<Connection, Trouble> {
    match &store.record().record.settings {
        Settings::Cluster(_) => cluster::enter(shared, store).await.map(Connection::Cluster),
        Settings::External(settings) => {
            let proxy = external::proxy(shared, settings).map_err(|_| Trouble::lasting(Code::Internal))?;
            external::probe(store, &proxy).await?;
            Ok(Connection::External(proxy))
        }
    }
}

/// Looks whether a connection still works; makes it again after a start.
async fn watch(shared: &Shared, store: &Store) -> Duration {
    let connection = store.connection();
    let calm = match &connection {
        Some(Connection::External(_)) => CALM_PROXY,
        _ => CALM,
    };
    let result = match connection {
        Some(Connection::Cluster(module)) => cluster::probe(shared, store, &module).await,
        Some(Connection::External(proxy)) => external::probe(store, &proxy).await.map_err(Trouble::may_pass),
        None => attempt(shared, store).await.map(|connection| open(store, connection)),
    };
    match result {
        Ok(()) => {
            let mut link = store.link.write().unwrap_or_else(PoisonError::into_inner);
            if let Some(code) = link.trouble.take() {
                tracing::info!(
                    store = store.id(),
                    was = code.name(),
                    "the custom key store works again"
                );
            }
            calm
        }
        Err(trouble) if trouble.is_lasting => fail(shared, store, trouble.code).await,
        Err(trouble) => {
            let mut link = store.link.write().unwrap_or_else(PoisonError::into_inner);
            if link.trouble != Some(trouble.code) {
                tracing::warn!(
                    store = store.id(),
                    code = trouble.code.name(),
                    "the custom key store does not work now"
                );
                link.trouble = Some(trouble.code);
            }
            AGAIN
        }
    }
}

/// Ends a connection that is not wanted any more.
async fn leave(shared: &Shared, store: &Store) -> Duration {
    close(store, None).await;
    if let Settings::Cluster(settings) = &store.record().record.settings {
        cluster::log_out(shared, settings).await;
    }
    let written = store.change(&shared.records, |record| {
        (record.state, record.error) = (State::Disconnected, None);
        if let Settings::Cluster(settings) = &mut record.settings {
            settings.entered = false;
        }
        Ok(())
    });
    match written.await {
        Ok(()) => REST,
        Err(_) => AGAIN,
    }
}

/// Records that a connection has failed.
async fn fail(shared: &Shared, store: &Store, code: Code) -> Duration {
    tracing::warn!(
        store = store.id(),
        code = code.name(),
        "the custom key store cannot be connected"
    );
    close(store, Some(code)).await;
    let written = store.change(&shared.records, |record| {
        if !matches!(record.state, State::Connecting | State::Connected) {
            return Ok(());
        }
        (record.state, record.error) = (State::Failed, Some(code));
        // With a PIN that does not open, or a role that was locked, nobody of ours is logged in.
        if let Settings::Cluster(settings) = &mut record.settings
            && matches!(
                code,
                Code::InvalidCredentials | Code::UserLockedOut | Code::UserNotFound
            )
        {
            settings.entered = false;
            // It was tried as well: the token does not have it.
            if code == Code::InvalidCredentials {
                settings.next = None;
            }
        }
        Ok(())
    });
    match written.await {
        Ok(()) => Duration::ZERO,
        Err(_) => AGAIN,
    }
}

fn open(store: &Store, connection: Connection) {
    let mut link = store.link.write().unwrap_or_else(PoisonError::into_inner);
    link.connection = Some(connection);
    link.trouble = None;
}

async fn close(store: &Store, trouble: Option<Code>) {
    let connection = {
        let mut link = store.link.write().unwrap_or_else(PoisonError::into_inner);
        link.trouble = trouble;
        link.connection.take()
    };
    if let Some(Connection::Cluster(module)) = connection {
        module.close().await;
    }
}
