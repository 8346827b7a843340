//! `CKA_CHECK_VALUE` (PKCS#11 3.2, 4.11): three bytes that tell keys apart without showing them.

use crate::digest;
use crate::engine::{Aes, Block8, Des3, Way};
use crate::material::Material;
use hsmd_proto::ck::{KeyType, MechanismType};

/// The check value. AES and Triple DES: the first bytes of a zero block's encryption. Other secret keys and public keys: the first
/// bytes of the SHA-1 of the value (modulus, point). Private keys have none: a hash of a private value is nothing to
/// show.
#[must_use]
pub fn check_value(key_type: KeyType, material: &Material) -> Option<[u8; 3]> {
    let value = match material {
        Material::Secret(value) if key_type == KeyType::AES => {
            let mut block = [0; 16];
            Aes::new(value.expose())?.block(Way::Encrypt, &mut block);
            return block.first_chunk().copied();
        }
        Material::Secret(value) if key_type == KeyType::DES3 => {
            let mut block = Block8::default();
            Des3::new(value.expose())?.block(Way::Encrypt, &mut block)?;
            return block.first_chunk().copied();
        }
        Material::Secret(value) => value.expose(),
        Material::RsaPublic { n, .. } => n,
        Material::EcPublic { point, .. } => point,
        Material::EdPublic { point } | Material::MontgomeryPublic { point } => point,
        Material::PqPublic { value, .. }
        | Material::StatefulPublic { value, .. }
        | Material::DhPublic { value, .. } => value,
        Material::RsaPrivate(_)
        | Material::EcPrivate { .. }
        | Material::EdPrivate { .. }
        | Material::MontgomeryPrivate { .. }
        | Material::DhPrivate { .. }
        | Material::PqPrivate { .. } => return None,
    };
    digest::short(MechanismType::SHA_1, value)?
        .as_ref()
        .first_chunk()
        .copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    #[test]
    fn aes_and_generic_keys_have_different_rules() {
        let key = Material::Secret(Secret::new(vec![0; 16]));
        // AES-128 of a zero block under a zero key: 66e94bd4...; SHA-1 of 16 zero bytes: e129f27c...
        assert_eq!(check_value(KeyType::AES, &key), Some([0x66, 0xe9, 0x4b]));
        assert_eq!(check_value(KeyType::GENERIC_SECRET, &key), Some([0xe1, 0x29, 0xf2]));
        let odd = Material::Secret(Secret::new(vec![0; 15]));
        assert_eq!(check_value(KeyType::AES, &odd), None);
    }
}
