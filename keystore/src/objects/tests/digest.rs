//! C_DigestKey with keys whose value may not be read: the state comes back sealed, and goes on only where it may.

use hsmd_crypto::digest::{Digest, hash};

use super::*;
use crate::{DigestFrom, DigestStep};

const VALUE: [u8; 32] = [0x5c; 32];

impl Bench {
    /// Adds a key to a digest of data that the module made.
    fn absorb(&self, context: &Context, mechanism: M, data: &[u8], key: &ObjectView) -> Result<Vec<u8>, Rv> {
        let mut digest = Digest::new(mechanism).unwrap();
        digest.update(data);
        let state = digest.state().unwrap();
        self.step(context, mechanism, DigestFrom::Clear(&state), (b"", Some(key), false))
    }

    fn step(
        &self,
        context: &Context,
        mechanism: M,
        from: DigestFrom<'_>,
        (data, key, last): (&[u8], Option<&ObjectView>, bool),
    ) -> Result<Vec<u8>, Rv> {
        let step = DigestStep {
            mechanism,
            from,
            data,
            key: key.map(ObjectView::name),
            last,
        };
        self.keys.digest(context, &step).map(|out| out.to_vec())
    }

    /// The digest of a sealed state as it stands.
    fn digest_of(&self, context: &Context, sealed: &[u8]) -> Result<Vec<u8>, Rv> {
        self.step(context, M::SHA256, DigestFrom::Sealed(sealed), (b"", None, true))
    }
}

fn generic(length: usize, more: &[Attribute]) -> Template {
    let mut all = vec![
        class(ObjectClass::SECRET_KEY),
        key_type(KeyType::GENERIC_SECRET),
        Attribute::bytes(A::VALUE, &VALUE[..length]),
    ];
    all.extend_from_slice(more);
    template(&all)
}

#[test]
fn the_digest_is_that_of_the_data_and_the_keys_in_their_order() {
    let bench = bench(Policy::Standard);
    for token in [true, false] {
        let key = bench.import(&bench.user, &VALUE, &[Attribute::boolean(A::TOKEN, token)]);
        let key = key.unwrap();
        for mechanism in [M::SHA_1, M::SHA256, M::SHA512, M::SHA3_224, M::SHA3_512] {
            let first = bench.absorb(&bench.user, mechanism, b"before", &key).unwrap();
            let step = (&b"between"[..], Some(&key), false);
            let second = bench
                .step(&bench.user, mechanism, DigestFrom::Sealed(&first), step)
                .unwrap();
            let step = (&b"after"[..], None, true);
            let digest = bench.step(&bench.user, mechanism, DigestFrom::Sealed(&second), step);
            let whole = [b"before", &VALUE[..], b"between", &VALUE, b"after"].concat();
            assert_eq!(digest.unwrap(), hash(mechanism, &whole).unwrap(), "{mechanism}");
            // INV-1: nothing of the key is in what comes back, and no two are alike.
            for state in [&first, &second] {
                assert!(!state.windows(8).any(|part| part == &VALUE[..8]));
            }
            assert_ne!(bench.absorb(&bench.user, mechanism, b"before", &key).unwrap(), first);
        }
    }
}

#[test]
fn a_sealed_state_opens_where_it_belongs_and_nowhere_else() {
    let bench = bench(Policy::Standard);
    let key = bench.aes(&[]).unwrap();
    let sealed = bench.absorb(&bench.user, M::SHA256, b"", &key).unwrap();
    let digest = bench.digest_of(&bench.user, &sealed).unwrap();
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        assert_eq!(
            bench.digest_of(&bench.user, &changed),
            Err(Rv::SAVED_STATE_INVALID),
            "{at}"
        );
        assert!(bench.digest_of(&bench.user, &sealed[..at]).is_err());
    }
    let other = bench.step(&bench.user, M::SHA384, DigestFrom::Sealed(&sealed), (b"", None, true));
    assert_eq!(other, Err(Rv::SAVED_STATE_INVALID), "another hash");
    // The key is private: without a user's login, and for anybody else's, it is nothing.
    let stranger = context(&bench.keys, caller(2), UserType::USER, PIN);
    for context in [&bench.nobody, &bench.so, &stranger] {
        assert_eq!(bench.digest_of(context, &sealed), Err(Rv::SAVED_STATE_INVALID));
    }
    let elsewhere = super::bench(Policy::Standard);
    let there = elsewhere.digest_of(&elsewhere.user, &sealed);
    assert_eq!(there, Err(Rv::SAVED_STATE_INVALID), "another token");
    // Another login of the same identity goes on with it: C_GetOperationState, C_SetOperationState.
    let again = context(&bench.keys, caller(1), UserType::USER, PIN);
    assert_eq!(bench.digest_of(&again, &sealed), Ok(digest));
    // A new PIN by the SO ends all logins, and what hangs on them.
    let so = bench.so.login.as_ref().unwrap();
    bench.keys.init_pin(so, PIN, operation()).unwrap();
    let user = context(&bench.keys, caller(1), UserType::USER, PIN);
    assert_eq!(bench.digest_of(&user, &sealed), Err(Rv::SAVED_STATE_INVALID));
}

/// DESIGN 8: a key that has wrapped a sensitive key is left with wrapping. INV-6: a key that was destroyed is in no digest.
#[test]
fn a_digest_ends_with_its_keys() {
    let bench = bench(Policy::Standard);
    let wrapping = bench.aes(&[yes(A::WRAP)]).unwrap();
    let destroyed = bench.aes(&[]).unwrap();
    let prize = bench.aes(&[yes(A::EXTRACTABLE)]).unwrap();
    let states = [&wrapping, &destroyed].map(|key| bench.absorb(&bench.user, M::SHA256, b"", key).unwrap());
    assert!(states.iter().all(|state| bench.digest_of(&bench.user, state).is_ok()));
    bench.wrap(&wrapping, &plain(M::AES_KEY_WRAP), &prize).unwrap();
    bench
        .keys
        .destroy_object(&bench.user, &destroyed.name(), operation())
        .unwrap();
    for state in &states {
        assert_eq!(bench.digest_of(&bench.user, state), Err(Rv::SAVED_STATE_INVALID));
    }
    let latched = bench.absorb(&bench.user, M::SHA256, b"", &wrapping);
    assert_eq!(latched, Err(Rv::KEY_INDIGESTIBLE));
    let gone = bench.absorb(&bench.user, M::SHA256, b"", &destroyed);
    assert_eq!(gone, Err(Rv::KEY_HANDLE_INVALID));
}

#[test]
fn only_secret_keys_that_a_digest_does_not_give_away_are_digested() {
    let bench = bench(Policy::Standard);
    let refused = |key: &ObjectView| bench.absorb(&bench.user, M::SHA256, b"", key).map(|_| ());
    let (public, private) = bench.ec(&[], &[]).unwrap();
    for key in [&public, &private] {
        assert_eq!(refused(key), Err(Rv::KEY_INDIGESTIBLE));
    }
    let data = template(&[class(ObjectClass::DATA), Attribute::bytes(A::VALUE, b"1")]);
    let data = bench.keys.create_object(&bench.user, id(), &data).unwrap();
    assert_eq!(refused(&data), Err(Rv::KEY_HANDLE_INVALID));
    let allowed = Attribute::bytes(A::ALLOWED_MECHANISMS, &M::SHA256_HMAC.0.to_le_bytes());
    let make = |all: &Template| bench.keys.create_object(&bench.user, id(), all).unwrap();
    assert_eq!(refused(&make(&generic(32, &[allowed]))), Err(Rv::KEY_INDIGESTIBLE));
    // The specification's code for what is wrong with the length (5.12.4).
    assert_eq!(refused(&make(&generic(13, &[]))), Err(Rv::KEY_SIZE_RANGE));
    assert_eq!(refused(&make(&generic(14, &[]))), Ok(()));
    let readable = [no(A::SENSITIVE), yes(A::EXTRACTABLE)];
    assert_eq!(refused(&make(&generic(1, &readable))), Ok(()), "it may be read anyway");
    let key = bench.aes(&[]).unwrap();
    let nobody = bench.absorb(&bench.nobody, M::SHA256, b"", &key);
    assert_eq!(nobody, Err(Rv::KEY_HANDLE_INVALID));
    let no_digest = bench.step(
        &bench.user,
        M::AES_CBC,
        DigestFrom::Clear(b""),
        (b"", Some(&key), false),
    );
    assert_eq!(no_digest, Err(Rv::MECHANISM_INVALID));
    let no_state = bench.step(
        &bench.user,
        M::SHA256,
        DigestFrom::Clear(b"x"),
        (b"", Some(&key), false),
    );
    assert_eq!(no_state, Err(Rv::SAVED_STATE_INVALID));
    let legacy = super::bench(Policy::Legacy);
    let short = legacy.keys.create_object(&legacy.user, id(), &generic(1, &[])).unwrap();
    assert!(
        legacy.absorb(&legacy.user, M::SHA256, b"", &short).is_ok(),
        "as SoftHSM"
    );
}
