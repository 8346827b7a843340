//! Keys and mechanisms that the tests share. The RSA keys are made once per run.

use hsmd_crypto::secret::Secret;
use hsmd_crypto::{Generate, Key, Material, generate};
use hsmd_proto::ck::{Kdf, MechanismType, Mgf};
use hsmd_proto::meta::Curve;
use hsmd_proto::params::{
    CcmParams, ChaChaParams, CtrParams, EcdhParams, GcmParams, Mechanism, OaepParams, Params, PssParams,
};
use std::sync::LazyLock;

pub(crate) static RSA_2048: LazyLock<Material> = LazyLock::new(|| rsa(2048));
pub(crate) static RSA_1024: LazyLock<Material> = LazyLock::new(|| rsa(1024));

fn rsa(bits: u32) -> Material {
    generate(&Generate::Rsa {
        bits,
        exponent: vec![1, 0, 1],
    })
    .unwrap()
}

pub(crate) fn open(material: &Material) -> Key {
    Key::open(material).unwrap()
}

pub(crate) fn secret(bytes: &[u8]) -> Key {
    open(&Material::Secret(Secret::from_slice(bytes)))
}

pub(crate) fn ec(curve: Curve) -> Material {
    generate(&Generate::Ec(curve)).unwrap()
}

pub(crate) fn mechanism(kind: MechanismType, params: Params) -> Mechanism {
    Mechanism { kind, params }
}

pub(crate) fn cbc(kind: MechanismType, iv: &[u8]) -> Mechanism {
    mechanism(kind, Params::Iv(iv.to_vec()))
}

pub(crate) fn ctr(counter_bits: u32, block: [u8; 16]) -> Mechanism {
    mechanism(MechanismType::AES_CTR, Params::Ctr(CtrParams { counter_bits, block }))
}

pub(crate) fn gcm(iv: &[u8], aad: &[u8], tag_bits: u32) -> Mechanism {
    let (iv, aad) = (iv.to_vec(), aad.to_vec());
    mechanism(MechanismType::AES_GCM, Params::Gcm(GcmParams { iv, aad, tag_bits }))
}

pub(crate) fn pss(kind: MechanismType, hash: MechanismType, mgf: Mgf, salt_length: u64) -> Mechanism {
    mechanism(kind, Params::Pss(PssParams { hash, mgf, salt_length }))
}

pub(crate) fn oaep(hash: MechanismType, mgf: Mgf, label: &[u8]) -> Mechanism {
    let label = label.to_vec();
    mechanism(
        MechanismType::RSA_PKCS_OAEP,
        Params::Oaep(OaepParams { hash, mgf, label }),
    )
}

pub(crate) fn ecdh(point: &[u8]) -> EcdhParams {
    EcdhParams {
        kdf: Kdf::NULL,
        shared_data: Vec::new(),
        public_point: point.to_vec(),
    }
}

pub(crate) fn ccm(data_length: u64, nonce: &[u8], aad: &[u8], mac_length: u64) -> Mechanism {
    let (nonce, aad) = (nonce.to_vec(), aad.to_vec());
    let params = CcmParams {
        data_length,
        nonce,
        aad,
        mac_length,
    };
    mechanism(MechanismType::AES_CCM, Params::Ccm(params))
}

pub(crate) fn chacha(nonce: &[u8], aad: &[u8]) -> Mechanism {
    let (nonce, aad) = (nonce.to_vec(), aad.to_vec());
    mechanism(
        MechanismType::CHACHA20_POLY1305,
        Params::ChaCha(ChaChaParams { nonce, aad }),
    )
}
