//! The crypto user's PIN: who sets it, what it opens, how it locks. What the role may do with objects is tested with them.

use hsmd_proto::ck::{Rv, UserType};

use super::*;
use crate::{Role, RoleState};

const CU_PIN: &[u8] = b"cu-pin-77aa01";

fn set(key_set: &KeySet, user_pin: &[u8], pin: &[u8]) -> Result<(), Rv> {
    key_set.set_crypto_user_pin(&caller(1), user_pin, pin, operation())
}

fn log_in(key_set: &KeySet, pin: &[u8]) -> Result<(), Rv> {
    let ticket = key_set.login(&caller(1), UserType::CRYPTO_USER, pin, operation());
    ticket.map(drop)
}

#[test]
fn the_user_gives_the_crypto_user_its_pin() {
    let keystore = memory();
    let key_set = ready(&keystore);
    assert_eq!(log_in(&key_set, CU_PIN), Err(Rv::USER_PIN_NOT_INITIALIZED));
    assert_eq!(set(&key_set, SO_PIN, CU_PIN), Err(Rv::PIN_INCORRECT));
    assert_eq!(set(&key_set, PIN, b"x"), Err(Rv::PIN_LEN_RANGE));
    assert_eq!(key_set.crypto_user(), RoleState::default());
    let user = login(&key_set, UserType::USER, PIN);
    assert_eq!(set(&key_set, PIN, CU_PIN), Ok(()));
    assert!(user.alive(), "a first PIN ends no login");
    assert!(key_set.crypto_user().initialized);
    assert_eq!(login(&key_set, UserType::CRYPTO_USER, CU_PIN).role(), Role::CryptoUser);
    // Each PIN opens its own role only.
    assert_eq!(log_in(&key_set, PIN), Err(Rv::PIN_INCORRECT));
    assert!(key_set.login(&caller(1), UserType::USER, CU_PIN, operation()).is_err());
    // Another one ends what the old one opened.
    let before = login(&key_set, UserType::CRYPTO_USER, CU_PIN);
    assert_eq!(set(&key_set, PIN, b"another one"), Ok(()));
    assert!(!before.alive() && !user.alive());
    assert_eq!(log_in(&key_set, CU_PIN), Err(Rv::PIN_INCORRECT));
    assert_eq!(log_in(&key_set, b"another one"), Ok(()));
    // C_SetPIN is for whoever is logged in.
    let own = login(&key_set, UserType::CRYPTO_USER, b"another one");
    let changed = key_set.set_pin(&caller(1), Some(&own), b"another one", CU_PIN, operation());
    assert_eq!(changed, Ok(()));
    assert_eq!((log_in(&key_set, CU_PIN), own.alive()), (Ok(()), true));
    // It makes no other role's PIN.
    assert_eq!(key_set.init_pin(&own, PIN, operation()), Err(Rv::USER_NOT_LOGGED_IN));
}

// INV-8: its tries count by themselves, durably; the user's role stays open.
#[test]
fn wrong_pins_lock_the_crypto_user_alone() {
    let (folder, keystore) = Folder::new();
    let key_set = ready(&keystore);
    set(&key_set, PIN, CU_PIN).unwrap();
    for _ in 0..10 {
        assert_eq!(log_in(&key_set, b"wrong pin"), Err(Rv::PIN_INCORRECT));
    }
    assert_eq!(log_in(&key_set, CU_PIN), Err(Rv::PIN_LOCKED));
    assert!(key_set.crypto_user().locked);
    let id = key_set.id();
    drop((key_set, keystore));
    let keystore = folder.open();
    let key_set = keystore.key_set(id).unwrap();
    assert_eq!(log_in(&key_set, CU_PIN), Err(Rv::PIN_LOCKED));
    login(&key_set, UserType::USER, PIN);
    key_set.unlock(Role::CryptoUser).unwrap();
    assert_eq!(log_in(&key_set, CU_PIN), Ok(()));
    // A new PIN by the user opens it as well.
    for _ in 0..10 {
        assert_eq!(log_in(&key_set, b"wrong pin"), Err(Rv::PIN_INCORRECT));
    }
    set(&key_set, PIN, b"a new one").unwrap();
    assert_eq!(log_in(&key_set, b"a new one"), Ok(()));
}

#[test]
fn a_rekey_asks_for_the_crypto_users_pin_and_keeps_it() {
    let keystore = memory();
    let key_set = ready(&keystore);
    set(&key_set, PIN, CU_PIN).unwrap();
    let begin = |pin| key_set.begin_rekey(&caller(1), SO_PIN, Some(PIN), pin);
    assert!(matches!(
        begin(None),
        Err(crate::RekeyError::PinNeeded(Role::CryptoUser))
    ));
    assert!(matches!(
        begin(Some(b"wrong pin")),
        Err(crate::RekeyError::Pin(Role::CryptoUser, Rv::PIN_INCORRECT))
    ));
    begin(Some(CU_PIN)).unwrap().run(&mut |_, _| ()).unwrap();
    assert_eq!(log_in(&key_set, CU_PIN), Ok(()));
    login(&key_set, UserType::USER, PIN);
}
