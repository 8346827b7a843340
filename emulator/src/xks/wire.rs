//! The bodies of the XKS proxy API. Requests are written by the client and read by the proxy, answers the other way round; both
//! readers hold what they get against the specification's rules. Plaintexts and what they are decoded to are wiped.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use zeroize::Zeroizing;

/// The one algorithm of version 1.
pub(super) const AES_GCM: &str = "AES_GCM";
/// The one hash of integrity values.
pub(super) const SHA_256: &str = "SHA_256";
/// The one specification of keys.
pub(super) const AES_256: &str = "AES_256";
/// The length of a tag in bytes.
pub(super) const TAG: usize = 16;
/// The lengths that an initialisation vector may have, in bytes.
pub(super) const VECTORS: [usize; 2] = [12, 16];
/// The most bytes of metadata beside a ciphertext.
pub(super) const MOST_METADATA: usize = 20;

/// Who asks KMS for what; for the proxy's log and rules.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RequestMetadata<'a> {
    /// The principal that called KMS; not with health checks.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(crate) aws_principal_arn: Option<Cow<'a, str>>,
    /// The VPC from which KMS was called.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(crate) aws_source_vpc: Option<Cow<'a, str>>,
    /// The VPC endpoint through which KMS was called.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(crate) aws_source_vpce: Option<Cow<'a, str>>,
    /// The KMS key; with Encrypt and Decrypt.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(crate) kms_key_arn: Option<Cow<'a, str>>,
    /// The operation of KMS that is under way.
    #[serde(borrow)]
    pub(crate) kms_operation: Cow<'a, str>,
    /// The request to KMS.
    #[serde(borrow)]
    pub(crate) kms_request_id: Cow<'a, str>,
    /// The AWS service that called KMS for somebody.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(crate) kms_via_service: Option<Cow<'a, str>>,
}

/// GetHealthStatus and GetKeyMetadata.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Plain<'a> {
    #[serde(borrow)]
    pub(super) request_metadata: RequestMetadata<'a>,
}

/// Encrypt.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Encrypt<'a> {
    #[serde(borrow)]
    pub(super) request_metadata: RequestMetadata<'a>,
    #[serde(borrow)]
    pub(super) plaintext: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) encryption_algorithm: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) additional_authenticated_data: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) ciphertext_data_integrity_value_algorithm: Option<Cow<'a, str>>,
}

/// Decrypt.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Decrypt<'a> {
    #[serde(borrow)]
    pub(super) request_metadata: RequestMetadata<'a>,
    #[serde(borrow)]
    pub(super) ciphertext: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) encryption_algorithm: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) initialization_vector: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) authentication_tag: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) additional_authenticated_data: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) ciphertext_metadata: Option<Cow<'a, str>>,
}

/// The answer to Encrypt.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Encrypted<'a> {
    #[serde(borrow)]
    pub(super) ciphertext: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) initialization_vector: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) authentication_tag: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) ciphertext_metadata: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) ciphertext_data_integrity_value: Option<Cow<'a, str>>,
}

/// The answer to Decrypt.
#[derive(Deserialize, Serialize)]
pub(super) struct Decrypted<'a> {
    #[serde(borrow)]
    pub(super) plaintext: Cow<'a, str>,
}

/// The answer to GetKeyMetadata.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata<'a> {
    #[serde(borrow)]
    pub(super) key_spec: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) key_usage: Vec<Cow<'a, str>>,
    pub(super) key_status: KeyStatus,
}

/// Whether the key may be used now.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum KeyStatus {
    /// It may.
    Enabled,
    /// It may not.
    Disabled,
}

/// The answer to GetHealthStatus.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Health {
    /// How many proxies there are.
    pub(crate) xks_proxy_fleet_size: u64,
    /// Who made the proxy.
    pub(crate) xks_proxy_vendor: String,
    /// Its product and version.
    pub(crate) xks_proxy_model: String,
    /// Who made the key manager.
    pub(crate) ekm_vendor: String,
    /// The key managers: 1 to 10.
    pub(crate) ekm_fleet_details: Vec<Member>,
}

/// One external key manager.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Member {
    /// Names it.
    pub(crate) id: String,
    /// Its product and version.
    pub(crate) model: String,
    /// How it is.
    pub(crate) health_status: HealthStatus,
}

/// How a key manager is.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum HealthStatus {
    /// Well.
    Active,
    /// Not well, but it serves.
    Degraded,
    /// It does not serve.
    Unavailable,
}

impl Health {
    /// Whether the answer keeps the specification's bounds.
    pub(super) fn is_good(&self) -> bool {
        self.xks_proxy_fleet_size > 0 && (1..=10).contains(&self.ekm_fleet_details.len())
    }

    /// Whether a key manager serves.
    pub(crate) fn serves(&self) -> bool {
        let mut members = self.ekm_fleet_details.iter();
        members.any(|member| member.health_status != HealthStatus::Unavailable)
    }
}

/// The body of a refusal.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Refusal<'a> {
    #[serde(borrow)]
    pub(super) error_name: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) error_message: Option<Cow<'a, str>>,
}

/// Bytes of standard base64 with its padding; `None` for anything else.
pub(super) fn bytes(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    // Decoded in place: what fails half way is wiped as well.
    let mut out = Zeroizing::new(vec![0; text.len() / 4 * 3]);
    let length = STANDARD.decode_slice(text, &mut out).ok()?;
    out.truncate(length);
    Some(out)
}

/// Bytes as standard base64.
pub(super) fn text(bytes: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(STANDARD.encode(bytes))
}

/// What the key manager authenticates: both parts behind their lengths, so that none can pass for the other.
///
/// `None` when a part is too long.
pub(super) fn authenticated(aad: &[u8], metadata: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(aad.len() + metadata.len() + 3);
    out.extend_from_slice(&u16::try_from(aad.len()).ok()?.to_be_bytes());
    out.extend_from_slice(aad);
    out.push(u8::try_from(metadata.len()).ok()?);
    out.extend_from_slice(metadata);
    Some(out)
}

/// The ciphertext data integrity value.
pub(super) fn integrity(aad: &[u8], metadata: &[u8], iv: &[u8], ciphertext: &[u8], tag: &[u8]) -> [u8; 32] {
    let mut hash = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for part in [aad, metadata, iv, ciphertext, tag] {
        hash.update(part);
    }
    let mut value = [0; 32];
    value.copy_from_slice(hash.finish().as_ref());
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example in appendix C of the specification.
    #[test]
    fn the_integrity_value_is_that_of_the_specification() {
        let part = |text: &str| bytes(text).unwrap();
        let value = integrity(
            &part("cHJvamVjdD1uaWxlLGRlcGFydG1lbnQ9bWFya2V0aW5n"),
            &part("a2V5X3ZlcnNpb249MQ=="),
            &part("HMrlRw85cAJUd5Ax"),
            &part("ghxkK1txeDNn3q8Y"),
            &part("vBxN2ncH1oEkR8WVXpmyYQ=="),
        );
        assert_eq!(*text(&value), "qHA/ImC9h5HsLRXqCyPmWgYx7tzyoTplzILbP0fPXsc=");
    }

    #[test]
    fn authenticated_data_cannot_pass_for_metadata() {
        assert_eq!(authenticated(b"", b"").unwrap(), [0, 0, 0]);
        assert_eq!(authenticated(b"ab", b"c").unwrap(), [0, 2, b'a', b'b', 1, b'c']);
        assert_ne!(authenticated(b"a", b"").unwrap(), authenticated(b"", b"a").unwrap());
        assert_eq!(authenticated(&[0; 65_536], b""), None);
        assert_eq!(authenticated(b"", &[0; 256]), None);
    }

    #[test]
    fn only_standard_base64_with_padding_is_read() {
        assert_eq!(*bytes("+/8=").unwrap(), [0xfb, 0xff]);
        assert_eq!(bytes("").unwrap().len(), 0);
        for text in ["-_8=", "+/8", "+/9=", "+/8= ", "+\n/8=", "A", "===="] {
            assert!(bytes(text).is_none(), "{text}");
        }
    }
}
