//! Clients, and tags.

use super::{keystore, model, with_hsm};
use crate::control::certificate::CertificateError;
use crate::control::model::ModelError;

pub(super) const A: &str = include_str!("a.pem");
pub(super) const B: &str = include_str!("b.pem");
const ED25519: &str = include_str!("ed.pem");

#[test]
fn a_certificate_belongs_to_one_client() {
    let keystore = keystore();
    let (before, _) = model(&keystore);
    let first = before.create_client(Some("app"), A).unwrap();
    // As `openssl x509 -fingerprint` gives them.
    assert_eq!(first.fingerprint, "23:f7:69:bb:d9:67:32:0e:3c:b5:99:04:8a:88:81:95");
    assert_eq!(
        first.sha256,
        "6b6cba74f7a00a8075f37031489a776efc18bffd0be78520e53dba54178fb5d3"
    );
    assert_eq!(before.create_client(None, A).unwrap().arn, first.arn, "the same again");
    assert!(matches!(
        before.create_client(Some("other"), A),
        Err(ModelError::CertificateTaken(_))
    ));
    let second = before.create_client(None, B).unwrap();
    assert_eq!(second.label, second.id);
    assert!(matches!(
        before.modify_client(&second.arn, A),
        Err(ModelError::CertificateTaken(_))
    ));
    assert_eq!(
        before.client_with(&first.fingerprint.to_uppercase()).unwrap().arn,
        first.arn
    );
    before.delete_client(&second.arn).unwrap();
    let (changed, was) = before.modify_client(&first.arn, B).unwrap();
    assert_eq!(was, first.identity());
    assert!(changed.modified_ms > first.modified_ms);
    let (after, _) = model(&keystore);
    assert_eq!(after.clients(), [changed]);
    assert!(matches!(
        after.client_with(&first.fingerprint),
        Err(ModelError::Unknown(..))
    ));
    assert!(matches!(after.delete_client(&second.arn), Err(ModelError::Unknown(..))));
}

#[test]
fn only_one_certificate_with_a_usable_key_is_taken() {
    let keystore = keystore();
    let (model, _) = model(&keystore);
    let refused = |pem: &str| match model.create_client(None, pem) {
        Err(ModelError::Certificate(why)) => why,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(ED25519), CertificateError::Key);
    assert_eq!(refused(&format!("{A}{B}")), CertificateError::Form);
    assert_eq!(refused(&A.replace("CERTIFICATE", "PUBLIC KEY")), CertificateError::Form);
    assert_eq!(refused(&A.replacen("MIIB", "MIIC", 1)), CertificateError::Form);
    assert!(model.clients().is_empty());
}

#[test]
fn tags_are_overwritten_limited_and_kept() {
    let (keystore, before, _) = with_hsm(false);
    let arns = [
        before.hsm("").unwrap().arn,
        before.create_group("g").unwrap().arn,
        before.create_client(None, A).unwrap().arn,
    ];
    let tag = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    for arn in &arns {
        before.add_tags(arn, &[tag("stage", "test"), tag("owner", "")]).unwrap();
        before.add_tags(arn, &[tag("stage", "live")]).unwrap();
        before.remove_tags(arn, &["owner".into(), "none".into()]).unwrap();
        for wrong in [[tag("a", "1"), tag("a", "2")], [tag("aws:x", ""), tag("b", "")]] {
            assert!(matches!(before.add_tags(arn, &wrong), Err(ModelError::Invalid(..))));
        }
        let many: Vec<_> = (0..50).map(|n| tag(&format!("k{n}"), "")).collect();
        assert!(matches!(before.add_tags(arn, &many), Err(ModelError::TooManyTags)));
    }
    let (after, _) = model(&keystore);
    for arn in &arns {
        assert_eq!(
            after.tags(arn).unwrap().into_iter().collect::<Vec<_>>(),
            [tag("stage", "live")]
        );
    }
    let elsewhere = arns[0].replace("000000000000", "123456789012");
    assert!(matches!(after.tags(&elsewhere), Err(ModelError::Unknown(..))));
}
