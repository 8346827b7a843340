//! Who may use the control plane from other hosts: certificates with a name and a role. A revoked one keeps its record, so
//! that it is not registered again by mistake.

use super::access::{Caller, Role};
use super::certificate;
use super::model::{Model, ModelError, State, Versioned, fresh, hex8, now_ms, write};
use super::records::{Document, FORMAT};
use crate::pki::{Pins, from_hex};
use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Arc;

/// Prefix of the documents.
pub(super) const ADMIN_PREFIX: &str = "admin/";
/// The most certificates, revoked ones included.
const MAX_CERTIFICATES: usize = 10_000;

/// A certificate of the control plane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdminRecord {
    /// `FORMAT`.
    pub format: u32,
    /// `cert-xxxxxxxx`.
    pub id: String,
    /// Whose it is.
    pub name: String,
    /// The role's name.
    pub role: String,
    /// In PEM.
    pub certificate: String,
    /// SHA-256 of its DER form in hexadecimal.
    pub sha256: String,
    /// Signed by this daemon's authority.
    pub issued: bool,
    /// Milliseconds since 1970.
    pub created_ms: u64,
    /// Milliseconds since 1970; 0: not revoked.
    pub revoked_ms: u64,
}

impl Document for AdminRecord {
    fn name(&self) -> String {
        format!("{ADMIN_PREFIX}{}", self.id)
    }
}

/// What requests ask, without a lock.
#[derive(Default)]
pub(super) struct Callers {
    pins: Arc<Pins>,
    names: ArcSwap<HashMap<[u8; 32], Caller>>,
}

/// A certificate that is to be registered.
pub(super) struct NewAdmin<'a> {
    pub(super) name: &'a str,
    pub(super) role: Role,
    pub(super) certificate: &'a str,
    pub(super) issued: bool,
}

impl Model {
    /// Whose certificate this is on the control plane, if it is registered, not revoked and valid now.
    pub(crate) fn caller_of(&self, sha256: &[u8; 32]) -> Option<Caller> {
        self.callers.pins.get(sha256)?;
        self.callers.names.load().get(sha256).cloned()
    }

    /// The certificates that the control plane lets in.
    pub(crate) fn admin_pins(&self) -> Arc<Pins> {
        self.callers.pins.clone()
    }

    /// Registers a certificate.
    ///
    /// # Errors
    /// A name of another form or with another role, a certificate that cannot be used, is known already or was revoked; the
    /// keystore's errors.
    pub(super) fn register_admin(&self, new: &NewAdmin<'_>) -> Result<AdminRecord, ModelError> {
        check_name(new.name)?;
        let prints = certificate::check_for_tls(new.certificate)?;
        let mut state = self.state.lock();
        if state.administrators.len() >= MAX_CERTIFICATES {
            return Err(ModelError::NoRoom);
        }
        let mut known = state.administrators.values().map(|admin| &admin.record);
        if let Some(same) = known.clone().find(|admin| admin.sha256 == prints.sha256) {
            let again = same.revoked_ms == 0 && same.name == new.name && same.role == new.role.name();
            return match (again, same.revoked_ms) {
                (true, _) => Ok(same.clone()),
                (false, 0) => Err(ModelError::CertificateTaken(same.id.clone())),
                (false, _) => Err(ModelError::CertificateRevoked(same.id.clone())),
            };
        }
        let other =
            |admin: &AdminRecord| admin.revoked_ms == 0 && admin.name == new.name && admin.role != new.role.name();
        if let Some(other) = known.find(|admin| other(admin)) {
            return Err(ModelError::RoleDiffers(other.role.clone()));
        }
        let id = fresh(
            || format!("cert-{}", hex8()),
            |id| state.administrators.contains_key(id),
        );
        let record = AdminRecord {
            format: FORMAT,
            id,
            name: new.name.to_owned(),
            role: new.role.name().to_owned(),
            certificate: new.certificate.to_owned(),
            sha256: prints.sha256,
            issued: new.issued,
            created_ms: now_ms(),
            revoked_ms: 0,
        };
        self.commit(vec![write(&record.name(), 0, Some(&record))])?;
        let versioned = Versioned {
            version: 1,
            record: record.clone(),
        };
        state.administrators.insert(record.id.clone(), versioned);
        self.pin_administrators(&state);
        Ok(record)
    }

    /// All certificates in the order of their ids.
    #[must_use]
    pub fn administrators(&self) -> Vec<AdminRecord> {
        let state = self.state.lock();
        state
            .administrators
            .values()
            .map(|admin| admin.record.clone())
            .collect()
    }

    /// Revokes the certificate of this id or SHA-256. No request with it is answered once this returns.
    ///
    /// # Errors
    /// No such certificate; the keystore's errors.
    pub(super) fn revoke_admin(&self, name: &str) -> Result<AdminRecord, ModelError> {
        let mut state = self.state.lock();
        let mut admins = state.administrators.values_mut();
        let found = admins.find(|admin| admin.record.id == name || admin.record.sha256.eq_ignore_ascii_case(name));
        let entry = found.ok_or(ModelError::Unknown("certificate", "certificate"))?;
        if entry.record.revoked_ms == 0 {
            let mut record = entry.record.clone();
            record.revoked_ms = now_ms();
            self.replace(entry, record)?;
        }
        let record = entry.record.clone();
        self.pin_administrators(&state);
        Ok(record)
    }

    /// Called with every change of administrators, before it is acknowledged.
    pub(super) fn pin_administrators(&self, state: &State) {
        let admins = state.administrators.values().map(|admin| &admin.record);
        let good = admins.filter(|admin| admin.revoked_ms == 0 && Role::from_name(&admin.role).is_some());
        let pins = good.filter_map(|admin| Some((from_hex(&admin.sha256)?, admin)));
        let callers = pins.clone().filter_map(|(sha256, admin)| {
            let role = Role::from_name(&admin.role)?;
            let name = admin.name.as_str().into();
            Some((sha256, Caller { name, role }))
        });
        self.callers.names.store(Arc::new(callers.collect()));
        let pins = pins.map(|(sha256, admin)| (sha256, admin.id.as_str(), admin.certificate.as_str()));
        self.callers.pins.replace(pins);
    }
}

/// 1 to 64 letters, digits and `._@-`; not of the form of local users.
pub(super) fn check_name(name: &str) -> Result<(), ModelError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._@-".contains(&byte);
    match (1..=64).contains(&name.len()) && name.bytes().all(fits) {
        true => Ok(()),
        false => Err(ModelError::Invalid("name", "1 to 64 letters, digits and ._@-")),
    }
}
