//! Which operations are answered, and how. Every operation of the model has a row.

use super::input::Input;
use super::states::{self, COLUMNS, Cell, Seen};
use super::{
    Answer, Kms, agree, alias, crypt, describe, grant, import, lifecycle, pair, policy, rotate, sign, store, tags,
    usage,
};
use crate::fault::Fault;
use crate::operations;

/// How an operation is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Served {
    /// As AWS does.
    Yes,
    /// The module has no key of the kind.
    NoKeys,
    /// A single region cannot.
    Never,
}

impl Served {
    /// In a table for people.
    const fn said(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::NoKeys => "no ML-KEM keys: InvalidKeyUsageException",
            Self::Never => "one region: UnsupportedOperationException",
        }
    }
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
    Yes: "CancelKeyDeletion" "ConnectCustomKeyStore" "CreateAlias" "CreateCustomKeyStore" "CreateGrant" "CreateKey"
        "Decrypt" "DeleteAlias" "DeleteCustomKeyStore" "DeleteImportedKeyMaterial" "DeriveSharedSecret"
        "DescribeCustomKeyStores" "DescribeKey" "DisableKey" "DisableKeyRotation" "DisconnectCustomKeyStore"
        "EnableKey" "EnableKeyRotation" "Encrypt" "GenerateDataKey" "GenerateDataKeyPair"
        "GenerateDataKeyPairWithoutPlaintext" "GenerateDataKeyWithoutPlaintext" "GenerateMac" "GenerateRandom"
        "GetKeyLastUsage" "GetKeyPolicy" "GetKeyRotationStatus" "GetParametersForImport" "GetPublicKey"
        "ImportKeyMaterial" "ListAliases" "ListGrants" "ListKeyPolicies" "ListKeyRotations" "ListKeys"
        "ListResourceTags" "ListRetirableGrants" "PutKeyPolicy" "ReEncrypt" "RetireGrant" "RevokeGrant"
        "RotateKeyOnDemand" "ScheduleKeyDeletion" "Sign" "TagResource" "UntagResource" "UpdateAlias"
        "UpdateCustomKeyStore" "UpdateKeyDescription" "Verify" "VerifyMac";
    NoKeys: "Decapsulate" "Encapsulate";
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
        "CreateAlias" => alias::create(kms, input).await,
        "CreateCustomKeyStore" => store::create(kms, input).await,
        "CreateGrant" => grant::create(kms, input).await,
        "CreateKey" => lifecycle::create(kms, input).await,
        "Decrypt" => crypt::decrypt(kms, input).await,
        "DeleteAlias" => alias::delete(kms, input).await,
        "DeleteCustomKeyStore" => store::delete(kms, input).await,
        "DeleteImportedKeyMaterial" => import::delete(kms, input).await,
        "DeriveSharedSecret" => agree::derive(kms, input).await,
        "DescribeCustomKeyStores" => store::describe(kms, input).await,
        "DescribeKey" => describe::key(kms, input).await,
        "DisableKey" => lifecycle::disable(kms, input).await,
        "DisableKeyRotation" => rotate::disable(kms, input).await,
        "DisconnectCustomKeyStore" => store::disconnect(kms, input).await,
        "EnableKey" => lifecycle::enable(kms, input).await,
        "EnableKeyRotation" => rotate::enable(kms, input).await,
        "Encrypt" => crypt::encrypt(kms, input).await,
        "GenerateDataKey" => crypt::data_key(kms, input).await,
        "GenerateDataKeyPair" => pair::make(kms, input).await,
        "GenerateDataKeyPairWithoutPlaintext" => pair::make_without_plaintext(kms, input).await,
        "GenerateDataKeyWithoutPlaintext" => crypt::data_key_without_plaintext(kms, input).await,
        "GenerateMac" => sign::mac(kms, input).await,
        "GenerateRandom" => crypt::generate_random(kms, input).await,
        "GetKeyLastUsage" => usage::last(kms, input).await,
        "GetKeyPolicy" => policy::get(kms, input).await,
        "GetKeyRotationStatus" => rotate::status(kms, input).await,
        "GetParametersForImport" => import::parameters(kms, input).await,
        "GetPublicKey" => sign::public_key(kms, input).await,
        "ImportKeyMaterial" => import::import(kms, input).await,
        "ListAliases" => alias::list(kms, input).await,
        "ListGrants" => grant::list(kms, input).await,
        "ListKeyPolicies" => policy::list(kms, input).await,
        "ListKeyRotations" => rotate::list(kms, input).await,
        "ListKeys" => describe::list(kms, input).await,
        "ListResourceTags" => tags::list(kms, input).await,
        "ListRetirableGrants" => grant::list_retirable(kms, input).await,
        "PutKeyPolicy" => policy::put(kms, input).await,
        "ReEncrypt" => crypt::re_encrypt(kms, input).await,
        "RetireGrant" => grant::retire(kms, input).await,
        "RevokeGrant" => grant::revoke(kms, input).await,
        "RotateKeyOnDemand" => rotate::on_demand(kms, input).await,
        "ScheduleKeyDeletion" => lifecycle::schedule_deletion(kms, input).await,
        "Sign" => sign::sign(kms, input).await,
        "TagResource" => tags::add(kms, input).await,
        "UntagResource" => tags::remove(kms, input).await,
        "UpdateAlias" => alias::update(kms, input).await,
        "UpdateCustomKeyStore" => store::update(kms, input).await,
        "UpdateKeyDescription" => lifecycle::describe_anew(kms, input).await,
        "Verify" => sign::verify(kms, input).await,
        "VerifyMac" => sign::verify_mac(kms, input).await,
        name => Err(refusal(kms, row, &input, name).await),
    }
}

/// Why an operation is not served: what is wrong with the key comes first.
async fn refusal(kms: &Kms, row: &Row, input: &Input, name: &str) -> Fault {
    let unsupported = |message: String| Fault::new(400, "UnsupportedOperationException", message);
    let found = match row.served {
        Served::Yes => return unsupported(format!("{name} is not served")),
        Served::NoKeys => kms.allowed(input, "KeyId").await,
        Served::Never => kms.find(input.must("KeyId")).await,
    };
    match found {
        Err(fault) => fault,
        Ok(found) if row.served == Served::NoKeys => {
            let usage = found.record().usage.name();
            let message = format!(
                "{} key usage is {usage} which is not valid for this operation.",
                found.arn
            );
            Fault::new(400, "InvalidKeyUsageException", message)
        }
        Ok(found) => unsupported(format!("{} is not a multi-Region key: there is one region", found.arn)),
    }
}

/// The operations for the documentation, with what each does in each state of a key.
pub(super) fn markdown() -> String {
    let head: Vec<_> = ["operation", "served"]
        .into_iter()
        .chain(COLUMNS.map(Seen::name))
        .collect();
    let rows = ROWS.iter().map(|row| {
        let states = states::ROWS.iter().find(|states| states.operations.contains(&row.name));
        let cells = states.map_or([""; 5], |states| states.cells.map(Cell::said));
        let named = [row.name, row.served.said()].into_iter().chain(cells);
        named.map(str::to_owned).collect()
    });
    let mut rows: Vec<Vec<String>> = rows.collect();
    rows.sort();
    operations::table(&head, &rows)
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
