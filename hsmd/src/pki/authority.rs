//! An authority: a key pair and a self-signed certificate. Both are one secret of the keystore, written once; the private key
//! is in memory in the engine only, which wipes it. Servers and administrators have different ones, so that neither can pass for
//! the other; the name for nodes is reserved.

use hsmd_crypto::{Generate, Input, Key, Material, OpError, generate, pkcs8};
use hsmd_keystore::{Keystore, Secret};
use hsmd_proto::ck::MechanismType;
use hsmd_proto::meta::Curve;
use hsmd_proto::params::Mechanism;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SerialNumber, SignatureAlgorithm, SigningKey,
};
use rustls::pki_types::CertificateDer;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use x509_cert::Certificate;
use x509_cert::der::asn1::UintRef;
use x509_cert::der::pem::{LineEnding, encode_string};
use x509_cert::der::{Decode as _, Encode as _, EncodePem as _};
use zeroize::Zeroizing;

/// An authority's certificate is valid this long.
const YEARS: Duration = days(20 * 365);
/// Certificates begin this long before they are made: clocks differ.
const SKEW: Duration = Duration::from_secs(3_600);

/// What an authority signs for. Each has a key of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Servers' certificates: `serverAuth`.
    Servers,
    /// Certificates of the control plane's users: `clientAuth`.
    Administrators,
}

impl Kind {
    /// The secret's name. "pki/nodes" is reserved.
    const fn secret(self) -> &'static str {
        match self {
            Self::Servers => "pki/servers",
            Self::Administrators => "pki/administrators",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Servers => "servers",
            Self::Administrators => "administrators",
        }
    }

    const fn purpose(self) -> ExtendedKeyUsagePurpose {
        match self {
            Self::Servers => ExtendedKeyUsagePurpose::ServerAuth,
            Self::Administrators => ExtendedKeyUsagePurpose::ClientAuth,
        }
    }
}

/// Why there is no authority, or why it does not sign.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The keystore's word.
    #[error(transparent)]
    Keystore(#[from] hsmd_keystore::Error),
    /// What the store holds is no authority.
    #[error("the secret {0} is no authority of this daemon")]
    Damaged(&'static str),
    /// A key pair could not be made.
    #[error("a key pair cannot be made: {0}")]
    Key(#[from] OpError),
    /// A certificate could not be made.
    #[error("a certificate cannot be made: {0}")]
    Sign(#[from] rcgen::Error),
}

/// An authority.
pub(crate) struct Authority {
    kind: Kind,
    certificate: CertificateDer<'static>,
    key: AuthorityKey,
}

/// The key in the form that rcgen asks for.
pub(super) struct AuthorityKey {
    point: Vec<u8>,
    key: Key,
}

impl PublicKeyData for AuthorityKey {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for AuthorityKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let (mechanism, mut signature) = (Mechanism::plain(MechanismType::ECDSA_SHA256), Vec::new());
        let signed = self.key.sign(&mechanism, Input::Message(message), &mut signature);
        signed.map_err(|_| rcgen::Error::RemoteKeyError)?;
        // ECDSA-Sig-Value (RFC 3279, 2.2.3): both halves as INTEGERs.
        let (r, s) = signature.split_at(signature.len() / 2);
        let encoded = UintRef::new(r).and_then(|r| vec![r, UintRef::new(s)?].to_der());
        encoded.map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

impl AuthorityKey {
    /// From PKCS #8.
    pub(super) fn open(der: &[u8]) -> Option<Self> {
        let material = pkcs8::decode(der)?;
        let key = Key::open(&material).ok()?;
        match key.public()? {
            Material::EcPublic {
                curve: Curve::P256,
                point,
            } => Some(Self { point, key }),
            _ => None,
        }
    }
}

impl Authority {
    /// Reads an authority from the keystore, or makes and keeps it.
    ///
    /// # Errors
    /// See [`AuthorityError`].
    pub(crate) fn open(keystore: &Keystore, kind: Kind) -> Result<Self, AuthorityError> {
        match keystore.secret(kind.secret())? {
            Some(secret) => Self::parse(kind, &secret),
            None => {
                let (authority, secret) = Self::make(kind)?;
                keystore.put_secret(kind.secret(), &secret)?;
                tracing::info!(authority = kind.title(), "authority made");
                Ok(authority)
            }
        }
    }

    fn make(kind: Kind) -> Result<(Self, Secret), AuthorityError> {
        let damaged = || AuthorityError::Damaged(kind.secret());
        let pkcs8 = key_pair()?;
        let key = AuthorityKey::open(pkcs8.expose()).ok_or_else(damaged)?;
        let certificate = params(kind, &key)?.self_signed(&key)?;
        let der = certificate.der();
        let length = u32::try_from(der.len()).map_err(|_| damaged())?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(4 + der.len() + pkcs8.len()));
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(der);
        bytes.extend_from_slice(pkcs8.expose());
        let certificate = der.clone();
        Ok((Self { kind, certificate, key }, Secret::from_slice(&bytes)))
    }

    /// The certificate's length (little-endian), the certificate, the key in PKCS #8.
    fn parse(kind: Kind, secret: &Secret) -> Result<Self, AuthorityError> {
        let parts = || {
            let (length, rest) = secret.expose().split_first_chunk()?;
            let (certificate, key) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            Certificate::from_der(certificate).ok()?;
            Some((CertificateDer::from(certificate.to_vec()), AuthorityKey::open(key)?))
        };
        let (certificate, key) = parts().ok_or(AuthorityError::Damaged(kind.secret()))?;
        Ok(Self { kind, certificate, key })
    }

    /// The authority's certificate in PEM.
    pub(crate) fn pem(&self) -> String {
        pem(&self.certificate)
    }

    /// Signs a certificate for `subject`, valid from now, with the extended key usage of this authority.
    ///
    /// # Errors
    /// [`AuthorityError::Sign`].
    pub(crate) fn issue(
        &self,
        subject: &impl PublicKeyData,
        common_name: &str,
        names: impl IntoIterator<Item = rcgen::SanType>,
        validity: Duration,
    ) -> Result<CertificateDer<'static>, AuthorityError> {
        let mut params = certificate(common_name, validity);
        params.subject_alt_names = names.into_iter().collect();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![self.kind.purpose()];
        params.use_authority_key_identifier_extension = true;
        let issuer = Issuer::new(self::params(self.kind, &self.key)?, &self.key);
        Ok(params.signed_by(subject, &issuer)?.der().clone())
    }
}

/// A new key pair on P-256, as PKCS #8.
pub(super) fn key_pair() -> Result<Secret, AuthorityError> {
    let material = generate(&Generate::Ec(Curve::P256))?;
    pkcs8::encode(&material).ok_or(AuthorityError::Key(OpError::Failed))
}

/// The public half of a key pair in PKCS #8, as rcgen takes it.
pub(super) fn public_of(pkcs8: &Secret) -> Option<impl PublicKeyData + use<>> {
    AuthorityKey::open(pkcs8.expose())
}

/// A certificate in PEM.
pub(crate) fn pem(certificate: &CertificateDer<'_>) -> String {
    // What was parsed, or made here, is a certificate.
    Certificate::from_der(certificate)
        .and_then(|certificate| certificate.to_pem(LineEnding::LF))
        .unwrap_or_default()
}

/// So many days.
pub(crate) const fn days(days: u64) -> Duration {
    Duration::from_secs(days * 86_400)
}

/// The authority's own certificate. Its name follows from its key: the issuer of what it signs is told from all others.
fn params(kind: Kind, key: &AuthorityKey) -> Result<CertificateParams, AuthorityError> {
    let hash = hsmd_crypto::seal::sha256(&[&key.point]);
    let name = format!("hsmd {} {}", kind.title(), super::hex(&hash[..4]));
    let mut params = certificate(&name, YEARS);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.extended_key_usages = vec![kind.purpose()];
    // As RFC 7093, 2, method 4 has it.
    let identifier = hsmd_crypto::seal::sha256(&[&key.subject_public_key_info()]);
    params.key_identifier_method = KeyIdMethod::PreSpecified(identifier[..20].to_vec());
    Ok(params)
}

/// A certificate that is signed with its own key.
pub(crate) struct SelfSigned {
    /// The key in PKCS #8, PEM.
    pub(crate) key: Zeroizing<String>,
    /// The certificate in PEM.
    pub(crate) certificate: String,
}

/// Makes a key pair and a certificate for it with a new serial number. A certificate of less than `least` characters is made again,
/// after `lengthen`.
///
/// # Errors
/// See [`AuthorityError`].
pub(crate) fn self_signed(
    mut params: CertificateParams,
    least: usize,
    lengthen: impl FnOnce(&mut CertificateParams),
) -> Result<SelfSigned, AuthorityError> {
    let damaged = || AuthorityError::Key(OpError::Failed);
    let pkcs8 = key_pair()?;
    let key = AuthorityKey::open(pkcs8.expose()).ok_or_else(damaged)?;
    params.serial_number = Some(serial());
    let mut certificate = params.self_signed(&key)?.pem();
    if certificate.len() < least {
        lengthen(&mut params);
        certificate = params.self_signed(&key)?.pem();
    }
    let key = encode_string("PRIVATE KEY", LineEnding::LF, pkcs8.expose()).map_err(|_| damaged())?;
    Ok(SelfSigned {
        key: Zeroizing::new(key),
        certificate,
    })
}

/// A random positive number of 16 bytes (RFC 5280, 4.1.2.2).
fn serial() -> SerialNumber {
    let mut serial: [u8; 16] = hsmd_crypto::random::array();
    serial[0] = serial[0] & 0x7f | 0x40;
    SerialNumber::from_slice(&serial)
}

fn certificate(common_name: &str, validity: Duration) -> CertificateParams {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let whole = Duration::from_secs(now.as_secs());
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    let mut params = CertificateParams::default();
    params.not_before = epoch + whole.saturating_sub(SKEW);
    params.not_after = epoch + whole.saturating_add(validity);
    params.distinguished_name = name;
    params.serial_number = Some(serial());
    params
}
