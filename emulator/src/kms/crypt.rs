//! Encrypt, Decrypt, ReEncrypt, GenerateDataKey, GenerateDataKeyWithoutPlaintext, GenerateRandom. Symmetric keys make
//! envelopes ([`super::envelope`]), RSA keys plain OAEP ciphertexts.

use super::envelope::{self, IV};
use super::input::{Input, blob};
use super::key::{Kind, Usage};
use super::keys::{Found, class};
use super::{Answer, Kms, internal, material, module_fault, store};
use crate::fault::Fault;
use crate::module::{ModuleError, Worker};
use cryptoki::error::RvError;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsOaepParams, PkcsOaepSource};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::ObjectClass;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

/// The most bytes of GenerateRandom and of a data key.
const MOST_RANDOM: usize = 1_024;

pub(super) type Plaintext = Zeroizing<Vec<u8>>;

/// Encrypt.
pub(super) async fn encrypt(kms: &Kms, input: Input) -> Answer {
    let found = kms.allowed(&input, "KeyId").await?;
    found.record().is_for(Usage::EncryptDecrypt, &found.arn)?;
    let algorithm = algorithm(&found, input.text("EncryptionAlgorithm"))?;
    let context = input.pairs("EncryptionContext");
    no_context_for_rsa(&found, &context)?;
    input.dry_run()?;
    let sealed = seal(kms, &found, algorithm, &context, input.bytes("Plaintext")).await?;
    Ok(Map::from_iter([
        ("CiphertextBlob".to_owned(), blob(&sealed)),
        ("KeyId".to_owned(), found.arn.into()),
        ("EncryptionAlgorithm".to_owned(), algorithm.into()),
    ]))
}

/// Decrypt.
pub(super) async fn decrypt(kms: &Kms, input: Input) -> Answer {
    input.no_enclave()?;
    let wanted = Wanted {
        key: input.text("KeyId"),
        algorithm: input.text("EncryptionAlgorithm"),
        context: input.pairs("EncryptionContext"),
    };
    let Opened {
        found,
        algorithm,
        plaintext,
        material,
    } = open(kms, &wanted, &input).await?;
    let mut answer = Map::from_iter([
        ("KeyId".to_owned(), Value::from(found.arn)),
        ("Plaintext".to_owned(), blob(&plaintext)),
        ("EncryptionAlgorithm".to_owned(), algorithm.into()),
    ]);
    name_material(&mut answer, "KeyMaterialId", &material);
    Ok(answer)
}

/// ReEncrypt: the plaintext is in this process between the two, and wiped.
pub(super) async fn re_encrypt(kms: &Kms, input: Input) -> Answer {
    let wanted = Wanted {
        key: input.text("SourceKeyId"),
        algorithm: input.text("SourceEncryptionAlgorithm"),
        context: input.pairs("SourceEncryptionContext"),
    };
    let to = kms.allowed(&input, "DestinationKeyId").await?;
    to.record().is_for(Usage::EncryptDecrypt, &to.arn)?;
    let to_algorithm = algorithm(&to, input.text("DestinationEncryptionAlgorithm"))?;
    let to_context = input.pairs("DestinationEncryptionContext");
    no_context_for_rsa(&to, &to_context)?;
    let from = open(kms, &wanted, &input).await?;
    let sealed = seal(kms, &to, to_algorithm, &to_context, from.plaintext).await?;
    let mut answer = Map::from_iter([
        ("CiphertextBlob".to_owned(), blob(&sealed)),
        ("SourceKeyId".to_owned(), from.found.arn.into()),
        ("SourceEncryptionAlgorithm".to_owned(), from.algorithm.into()),
        ("DestinationEncryptionAlgorithm".to_owned(), to_algorithm.into()),
    ]);
    name_material(&mut answer, "SourceKeyMaterialId", &from.material);
    name_material(&mut answer, "DestinationKeyMaterialId", &to.record().material_id());
    answer.insert("KeyId".to_owned(), to.arn.into());
    Ok(answer)
}

/// GenerateDataKey.
pub(super) async fn data_key(kms: &Kms, input: Input) -> Answer {
    make_data_key(kms, input, true).await
}

/// GenerateDataKeyWithoutPlaintext.
pub(super) async fn data_key_without_plaintext(kms: &Kms, input: Input) -> Answer {
    make_data_key(kms, input, false).await
}

async fn make_data_key(kms: &Kms, input: Input, shown: bool) -> Answer {
    let found = for_data_keys(kms, &input).await?;
    let length = match (input.text("KeySpec"), input.number("NumberOfBytes")) {
        (Some("AES_128"), None) => 16,
        (Some(_), None) => 32,
        (None, Some(bytes)) if (1..=MOST_RANDOM).contains(&bytes) => bytes,
        _ => {
            let message = "Please specify either number of bytes or key spec.";
            return Err(Fault::new(400, "ValidationException", message));
        }
    };
    input.dry_run()?;
    let plaintext = random(kms, length).await?;
    let context = input.pairs("EncryptionContext");
    let sealed = seal(kms, &found, "SYMMETRIC_DEFAULT", &context, plaintext.clone()).await?;
    let mut answer = Map::from_iter([("CiphertextBlob".to_owned(), blob(&sealed))]);
    name_material(&mut answer, "KeyMaterialId", &found.record().material_id());
    answer.insert("KeyId".to_owned(), found.arn.into());
    if shown {
        answer.insert("Plaintext".to_owned(), blob(&plaintext));
    }
    Ok(answer)
}

/// The key of a request, if data keys can be sealed under it.
pub(super) async fn for_data_keys(kms: &Kms, input: &Input) -> Result<Found, Fault> {
    input.no_enclave()?;
    let found = kms.allowed(input, "KeyId").await?;
    found.record().is_for(Usage::EncryptDecrypt, &found.arn)?;
    if found.record().spec.row().map(|row| row.kind) == Some(Kind::Aes) {
        return Ok(found);
    }
    let message = format!("{} is asymmetric: data keys are made under symmetric keys", found.arn);
    Err(Fault::new(400, "InvalidKeyUsageException", message))
}

/// GenerateRandom.
pub(super) async fn generate_random(kms: &Kms, input: Input) -> Answer {
    input.no_enclave()?;
    let length = input
        .number("NumberOfBytes")
        .filter(|bytes| (1..=MOST_RANDOM).contains(bytes));
    let length =
        length.ok_or_else(|| Fault::new(400, "ValidationException", "NumberOfBytes must be between 1 and 1024"))?;
    let bytes = match input.text("CustomKeyStoreId") {
        None => random(kms, length).await?,
        Some(id) => store::random(kms, id, length).await?,
    };
    Ok(Map::from_iter([("Plaintext".to_owned(), blob(&bytes))]))
}

pub(super) async fn random(kms: &Kms, length: usize) -> Result<Plaintext, Fault> {
    let filled = kms.module.run(move |worker| fill(worker, length)).await;
    filled.map_err(|error| module_fault(&error, "the HSM"))
}

/// Random bytes of the token.
pub(super) fn fill(worker: &mut Worker, length: usize) -> Result<Plaintext, ModuleError> {
    let mut bytes = Zeroizing::new(vec![0; length]);
    worker.session()?.generate_random_slice(&mut bytes)?;
    Ok(bytes)
}

/// The algorithm that a request names, or the key's usual one.
fn algorithm(found: &Found, named: Option<&str>) -> Result<&'static str, Fault> {
    let offered = found.record().spec.row().map_or(&[][..], |row| row.encryption);
    // An RSA key has no usual one: AWS takes SYMMETRIC_DEFAULT for missing, and refuses it.
    let name = named.unwrap_or("SYMMETRIC_DEFAULT");
    offered.iter().find(|known| **known == name).copied().ok_or_else(|| {
        let message = format!(
            "Algorithm {name} is incompatible with key spec {}.",
            found.record().spec.0
        );
        Fault::new(400, "InvalidKeyUsageException", message)
    })
}

fn no_context_for_rsa(found: &Found, context: &[(&str, &str)]) -> Result<(), Fault> {
    if context.is_empty() || found.record().spec.row().is_some_and(|row| row.kind == Kind::Aes) {
        return Ok(());
    }
    Err(Fault::new(
        400,
        "ValidationException",
        "EncryptionContext is for symmetric keys only",
    ))
}

/// Says in an answer which material was used, for keys that have more than one.
pub(super) fn name_material(answer: &mut Map<String, Value>, member: &str, id: &[u8; material::ID]) {
    if *id != [0; material::ID] {
        answer.insert(member.to_owned(), material::hex(id).into());
    }
}

pub(super) async fn seal(
    kms: &Kms,
    found: &Found,
    algorithm: &str,
    context: &[(&str, &str)],
    plaintext: Plaintext,
) -> Result<Vec<u8>, Fault> {
    let id = found.record().object_id();
    let refused = |error: ModuleError| match error.rv() {
        Some(RvError::DataLenRange) => Fault::new(
            400,
            "ValidationException",
            "the plaintext is too long for this key and algorithm",
        ),
        _ => found.fault(&error),
    };
    if let Some(hash) = oaep_hash(algorithm) {
        let run = move |worker: &mut Worker| {
            let key = worker.find(ObjectClass::PUBLIC_KEY, &id)?;
            Ok(worker
                .session()?
                .encrypt(&Mechanism::RsaPkcsOaep(oaep(hash)), key, &plaintext)?)
        };
        return kms.module.run(run).await.map_err(refused);
    }
    let (key, material) = (found.record().id.clone(), found.record().material_id());
    let aad = envelope::context(&key, &material, context);
    let run = move |worker: &mut Worker| {
        let handle = worker.find(ObjectClass::SECRET_KEY, &id)?;
        let mut iv = [0; IV];
        worker.session()?.generate_random_slice(&mut iv)?;
        let kept = iv;
        let params = GcmParams::new(&mut iv, &aad, 128_u64.into())?;
        let sealed = worker
            .session()?
            .encrypt(&Mechanism::AesGcm(params), handle, &plaintext)?;
        Ok((kept, sealed))
    };
    let (iv, sealed) = kms.holder(found)?.run(run).await.map_err(refused)?;
    let whole = || envelope::context(&key, &material, context);
    let sealed = store::wrap(kms, found, "Encrypt", whole, sealed).await?;
    envelope::join(&key, &material, &iv, &sealed).ok_or_else(internal)
}

/// What a Decrypt asks for.
struct Wanted<'a> {
    key: Option<&'a str>,
    algorithm: Option<&'a str>,
    context: Vec<(&'a str, &'a str)>,
}

/// What a ciphertext was.
struct Opened {
    found: Found,
    algorithm: &'static str,
    plaintext: Plaintext,
    material: [u8; material::ID],
}

/// Opens a ciphertext; the key may be named in the request, or by the ciphertext.
async fn open(kms: &Kms, wanted: &Wanted<'_>, input: &Input) -> Result<Opened, Fault> {
    let invalid = || Fault::new(400, "InvalidCiphertextException", "");
    let name = wanted.algorithm.unwrap_or("SYMMETRIC_DEFAULT");
    let Some(ciphertext) = ciphertext(input)? else {
        return Err(would_open(kms, wanted, name, input).await);
    };
    if let Some(hash) = oaep_hash(name) {
        let (found, algorithm) = named(kms, wanted, name, input).await?;
        input.dry_run()?;
        let id = found.record().object_id();
        let run = move |worker: &mut Worker| {
            let key = worker.find(ObjectClass::PRIVATE_KEY, &id)?;
            let opened = worker
                .session()?
                .decrypt(&Mechanism::RsaPkcsOaep(oaep(hash)), key, &ciphertext)?;
            Ok(Zeroizing::new(opened))
        };
        let opened = kms
            .module
            .run(run)
            .await
            .map_err(|error| opened_fault(&error, &found))?;
        return Ok(Opened {
            found,
            algorithm,
            plaintext: opened,
            material: [0; material::ID],
        });
    }
    let parts = envelope::split(&ciphertext).ok_or_else(invalid)?;
    let found = kms.find(&parts.key).await.map_err(|_| invalid())?;
    if let Some(key) = wanted.key
        && kms.find(key).await?.record().id != found.record().id
    {
        let message = "The key ID in the request does not identify a CMK that can perform this operation.";
        return Err(Fault::new(400, "IncorrectKeyException", message));
    }
    found.allows(input)?;
    found.record().is_for(Usage::EncryptDecrypt, &found.arn)?;
    let algorithm = algorithm(&found, Some(name))?;
    input.dry_run()?;
    let id = found.record().object_of(&parts.material).ok_or_else(invalid)?;
    let (iv, material) = (parts.iv, parts.material);
    let whole = || envelope::context(&parts.key, &material, &wanted.context);
    let sealed = store::unwrap(kms, &found, "Decrypt", whole, parts.sealed).await?;
    let aad = envelope::context(&parts.key, &material, &wanted.context);
    let class = class(found.record());
    let run = move |worker: &mut Worker| {
        let handle = worker.find(class, &id)?;
        let mut iv = iv;
        let params = GcmParams::new(&mut iv, &aad, 128_u64.into())?;
        Ok(Zeroizing::new(worker.session()?.decrypt(
            &Mechanism::AesGcm(params),
            handle,
            &sealed,
        )?))
    };
    let opened = kms.holder(&found)?.run(run).await;
    let plaintext = opened.map_err(|error| opened_fault(&error, &found))?;
    Ok(Opened {
        found,
        algorithm,
        plaintext,
        material,
    })
}

/// The ciphertext of a request; none, if the request only asks about a key.
fn ciphertext(input: &Input) -> Result<Option<Zeroizing<Vec<u8>>>, Fault> {
    let ignored = input.flag("DryRun") && input.texts("DryRunModifiers").any(|name| name == "IGNORE_CIPHERTEXT");
    match input.blob("CiphertextBlob") {
        Some(_) | None if ignored => Ok(None),
        Some(ciphertext) => Ok(Some(ciphertext)),
        None => {
            let message = "1 validation error detected: Value null at 'ciphertextBlob' failed to satisfy constraint: \
                           Member must not be null";
            Err(Fault::new(400, "ValidationException", message))
        }
    }
}

/// The key that a request names, and whether it could open a ciphertext of an algorithm.
async fn named(kms: &Kms, wanted: &Wanted<'_>, name: &str, input: &Input) -> Result<(Found, &'static str), Fault> {
    let missing = || Fault::new(400, "ValidationException", "the request must name the key");
    let found = kms.find(wanted.key.ok_or_else(missing)?).await?;
    found.allows(input)?;
    found.record().is_for(Usage::EncryptDecrypt, &found.arn)?;
    let algorithm = algorithm(&found, Some(name))?;
    no_context_for_rsa(&found, &wanted.context)?;
    Ok((found, algorithm))
}

/// A dry run without a ciphertext: only the key is checked.
async fn would_open(kms: &Kms, wanted: &Wanted<'_>, name: &str, input: &Input) -> Fault {
    match named(kms, wanted, name, input).await {
        Ok(_) => input.dry_run().err().unwrap_or_else(internal),
        Err(fault) => fault,
    }
}

/// A ciphertext that does not open is the client's fault, all else is not.
fn opened_fault(error: &ModuleError, found: &Found) -> Fault {
    match error.rv() {
        Some(RvError::EncryptedDataInvalid | RvError::EncryptedDataLenRange) => {
            Fault::new(400, "InvalidCiphertextException", "")
        }
        _ => found.fault(error),
    }
}

pub(super) fn oaep_hash(algorithm: &str) -> Option<(MechanismType, PkcsMgfType)> {
    match algorithm {
        "RSAES_OAEP_SHA_1" => Some((MechanismType::SHA1, PkcsMgfType::MGF1_SHA1)),
        "RSAES_OAEP_SHA_256" => Some((MechanismType::SHA256, PkcsMgfType::MGF1_SHA256)),
        _ => None,
    }
}

pub(super) fn oaep((hash, mgf): (MechanismType, PkcsMgfType)) -> PkcsOaepParams<'static> {
    PkcsOaepParams::new(hash, mgf, PkcsOaepSource::empty())
}
