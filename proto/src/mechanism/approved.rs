//! The column of the mechanism table that says which standard approves a mechanism: what the policy `fips` has (SP 800-140C, SP
//! 800-131A r2). Families are matched one by one, so that a new one has to say what it is.

use super::{Family, ParamKind, Row};
use crate::ck::{Kdf, KeyType, MechanismType};
use crate::meta::Curve;
use crate::params::Params;
use crate::tls::TlsSecret;

/// Least length in bytes of a key of HMAC, and of a generic secret: 112 bits (SP 800-131A r2, 10).
const LEAST_SECRET: u64 = 14;
/// Least length in bytes of the salt of a password (SP 800-132, 5.1), and how often PBKDF2 iterates at least (5.2).
const LEAST_SALT: usize = 16;
const LEAST_ITERATIONS: u64 = 1000;
/// Least length in bytes of a MAC that the caller cuts: 32 bits (SP 800-107 r1, 5.3.3).
const LEAST_MAC: u64 = 4;

impl Row {
    /// The standard that approves the mechanism; `None`: the policy `fips` does not have it.
    #[must_use]
    pub fn approved(&self) -> Option<&'static str> {
        // SP 800-131A r2, 3: no signatures are made over SHA-1.
        let signs_sha1 = self.hash == Some(MechanismType::SHA_1)
            && matches!(self.family, Family::RsaPkcs1 | Family::RsaPss | Family::Ecdsa);
        if signs_sha1 || self.hash.is_some_and(|hash| !super::is_sha(hash)) {
            return None;
        }
        Some(match self.family {
            Family::Digest => match self.mechanism {
                MechanismType::SHA3_224
                | MechanismType::SHA3_256
                | MechanismType::SHA3_384
                | MechanismType::SHA3_512 => "FIPS 202",
                _ => "FIPS 180-4",
            },
            Family::Hmac => "FIPS 198-1",
            Family::RsaKeyPairGen | Family::RsaPkcs1 | Family::RsaPss => "FIPS 186-5",
            Family::RsaOaep => "SP 800-56B r2",
            Family::RsaAesWrap => "SP 800-56B r2, SP 800-38F",
            Family::EcdhAesWrap => "SP 800-56A r3, SP 800-38F",
            Family::EcKeyPairGen | Family::Ecdsa | Family::EdwardsKeyPairGen | Family::Eddsa => "FIPS 186-5",
            Family::Ecdh | Family::DhKeyPairGen | Family::Dh => "SP 800-56A r3",
            Family::MlDsaKeyPairGen | Family::MlDsa | Family::HashMlDsa => "FIPS 204",
            Family::MlKemKeyPairGen | Family::MlKem => "FIPS 203",
            Family::SlhDsaKeyPairGen | Family::SlhDsa | Family::HashSlhDsa => "FIPS 205",
            Family::Stateful => "SP 800-208",
            Family::Hkdf => "SP 800-56C r2",
            Family::Kbkdf => "SP 800-108 r1",
            Family::Pbkdf2 => "SP 800-132",
            // FIPS 140-3 IG D.Q: a master secret that is not bound to its handshake is approved no more.
            Family::Tls if self.params == ParamKind::Tls(TlsSecret::Master) => return None,
            Family::Tls | Family::TlsMac => "SP 800-135 r1",
            Family::AesKeyGen | Family::GenericSecretKeyGen | Family::HkdfKeyGen | Family::HmacKeyGen => {
                "SP 800-133 r2"
            }
            Family::AesEcb | Family::AesCbc | Family::AesCbcPad | Family::AesCts | Family::AesCtr => "SP 800-38A",
            Family::AesXtsKeyGen => "SP 800-133 r2",
            Family::AesXts => "SP 800-38E",
            Family::AesGcm | Family::AesGmac => "SP 800-38D",
            Family::AesCcm => "SP 800-38C",
            Family::AesKw | Family::AesKwp => "SP 800-38F",
            Family::AesCmac => "SP 800-38B",
            // Raw RSA has no padding; Curve25519 is not in SP 800-186 for agreement.
            Family::RsaRaw | Family::MontgomeryKeyPairGen | Family::ChaChaKeyGen | Family::ChaChaPoly => return None,
            // SP 800-131A r2, 2: no longer to encrypt.
            Family::Des3KeyGen | Family::Des3Ecb | Family::Des3Cbc | Family::Des3CbcPad | Family::Des3Cmac => {
                return None;
            }
            // SP 800-108 and SP 800-56C derive; these put together.
            Family::Concatenate | Family::Xor | Family::Extract | Family::Shake => return None,
        })
    }

    /// The smallest key that `fips` asks for beyond the table, in the row's unit.
    pub(super) fn least_approved(&self) -> u64 {
        match self.family {
            Family::Hmac
            | Family::GenericSecretKeyGen
            | Family::HkdfKeyGen
            | Family::HmacKeyGen
            | Family::Hkdf
            | Family::Kbkdf
            | Family::Tls
            | Family::TlsMac
            | Family::Pbkdf2 => LEAST_SECRET,
            _ if self.key_types == [KeyType::RSA] => 2048,
            _ => 0,
        }
    }
}

impl Curve {
    /// Whether keys on this curve are approved (SP 800-186, 3.2).
    #[must_use]
    pub const fn approved(self) -> bool {
        match self {
            Self::P224 | Self::P256 | Self::P384 | Self::P521 | Self::Ed25519 => true,
            Self::Secp256k1 | Self::X25519 => false,
        }
    }
}

impl Params {
    /// Whether `fips` has the parameter: salts no longer than the hash (FIPS 186-5, 5.4), no SHA-1 in what is signed or
    /// derived, no MAC of less than 32 bits, no quick work with a password.
    #[must_use]
    pub fn approved(&self) -> bool {
        match self {
            Self::Pss(pss) => {
                let length = super::digest_length(pss.hash).unwrap_or_default() as u64;
                pss.hash != MechanismType::SHA_1 && pss.salt_length <= length
            }
            Self::Ecdh(ecdh) => !matches!(ecdh.kdf, Kdf::SHA1_KDF | Kdf::SHA1_KDF_SP800),
            // SP 800-56A r3, 5.8: an agreed secret goes through a derivation function.
            Self::EcdhAes(wrap) => !matches!(wrap.kdf, Kdf::NULL | Kdf::SHA1_KDF | Kdf::SHA1_KDF_SP800),
            Self::Kbkdf(kbkdf) => kbkdf.prf != MechanismType::SHA_1_HMAC,
            Self::Hkdf(hkdf) => hkdf.hash != MechanismType::SHA_1,
            // SP 800-132, 5.1 and 5.2.
            Self::Pbkdf2(pbkdf2) => {
                pbkdf2.hash != MechanismType::SHA_1
                    && pbkdf2.salt.len() >= LEAST_SALT
                    && pbkdf2.iterations >= LEAST_ITERATIONS
            }
            Self::Number(length) => *length >= LEAST_MAC,
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::ck::{MechanismType as M, Mgf};
    use crate::mechanism::{TABLE, row};
    use crate::params::{Mechanism, Params, PssParams};
    use crate::policy::Policy;

    #[test]
    fn fips_has_what_a_standard_approves_and_nothing_else() {
        for row in TABLE {
            assert_eq!(row.allowed(Policy::Fips), row.approved().is_some(), "{}", row.mechanism);
            assert_eq!(row.allowed(Policy::Strict), !row.invertible() && !row.outdated());
            assert_eq!(row.allowed(Policy::Standard), !row.outdated());
            assert!(row.allowed(Policy::Legacy));
        }
        for unapproved in [M::SHA1_RSA_PKCS, M::SHA1_RSA_PKCS_PSS, M::ECDSA_SHA1, M::RSA_X_509] {
            assert!(row(unapproved).unwrap().approved().is_none(), "{unapproved}");
        }
        assert!(row(M::SHA_1_HMAC).unwrap().approved().is_some());
    }

    #[test]
    fn sizes_and_parameters_are_approved_too() {
        let hmac = row(M::SHA256_HMAC).unwrap();
        assert_eq!((hmac.min_under(Policy::Strict), hmac.min_under(Policy::Fips)), (1, 14));
        let pss = |salt_length, hash, mgf| Mechanism {
            kind: M::RSA_PKCS_PSS,
            params: Params::Pss(PssParams { hash, mgf, salt_length }),
        };
        let long = pss(33, M::SHA256, Mgf::MGF1_SHA256);
        let sha1 = pss(20, M::SHA_1, Mgf::MGF1_SHA1);
        for mechanism in [long, sha1] {
            assert!(mechanism.check(Policy::Strict).is_ok());
            assert!(mechanism.check(Policy::Fips).is_err());
        }
        assert!(pss(32, M::SHA256, Mgf::MGF1_SHA256).check(Policy::Fips).is_ok());
        let mac = |length| Mechanism {
            kind: M::AES_CMAC_GENERAL,
            params: Params::Number(length),
        };
        assert!(mac(3).check(Policy::Fips).is_err() && mac(4).check(Policy::Fips).is_ok());
    }
}
