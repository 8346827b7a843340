//! The steps that look: attributes, values, searches.

use std::collections::BTreeSet;

use cryptoki_sys::*;
use hsmd_tests::rv::Rv;
use hsmd_tests::template::{Template, bytes, flag, number};

use super::{Walk, label, result};
use crate::model::rules::{COMMON, FLAGS};

impl Walk {
    pub(super) fn read(&mut self) -> Result<(), String> {
        let Some(index) = self.thing() else { return Ok(()) };
        let session = self.session();
        self.look(session, index)
    }

    /// Every attribute of an object that the model knows.
    pub(super) fn look(&mut self, session: usize, index: usize) -> Result<(), String> {
        let (h, object) = (self.handle(session), self.handles[index]);
        let thing = self.model.things[index].clone();
        let kinds = if thing.key { &FLAGS[..] } else { &FLAGS[..COMMON] };
        let all: Vec<CK_ATTRIBUTE_TYPE> = kinds.iter().copied().chain([CKA_LABEL]).collect();
        let mut room = Template::room(&all, &vec![32; all.len()]);
        let words = [h as usize, object as usize, room.address(), room.count()];
        let rv = Rv(self.module.library.call("C_GetAttributeValue", &words));
        let gone = vec![CKR_OBJECT_HANDLE_INVALID];
        let expected = if self.model.sees(&thing) { Ok(()) } else { Err(&gone) };
        self.compare("C_GetAttributeValue", &index.to_string(), rv, expected)?;
        if expected.is_err() {
            return Ok(());
        }
        let values = room.values();
        let wrong = kinds.iter().zip(&values).find(|(kind, value)| {
            let must = vec![u8::from(thing.is(**kind))];
            value.as_ref() != Some(&must)
        });
        if let Some((kind, value)) = wrong {
            let must = thing.is(*kind);
            return Err(format!(
                "attribute {kind:#x} of {index} is {value:?}, and the model says {must}"
            ));
        }
        if values.last() != Some(&Some(label(thing.label).into_bytes())) {
            return Err(format!(
                "the label of {index}: {:?}, and the model says {}",
                values.last(),
                thing.label
            ));
        }
        self.value(session, index)
    }

    /// The value: readable when it should be, the right one, and never one that was born secret.
    fn value(&mut self, session: usize, index: usize) -> Result<(), String> {
        let thing = self.model.things[index].clone();
        let read = self.module.get(self.handle(session), self.handles[index], CKA_VALUE);
        let sensitive = vec![CKR_ATTRIBUTE_SENSITIVE];
        let expected = if thing.readable() { Ok(()) } else { Err(&sensitive) };
        self.compare("CKA_VALUE", &index.to_string(), result(&read), expected)?;
        let (true, Ok(value)) = (thing.key, read) else {
            return Ok(());
        };
        if self.secret[thing.material] {
            return Err(format!("the value of {index} was born secret and is read"));
        }
        let known = self.values[thing.material].get_or_insert(value.clone());
        if *known == value {
            Ok(())
        } else {
            Err(format!("the value of {index} is another one"))
        }
    }

    pub(super) fn find(&mut self) -> Result<(), String> {
        let session = self.session();
        let (mut template, by) = (Vec::new(), self.random.below(8));
        let wanted = 1 + self.random.below(3) as u8;
        let token = self.random.below(2) == 0;
        let keys = self.random.below(2) == 0;
        if by & 1 != 0 {
            template.push(bytes(CKA_LABEL, label(wanted)));
        }
        if by & 2 != 0 {
            template.push(flag(CKA_TOKEN, token));
        }
        if by & 4 != 0 {
            template.push(number(CKA_CLASS, if keys { CKO_SECRET_KEY } else { CKO_DATA }));
        }
        let things = &self.model.things;
        let matches = |at: usize| {
            let thing = &things[at];
            (by & 1 == 0 || thing.label == wanted)
                && (by & 2 == 0 || thing.is(CKA_TOKEN) == token)
                && (by & 4 == 0 || thing.key == keys)
        };
        let expected = self.visible(matches);
        let found = self.module.find(self.handle(session), &template);
        let found = found.map_err(|rv| format!("C_FindObjects: {rv}"))?;
        let mut seen = BTreeSet::new();
        for object in found {
            // Handles are never used twice: a handle is one thing's.
            if let Some(at) = self.handles.iter().rposition(|known| *known == object) {
                seen.insert(at);
            } else {
                let id = self
                    .module
                    .get(self.handle(session), object, CKA_UNIQUE_ID)
                    .unwrap_or_default();
                if !self.leftovers.contains(&id) {
                    return Err(format!("C_FindObjects {template:?} gives the unknown handle {object}"));
                }
            }
        }
        self.compare("C_FindObjects", &format!("{by}"), Rv(CKR_OK), Ok(()))?;
        if seen == expected {
            Ok(())
        } else {
            Err(format!(
                "C_FindObjects {template:?} gives {seen:?}, and the model says {expected:?}"
            ))
        }
    }
}
