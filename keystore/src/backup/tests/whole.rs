//! A whole daemon: backup, loss, restore under another master key.

use super::*;

fn document(keystore: &Keystore, name: &str, value: &str) {
    let there = keystore.document(name).unwrap().map_or(0, |document| document.version);
    let write = DocumentWrite {
        name: name.to_owned(),
        expected: there,
        value: Some(value.as_bytes().to_vec()),
    };
    keystore.commit_documents(operation(), vec![write]).unwrap();
}

#[test]
fn everything_is_there_again_under_another_master_key() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    let keystore = Keystore::init(&old, &MasterKey::random(), &options()).unwrap();
    let (one, two) = (token(&keystore, Policy::Standard), token(&keystore, Policy::Strict));
    let context = user(&one);
    let key = known_key(&one, &context, "a key", true);
    let expected = mac(&one, &context, key).unwrap();
    for round in 0..3 {
        document(&keystore, "hsm/1", &format!("round {round}"));
    }
    document(&keystore, "records/x", "y");
    let authority = Secret::random(100);
    keystore.put_secret("pki/servers", &authority).unwrap();
    assert_eq!(
        login(&two, UserType::USER, b"wrong pin").unwrap_err(),
        Rv::PIN_INCORRECT
    );
    let bytes = back_up(&keystore, &request(BackupScope::Daemon, None));
    let node = keystore.node();
    keystore.close().unwrap();

    let master = MasterKey::random();
    Keystore::restore(&new, &master, &options(), incoming(&bytes).unwrap(), &mut |_| {}).unwrap();
    let again = Keystore::restore(&new, &master, &options(), incoming(&bytes).unwrap(), &mut |_| {});
    assert!(matches!(again, Err(Error::AlreadyInitialized)));
    let keystore = Keystore::open(&new, &master, &options()).unwrap();
    assert_eq!((keystore.node(), keystore.key_sets().len()), (node, 2));
    let read = keystore.document("hsm/1").unwrap().unwrap();
    assert_eq!((&*read.value, read.version), (&b"round 2"[..], 3));
    assert_eq!(keystore.secret("pki/servers").unwrap(), Some(authority));
    assert_eq!(&*keystore.document("records/x").unwrap().unwrap().value, b"y");
    let (one, two) = (keystore.key_set(one.id()).unwrap(), keystore.key_set(two.id()).unwrap());
    assert_eq!(two.policy(), Policy::Strict);
    let context = user(&one);
    assert_eq!(mac(&one, &context, key).unwrap(), expected);
    // INV-8: nine wrong ones are left, not ten.
    for _ in 0..9 {
        assert!(login(&two, UserType::USER, b"wrong pin").is_err());
    }
    assert_eq!(login(&two, UserType::USER, PIN).unwrap_err(), Rv::PIN_LOCKED);
    assert!(keystore.quarantined().is_empty());
    document(&keystore, "hsm/1", "goes on");
    keystore.close().unwrap();
    drop(keystore);
    let keystore = Keystore::open(&new, &master, &options()).unwrap();
    assert_eq!(keystore.document("hsm/1").unwrap().unwrap().version, 4);
    assert!(keystore.check().is_clean());
}

#[test]
fn a_backup_of_one_scope_is_not_restored_as_another() {
    let keystore = memory();
    let keys = token(&keystore, Policy::Standard);
    let (part, whole) = (
        partition(&keystore, &keys),
        back_up(&keystore, &request(BackupScope::Daemon, None)),
    );
    let folder = tempfile::tempdir().unwrap();
    let refused = Keystore::restore(
        &folder.path().join("x"),
        &MasterKey::random(),
        &options(),
        incoming(&part).unwrap(),
        &mut |_| {},
    );
    assert!(matches!(refused, Err(Error::Restore(RestoreError::Scope(_)))));
    assert!(matches!(
        restore_new(&keystore, &whole),
        Err(Error::Restore(RestoreError::Scope(_)))
    ));
}

// DESIGN 8: a restore loosens no latch, also not in a store where the hash of the same key is another.
#[test]
fn a_key_that_has_wrapped_never_decrypts_again_wherever_it_is_restored() {
    let here = memory();
    let keys = token(&here, Policy::Standard);
    let context = user(&keys);
    let aes = |label: &str, more: &[(A, bool)]| {
        let mut template = vec![
            Attribute::ulong(A::CLASS, ObjectClass::SECRET_KEY.0),
            Attribute::ulong(A::KEY_TYPE, KeyType::AES.0),
            Attribute::boolean(A::TOKEN, true),
            Attribute::bytes(A::LABEL, label.as_bytes()),
            Attribute::ulong(A::VALUE_LEN, 32),
        ];
        template.extend(more.iter().map(|(flag, value)| Attribute::boolean(*flag, *value)));
        let id = UniqueId(random::array());
        let mechanism = Mechanism::plain(M::AES_KEY_GEN);
        keys.generate_key(&context, &mechanism, id, &template.into_iter().collect())
            .unwrap();
        id
    };
    let wrapping = aes("wrapping", &[(A::WRAP, true), (A::DECRYPT, true), (A::ENCRYPT, true)]);
    let payload = aes("payload", &[(A::EXTRACTABLE, true), (A::SENSITIVE, true)]);
    let blob = |keys: &KeySet, context: &Context| {
        let mechanism = Mechanism::plain(M::AES_KEY_WRAP);
        keys.wrap_key(
            context,
            &ObjectRef::token(wrapping),
            &mechanism,
            &ObjectRef::token(payload),
        )
    };
    let decrypts = |keys: &KeySet, context: &Context| {
        let mechanism = Mechanism::plain(M::AES_ECB);
        keys.decrypt(
            context,
            &ObjectRef::token(wrapping),
            &mechanism,
            &[0; 16],
            &mut Vec::new(),
        )
    };
    decrypts(&keys, &context).unwrap();
    let before = partition(&here, &keys);
    blob(&keys, &context).unwrap();
    let after = partition(&here, &keys);
    assert_eq!(decrypts(&keys, &context).unwrap_err(), Rv::KEY_FUNCTION_NOT_PERMITTED);

    // In this store the latch holds whatever is restored; elsewhere what the backup knows does.
    let elsewhere = memory();
    for (keystore, bytes) in [
        (&here, &before),
        (&here, &after),
        (&elsewhere, &after),
        (&elsewhere, &before),
    ] {
        let restored = restore_new(keystore, bytes).unwrap();
        let context = user(&restored);
        assert_eq!(
            decrypts(&restored, &context).unwrap_err(),
            Rv::KEY_FUNCTION_NOT_PERMITTED
        );
    }
    // And where nobody knows of it yet, wrapping sets it for every copy of the material.
    let fresh = memory();
    let (one, two) = (
        restore_new(&fresh, &before).unwrap(),
        restore_new(&fresh, &before).unwrap(),
    );
    let (first, second) = (user(&one), user(&two));
    decrypts(&two, &second).unwrap();
    blob(&one, &first).unwrap();
    assert_eq!(decrypts(&two, &second).unwrap_err(), Rv::KEY_FUNCTION_NOT_PERMITTED);
    // It survives another journey.
    let third = restore_new(&memory(), &partition(&fresh, &two)).unwrap();
    assert_eq!(
        decrypts(&third, &user(&third)).unwrap_err(),
        Rv::KEY_FUNCTION_NOT_PERMITTED
    );
}
