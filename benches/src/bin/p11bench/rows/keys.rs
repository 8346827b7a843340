//! The keys of the rows: made once in each token, found by label. They carry a prefix, so that a token of somebody else
//! gets them back out.

use cryptoki_sys::*;
use hsmd_tests::module::{Module, Object, Session};
use hsmd_tests::rv::Rv;
use hsmd_tests::template::{Attribute, Mechanism, bytes, flag, number};

use crate::rows::Bed;
use crate::worker::Attached;

/// The DER of the named curve P-256 (RFC 5480, 2.1.1.1).
pub(super) const P256: &[u8] = b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
const P384: &[u8] = b"\x06\x05\x2b\x81\x04\x00\x22";
/// The printable name of the curve, which SoftHSM2 takes as well as we do (PKCS#11 3.0, 2.3.10).
const ED25519: &[u8] = b"\x13\x0cedwards25519";

/// Names, mechanisms and parameters of the pairs.
const PAIRS: [(&str, CK_MECHANISM_TYPE); 5] = [
    ("rsa2048", CKM_RSA_PKCS_KEY_PAIR_GEN),
    ("rsa4096", CKM_RSA_PKCS_KEY_PAIR_GEN),
    ("p256", CKM_EC_KEY_PAIR_GEN),
    ("p384", CKM_EC_KEY_PAIR_GEN),
    ("ed25519", CKM_EC_EDWARDS_KEY_PAIR_GEN),
];

/// Names and mechanisms of the secret keys.
const SECRETS: [(&str, CK_MECHANISM_TYPE); 2] = [("aes", CKM_AES_KEY_GEN), ("hmac", CKM_GENERIC_SECRET_KEY_GEN)];

fn label(name: &str) -> String {
    format!("p11bench-{name}")
}

/// The key of this name and class.
pub(crate) fn find(module: &Module, session: Session, name: &str, class: u64) -> Result<Object, Rv> {
    let hits = module.find(session, &wanted(name, class))?;
    hits.first().copied().ok_or(Rv(CKR_KEY_HANDLE_INVALID))
}

/// The template that finds a key.
pub(super) fn wanted(name: &str, class: u64) -> [Attribute; 2] {
    [number(CKA_CLASS, class), bytes(CKA_LABEL, label(name))]
}

/// [`find`] for a row.
pub(super) fn of(bed: &Bed<'_>, name: &str, class: u64) -> Result<Object, Rv> {
    find(bed.module, bed.session, name, class)
}

fn parameter(name: &str) -> Attribute {
    match name {
        "rsa2048" => number(CKA_MODULUS_BITS, 2048),
        "rsa4096" => number(CKA_MODULUS_BITS, 4096),
        "p256" => bytes(CKA_EC_PARAMS, P256),
        "p384" => bytes(CKA_EC_PARAMS, P384),
        _ => bytes(CKA_EC_PARAMS, ED25519),
    }
}

/// Makes what the token lacks. A kind that the module does not have is left out; its row then says so.
pub(crate) fn make(attached: &Attached) -> Result<(), String> {
    let (module, session) = (&attached.module, attached.session);
    let labelled = |name: &str| {
        vec![
            bytes(CKA_LABEL, label(name)),
            bytes(CKA_ID, label(name)),
            flag(CKA_TOKEN, true),
        ]
    };
    let mut made = 0;
    for (name, mechanism) in PAIRS {
        if find(module, session, name, CKO_PRIVATE_KEY).is_ok() {
            made += 1;
            continue;
        }
        let rsa = name.starts_with("rsa");
        let mut public = labelled(name);
        public.extend([parameter(name), flag(CKA_VERIFY, true), flag(CKA_ENCRYPT, rsa)]);
        let mut private = labelled(name);
        private.extend([
            flag(CKA_PRIVATE, true),
            flag(CKA_SENSITIVE, true),
            flag(CKA_SIGN, true),
            flag(CKA_DERIVE, name.starts_with('p')),
            flag(CKA_DECRYPT, rsa),
        ]);
        let pair = module.generate_key_pair(session, &Mechanism::Plain(mechanism), &public, &private);
        made += u32::from(pair.is_ok());
    }
    for (name, mechanism) in SECRETS {
        if find(module, session, name, CKO_SECRET_KEY).is_ok() {
            made += 1;
            continue;
        }
        let mac = name == "hmac";
        let mut template = labelled(name);
        template.extend([
            flag(CKA_PRIVATE, true),
            flag(CKA_SENSITIVE, true),
            flag(CKA_SIGN, mac),
            flag(CKA_VERIFY, mac),
            flag(CKA_ENCRYPT, !mac),
            flag(CKA_DECRYPT, !mac),
            number(CKA_VALUE_LEN, 32),
        ]);
        let key = module.generate_key(session, &Mechanism::Plain(mechanism), &template);
        made += u32::from(key.is_ok());
    }
    if made == 0 {
        return Err("the token took none of the keys".to_owned());
    }
    Ok(())
}

/// Destroys the keys of the rows.
pub(crate) fn remove(attached: &Attached) -> Result<(), String> {
    let (module, session) = (&attached.module, attached.session);
    let names = PAIRS
        .iter()
        .map(|(name, _)| name)
        .chain(SECRETS.iter().map(|(name, _)| name));
    for name in names {
        let hits = module
            .find(session, &[bytes(CKA_LABEL, label(name))])
            .map_err(|rv| format!("C_FindObjects: {rv}"))?;
        for key in hits {
            module
                .destroy(session, key)
                .map_err(|rv| format!("C_DestroyObject: {rv}"))?;
        }
    }
    Ok(())
}
