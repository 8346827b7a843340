//! `CKA_EC_POINT` and ECDH's public data (PKCS#11 3.2, 6.3.3 and 6.3.17): a DER OCTET STRING, or the raw point.

use crate::engine::Ec;
use hsmd_proto::meta::Curve;

/// Reads a point of a Weierstrass curve, raw or in an OCTET STRING, uncompressed or compressed, and gives it
/// uncompressed. `None` unless it is on the curve and not infinity.
#[must_use]
pub fn decode(curve: Curve, value: &[u8]) -> Option<Vec<u8>> {
    Ec::from_point(curve, octets(curve, value)?)?
        .point()
        .map(<[u8]>::to_vec)
}

/// Reads an Ed25519 or X25519 public key, raw or in an OCTET STRING.
#[must_use]
pub fn decode_edwards(value: &[u8]) -> Option<[u8; 32]> {
    match value {
        [0x04, 32, point @ ..] if point.len() == 32 => point.try_into().ok(),
        raw => raw.try_into().ok(),
    }
}

/// The DER OCTET STRING around a point: the form in which attributes carry it.
#[must_use]
pub fn encode(point: &[u8]) -> Vec<u8> {
    // Points of the curves here are shorter than 256 bytes; from 128 on DER puts 81 before the length.
    debug_assert!(point.len() < 256);
    let mut out = Vec::with_capacity(point.len() + 3);
    out.push(0x04);
    if point.len() > 127 {
        out.push(0x81);
    }
    out.push(point.len() as u8);
    out.extend_from_slice(point);
    out
}

/// The raw point: told from an OCTET STRING by its length, because both may begin with 04.
pub(crate) fn octets(curve: Curve, value: &[u8]) -> Option<&[u8]> {
    let field = curve.field_bytes();
    let fits = |length: usize| length == 2 * field + 1 || length == field + 1;
    match value {
        raw if fits(raw.len()) => Some(raw),
        [0x04, 0x81, length, point @ ..] if *length as usize == point.len() && fits(point.len()) => Some(point),
        [0x04, length, point @ ..] if *length as usize == point.len() && fits(point.len()) => Some(point),
        _ => None,
    }
}
