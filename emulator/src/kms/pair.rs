//! GenerateDataKeyPair, GenerateDataKeyPairWithoutPlaintext: a pair is made in the token as session objects, its private half
//! read, sealed under the KMS key, and wiped.

use super::crypt::{self, name_material};
use super::input::{Input, blob};
use super::key::{Kind, SPECS};
use super::private_key::{self, Read};
use super::{Answer, Kms, internal, module_fault, object};
use crate::fault::Fault;
use crate::module::{ModuleError, Worker};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType};
use serde_json::Map;

/// GenerateDataKeyPair.
pub(super) async fn make(kms: &Kms, input: Input) -> Answer {
    answer(kms, input, true).await
}

/// GenerateDataKeyPairWithoutPlaintext.
pub(super) async fn make_without_plaintext(kms: &Kms, input: Input) -> Answer {
    answer(kms, input, false).await
}

async fn answer(kms: &Kms, input: Input, shown: bool) -> Answer {
    let found = crypt::for_data_keys(kms, &input).await?;
    let spec = input.must("KeyPairSpec").to_owned();
    let row = SPECS.iter().find(|row| row.name == spec);
    let kind = row
        .map(|row| row.kind)
        .filter(|kind| matches!(kind, Kind::Rsa(_) | Kind::Ec(..)));
    let kind = kind.ok_or_else(|| {
        let message = format!("KeyPairSpec {spec} is not served");
        Fault::new(400, "UnsupportedOperationException", message)
    })?;
    input.dry_run()?;
    let made = kms.module.run(move |worker| generate(worker, kind)).await;
    let (public, read) = made.map_err(|error| module_fault(&error, "the HSM"))?;
    let private = private_key::pkcs8(kind, &read, &public).ok_or_else(internal)?;
    drop(read);
    let context = input.pairs("EncryptionContext");
    let sealed = crypt::seal(kms, &found, "SYMMETRIC_DEFAULT", &context, private.clone()).await?;
    let mut answer = Map::from_iter([
        ("PrivateKeyCiphertextBlob".to_owned(), blob(&sealed)),
        ("PublicKey".to_owned(), blob(&public)),
        ("KeyPairSpec".to_owned(), spec.into()),
    ]);
    if shown {
        answer.insert("PrivateKeyPlaintext".to_owned(), blob(&private));
    }
    name_material(&mut answer, "KeyMaterialId", &found.record().material_id());
    answer.insert("KeyId".to_owned(), found.arn.into());
    Ok(answer)
}

/// A pair that is in the session only: the public half as SubjectPublicKeyInfo, what the private half is made of.
fn generate(worker: &mut Worker, kind: Kind) -> Result<(Vec<u8>, Read), ModuleError> {
    let private = [
        Attribute::Token(false),
        Attribute::Private(true),
        Attribute::Sensitive(false),
        Attribute::Extractable(true),
    ];
    let (mechanism, parameters) = match kind {
        Kind::Rsa(bits) => (
            Mechanism::RsaPkcsKeyPairGen,
            vec![
                Attribute::ModulusBits(u64::from(bits).into()),
                Attribute::PublicExponent(vec![1, 0, 1]),
            ],
        ),
        Kind::Ec(curve, _) => (Mechanism::EccKeyPairGen, vec![Attribute::EcParams(curve.to_vec())]),
        Kind::Aes | Kind::Hmac(_) => return Err(ModuleError::NoKey),
    };
    let public = [vec![Attribute::Token(false)], parameters].concat();
    let session = worker.session()?;
    let (public, private) = session.generate_key_pair(&mechanism, &public, &private)?;
    let info = session.get_attributes(public, &[AttributeType::PublicKeyInfo]);
    let read = session
        .get_attributes(private, private_key::attributes(kind))
        .map(Read::new);
    // They would go with the session, which lasts.
    for handle in [public, private] {
        object::gone(worker, handle)?;
    }
    match info?.pop() {
        Some(Attribute::PublicKeyInfo(info)) => Ok((info, read?)),
        _ => Err(ModuleError::NoKey),
    }
}
