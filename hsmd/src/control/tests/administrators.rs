//! Certificates of the control plane: who they let in, from registration to revocation, and over a restart.

use super::{keystore, model};
use crate::control::access::Role;
use crate::control::administrators::NewAdmin;
use crate::control::certificate::CertificateError;
use crate::control::model::ModelError;
use crate::pki::from_hex;

const A: &str = include_str!("a.pem");
const B: &str = include_str!("b.pem");
const ED25519: &str = include_str!("ed.pem");

const fn new(name: &'static str, role: Role, certificate: &'static str) -> NewAdmin<'static> {
    NewAdmin {
        name,
        role,
        certificate,
        issued: false,
    }
}

#[test]
fn a_certificate_lets_in_until_it_is_revoked_and_never_again() {
    let keystore = keystore();
    let (before, _) = model(&keystore);
    let alice = before.register_admin(&new("alice", Role::Operator, A)).unwrap();
    let sha256 = from_hex(&alice.sha256).unwrap();
    let caller = before.caller_of(&sha256).unwrap();
    assert_eq!((&*caller.name, caller.role), ("alice", Role::Operator));
    assert_eq!(
        before.register_admin(&new("alice", Role::Operator, A)).unwrap(),
        alice,
        "the same again"
    );
    assert!(matches!(
        before.register_admin(&new("alice", Role::Admin, A)),
        Err(ModelError::CertificateTaken(_))
    ));
    assert!(matches!(
        before.register_admin(&new("alice", Role::Admin, B)),
        Err(ModelError::RoleDiffers(_))
    ));
    // A second one of the same name and role: rotation.
    before.register_admin(&new("alice", Role::Operator, B)).unwrap();
    // The data plane knows nothing of it.
    assert!(before.client_of(&sha256).is_none());
    let (after, _) = model(&keystore);
    assert_eq!(after.caller_of(&sha256), Some(caller), "after a restart");
    assert!(matches!(after.revoke_admin("alice"), Err(ModelError::Unknown(..))));
    let revoked = after.revoke_admin(&alice.id).unwrap();
    assert!(revoked.revoked_ms > 0);
    assert_eq!(
        after.revoke_admin(&alice.sha256.to_uppercase()).unwrap(),
        revoked,
        "twice is once"
    );
    assert!(after.caller_of(&sha256).is_none());
    assert!(matches!(
        after.register_admin(&new("alice", Role::Operator, A)),
        Err(ModelError::CertificateRevoked(_))
    ));
    let (last, _) = model(&keystore);
    assert!(last.caller_of(&sha256).is_none(), "after another restart");
    assert_eq!(last.administrators().len(), 2);
}

#[test]
fn names_and_certificates_are_checked() {
    let keystore = keystore();
    let (model, _) = model(&keystore);
    let long = "a".repeat(65);
    for name in ["", "uid:0", "a b", "a/b", "\u{e9}", &long] {
        let new = NewAdmin {
            name,
            role: Role::Admin,
            certificate: A,
            issued: false,
        };
        assert!(
            matches!(model.register_admin(&new), Err(ModelError::Invalid("name", _))),
            "{name:?}"
        );
    }
    let garbage = new("x", Role::Admin, "-----BEGIN CERTIFICATE-----");
    let form = ModelError::Certificate(CertificateError::Form).to_string();
    assert_eq!(model.register_admin(&garbage).unwrap_err().to_string(), form);
    let key = ModelError::Certificate(CertificateError::Key).to_string();
    let edwards = new("x", Role::Admin, ED25519);
    assert_eq!(model.register_admin(&edwards).unwrap_err().to_string(), key);
    assert!(model.administrators().is_empty());
}
