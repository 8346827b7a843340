//! Stub.
use crate::report::{BackupError, BackupInfo, StoreStatus};
pub(crate) struct Keeper;
impl Keeper {
    pub(crate) fn backup(&self) -> Result<BackupInfo, BackupError> {
        Err(BackupError::NoFiles)
    }
    pub(crate) fn check(&self) -> (Option<bool>, Option<bool>) {
        (None, None)
    }
    pub(crate) fn status(&self, _status: &mut StoreStatus) {}
}
