//! The provider's hot path: one operation on a key that is open, without socket, store or policy.
#![expect(clippy::expect_used, reason = "in a bench a failed step ends the run")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hsmd_benches::{DIGEST, SIZES};
use hsmd_crypto::{Generate, Input, Key, generate};
use hsmd_proto::ck::MechanismType;
use hsmd_proto::meta::Curve;
use hsmd_proto::params::{GcmParams, Mechanism, Params};

fn open(what: &Generate) -> Key {
    Key::open(&generate(what).expect("a key")).expect("an open key")
}

fn sign(c: &mut Criterion) {
    let rsa = |bits| Generate::Rsa {
        bits,
        exponent: vec![1, 0, 1],
    };
    let rows = [
        ("rsa-2048", rsa(2048), MechanismType::RSA_PKCS),
        ("rsa-4096", rsa(4096), MechanismType::RSA_PKCS),
        ("p-256", Generate::Ec(Curve::P256), MechanismType::ECDSA),
        ("p-384", Generate::Ec(Curve::P384), MechanismType::ECDSA),
        ("ed25519", Generate::Ed25519, MechanismType::EDDSA),
    ];
    let mut group = c.benchmark_group("provider/sign");
    for (name, what, mechanism) in rows {
        let (key, mechanism) = (open(&what), Mechanism::plain(mechanism));
        let mut out = Vec::with_capacity(1024);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                out.clear();
                key.sign(&mechanism, Input::Message(&DIGEST), &mut out)
                    .expect("a signature");
            });
        });
    }
    group.finish();
}

fn symmetric(c: &mut Criterion) {
    let key = open(&Generate::Secret { bytes: 32 });
    let gcm = Params::Gcm(GcmParams {
        iv: vec![7; 12],
        aad: Vec::new(),
        tag_bits: 128,
    });
    let gcm = Mechanism {
        kind: MechanismType::AES_GCM,
        params: gcm,
    };
    let hmac = Mechanism::plain(MechanismType::SHA256_HMAC);
    for size in SIZES {
        let data = vec![1; size];
        let mut out = Vec::with_capacity(size + 64);
        let mut group = c.benchmark_group("provider/symmetric");
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new("aes-256-gcm", size), |bencher| {
            bencher.iter(|| {
                out.clear();
                key.encrypt(&gcm, &data, &mut out).expect("ciphertext");
            });
        });
        group.bench_function(BenchmarkId::new("hmac-sha256", size), |bencher| {
            bencher.iter(|| {
                out.clear();
                key.sign(&hmac, Input::Message(&data), &mut out).expect("a MAC");
            });
        });
        group.finish();
    }
}

criterion_group!(benches, sign, symmetric);
criterion_main!(benches);
