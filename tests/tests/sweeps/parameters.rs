//! A parameter that fits, for each mechanism of the table.

use cryptoki_sys::*;
use hsmd_proto::mechanism::{ParamKind, Row};
use hsmd_proto::policy::Policy;
use hsmd_proto::tls::TlsSecret;
use hsmd_tests::template::{Mechanism, Word, words};

use super::stage::TEXT;

/// The parameter that a mechanism takes, if this test knows its kind.
pub(super) fn good(row: &Row, point: &[u8], policy: Policy) -> Option<Mechanism> {
    let kind = row.mechanism.0;
    let hash = row.hash.map_or(CKM_SHA256, |hash| hash.0);
    // Zeros ask for one of the daemon's.
    let nonce = || vec![if policy.makes_ivs() { 0 } else { 9 }; 12];
    Some(match row.params {
        ParamKind::None | ParamKind::Eddsa => Mechanism::Plain(kind),
        ParamKind::Iv(length) | ParamKind::OptionalIv(length) => Mechanism::Bytes(kind, vec![7; length]),
        ParamKind::Ctr => Mechanism::Bytes(kind, [&64_u64.to_ne_bytes()[..], &[7; 16]].concat()),
        ParamKind::MacLength => Mechanism::Bytes(kind, 8_u64.to_ne_bytes().to_vec()),
        ParamKind::Gcm if kind == CKM_AES_GMAC => Mechanism::Gmac { iv: nonce() },
        ParamKind::TlsMac => words(kind, &[CKM_SHA256, 12, 1].map(|word| Word::Number(word as usize))),
        ParamKind::Tls(secret) => {
            let random = [Word::Bytes(&[7; 32]), Word::Number(32)];
            let (hash, randoms) = (Word::Number(CKM_SHA256 as usize), [random, random].concat());
            match secret {
                TlsSecret::Master => words(kind, &[&randoms[..], &[Word::Number(0), hash]].concat()),
                TlsSecret::ExtendedMaster => words(kind, &[&[hash], &random[..], &[Word::Number(0)]].concat()),
                TlsSecret::Exported => {
                    let label = [hash, Word::Bytes(b"test label"), Word::Number(10)];
                    words(kind, &[&label[..], &randoms, &[Word::Number(0); 2]].concat())
                }
            }
        }
        ParamKind::PeerValue => Mechanism::Bytes(kind, vec![4]),
        ParamKind::Bit => words(kind, &[Word::Number(8)]),
        ParamKind::Data => words(kind, &[Word::Bytes(&[5; 16]), Word::Number(16)]),
        ParamKind::RsaAes => {
            let oaep = [CKM_SHA256, CKG_MGF1_SHA256, CKZ_DATA_SPECIFIED, 0, 0];
            let oaep: Vec<u8> = oaep.iter().flat_map(|word| word.to_ne_bytes()).collect();
            words(kind, &[Word::Number(256), Word::Bytes(&oaep)])
        }
        ParamKind::EcdhAes => {
            let kdf = Word::Number(CKD_SHA256_KDF as usize);
            words(kind, &[Word::Number(256), kdf, Word::Number(0), Word::Number(0)])
        }
        ParamKind::Gcm => Mechanism::Gcm {
            iv: nonce(),
            aad: Vec::new(),
            tag_bits: 128,
        },
        ParamKind::Pss => Mechanism::Pss {
            kind,
            hash,
            mgf: mgf(hash),
            salt: 20,
        },
        ParamKind::Oaep => Mechanism::Oaep {
            hash: CKM_SHA256,
            mgf: CKG_MGF1_SHA256,
        },
        ParamKind::Ccm => Mechanism::Ccm {
            length: TEXT.len() as CK_ULONG,
            nonce: nonce(),
            aad: Vec::new(),
            tag: 16,
        },
        ParamKind::ChaCha => Mechanism::ChaCha {
            nonce: nonce(),
            aad: Vec::new(),
        },
        ParamKind::Hkdf if kind == CKM_HKDF_DERIVE => Mechanism::Hkdf {
            hash,
            salt: Vec::new(),
            info: b"matrix".to_vec(),
        },
        ParamKind::Ecdh if kind == CKM_ECDH1_DERIVE => Mechanism::Ecdh { public: point.to_vec() },
        // A kind that joins the table is tried without a parameter: any listed code is good.
        _ => return None,
    })
}

fn mgf(hash: CK_MECHANISM_TYPE) -> CK_ULONG {
    match hash {
        CKM_SHA_1 => CKG_MGF1_SHA1,
        CKM_SHA224 => CKG_MGF1_SHA224,
        CKM_SHA384 => CKG_MGF1_SHA384,
        CKM_SHA512 => CKG_MGF1_SHA512,
        CKM_SHA3_224 => CKG_MGF1_SHA3_224,
        CKM_SHA3_256 => CKG_MGF1_SHA3_256,
        CKM_SHA3_384 => CKG_MGF1_SHA3_384,
        CKM_SHA3_512 => CKG_MGF1_SHA3_512,
        _ => CKG_MGF1_SHA256,
    }
}
