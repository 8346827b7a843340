//! Which operations are answered, and how. Every operation of the model has a row.

use super::input::Input;
use super::{Answer, Kms, alias, crypt, describe, lifecycle, sign, store, tags};
use crate::fault::Fault;

/// How an operation is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Served {
    /// As AWS does.
    Yes,
    /// Not built yet.
    NotYet,
    /// A single region, or a system without enclaves, cannot.
    Never,
}

/// An operation.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) served: Served,
}

macro_rules! rows {
    ($($served:ident: $($name:literal)*;)*) => {
        &[$($(Row { name: $name, served: Served::$served },)*)*]
    };
}

/// All operations of the API.
pub(crate) const ROWS: &[Row] = rows! {
    Yes: "CancelKeyDeletion" "ConnectCustomKeyStore" "CreateAlias" "CreateCustomKeyStore" "CreateKey" "Decrypt" "DeleteAlias"
        "DeleteCustomKeyStore" "DescribeCustomKeyStores" "DescribeKey" "DisableKey" "DisconnectCustomKeyStore" "EnableKey"
        "Encrypt" "GenerateDataKey" "GenerateDataKeyWithoutPlaintext" "GenerateMac" "GenerateRandom" "GetKeyPolicy"
        "GetKeyRotationStatus" "GetPublicKey" "ListAliases" "ListKeyPolicies" "ListKeys" "ListResourceTags" "PutKeyPolicy"
        "ReEncrypt" "ScheduleKeyDeletion" "Sign" "TagResource" "UntagResource" "UpdateAlias" "UpdateCustomKeyStore"
        "UpdateKeyDescription"
        "Verify" "VerifyMac";
    NotYet: "CreateGrant" "Decapsulate" "DeleteImportedKeyMaterial" "DeriveSharedSecret" "DisableKeyRotation" "EnableKeyRotation"
        "Encapsulate" "GenerateDataKeyPair"
        "GenerateDataKeyPairWithoutPlaintext" "GetKeyLastUsage" "GetParametersForImport" "ImportKeyMaterial" "ListGrants"
        "ListKeyRotations" "ListRetirableGrants" "RetireGrant" "RevokeGrant" "RotateKeyOnDemand";
    Never: "ReplicateKey" "UpdatePrimaryRegion";
};

/// The row of an operation.
pub(super) fn find(name: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.name == name)
}

/// Performs an operation.
///
/// # Errors
/// UnsupportedOperationException for what is not served; the operation's own.
pub(super) async fn run(kms: &Kms, row: &'static Row, input: Input) -> Answer {
    match row.name {
        "CancelKeyDeletion" => lifecycle::cancel_deletion(kms, input).await,
        "ConnectCustomKeyStore" => store::connect(kms, input).await,
        "CreateCustomKeyStore" => store::create(kms, input).await,
        "DeleteCustomKeyStore" => store::delete(kms, input).await,
        "DescribeCustomKeyStores" => store::describe(kms, input).await,
        "DisconnectCustomKeyStore" => store::disconnect(kms, input).await,
        "UpdateCustomKeyStore" => store::update(kms, input).await,
        "CreateAlias" => alias::create(kms, input).await,
        "CreateKey" => lifecycle::create(kms, input).await,
        "Decrypt" => crypt::decrypt(kms, input).await,
        "DeleteAlias" => alias::delete(kms, input).await,
        "DescribeKey" => describe::key(kms, input).await,
        "DisableKey" => lifecycle::disable(kms, input).await,
        "EnableKey" => lifecycle::enable(kms, input).await,
        "Encrypt" => crypt::encrypt(kms, input).await,
        "GenerateDataKey" => crypt::data_key(kms, input).await,
        "GenerateDataKeyWithoutPlaintext" => crypt::data_key_without_plaintext(kms, input).await,
        "GenerateMac" => sign::mac(kms, input).await,
        "GenerateRandom" => crypt::generate_random(kms, input).await,
        "GetKeyPolicy" => describe::get_policy(kms, input).await,
        "GetKeyRotationStatus" => describe::rotation_status(kms, input).await,
        "GetPublicKey" => sign::public_key(kms, input).await,
        "ListAliases" => alias::list(kms, input).await,
        "ListKeyPolicies" => describe::list_policies(kms, input).await,
        "ListKeys" => describe::list(kms, input).await,
        "ListResourceTags" => tags::list(kms, input).await,
        "PutKeyPolicy" => describe::put_policy(kms, input).await,
        "ReEncrypt" => crypt::re_encrypt(kms, input).await,
        "ScheduleKeyDeletion" => lifecycle::schedule_deletion(kms, input).await,
        "Sign" => sign::sign(kms, input).await,
        "TagResource" => tags::add(kms, input).await,
        "UntagResource" => tags::remove(kms, input).await,
        "UpdateAlias" => alias::update(kms, input).await,
        "UpdateKeyDescription" => lifecycle::describe_anew(kms, input).await,
        "Verify" => sign::verify(kms, input).await,
        "VerifyMac" => sign::verify_mac(kms, input).await,
        name => {
            let message = match row.served {
                Served::Never => format!("{name} needs more than one region; there is one"),
                Served::Yes | Served::NotYet => format!("{name} is not served yet"),
            };
            Err(Fault::new(400, "UnsupportedOperationException", message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Model;

    #[test]
    fn every_operation_of_the_model_has_one_row() {
        let model = Model::parse(super::super::MODEL).unwrap();
        let mut rows: Vec<_> = ROWS.iter().map(|row| row.name).collect();
        rows.sort_unstable();
        assert_eq!(rows, model.operations().collect::<Vec<_>>());
    }
}
