//! CreateHsmClientCertificate, DescribeHsmClientCertificates, DeleteHsmClientCertificate: a key pair and a certificate for it
//! that the operator registers with the HSM (CreateLunaClient). The private half stays in the record.

use super::input::Input;
use super::record::{Certificate, Cluster, Kind, Resource as _, Secret, Tags};
use super::{Answer, Redshift, fault, internal, now_ms, record_fault, store, tag_list};
use crate::fault::Fault;
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256, RsaKeySize,
    date_time_ymd,
};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// How long a certificate is valid: the service never renews one.
const YEARS: u32 = 20;
/// A common name has at most 64 characters (RFC 5280, ub-common-name).
const LONGEST_NAME: usize = 64;

/// CreateHsmClientCertificate.
pub(super) async fn create(redshift: &Redshift, input: Input) -> Answer {
    let id = input.identifier(Kind::Certificate.words().identifier)?;
    let tags = input.tags()?;
    // A key pair is expensive: not for a request that is refused anyway.
    redshift
        .room::<Certificate>(&id, redshift.settings.certificates)
        .await?;
    let made = tokio::task::spawn_blocking(move || make(id, tags)).await;
    let certificate = made.map_err(|_| internal())?.map_err(|error| {
        tracing::error!(%error, "a certificate could not be made");
        internal()
    })?;
    let _alone = redshift.changes.lock().await;
    redshift
        .room::<Certificate>(&certificate.id, redshift.settings.certificates)
        .await?;
    redshift.commit(vec![store::put(&certificate, 0)]).await?;
    Ok(Map::from_iter([(
        "HsmClientCertificate".to_owned(),
        shown(&certificate),
    )]))
}

/// RSA of 2048 bits, as the service has it; 1,100 characters of PEM (CreateLunaClient takes 600 to 2400).
fn make(id: String, tags: Tags) -> Result<Certificate, rcgen::Error> {
    let pair = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?;
    let key = Secret::new(pair.serialize_pem());
    let mut params = CertificateParams::default();
    let name: String = id.chars().take(LONGEST_NAME).collect();
    params.distinguished_name.push(DnType::OrganizationName, "Redshift");
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let now = date_time_ymd(1970, 1, 1) + Duration::from_millis(now_ms());
    // The HSM's clock may be behind ours.
    params.not_before = now - Duration::from_secs(3_600);
    params.not_after = now + Duration::from_secs(u64::from(YEARS) * 365 * 86_400);
    let pem = params.self_signed(&pair)?.pem();
    // PEM of PKI has line feeds alone; the model's pattern of CreateLunaClient has no place for carriage returns.
    let pem = pem.replace('\r', "");
    Ok(Certificate { id, pem, key, tags })
}

/// DescribeHsmClientCertificates.
pub(super) async fn describe(redshift: &Redshift, input: Input) -> Answer {
    let found = redshift.selected::<Certificate>(&input).await?;
    let (page, marker) = input.page(found)?;
    let list: Value = page.iter().map(shown).collect();
    let mut answer = Map::from_iter([("HsmClientCertificates".to_owned(), list)]);
    if let Some(marker) = marker {
        answer.insert("Marker".into(), marker.into());
    }
    Ok(answer)
}

/// DeleteHsmClientCertificate. One that a cluster needs stays.
pub(super) async fn delete(redshift: &Redshift, input: Input) -> Answer {
    let _alone = redshift.changes.lock().await;
    let found = redshift
        .find::<Certificate>(input.must(Kind::Certificate.words().identifier))
        .await?;
    let id = found.record.id();
    if let Some(cluster) = user(redshift, |cluster| cluster.uses(|hsm| hsm.certificate == id)).await? {
        let message = format!("The HSM client certificate {id} is used by the cluster {cluster}.");
        return Err(fault("InvalidHsmClientCertificateStateFault", &message));
    }
    redshift
        .commit(vec![store::delete(&found.record, found.version)])
        .await?;
    Ok(Map::new())
}

/// The first cluster that fits.
///
/// # Errors
/// ServiceUnavailable.
pub(super) async fn user(redshift: &Redshift, fits: impl Fn(&Cluster) -> bool) -> Result<Option<String>, Fault> {
    let clusters = redshift.all::<Cluster>().await.map_err(|error| record_fault(&error))?;
    let found = clusters
        .into_iter()
        .map(|found| found.record)
        .find(|cluster| fits(cluster));
    Ok(found.map(|cluster| cluster.id))
}

fn shown(certificate: &Certificate) -> Value {
    json!({
        "HsmClientCertificateIdentifier": certificate.id,
        "HsmClientCertificatePublicKey": certificate.pem,
        "Tags": tag_list(&certificate.tags),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_one_that_create_luna_client_takes() {
        for id in ["a".to_owned(), "x".repeat(255)] {
            let made = make(id, Tags::new()).unwrap();
            assert!((600..=2400).contains(&made.pem.len()), "{}", made.pem.len());
            assert!(made.pem.starts_with("-----BEGIN CERTIFICATE-----\n"));
            assert!(made.pem.ends_with("-----END CERTIFICATE-----\n"));
            assert!(made.key.expose().starts_with("-----BEGIN PRIVATE KEY-----"));
        }
    }
}
