//! Session objects: whose they are, how long they live, and that they are keys like others.

use super::*;

fn session_key(bench: &Bench, more: &[Attribute]) -> ObjectView {
    bench.aes(&[&[no(A::TOKEN)], more].concat()).unwrap()
}

#[test]
fn a_session_key_works_and_is_in_no_find() {
    let bench = bench(Policy::Standard);
    let key = session_key(&bench, &[]);
    assert!(!key.blob.is_empty());
    let text = bench.encrypt(&key, &ctr(), b"text").unwrap();
    assert_eq!(bench.decrypt(&key, &ctr(), &text).as_deref(), Ok(&b"text"[..]));
    assert!(bench.find(&bench.user, &[]).is_empty());
    assert_eq!(bench.read(&key, A::VALUE), Err(Rv::ATTRIBUTE_SENSITIVE));
    let changed = bench.set(&key, &[label("new")]).unwrap();
    assert_eq!(
        (changed.version, bench.read(&changed, A::LABEL)),
        (2, Ok(b"new".to_vec()))
    );
    // As Java's keytool does: make it in the session, then copy it to the token.
    let copy = bench.copy(&changed, &[yes(A::TOKEN)]).unwrap();
    assert!(copy.blob.is_empty());
    assert_eq!(bench.find(&bench.user, &[label("new")]), [copy.id]);
    assert_eq!(bench.decrypt(&copy, &ctr(), &text).as_deref(), Ok(&b"text"[..]));
    assert_eq!(
        bench.keys.destroy_object(&bench.user, &changed.name(), operation()),
        Ok(())
    );
}

// DESIGN 5: identity and application are checked before any cache.
#[test]
fn a_blob_is_good_in_its_own_hands_only() {
    let bench = bench(Policy::Standard);
    let (private, public) = (session_key(&bench, &[]), session_key(&bench, &[no(A::PRIVATE)]));
    let uses = |context: &Context, key: &ObjectView| {
        let mut out = Vec::new();
        bench.keys.encrypt(context, &key.name(), &ctr(), b"x", &mut out)
    };
    assert_eq!(uses(&bench.user, &private), Ok(()));
    assert_eq!(uses(&bench.user, &public), Ok(()));
    assert_eq!(uses(&bench.nobody, &public), Ok(()), "public ones need no login");
    assert_eq!(uses(&bench.nobody, &private), Err(Rv::USER_NOT_LOGGED_IN));
    let again = context(&bench.keys, caller(1), UserType::USER, PIN);
    assert_eq!(uses(&again, &private), Err(Rv::KEY_HANDLE_INVALID), "another login");
    let stranger = context(&bench.keys, caller(2), UserType::USER, PIN);
    let neighbour = Caller {
        application: ApplicationId([9; 16]),
        ..caller(1)
    };
    let neighbour = Context {
        caller: neighbour,
        login: bench.user.login.clone(),
        grant: None,
    };
    for context in [&stranger, &neighbour] {
        assert_eq!(uses(context, &private), Err(Rv::KEY_HANDLE_INVALID));
        assert_eq!(uses(context, &public), Err(Rv::KEY_HANDLE_INVALID));
    }
    for at in 0..private.blob.len() {
        let mut blob = private.blob.clone();
        blob[at] ^= 1;
        let damaged = ObjectRef {
            id: private.id,
            blob: Some(&blob),
        };
        let mut out = Vec::new();
        assert!(
            bench
                .keys
                .encrypt(&bench.user, &damaged, &ctr(), b"x", &mut out)
                .is_err(),
            "{at}"
        );
    }
    let other = bench_in(bench.keystore.clone(), Policy::Standard);
    let foreign = other
        .keys
        .attributes(&other.nobody, &public.name(), &[A::LABEL])
        .map(|_| ());
    assert_eq!(foreign, Err(Rv::OBJECT_HANDLE_INVALID));
}

#[test]
fn private_session_objects_end_with_the_login_and_all_with_the_epoch() {
    let bench = bench(Policy::Standard);
    let (private, public) = (session_key(&bench, &[]), session_key(&bench, &[no(A::PRIVATE)]));
    let label =
        |context: &Context, key: &ObjectView| bench.keys.attributes(context, &key.name(), &[A::LABEL]).map(|_| ());
    assert_eq!(label(&bench.user, &private), Ok(()));
    bench.keys.logout(bench.user.login.as_ref().unwrap());
    assert_eq!(label(&bench.user, &private), Err(Rv::USER_NOT_LOGGED_IN));
    assert_eq!(label(&bench.nobody, &public), Ok(()));
    bench.keys.end_logins().unwrap();
    assert_eq!(label(&bench.nobody, &public), Err(Rv::OBJECT_HANDLE_INVALID));
}

// INV-1, INV-5: the latch of a session key is in the store all the same.
#[test]
fn the_latch_holds_for_session_keys_and_older_blobs() {
    let bench = bench(Policy::Standard);
    let key = session_key(&bench, &[yes(A::WRAP), yes(A::UNWRAP)]);
    let victim = bench.aes(&[yes(A::EXTRACTABLE)]).unwrap();
    let kw = plain(M::AES_KEY_WRAP);
    let blob = bench.wrap(&key, &kw, &victim).unwrap();
    assert_eq!(bench.decrypt(&key, &kw, &blob), Err(Rv::KEY_FUNCTION_NOT_PERMITTED));
    bench.keys.objects().sessions.clear();
    assert_eq!(bench.decrypt(&key, &kw, &blob), Err(Rv::KEY_FUNCTION_NOT_PERMITTED));
}
