//! What PKCS #8 holds of a private key of ML-DSA (RFC 9881, 6) or ML-KEM (RFC 9935, 6): its seed, its expanded form, or both.

use crate::encoding;
use crate::material::Material;
use crate::secret::Secret;
use der::asn1::{ObjectIdentifier, OctetStringRef};
use der::{Decode, Encode, Sequence};
use hsmd_proto::ck::KeyType;
use hsmd_proto::parameter_set::ParameterSet;
use zeroize::Zeroizing;

/// `both`.
#[derive(Sequence)]
struct Both<'a> {
    seed: &'a OctetStringRef,
    expanded: &'a OctetStringRef,
}

/// `seed [0] OCTET STRING`, implicitly tagged.
const SEED: u8 = 0x80;
/// `expandedKey OCTET STRING`.
const EXPANDED: u8 = 0x04;

/// The seed where it is known: it is short, and the rest follows from it (RFC 9881, 8.1). Else the expanded key.
pub(super) fn encode(seed: Option<&Secret>, value: &Secret) -> Option<Zeroizing<Vec<u8>>> {
    let content = OctetStringRef::new(seed.unwrap_or(value).expose()).ok()?;
    let mut whole = Zeroizing::new(content.to_der().ok()?);
    if seed.is_some() {
        // Implicit: the tag alone differs.
        *whole.first_mut()? = SEED;
    }
    Some(whole)
}

/// Reads a private key of an algorithm that is a parameter set; that seed and expanded key are of one key is checked when it is
/// opened.
pub(super) fn decode(oid: ObjectIdentifier, der: &[u8]) -> Option<Material> {
    let set = ParameterSet::ALL
        .into_iter()
        .find(|set| encoding::parameter_set(*set) == oid)?;
    if set.key_type() == KeyType::SLH_DSA {
        let (seed, value) = (None, Secret::from_slice(der));
        return (value.len() == set.private_bytes()).then_some(Material::PqPrivate { set, seed, value });
    }
    let tag = *der.first()?;
    if tag == SEED {
        let mut whole = Zeroizing::new(der.to_vec());
        *whole.first_mut()? = EXPANDED;
        let seed = <&OctetStringRef>::from_der(&whole).ok()?;
        return Material::from_seed(set, Secret::from_slice(seed.as_bytes())).ok();
    }
    let (seed, value) = if tag == EXPANDED {
        (None, <&OctetStringRef>::from_der(der).ok()?)
    } else {
        let both = Both::from_der(der).ok()?;
        (Some(Secret::from_slice(both.seed.as_bytes())), both.expanded)
    };
    let value = Secret::from_slice(value.as_bytes());
    Some(Material::PqPrivate { set, seed, value })
}
