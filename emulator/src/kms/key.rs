//! What is recorded of a key: specification, usage, state, and which objects of the token it is. What a state allows says
//! [`super::states`].

use super::backing::Backing;
use super::material::{self, Material, Rotation, Stage};
use crate::fault::Fault;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The record of a key. Times are milliseconds since 1970.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct KeyRecord {
    /// A UUID.
    pub(super) id: String,
    pub(super) spec: Spec,
    pub(super) usage: Usage,
    pub(super) state: State,
    pub(super) description: String,
    pub(super) created_ms: u64,
    /// When a key that is to be deleted goes.
    pub(super) deletion_ms: u64,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) policy: String,
    /// `CKA_ID` of the object that is used now, hexadecimal; empty while none is.
    pub(super) material: String,
    #[serde(default)]
    pub(super) backing: Backing,
    /// Where the material comes from.
    #[serde(default)]
    pub(super) origin: Origin,
    /// All materials, oldest first: what a rotation replaced still opens what it sealed.
    #[serde(default)]
    pub(super) materials: Vec<Material>,
    #[serde(default)]
    pub(super) rotation: Rotation,
}

/// Where a key's material comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Origin {
    /// Made in the token.
    #[default]
    AwsKms,
    /// Brought by the customer.
    External,
}

impl Origin {
    /// The API's word.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::AwsKms => "AWS_KMS",
            Self::External => "EXTERNAL",
        }
    }
}

/// Where a key is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum State {
    /// The record is there, the key in the token perhaps not yet.
    Creating,
    Enabled,
    Disabled,
    /// A material that the customer brings is not there.
    PendingImport,
    PendingDeletion,
    /// The key in the token is being destroyed; then the record goes.
    Deleting,
}

impl State {
    /// Whether clients see the key: it was made, and is not on its way out.
    pub(super) const fn is_shown(self) -> bool {
        matches!(
            self,
            Self::Enabled | Self::Disabled | Self::PendingImport | Self::PendingDeletion
        )
    }

    /// The API's word.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Creating => "Creating",
            Self::Enabled => "Enabled",
            Self::Disabled => "Disabled",
            Self::PendingImport => "PendingImport",
            Self::PendingDeletion | Self::Deleting => "PendingDeletion",
        }
    }
}

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Usage {
    EncryptDecrypt,
    SignVerify,
    GenerateVerifyMac,
    KeyAgreement,
}

impl Usage {
    /// The API's word.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::EncryptDecrypt => "ENCRYPT_DECRYPT",
            Self::SignVerify => "SIGN_VERIFY",
            Self::GenerateVerifyMac => "GENERATE_VERIFY_MAC",
            Self::KeyAgreement => "KEY_AGREEMENT",
        }
    }
}

/// A specification: one row of [`SPECS`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Spec(pub(super) String);

/// What kind of key object stands behind a specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// AES-256.
    Aes,
    /// RSA with so many bits.
    Rsa(u32),
    /// The curve's object identifier in DER, the length of a coordinate in bytes.
    Ec(&'static [u8], usize),
    /// A generic secret of so many bytes.
    Hmac(u32),
}

/// A specification: its name, its key, its usages (the first is the default of those that need none), its algorithms.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) usages: &'static [Usage],
    pub(super) encryption: &'static [&'static str],
    pub(super) signing: &'static [&'static str],
    pub(super) mac: &'static [&'static str],
}

const RSA_ENCRYPTION: &[&str] = &["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"];
const RSA_SIGNING: &[&str] = &[
    "RSASSA_PKCS1_V1_5_SHA_256",
    "RSASSA_PKCS1_V1_5_SHA_384",
    "RSASSA_PKCS1_V1_5_SHA_512",
    "RSASSA_PSS_SHA_256",
    "RSASSA_PSS_SHA_384",
    "RSASSA_PSS_SHA_512",
];
const BOTH: &[Usage] = &[Usage::EncryptDecrypt, Usage::SignVerify];
const SIGN: &[Usage] = &[Usage::SignVerify];
const SIGN_OR_AGREE: &[Usage] = &[Usage::SignVerify, Usage::KeyAgreement];
const MAC: &[Usage] = &[Usage::GenerateVerifyMac];

const P256: &[u8] = &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const P384: &[u8] = &[6, 5, 0x2b, 0x81, 4, 0, 0x22];
const P521: &[u8] = &[6, 5, 0x2b, 0x81, 4, 0, 0x23];
const K256: &[u8] = &[6, 5, 0x2b, 0x81, 4, 0, 0x0a];

const fn rsa(name: &'static str, bits: u32) -> Row {
    Row {
        name,
        kind: Kind::Rsa(bits),
        usages: BOTH,
        encryption: RSA_ENCRYPTION,
        signing: RSA_SIGNING,
        mac: &[],
    }
}

const fn ec(
    name: &'static str,
    curve: &'static [u8],
    length: usize,
    signing: &'static [&'static str],
    usages: &'static [Usage],
) -> Row {
    Row {
        name,
        kind: Kind::Ec(curve, length),
        usages,
        encryption: &[],
        signing,
        mac: &[],
    }
}

const fn hmac(name: &'static str, bytes: u32, mac: &'static [&'static str]) -> Row {
    Row {
        name,
        kind: Kind::Hmac(bytes),
        usages: MAC,
        encryption: &[],
        signing: &[],
        mac,
    }
}

/// All specifications that are offered.
pub(super) const SPECS: &[Row] = &[
    Row {
        name: "SYMMETRIC_DEFAULT",
        kind: Kind::Aes,
        usages: &[Usage::EncryptDecrypt],
        encryption: &["SYMMETRIC_DEFAULT"],
        signing: &[],
        mac: &[],
    },
    rsa("RSA_2048", 2048),
    rsa("RSA_3072", 3072),
    rsa("RSA_4096", 4096),
    ec("ECC_NIST_P256", P256, 32, &["ECDSA_SHA_256"], SIGN_OR_AGREE),
    ec("ECC_NIST_P384", P384, 48, &["ECDSA_SHA_384"], SIGN_OR_AGREE),
    ec("ECC_NIST_P521", P521, 66, &["ECDSA_SHA_512"], SIGN_OR_AGREE),
    ec("ECC_SECG_P256K1", K256, 32, &["ECDSA_SHA_256"], SIGN),
    hmac("HMAC_224", 28, &["HMAC_SHA_224"]),
    hmac("HMAC_256", 32, &["HMAC_SHA_256"]),
    hmac("HMAC_384", 48, &["HMAC_SHA_384"]),
    hmac("HMAC_512", 64, &["HMAC_SHA_512"]),
];

impl Spec {
    /// Its row; a record never names another.
    pub(super) fn row(&self) -> Option<&'static Row> {
        SPECS.iter().find(|row| row.name == self.0)
    }
}

impl KeyRecord {
    /// Where the record lies.
    pub(super) fn path(&self) -> String {
        path(&self.id)
    }

    /// `CKA_ID` of the object that is used now.
    pub(super) fn object_id(&self) -> Vec<u8> {
        material::bytes(&self.material)
    }

    /// `CKA_ID`s of all its objects.
    pub(super) fn objects(&self) -> Vec<Vec<u8>> {
        let mut all: Vec<_> = self.materials.iter().map(|material| material.object.clone()).collect();
        all.push(self.material.clone());
        all.sort_unstable();
        all.dedup();
        all.retain(|object| !object.is_empty());
        all.iter().map(|object| material::bytes(object)).collect()
    }

    /// Whether all material that the key has used can be used.
    pub(super) fn is_complete(&self) -> bool {
        let mut used = self.materials.iter().filter(|known| known.stage == Stage::InUse);
        !self.material.is_empty() && used.all(Material::is_present)
    }

    /// The API's name of the material that is used now, 32 bytes; zeros for a key that has no materials to tell apart.
    pub(super) fn material_id(&self) -> [u8; material::ID] {
        let current = self.materials.iter().find(|known| known.object == self.material);
        current.map_or([0; material::ID], Material::id_bytes)
    }

    /// `CKA_ID` of the object that a ciphertext's material is.
    pub(super) fn object_of(&self, id: &[u8; material::ID]) -> Option<Vec<u8>> {
        if self.materials.is_empty() && *id == [0; material::ID] {
            return Some(self.object_id());
        }
        let known = self.materials.iter().find(|known| known.id_bytes() == *id)?;
        known.is_present().then(|| material::bytes(&known.object))
    }

    /// Whether the key is for this.
    ///
    /// # Errors
    /// InvalidKeyUsageException.
    pub(super) fn is_for(&self, usage: Usage, arn: &str) -> Result<(), Fault> {
        if self.usage == usage {
            return Ok(());
        }
        let message = format!(
            "{arn} key usage is {} which is not valid for this operation.",
            self.usage.name()
        );
        Err(Fault::new(400, "InvalidKeyUsageException", message))
    }
}

/// Where the record of a key lies.
pub(super) fn path(id: &str) -> String {
    format!("{PREFIX}{id}")
}

/// What the records of keys begin with.
pub(super) const PREFIX: &str = "kms/key/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_knows_every_name_of_the_table() {
        let model: serde_json::Value = serde_json::from_str(super::super::MODEL).unwrap();
        let has = |shape: &str, name: &str| {
            model["shapes"][shape]["enum"]
                .as_array()
                .unwrap()
                .iter()
                .any(|known| known == name)
        };
        for row in SPECS {
            assert!(has("KeySpec", row.name), "{}", row.name);
            assert!(row.usages.iter().all(|usage| has("KeyUsageType", usage.name())));
            assert!(row.encryption.iter().all(|name| has("EncryptionAlgorithmSpec", name)));
            assert!(row.signing.iter().all(|name| has("SigningAlgorithmSpec", name)));
            assert!(row.mac.iter().all(|name| has("MacAlgorithmSpec", name)));
        }
    }
}
