//! DeriveSharedSecret: ECDH with a key pair in the token. The result is the x coordinate (SP 800-56A, 5.7.1.2), read from a
//! session object and wiped.

use super::input::{Input, blob};
use super::key::{Kind, Usage};
use super::{Answer, Kms, internal, module_fault, object, private_key};
use crate::fault::Fault;
use crate::module::{ModuleError, Worker};
use cryptoki::error::RvError;
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::elliptic_curve::{EcKdf, Ecdh1DeriveParams};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

/// DeriveSharedSecret.
pub(super) async fn derive(kms: &Kms, input: Input) -> Answer {
    input.no_enclave()?;
    let found = kms.allowed(&input, "KeyId").await?;
    found.record().is_for(Usage::KeyAgreement, &found.arn)?;
    let Some(Kind::Ec(curve, length)) = found.record().spec.row().map(|row| row.kind) else {
        return Err(internal());
    };
    let wrong = || {
        let message = format!("PublicKey must be a public key of the curve of {}, in DER", found.arn);
        Fault::new(400, "ValidationException", message)
    };
    let point = private_key::point(&input.bytes("PublicKey"), curve).ok_or_else(wrong)?;
    input.dry_run()?;
    let id = found.record().object_id();
    let run = move |worker: &mut Worker| agree(worker, &id, &point, length);
    let secret = kms.module.run(run).await.map_err(|error| match error.rv() {
        // A point that is not on the curve, or the one at infinity.
        Some(
            RvError::MechanismParamInvalid
            | RvError::PublicKeyInvalid
            | RvError::ArgumentsBad
            | RvError::DomainParamsInvalid,
        ) => wrong(),
        _ => module_fault(&error, &found.arn),
    })?;
    Ok(Map::from_iter([
        ("KeyId".to_owned(), Value::from(found.arn.as_str())),
        ("SharedSecret".to_owned(), blob(&secret)),
        ("KeyAgreementAlgorithm".to_owned(), "ECDH".into()),
        ("KeyOrigin".to_owned(), found.record().origin.name().into()),
    ]))
}

fn agree(worker: &mut Worker, id: &[u8], point: &[u8], length: usize) -> Result<Zeroizing<Vec<u8>>, ModuleError> {
    let key = worker.find(ObjectClass::PRIVATE_KEY, id)?;
    let template = [
        Attribute::Token(false),
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::GENERIC_SECRET),
        Attribute::Sensitive(false),
        Attribute::Extractable(true),
        Attribute::ValueLen((length as u64).into()),
    ];
    let mechanism = Mechanism::Ecdh1Derive(Ecdh1DeriveParams::new(EcKdf::null(), point));
    let session = worker.session()?;
    let secret = session.derive_key(&mechanism, key, &template)?;
    let read = session.get_attributes(secret, &[AttributeType::Value]);
    object::gone(worker, secret)?;
    match read?.pop() {
        Some(Attribute::Value(value)) => Ok(Zeroizing::new(value)),
        _ => Err(ModuleError::NoKey),
    }
}
