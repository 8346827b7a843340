//! Tags of HSMs, groups and clients: part of their records, so that they go with them.

use super::model::{Model, ModelError, State, Versioned};
use super::records::{Document, HsmState, Tags};

/// The most tags of a resource.
const MAX_TAGS: usize = 50;
const FIELD: &str = "ResourceArn";

/// A record that can have tags.
trait Tagged: Document + Clone {
    fn tags(&mut self) -> &mut Tags;
}

macro_rules! tagged {
    ($($record:ident)*) => {$(
        impl Tagged for super::records::$record {
            fn tags(&mut self) -> &mut Tags {
                &mut self.tags
            }
        }
    )*};
}

tagged!(HsmRecord GroupRecord ClientRecord);

impl Model {
    /// Adds tags to the resource of an ARN, or overwrites their values.
    ///
    /// # Errors
    /// No such resource, a key twice or reserved, too many; the keystore's errors.
    pub fn add_tags(&self, arn: &str, tags: &[(String, String)]) -> Result<(), ModelError> {
        for (index, (key, _)) in tags.iter().enumerate() {
            if tags[..index].iter().any(|(other, _)| other == key) {
                return Err(ModelError::Invalid("TagList", "a list without the same Key twice"));
            }
            if key.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:")) {
                return Err(ModelError::Invalid(
                    "TagList.Key",
                    "without the reserved beginning aws:",
                ));
            }
        }
        self.change_tags(arn, |current| {
            current.extend(tags.iter().cloned());
            if current.len() > MAX_TAGS {
                return Err(ModelError::TooManyTags);
            }
            Ok(())
        })
    }

    /// Removes tags; a key that is not there is no error.
    ///
    /// # Errors
    /// No such resource; the keystore's errors.
    pub fn remove_tags(&self, arn: &str, keys: &[String]) -> Result<(), ModelError> {
        self.change_tags(arn, |current| {
            current.retain(|key, _| !keys.contains(key));
            Ok(())
        })
    }

    /// The tags of a resource.
    ///
    /// # Errors
    /// No such resource.
    pub fn tags(&self, arn: &str) -> Result<Tags, ModelError> {
        let state = self.state.lock();
        match Resource::of(&state, arn)? {
            Resource::Hsm(id) => tags_of(&state.hsms, &id),
            Resource::Group(id) => tags_of(&state.groups, &id),
            Resource::Client(id) => tags_of(&state.clients, &id),
        }
    }

    fn change_tags(
        &self,
        arn: &str,
        change: impl FnOnce(&mut Tags) -> Result<(), ModelError>,
    ) -> Result<(), ModelError> {
        let mut state = self.state.lock();
        match Resource::of(&state, arn)? {
            Resource::Hsm(id) => self.change_one(state.hsms.get_mut(&id), change),
            Resource::Group(id) => self.change_one(state.groups.get_mut(&id), change),
            Resource::Client(id) => self.change_one(state.clients.get_mut(&id), change),
        }
    }

    fn change_one<T: Tagged>(
        &self,
        entry: Option<&mut Versioned<T>>,
        change: impl FnOnce(&mut Tags) -> Result<(), ModelError>,
    ) -> Result<(), ModelError> {
        let entry = entry.ok_or(ModelError::Unknown(FIELD, "resource"))?;
        let mut record = entry.record.clone();
        change(record.tags())?;
        if record.tags() == entry.record.tags() {
            return Ok(());
        }
        self.replace(entry, record)
    }
}

/// What an ARN names, by id.
enum Resource {
    Hsm(String),
    Group(String),
    Client(String),
}

impl Resource {
    fn of(state: &State, arn: &str) -> Result<Self, ModelError> {
        let id = arn.rsplit(':').next().unwrap_or_default();
        let hsm = state.hsms.get(id).map(|entry| &entry.record);
        if hsm.is_some_and(|hsm| hsm.arn == arn && hsm.state != HsmState::Terminated) {
            return Ok(Self::Hsm(id.to_owned()));
        }
        if state.groups.get(id).is_some_and(|group| group.record.arn == arn) {
            return Ok(Self::Group(id.to_owned()));
        }
        if state.clients.get(id).is_some_and(|client| client.record.arn == arn) {
            return Ok(Self::Client(id.to_owned()));
        }
        Err(ModelError::Unknown(FIELD, "HSM, group or client"))
    }
}

fn tags_of<T: Tagged>(map: &std::collections::BTreeMap<String, Versioned<T>>, id: &str) -> Result<Tags, ModelError> {
    let entry = map.get(id).ok_or(ModelError::Unknown(FIELD, "resource"))?;
    Ok(std::mem::take(entry.record.clone().tags()))
}
