//! PKCS #8 private keys (RFC 5208, RFC 5958): what C_WrapKey and C_UnwrapKey carry for private keys (PKCS#11 3.2, 6.7).

use crate::awslc::ffi::{self, Ec, Ed25519, Parsed};
use crate::key::rsa;
use crate::material::Material;
use crate::secret::Secret;

/// The DER of a private key; `None` for other material, for numbers that make no key, and for an RSA key without its
/// primes, which `RSAPrivateKey` (RFC 8017, A.1.2) cannot express.
#[must_use]
pub fn encode(material: &Material) -> Option<Secret> {
    match material {
        Material::RsaPrivate(key) if key.crt.is_some() => rsa::open_private(key).ok()?.private_der(),
        Material::EcPrivate { curve, scalar } => Ec::from_scalar(*curve, scalar.expose())?.private_der(),
        Material::EdPrivate { seed } => Ed25519::new(seed.expose().try_into().ok()?).private_der(),
        _ => None,
    }
}

/// Reads a private key of a type that this build has; `None` for anything else, including trailing bytes.
#[must_use]
pub fn decode(der: &[u8]) -> Option<Material> {
    match ffi::parse_private(der)? {
        Parsed::Rsa(key) => rsa::private_material(&key),
        Parsed::Ec(key) => Some(Material::EcPrivate {
            curve: key.curve(),
            scalar: key.scalar()?,
        }),
        Parsed::Ed25519(seed) => Some(Material::EdPrivate { seed }),
    }
}
