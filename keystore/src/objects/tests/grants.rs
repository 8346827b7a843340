//! Keys with CKA_ALWAYS_AUTHENTICATE: the daemon refuses every use without a grant, and redeems each grant once.

use hsmd_proto::init::Operation;

use super::*;
use crate::GrantId;

const DATA: &[u8] = &[7; 32];

impl Bench {
    fn granted(&self, operation_wanted: Operation, mechanism: &Mechanism, key: &ObjectView) -> Result<GrantId, Rv> {
        let purpose = (operation_wanted, mechanism, &key.name());
        self.keys.grant(&self.user, purpose, PIN, operation())
    }

    fn sign_with(
        &self,
        grant: Option<GrantId>,
        mechanism: &Mechanism,
        key: &ObjectView,
        data: &[u8],
    ) -> Result<(), Rv> {
        let context = Context {
            grant,
            ..self.user.clone()
        };
        let mut out = Vec::new();
        self.keys
            .sign(&context, &key.name(), mechanism, Input::Message(data), &mut out)
    }
}

#[test]
fn a_grant_is_for_one_operation_with_one_key_and_one_text() {
    let bench = bench(Policy::Standard);
    let always = [yes(A::ALWAYS_AUTHENTICATE), yes(A::TOKEN)];
    let (_, key) = bench.ec(&[], &always).unwrap();
    let (_, other) = bench.ec(&[], &always).unwrap();
    let (ecdsa, hashing) = (plain(M::ECDSA), plain(M::ECDSA_SHA256));
    let refused = Err(Rv::USER_NOT_LOGGED_IN);
    assert_eq!(bench.sign_with(None, &ecdsa, &key, DATA), refused);
    assert_eq!(
        bench.sign_with(GrantId::from_slice(&[1; 16]), &ecdsa, &key, DATA),
        refused
    );

    let grant = Some(bench.granted(Operation::Sign, &ecdsa, &key).unwrap());
    assert_eq!(bench.sign_with(grant, &ecdsa, &other, DATA), refused, "another key");
    assert_eq!(
        bench.sign_with(grant, &hashing, &key, DATA),
        refused,
        "another mechanism"
    );
    let elsewhere = Context {
        grant,
        ..context(&bench.keys, caller(1), UserType::USER, PIN)
    };
    let stolen = bench
        .keys
        .sign(&elsewhere, &key.name(), &ecdsa, Input::Message(DATA), &mut Vec::new());
    assert_eq!(stolen, refused, "another login");
    assert_eq!(bench.sign_with(grant, &ecdsa, &key, DATA), Ok(()));
    assert_eq!(bench.sign_with(grant, &ecdsa, &key, &[8; 32]), refused, "it is used up");
    // The request again whose reply was lost (INV-10).
    assert_eq!(bench.sign_with(grant, &ecdsa, &key, DATA), Ok(()));

    let (_, rsa) = bench
        .rsa(&[], &[yes(A::ALWAYS_AUTHENTICATE), yes(A::SIGN_RECOVER)])
        .unwrap();
    let pkcs = plain(M::RSA_PKCS);
    let recover = |grant| {
        let context = Context {
            grant,
            ..bench.user.clone()
        };
        bench
            .keys
            .sign_recover(&context, &rsa.name(), &pkcs, DATA, &mut Vec::new())
    };
    let decrypt = |grant| {
        let context = Context {
            grant,
            ..bench.user.clone()
        };
        bench
            .keys
            .decrypt(&context, &rsa.name(), &pkcs, &[1; 256], &mut Vec::new())
    };
    assert_eq!((recover(None), decrypt(None)), (refused, refused));
    let sign = Some(bench.granted(Operation::Sign, &pkcs, &rsa).unwrap());
    assert_eq!((recover(sign), decrypt(sign)), (refused, refused), "another operation");
    assert_eq!(
        recover(Some(bench.granted(Operation::SignRecover, &pkcs, &rsa).unwrap())),
        Ok(())
    );
    assert_eq!(
        decrypt(Some(bench.granted(Operation::Decrypt, &pkcs, &rsa).unwrap())),
        Ok(())
    );
}

#[test]
fn a_wrong_pin_is_counted_and_grants_nothing() {
    let bench = bench(Policy::Standard);
    let (_, key) = bench.ec(&[], &[yes(A::ALWAYS_AUTHENTICATE)]).unwrap();
    let (_, free) = bench.ec(&[], &[]).unwrap();
    let ecdsa = plain(M::ECDSA);
    let none = bench.granted(Operation::Sign, &ecdsa, &free).map(|_| ());
    assert_eq!(none, Err(Rv::OPERATION_NOT_INITIALIZED), "it does not ask for one");
    let purpose = (Operation::Sign, &ecdsa, &key.name());
    let attempt = operation();
    let first = bench.keys.grant(&bench.user, purpose, PIN, attempt).unwrap();
    // The same try repeated is the same grant, not a second one (INV-10).
    let second = bench.keys.grant(&bench.user, purpose, PIN, attempt).unwrap();
    assert!(first == second);
    // INV-8
    for _ in 0..9 {
        let wrong = bench.keys.grant(&bench.user, purpose, b"wrong pin", operation());
        assert_eq!(wrong.map(|_| ()), Err(Rv::PIN_INCORRECT));
    }
    assert_eq!(bench.sign_with(Some(first), &ecdsa, &key, DATA), Ok(()));
    let last = bench.keys.grant(&bench.user, purpose, b"wrong pin", operation());
    assert_eq!(last.map(|_| ()), Err(Rv::PIN_INCORRECT));
    // The tenth has locked the role, and logged everybody out (PKCS#11 3.2, 4.10).
    assert!(bench.granted(Operation::Sign, &ecdsa, &key).is_err());
    assert!(bench.sign_with(Some(first), &ecdsa, &key, DATA).is_err());
}

/// PKCS#11 3.2, 4.10: there is no operation in progress that the PIN could be given for.
#[test]
fn keys_that_want_the_pin_for_each_use_neither_unwrap_nor_derive() {
    let bench = bench(Policy::Standard);
    let always = [yes(A::ALWAYS_AUTHENTICATE), yes(A::UNWRAP)];
    let (public, private) = bench.rsa(&[yes(A::WRAP)], &always).unwrap();
    let prize = bench.aes(&[yes(A::EXTRACTABLE)]).unwrap();
    let blob = bench.wrap(&public, &oaep(), &prize).unwrap();
    let unwrapped = bench.unwrap(&private, &oaep(), &blob, &aes_template(&[]));
    assert_eq!(unwrapped.map(|_| ()), Err(Rv::USER_NOT_LOGGED_IN));
    let (_, base) = bench.ec(&[], &[yes(A::ALWAYS_AUTHENTICATE), yes(A::DERIVE)]).unwrap();
    let (peer, _) = bench.ec(&[], &[]).unwrap();
    let mechanism = ecdh(&bench.read(&peer, A::EC_POINT).unwrap());
    let derived = bench
        .keys
        .derive_key(&bench.user, &base.name(), &mechanism, id(), &aes_template(&[]));
    assert_eq!(derived.map(|_| ()), Err(Rv::USER_NOT_LOGGED_IN));
}
