//! Encapsulation: the rules of DESIGN 8 for what comes out of it, templates, retries. That secrets are right is shown in
//! `hsmd-crypto` and, through C, in the `tests` crate.

use hsmd_proto::attribute::encode_nested;
use hsmd_proto::parameter_set::ParameterSet;

use super::*;

const KEM: Mechanism = Mechanism::plain(M::ML_KEM);

fn pair(bench: &Bench, public: &[Attribute], private: &[Attribute]) -> (ObjectView, ObjectView) {
    let set = Attribute::ulong(A::PARAMETER_SET, ParameterSet::MlKem768.number());
    let public = [&[set], public].concat();
    bench.pair(M::ML_KEM_KEY_PAIR_GEN, &public, private).unwrap()
}

fn encapsulate(bench: &Bench, key: &ObjectView, all: &Template) -> Result<(ObjectView, Vec<u8>), Rv> {
    bench.keys.encapsulate_key(&bench.user, &key.name(), &KEM, id(), all)
}

fn decapsulate(bench: &Bench, key: &ObjectView, ciphertext: &[u8], all: &Template) -> Result<ObjectView, Rv> {
    bench
        .keys
        .decapsulate_key(&bench.user, &key.name(), &KEM, ciphertext, id(), all)
}

fn check_value(view: &ObjectView) -> Vec<u8> {
    view.attributes.value(A::CHECK_VALUE).unwrap().to_vec()
}

#[test]
fn both_halves_give_the_same_key() {
    let bench = bench(Policy::Standard);
    let (public, private) = pair(&bench, &[], &[]);
    assert!(flag(&public, A::ENCAPSULATE) && flag(&private, A::DECAPSULATE));
    assert!(!flag(&private, A::DERIVE) && !flag(&private, A::SIGN) && !flag(&public, A::VERIFY));
    let (here, ciphertext) = encapsulate(&bench, &public, &aes_template(&[])).unwrap();
    let there = decapsulate(&bench, &private, &ciphertext, &aes_template(&[])).unwrap();
    assert_eq!(check_value(&here), check_value(&there));
    for made in [&here, &there] {
        assert!(flag(made, A::SENSITIVE) && !flag(made, A::EXTRACTABLE) && !flag(made, A::LOCAL));
        assert!(!flag(made, A::ALWAYS_SENSITIVE) && !flag(made, A::NEVER_EXTRACTABLE));
    }
}

// INV-10: a retry of the same request, whose reply was lost, finds the key and the ciphertext of the first try.
#[test]
fn a_retry_finds_what_the_first_try_made() {
    let bench = bench(Policy::Standard);
    let (public, private) = pair(&bench, &[], &[]);
    let (all, id) = (aes_template(&[yes(A::TOKEN)]), id());
    let run = |all: &Template| bench.keys.encapsulate_key(&bench.user, &public.name(), &KEM, id, all);
    let (first, ciphertext) = run(&all).unwrap();
    let (second, again) = run(&all).unwrap();
    assert_eq!((first.id, &ciphertext), (second.id, &again));
    let other = run(&aes_template(&[yes(A::TOKEN), label("other")])).map(|_| ());
    assert_eq!(other, Err(Rv::FUNCTION_FAILED), "the id is taken");
    let there = decapsulate(&bench, &private, &again, &aes_template(&[])).unwrap();
    assert_eq!(check_value(&there), check_value(&first));
    // What is kept for the retry is no attribute.
    let kept = super::super::commit::ANSWER;
    assert_eq!(bench.read(&first, kept), Err(Rv::ATTRIBUTE_TYPE_INVALID));
    let named = Attribute::bytes(kept, b"x");
    assert!(run(&aes_template(&[named])).is_err());
    let run = |all: &Template| {
        bench
            .keys
            .decapsulate_key(&bench.user, &private.name(), &KEM, &ciphertext, id, all)
    };
    assert_eq!(run(&all).map(|_| ()), Err(Rv::FUNCTION_FAILED), "another function");
}

// DESIGN 8, A04: whoever made the ciphertext knows the key.
#[test]
fn what_comes_out_is_from_outside_and_wraps_nothing_sensitive() {
    let bench = bench(Policy::Standard);
    let (public, private) = pair(&bench, &[], &[]);
    let kek = aes_template(&[yes(A::WRAP), yes(A::UNWRAP)]);
    let (here, ciphertext) = encapsulate(&bench, &public, &kek).unwrap();
    let there = decapsulate(&bench, &private, &ciphertext, &kek).unwrap();
    let key = bench.aes(&[yes(A::EXTRACTABLE)]).unwrap();
    for kek in [&here, &there] {
        let blob = bench.wrap(kek, &plain(M::AES_KEY_WRAP_KWP), &key);
        assert_eq!(blob, Err(Rv::KEY_NOT_WRAPPABLE));
    }
}

#[test]
fn templates_of_the_pair_hold() {
    let bench = bench(Policy::Standard);
    let imposed = |attribute| {
        let nested = template(&[no(A::EXTRACTABLE), yes(A::SENSITIVE)]);
        Attribute::bytes(attribute, &encode_nested(&nested))
    };
    let (public, private) = pair(
        &bench,
        &[imposed(A::ENCAPSULATE_TEMPLATE)],
        &[imposed(A::DECAPSULATE_TEMPLATE)],
    );
    let open = aes_template(&[yes(A::EXTRACTABLE)]);
    let inconsistent = Err(Rv::TEMPLATE_INCONSISTENT);
    assert_eq!(encapsulate(&bench, &public, &open).map(|_| ()), inconsistent);
    let (made, ciphertext) = encapsulate(&bench, &public, &aes_template(&[])).unwrap();
    assert!(flag(&made, A::SENSITIVE) && !flag(&made, A::EXTRACTABLE));
    assert_eq!(
        decapsulate(&bench, &private, &ciphertext, &open).map(|_| ()),
        inconsistent
    );
    assert!(decapsulate(&bench, &private, &ciphertext, &aes_template(&[])).is_ok());
}

#[test]
fn strict_gives_no_flag_that_is_not_named() {
    let bench = bench(Policy::Strict);
    let (public, private) = pair(&bench, &[], &[]);
    let (all, refused) = (aes_template(&[]), Err(Rv::KEY_FUNCTION_NOT_PERMITTED));
    assert_eq!(encapsulate(&bench, &public, &all).map(|_| ()), refused);
    assert_eq!(decapsulate(&bench, &private, &[0; 1088], &all).map(|_| ()), refused);
    let (public, private) = pair(&bench, &[yes(A::ENCAPSULATE)], &[yes(A::DECAPSULATE)]);
    let (_, ciphertext) = encapsulate(&bench, &public, &all).unwrap();
    assert!(decapsulate(&bench, &private, &ciphertext, &all).is_ok());
}
