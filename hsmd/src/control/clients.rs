//! Clients of the model: application hosts with their certificates.

use super::certificate;
use super::model::{Model, ModelError, State, Versioned, fresh, hex8, now_ms, write};
use super::records::{ClientRecord, Document as _, FORMAT, Tags};
use crate::pki::{Pins, from_hex};
use hsmd_keystore::Identity;
use std::collections::BTreeSet;
use std::sync::Arc;

impl Model {
    /// The client whose certificate has this SHA-256, if it is valid now. What every connection of the data plane asks; no
    /// lock, no search.
    #[must_use]
    pub fn client_of(&self, sha256: &[u8; 32]) -> Option<Arc<str>> {
        self.client_pins.get(sha256)
    }

    /// The last second since 1970 at which a registered client's certificate is valid.
    pub(crate) fn client_until(&self, sha256: &[u8; 32]) -> Option<u64> {
        self.client_pins.until(sha256)
    }

    /// The certificates that the data plane lets in.
    pub(crate) fn client_pins(&self) -> Arc<Pins> {
        self.client_pins.clone()
    }

    /// Called with every change of clients, before it is acknowledged.
    pub(super) fn pin_clients(&self, state: &State) {
        let clients = state.clients.values().map(|client| &client.record);
        let pins = clients.filter_map(|client| {
            Some((
                from_hex(&client.sha256)?,
                client.id.as_str(),
                client.certificate.as_str(),
            ))
        });
        self.client_pins.replace(pins);
    }

    /// Registers a certificate. The same one again, with the same label or none, answers the client that has it.
    ///
    /// # Errors
    /// A certificate that cannot be read or used, one that another client has; the keystore's errors.
    pub fn create_client(&self, label: Option<&str>, pem: &str) -> Result<ClientRecord, ModelError> {
        let prints = certificate::check(pem)?;
        let mut state = self.state.lock();
        if let Some(owner) = owner(&state, &prints.md5) {
            let same = owner.sha256 == prints.sha256 && label.is_none_or(|label| label == owner.label);
            return if same {
                Ok(owner.clone())
            } else {
                Err(ModelError::CertificateTaken(owner.arn.clone()))
            };
        }
        let id = fresh(|| format!("client-{}", hex8()), |id| state.clients.contains_key(id));
        let now = now_ms();
        let record = ClientRecord {
            format: FORMAT,
            arn: self.arn(&id),
            label: label.unwrap_or(&id).to_owned(),
            id,
            certificate: pem.to_owned(),
            fingerprint: prints.md5,
            sha256: prints.sha256,
            created_ms: now,
            modified_ms: now,
            tags: Tags::new(),
            assigned: BTreeSet::new(),
        };
        self.start_clean(&record)?;
        self.commit(vec![write(&record.name(), 0, Some(&record))])?;
        let versioned = Versioned {
            version: 1,
            record: record.clone(),
        };
        state.clients.insert(record.id.clone(), versioned);
        self.pin_clients(&state);
        drop(state);
        self.show();
        Ok(record)
    }

    /// All clients in the order of their ids.
    #[must_use]
    pub fn clients(&self) -> Vec<ClientRecord> {
        let state = self.state.lock();
        state.clients.values().map(|client| client.record.clone()).collect()
    }

    /// The client of this ARN.
    ///
    /// # Errors
    /// [`ModelError::Unknown`].
    pub fn client(&self, arn: &str) -> Result<ClientRecord, ModelError> {
        let clients = self.clients();
        let found = clients.into_iter().find(|client| client.arn == arn);
        found.ok_or(ModelError::Unknown("ClientArn", "client"))
    }

    /// The client whose certificate has this MD5 fingerprint.
    ///
    /// # Errors
    /// [`ModelError::Unknown`].
    pub fn client_with(&self, fingerprint: &str) -> Result<ClientRecord, ModelError> {
        let found = owner(&self.state.lock(), &fingerprint.to_ascii_lowercase()).cloned();
        found.ok_or(ModelError::Unknown("CertificateFingerprint", "client"))
    }

    /// Replaces the certificate of a client. What the old one sees from now on is nothing; its connections and logins are for
    /// `Node::cut`, and so is the answer's second half: the identity that it was.
    ///
    /// # Errors
    /// As [`Self::create_client`], and [`ModelError::Unknown`].
    pub fn modify_client(&self, arn: &str, pem: &str) -> Result<(ClientRecord, Option<Identity>), ModelError> {
        let prints = certificate::check(pem)?;
        let mut state = self.state.lock();
        if let Some(owner) = owner(&state, &prints.md5).filter(|owner| owner.arn != arn) {
            return Err(ModelError::CertificateTaken(owner.arn.clone()));
        }
        let mut clients = state.clients.values_mut();
        let entry = clients.find(|client| client.record.arn == arn);
        let entry = entry.ok_or(ModelError::Unknown("ClientArn", "client"))?;
        let mut record = entry.record.clone();
        let was = record.identity();
        pem.clone_into(&mut record.certificate);
        record.fingerprint = prints.md5;
        record.sha256 = prints.sha256;
        record.modified_ms = now_ms().max(record.modified_ms + 1);
        let was = was.filter(|was| record.identity() != Some(*was));
        if was.is_some() {
            self.start_clean(&record)?;
        }
        self.replace(entry, record.clone())?;
        self.pin_clients(&state);
        drop(state);
        self.show();
        Ok((record, was))
    }

    /// Deletes a client. The answer is the identity that it was, for `Node::cut`.
    ///
    /// # Errors
    /// No such client; the keystore's errors.
    pub fn delete_client(&self, arn: &str) -> Result<Option<Identity>, ModelError> {
        let mut state = self.state.lock();
        let entry = state.clients.values().find(|client| client.record.arn == arn);
        let entry = entry.ok_or(ModelError::Unknown("ClientArn", "client"))?;
        let (id, was) = (entry.record.id.clone(), entry.record.identity());
        self.commit(vec![write::<ClientRecord>(&entry.record.name(), entry.version, None)])?;
        state.clients.remove(&id);
        self.pin_clients(&state);
        drop(state);
        self.show();
        Ok(was)
    }
}

impl Model {
    /// Ends logins that a certificate has from an earlier registration, if a stop kept them from being ended then.
    fn start_clean(&self, client: &ClientRecord) -> Result<(), ModelError> {
        if let Some(identity) = client.identity() {
            self.keystore.end_logins(&identity)?;
        }
        Ok(())
    }
}

fn owner<'a>(state: &'a State, fingerprint: &str) -> Option<&'a ClientRecord> {
    let mut clients = state.clients.values().map(|client| &client.record);
    clients.find(|client| client.fingerprint == fingerprint)
}
