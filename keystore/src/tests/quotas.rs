//! Quotas: full is full, also in parallel and after a restart; what is destroyed makes room.

use hsmd_proto::attribute::{Attribute, Template};
use hsmd_proto::ck::{AttributeType as A, ObjectClass, Rv};
use hsmd_proto::ids::UniqueId;

use super::*;
use crate::{Context, ObjectRef, Quota};

fn context(key_set: &KeySet) -> Context {
    Context {
        caller: caller(1),
        login: Some(login(key_set, UserType::USER, PIN)),
        grant: None,
    }
}

fn data(size: usize) -> Template {
    Template(vec![
        Attribute::ulong(A::CLASS, ObjectClass::DATA.0),
        Attribute::boolean(A::TOKEN, true),
        Attribute::bytes(A::VALUE, &vec![7; size]),
    ])
}

fn create(key_set: &KeySet, context: &Context, size: usize) -> Result<UniqueId, Rv> {
    let id = UniqueId(random::array());
    key_set.create_object(context, id, &data(size)).map(|view| view.id)
}

#[test]
fn a_full_partition_takes_no_object_until_one_is_destroyed() {
    let (folder, keystore) = Folder::new();
    let key_set = ready(&keystore);
    key_set.set_quota(Quota { objects: 2, bytes: 0 }).unwrap();
    let user = context(&key_set);
    let first = create(&key_set, &user, 10).unwrap();
    create(&key_set, &user, 10).unwrap();
    assert_eq!(create(&key_set, &user, 10), Err(Rv::DEVICE_MEMORY));
    let id = key_set.id();
    let used = key_set.used();
    keystore.core().background.flush();
    drop((user, key_set, keystore));
    // Nobody has opened the private objects yet; they count.
    let keystore = folder.open();
    let key_set = keystore.key_set(id).unwrap();
    assert_eq!(
        (key_set.quota(), key_set.used()),
        (Quota { objects: 2, bytes: 0 }, used)
    );
    let user = context(&key_set);
    assert_eq!(create(&key_set, &user, 10), Err(Rv::DEVICE_MEMORY));
    let name = ObjectRef { id: first, blob: None };
    key_set.destroy_object(&user, &name, operation()).unwrap();
    create(&key_set, &user, 10).unwrap();
    key_set.set_quota(Quota::default()).unwrap();
    create(&key_set, &user, 10).unwrap();
    assert_eq!(key_set.used().objects, 3);
    // C_InitToken makes room, and the quota stays.
    key_set.set_quota(Quota { objects: 1, bytes: 0 }).unwrap();
    key_set.init_token(&caller(1), SO_PIN, &LABEL, operation()).unwrap();
    assert_eq!(
        (key_set.used().objects, key_set.used().bytes, key_set.quota().objects),
        (0, 0, 1)
    );
}

#[test]
fn creates_in_parallel_never_pass_the_quota() {
    let keystore = memory();
    let key_set = ready(&keystore);
    key_set
        .set_quota(Quota {
            objects: 0,
            bytes: 20_000,
        })
        .unwrap();
    let user = context(&key_set);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..10).for_each(|_| _ = create(&key_set, &user, 1_000)));
        }
    });
    let used = key_set.used();
    assert!(used.bytes <= 20_000 && used.objects > 5, "{used:?}");
    assert_eq!(create(&key_set, &user, 20_000), Err(Rv::DEVICE_MEMORY));
}

#[test]
fn a_role_with_few_tries_locks_after_them_also_over_a_restart() {
    let (folder, keystore) = Folder::new();
    let key_set = keystore.create_key_set(Policy::Standard).unwrap();
    key_set.limit_tries(3).unwrap();
    key_set.init_token(&caller(1), SO_PIN, &LABEL, operation()).unwrap();
    assert!(key_set.limit_tries(9).is_err(), "not afterwards");
    let wrong = |key_set: &KeySet| key_set.check_so(&caller(1), b"wrong pin", operation());
    assert_eq!(
        (wrong(&key_set), wrong(&key_set)),
        (Err(Rv::PIN_INCORRECT), Err(Rv::PIN_INCORRECT))
    );
    key_set.check_so(&caller(1), SO_PIN, operation()).unwrap();
    assert_eq!(
        (wrong(&key_set), wrong(&key_set)),
        (Err(Rv::PIN_INCORRECT), Err(Rv::PIN_INCORRECT))
    );
    let id = key_set.id();
    drop((key_set, keystore));
    let keystore = folder.open();
    let key_set = keystore.key_set(id).unwrap();
    assert_eq!(wrong(&key_set), Err(Rv::PIN_INCORRECT));
    // INV-8: the third one locks, and nobody gets in.
    assert_eq!(key_set.check_so(&caller(1), SO_PIN, operation()), Err(Rv::PIN_LOCKED));
}

#[test]
fn the_user_gets_a_new_pin_by_that_of_the_security_officer() {
    let keystore = memory();
    let key_set = ready(&keystore);
    let before = login(&key_set, UserType::USER, PIN);
    let reset = |so: &[u8], pin: &[u8]| key_set.reset_user_pin(&caller(3), so, pin, operation());
    assert_eq!(reset(b"wrong pin", b"new pin"), Err(Rv::PIN_INCORRECT));
    assert_eq!(reset(SO_PIN, b"n"), Err(Rv::PIN_LEN_RANGE));
    assert!(before.alive());
    reset(SO_PIN, b"new pin").unwrap();
    assert!(!before.alive());
    assert!(key_set.login(&caller(1), UserType::USER, PIN, operation()).is_err());
    login(&key_set, UserType::USER, b"new pin");
    assert_eq!(key_set.logins().len(), 1, "the officer's own login has ended");
}

#[test]
fn logins_are_listed_and_ended_one_by_one_or_by_identity() {
    let (folder, keystore) = Folder::new();
    let key_set = ready(&keystore);
    let ticket = |number: u8| {
        key_set
            .login(&caller(number), UserType::USER, PIN, operation())
            .unwrap()
    };
    let (one, two, three) = (ticket(1), ticket(1), ticket(2));
    let listed = key_set.logins();
    assert_eq!(listed.len(), 3);
    let login = key_set.resolve(&caller(1), one.expose()).unwrap();
    let (id, resolves) = (login.id(), |key_set: &KeySet, number: u8, ticket: &crate::Ticket| {
        key_set.resolve(&caller(number), ticket.expose()).is_ok()
    });
    assert!(key_set.end_login(id).unwrap() && !key_set.end_login(id).unwrap());
    assert!(!resolves(&key_set, 1, &one) && resolves(&key_set, 1, &two));
    assert_eq!(keystore.end_logins(&caller(1).identity).unwrap(), 1);
    assert_eq!(keystore.end_logins(&caller(1).identity).unwrap(), 0);
    let id = key_set.id();
    drop((login, key_set, keystore));
    // Ended is ended after a restart, and others go on.
    let keystore = folder.open();
    let key_set = keystore.key_set(id).unwrap();
    assert!(!resolves(&key_set, 1, &two) && resolves(&key_set, 2, &three));
    assert_eq!(key_set.logins().len(), 1);
}
