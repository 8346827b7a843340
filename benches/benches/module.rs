//! The path through the module: Init and one call, as an application makes them, to a daemon in another process.
#![expect(clippy::expect_used, reason = "in a bench a failed step ends the run")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use cryptoki_sys::{
    CKA_EC_PARAMS, CKA_ID, CKA_LABEL, CKA_MODULUS_BITS, CKA_TOKEN, CKA_VALUE_LEN, CKM_AES_KEY_GEN,
    CKM_EC_EDWARDS_KEY_PAIR_GEN, CKM_EC_KEY_PAIR_GEN, CKM_ECDSA, CKM_EDDSA, CKM_GENERIC_SECRET_KEY_GEN, CKM_RSA_PKCS,
    CKM_RSA_PKCS_KEY_PAIR_GEN, CKM_SHA256_HMAC, CKU_USER,
};
use hsmd_benches::{DIGEST, SIZES};
use hsmd_tests::daemon::Daemon;
use hsmd_tests::module::Module;
use hsmd_tests::template::{Attribute, Mechanism, bytes, flag, number};

struct Bed {
    module: Module,
    session: u64,
    _daemon: Daemon,
}

fn bed() -> Bed {
    let daemon = Daemon::start();
    let module = daemon.module();
    module.initialize().expect("C_Initialize");
    let slot = module.slot_of(daemon.variable("HSMD_TOKEN_LABEL"));
    let session = module.open_session(slot).expect("C_OpenSession");
    module
        .login(session, CKU_USER, daemon.variable("HSMD_PIN"))
        .expect("C_Login");
    Bed {
        module,
        session,
        _daemon: daemon,
    }
}

fn sign(c: &mut Criterion) {
    let bed = bed();
    let curve = |oid: &[u8]| vec![bytes(CKA_EC_PARAMS, oid)];
    let rsa = |bits| vec![number(CKA_MODULUS_BITS, bits)];
    let rows: [(&str, u64, Vec<Attribute>, u64); 5] = [
        ("rsa-2048", CKM_RSA_PKCS_KEY_PAIR_GEN, rsa(2048), CKM_RSA_PKCS),
        ("rsa-4096", CKM_RSA_PKCS_KEY_PAIR_GEN, rsa(4096), CKM_RSA_PKCS),
        (
            "p-256",
            CKM_EC_KEY_PAIR_GEN,
            curve(b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07"),
            CKM_ECDSA,
        ),
        (
            "p-384",
            CKM_EC_KEY_PAIR_GEN,
            curve(b"\x06\x05\x2b\x81\x04\x00\x22"),
            CKM_ECDSA,
        ),
        (
            "ed25519",
            CKM_EC_EDWARDS_KEY_PAIR_GEN,
            curve(b"\x06\x03\x2b\x65\x70"),
            CKM_EDDSA,
        ),
    ];
    let mut group = c.benchmark_group("module/sign");
    for (name, generate, public, mechanism) in rows {
        let pair = bed.module.generate_key_pair(
            bed.session,
            &Mechanism::Plain(generate),
            &public,
            &[flag(CKA_TOKEN, true)],
        );
        let (_, key) = pair.expect("a key pair");
        let mechanism = Mechanism::Plain(mechanism);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                bed.module
                    .sign(bed.session, &mechanism, key, &DIGEST)
                    .expect("a signature")
            });
        });
    }
    group.finish();
}

fn symmetric(c: &mut Criterion) {
    let bed = bed();
    let secret = |generate| {
        let template = [number(CKA_VALUE_LEN, 32), flag(CKA_TOKEN, true)];
        bed.module
            .generate_key(bed.session, &Mechanism::Plain(generate), &template)
            .expect("a key")
    };
    let (aes, mac) = (secret(CKM_AES_KEY_GEN), secret(CKM_GENERIC_SECRET_KEY_GEN));
    let hmac = Mechanism::Plain(CKM_SHA256_HMAC);
    let mut count = 0_u64;
    for size in SIZES {
        let data = vec![1; size];
        let mut group = c.benchmark_group("module/symmetric");
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new("aes-256-gcm", size), |bencher| {
            bencher.iter(|| {
                count += 1;
                let iv = [&count.to_le_bytes()[..], &[0; 4]].concat();
                let gcm = Mechanism::Gcm {
                    iv,
                    aad: Vec::new(),
                    tag_bits: 128,
                };
                bed.module.encrypt(bed.session, &gcm, aes, &data).expect("ciphertext")
            });
        });
        group.bench_function(BenchmarkId::new("hmac-sha256", size), |bencher| {
            bencher.iter(|| bed.module.sign(bed.session, &hmac, mac, &data).expect("a MAC"));
        });
        group.finish();
    }
}

fn local(c: &mut Criterion) {
    let bed = bed();
    let mut group = c.benchmark_group("module/local");
    group.bench_function("random-32", |bencher| {
        bencher.iter(|| bed.module.random(bed.session, 32).expect("bytes"))
    });
    let label = [bytes(CKA_LABEL, "nothing has this label"), bytes(CKA_ID, [1])];
    group.bench_function("find", |bencher| {
        bencher.iter(|| bed.module.find(bed.session, &label).expect("a search"))
    });
    group.finish();
}

criterion_group!(benches, sign, symmetric, local);
criterion_main!(benches);
