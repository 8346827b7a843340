//! Stores in a group of partitions. Connecting logs in to the group's token as its user (`kmsuser`), gives the user a PIN that only
//! the record knows, and stays logged in. The new PIN is in the record before it is set: whichever of the two the token has after
//! a kill, the record has it too.

use super::keeper::Trouble;
use super::record::{ClusterSettings, Code, Settings, State};
use super::{Shared, Store};
use crate::clusters::{Cluster, is_passing};
use crate::module::{Module, ModuleError, Token, Worker};
use crate::secret::Secret;
use cryptoki::error::RvError;
use cryptoki::object::{Attribute, ObjectClass};
use cryptoki::types::AuthPin;
use std::sync::Arc;
use std::time::Duration;
use tonic::Status;
use zeroize::Zeroizing;

/// Letters and digits of a PIN: 62 of them, and 32 characters are more than 190 bits.
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const LENGTH: usize = 32;
/// The control plane answers within this, or is away.
const ANSWER: Duration = Duration::from_secs(5);

/// Logs in, and rotates the PIN if that was not done since the connection was asked for.
pub(super) async fn enter(shared: &Shared, store: &Store) -> Result<Arc<Module>, Trouble> {
    let settings = settings(store)?;
    let cluster = find(shared, &settings.cluster).await?;
    if cluster.active() == 0 {
        let asked = store.record().record.state == State::Connecting;
        // Whoever asks is told; a connection that was there comes back when an HSM does.
        return Err(Trouble {
            code: Code::NoHsm,
            is_lasting: asked,
        });
    }
    let is_first = if settings.entered {
        false
    } else {
        prepare(shared, store, &cluster).await?
    };
    let settings = self::settings(store)?;
    let token = Token {
        name: cluster.serial.clone(),
        pin: settings.pin.expose().into(),
    };
    let module = Arc::new(shared.library.open(token, shared.threads));
    match log_in(shared, store, &settings, &cluster, &module, is_first).await {
        Ok(()) => Ok(module),
        Err(trouble) => {
            module.close().await;
            Err(trouble)
        }
    }
}

/// Makes sure that nobody else is logged in, then writes the PIN that the user is to have; tells whether that is a new one, which the
/// token cannot have yet.
async fn prepare(shared: &Shared, store: &Store, cluster: &Cluster) -> Result<bool, Trouble> {
    if let Some(member) = cluster.members.first() {
        let users = shared.clusters.users(&member.serial).await;
        if !users.map_err(|status| control(&status))?.is_empty() {
            return Err(Trouble::lasting(Code::UserLoggedIn));
        }
    }
    let new = random_pin().ok_or(Trouble::passing(Code::Internal))?;
    let is_first = settings(store)?.next.is_none();
    let written = write(shared, store, |settings| {
        settings.entered = true;
        // One of an earlier attempt may have been set: it is not forgotten.
        settings.next.get_or_insert_with(|| new.clone());
    });
    written.await.map(|()| is_first)
}

async fn log_in(
    shared: &Shared,
    store: &Store,
    settings: &ClusterSettings,
    cluster: &Cluster,
    module: &Module,
    is_first: bool,
) -> Result<(), Trouble> {
    let session = |worker: &mut Worker| worker.session().map(drop);
    let Some(next) = &settings.next else {
        return module.run(session).await.map_err(|error| trouble(&error));
    };
    match module.run(session).await {
        Ok(()) => {
            let (old, new) = (auth(&settings.pin), auth(next));
            let set = module.run(move |worker| worker.set_pin(&old, &new)).await;
            set.map_err(|error| trouble(&error))?;
            module.use_pin(auth(next));
        }
        // It has been set, and what says so was not written.
        Err(error) if error.rv() == Some(RvError::PinIncorrect) && !is_first => {
            module.use_pin(auth(next));
            module.run(session).await.map_err(|error| trouble(&error))?;
        }
        Err(error) => return Err(trouble(&error)),
    }
    let members = cluster.serials();
    write(shared, store, |settings| {
        if let Some(next) = settings.next.take() {
            settings.pin = next;
        }
        settings.rotated = true;
        settings.members.clone_from(&members);
    })
    .await
}

/// Whether the token can be used: the control plane knows first when the daemon or the group is away, and a question to the token
/// that finds nothing tells about the login.
pub(super) async fn probe(shared: &Shared, store: &Store, module: &Module) -> Result<(), Trouble> {
    let cluster = find(shared, &settings(store)?.cluster).await?;
    if cluster.active() == 0 {
        return Err(Trouble::passing(Code::NoHsm));
    }
    let ask = |worker: &mut Worker| {
        let nothing = [
            Attribute::Token(true),
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::Id(b"whether the token can be used".to_vec()),
        ];
        Ok(worker.session()?.find_objects(&nothing).map(drop)?)
    };
    module.run(ask).await.map_err(|error| trouble(&error))
}

/// Ends logins that a killed process of ours has left. Nobody else can have one: nobody was logged in before, and the PIN is known
/// to the record alone.
pub(super) async fn log_out(shared: &Shared, settings: &ClusterSettings) {
    if !settings.entered {
        return;
    }
    let ended = async {
        let Some(cluster) = shared.clusters.find(&settings.cluster).await? else {
            return Ok(());
        };
        if let Some(member) = cluster.members.first() {
            for login in shared.clusters.users(&member.serial).await? {
                shared.clusters.end_login(&member.serial, &login).await?;
            }
        }
        Ok::<_, Status>(())
    };
    if let Err(error) = ended.await {
        tracing::warn!(%error, cluster = settings.cluster, "logins may be left in the group");
    }
}

fn settings(store: &Store) -> Result<ClusterSettings, Trouble> {
    match &store.record().record.settings {
        Settings::Cluster(settings) => Ok(settings.clone()),
        Settings::External(_) => Err(Trouble::lasting(Code::Internal)),
    }
}

async fn write(
    shared: &Shared,
    store: &Store,
    change: impl Fn(&mut ClusterSettings) + Send + Sync,
) -> Result<(), Trouble> {
    let written = store.change(&shared.records, |record| {
        if let Settings::Cluster(settings) = &mut record.settings {
            change(settings);
        }
        Ok(())
    });
    written.await.map_err(|_| Trouble::passing(Code::Network))
}

async fn find(shared: &Shared, id: &str) -> Result<Cluster, Trouble> {
    let asked = tokio::time::timeout(ANSWER, shared.clusters.find(id)).await;
    let asked = asked.map_err(|_| Trouble::passing(Code::Network))?;
    let found = asked.map_err(|status| control(&status))?;
    found.ok_or(Trouble::lasting(Code::ClusterNotFound))
}

fn control(status: &Status) -> Trouble {
    tracing::warn!(error = %status, "the control plane");
    if is_passing(status) {
        Trouble::passing(Code::Network)
    } else {
        Trouble::lasting(Code::Internal)
    }
}

/// What a failure of the module says about the connection.
fn trouble(error: &ModuleError) -> Trouble {
    tracing::warn!(%error, "the group's token");
    match error.rv() {
        Some(RvError::PinIncorrect | RvError::PinLenRange | RvError::PinExpired) => {
            Trouble::lasting(Code::InvalidCredentials)
        }
        Some(RvError::PinLocked) => Trouble::lasting(Code::UserLockedOut),
        Some(RvError::UserPinNotInitialized) => Trouble::lasting(Code::UserNotFound),
        // Away, not shown, or busy: it may come.
        _ => Trouble::passing(Code::Network),
    }
}

fn auth(pin: &Secret) -> AuthPin {
    pin.expose().into()
}

/// A PIN at random; `None` when the system gives no random bytes.
fn random_pin() -> Option<Secret> {
    let mut pin = Zeroizing::new(String::with_capacity(LENGTH));
    while pin.len() < LENGTH {
        let mut byte = [0];
        getrandom::fill(&mut byte).ok()?;
        // What lies beyond a multiple of the alphabet would prefer some letters.
        let below = 256 - 256 % ALPHABET.len();
        if usize::from(byte[0]) < below {
            pin.push(char::from(ALPHABET[usize::from(byte[0]) % ALPHABET.len()]));
        }
    }
    Some(Secret::wrap(pin))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cryptoki::context::Function;
    use cryptoki::error::Error;

    #[test]
    fn a_new_pin_is_long_and_another_each_time() {
        let (one, other) = (random_pin().unwrap(), random_pin().unwrap());
        assert_eq!(one.expose().len(), LENGTH);
        assert!(one.expose().bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_ne!(one.expose(), other.expose());
    }

    #[test]
    fn what_the_pin_is_to_blame_for_is_lasting() {
        let of = |rv| trouble(&ModuleError::Cryptoki(Error::Pkcs11(rv, Function::Login)));
        assert_eq!(of(RvError::PinIncorrect), Trouble::lasting(Code::InvalidCredentials));
        assert_eq!(of(RvError::PinLocked), Trouble::lasting(Code::UserLockedOut));
        assert_eq!(of(RvError::UserPinNotInitialized), Trouble::lasting(Code::UserNotFound));
        for rv in [RvError::DeviceError, RvError::TokenNotPresent] {
            assert_eq!(of(rv), Trouble::passing(Code::Network));
        }
        assert_eq!(trouble(&ModuleError::NoToken), Trouble::passing(Code::Network));
    }
}
