//! What a key's state allows: the table of the developer guide ("Key states of AWS KMS keys"), a row for each operation that
//! names a key. The documentation prints it, a test tries every cell.

use super::key::{KeyRecord, State};
use crate::fault::Fault;

/// A column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Enabled,
    Disabled,
    PendingImport,
    PendingDeletion,
    /// Its custom key store is not connected.
    Unavailable,
}

/// The columns, in the order of the cells.
pub(super) const COLUMNS: [Seen; 5] = [
    Seen::Enabled,
    Seen::Disabled,
    Seen::PendingImport,
    Seen::PendingDeletion,
    Seen::Unavailable,
];

/// What an operation does in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cell {
    Works,
    /// DisabledException.
    Disabled,
    /// KMSInvalidStateException.
    Invalid,
    /// UnsupportedOperationException: a key that can be in this state is of an origin that the operation does not serve.
    Unsupported,
}

impl Cell {
    /// In a table for people.
    pub(super) const fn said(self) -> &'static str {
        match self {
            Self::Works => "works",
            Self::Disabled => "Disabled",
            Self::Invalid => "InvalidState",
            Self::Unsupported => "Unsupported",
        }
    }
}

/// Operations that states treat alike.
pub(super) struct Row {
    pub(super) operations: &'static [&'static str],
    pub(super) cells: [Cell; 5],
}

use Cell::{Disabled as D, Invalid as I, Unsupported as U, Works as W};

/// The table.
pub(super) const ROWS: &[Row] = &[
    Row {
        operations: &[
            "Decapsulate",
            "Decrypt",
            "DeriveSharedSecret",
            "Encapsulate",
            "Encrypt",
            "GenerateDataKey",
            "GenerateDataKeyPair",
            "GenerateDataKeyPairWithoutPlaintext",
            "GenerateDataKeyWithoutPlaintext",
            "GenerateMac",
            "GetPublicKey",
            "ReEncrypt",
            "Sign",
            "Verify",
            "VerifyMac",
        ],
        cells: [W, D, I, I, I],
    },
    Row {
        operations: &["CreateGrant"],
        cells: [W, D, I, I, W],
    },
    Row {
        operations: &["DisableKey", "EnableKey"],
        cells: [W, W, I, I, W],
    },
    Row {
        operations: &["DisableKeyRotation", "EnableKeyRotation"],
        cells: [W, D, U, I, U],
    },
    Row {
        operations: &["RotateKeyOnDemand"],
        cells: [W, D, I, I, U],
    },
    Row {
        operations: &["GetKeyRotationStatus", "ListKeyRotations"],
        cells: [W, W, W, W, U],
    },
    Row {
        operations: &[
            "DeleteImportedKeyMaterial",
            "GetParametersForImport",
            "ImportKeyMaterial",
        ],
        cells: [W, W, W, I, U],
    },
    Row {
        operations: &["CancelKeyDeletion"],
        cells: [I, I, I, W, I],
    },
    Row {
        operations: &[
            "CreateAlias",
            "ScheduleKeyDeletion",
            "TagResource",
            "UntagResource",
            "UpdateAlias",
            "UpdateKeyDescription",
        ],
        cells: [W, W, W, I, W],
    },
    Row {
        operations: &[
            "DeleteAlias",
            "DescribeKey",
            "GetKeyLastUsage",
            "GetKeyPolicy",
            "ListAliases",
            "ListGrants",
            "ListKeyPolicies",
            "ListResourceTags",
            "PutKeyPolicy",
            "RetireGrant",
            "RevokeGrant",
        ],
        cells: [W, W, W, W, W],
    },
    Row {
        operations: &["ReplicateKey", "UpdatePrimaryRegion"],
        cells: [U, U, U, U, U],
    },
];

impl Seen {
    /// The column of a key.
    pub(super) const fn of(record: &KeyRecord) -> Self {
        match record.state {
            State::Enabled => Self::Enabled,
            State::Disabled => Self::Disabled,
            State::PendingImport | State::Creating => Self::PendingImport,
            State::PendingDeletion | State::Deleting => Self::PendingDeletion,
        }
    }

    /// The API's word.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Enabled => "Enabled",
            Self::Disabled => "Disabled",
            Self::PendingImport => "PendingImport",
            Self::PendingDeletion => "PendingDeletion",
            Self::Unavailable => "Unavailable",
        }
    }

    /// As a sentence about the key goes on.
    const fn said(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::PendingImport => "pending import",
            Self::PendingDeletion => "pending deletion",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Whether an operation may be done with a key that is seen so.
///
/// # Errors
/// DisabledException, KMSInvalidStateException, UnsupportedOperationException.
pub(super) fn check(operation: &str, seen: Seen, arn: &str) -> Result<(), Fault> {
    let row = ROWS.iter().find(|row| row.operations.contains(&operation));
    // The columns are in the order of the variants.
    let cell = row.and_then(|row| row.cells.get(seen as usize));
    let invalid = |message: String| Err(Fault::new(400, "KMSInvalidStateException", message));
    match cell {
        None | Some(Cell::Works) => Ok(()),
        Some(Cell::Disabled) => Err(Fault::new(400, "DisabledException", format!("{arn} is disabled."))),
        Some(Cell::Invalid) if operation == "CancelKeyDeletion" => invalid(format!("{arn} is not pending deletion.")),
        Some(Cell::Invalid) => invalid(format!("{arn} is {}.", seen.said())),
        Some(Cell::Unsupported) => Err(Fault::new(
            400,
            "UnsupportedOperationException",
            format!("{arn} has an origin which is not valid for this operation."),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::table;
    use super::*;
    use crate::model::Model;

    #[test]
    fn every_operation_that_names_a_key_has_one_row() {
        let elsewhere = [
            "ConnectCustomKeyStore",
            "CreateCustomKeyStore",
            "CreateKey",
            "DeleteCustomKeyStore",
            "DescribeCustomKeyStores",
            "DisconnectCustomKeyStore",
            "GenerateRandom",
            "ListKeys",
            "ListRetirableGrants",
            "UpdateCustomKeyStore",
        ];
        for row in table::ROWS {
            let found = ROWS
                .iter()
                .filter(|states| states.operations.contains(&row.name))
                .count();
            assert_eq!(found, usize::from(!elsewhere.contains(&row.name)), "{}", row.name);
        }
        assert_eq!(COLUMNS.map(|seen| seen as usize), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn the_model_knows_each_refusal() {
        let model = Model::parse(super::super::MODEL).unwrap();
        for row in ROWS {
            for operation in row.operations {
                for cell in row.cells {
                    let code = match cell {
                        Cell::Works => continue,
                        Cell::Disabled => "DisabledException",
                        Cell::Invalid => "KMSInvalidStateException",
                        Cell::Unsupported => "UnsupportedOperationException",
                    };
                    assert!(model.error(operation, code).is_some(), "{operation} {code}");
                }
            }
        }
    }
}
