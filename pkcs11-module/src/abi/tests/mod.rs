//! Tests of the module as a whole. Each has an instance and a fake daemon of its own, so they run side by side; only
//! `table.rs` uses the library's global state.

mod crypt;
mod digest;
mod dual;
mod fake;
mod hostile;
mod messages;
mod objects;
mod sessions;
mod table;

use super::mechanism::RawMechanism;
use super::pointers::{RawInput, RawList, RawOut, RawPage, RawSlot};
use super::template::{RawPlaces, RawTemplate};
use crate::config::Config;
use crate::ops;
use crate::state::instance::Instance;
use cryptoki_sys::{CK_ATTRIBUTE, CK_MECHANISM, CKF_RW_SESSION, CKF_SERIAL_SESSION};
use fake::Fake;
use hsmd_proto::attribute::{Attribute, Template};
use hsmd_proto::ck::{AttributeType as A, KeyType, MechanismType, ObjectClass, Rv, UserType};
use std::time::Duration;

/// The functions of one kind of operation, as tests call them.
type Part = fn(&Instance, u64, RawInput<'_>, RawOut<'_>) -> Result<(), Rv>;
type Last = fn(&Instance, u64, RawOut<'_>) -> Result<(), Rv>;

/// An application: an instance of the module, called with slices.
struct App {
    instance: Instance,
}

/// A CK_ATTRIBUTE array over a template that must outlive it.
fn entries(template: &Template) -> Vec<CK_ATTRIBUTE> {
    let entry = |attribute: &Attribute| CK_ATTRIBUTE {
        type_: attribute.attribute.0,
        pValue: attribute.value.as_ptr().cast_mut().cast(),
        ulValueLen: attribute.value.len() as u64,
    };
    template.0.iter().map(entry).collect()
}

impl App {
    fn new(fake: &Fake) -> Self {
        Self::with_deadline(fake, Duration::from_secs(20))
    }

    fn with_deadline(fake: &Fake, deadline: Duration) -> Self {
        let config = Config {
            socket: Some(fake.socket()),
            deadline,
            ..Config::default()
        };
        Self {
            instance: Instance::with(config).unwrap(),
        }
    }

    fn open(&self, flags: u64) -> Result<u64, Rv> {
        let mut handle = 0;
        // SAFETY: room for one handle.
        let place = unsafe { RawSlot::new(&raw mut handle) };
        ops::session::open(&self.instance, 3, flags | CKF_SERIAL_SESSION, &place)?;
        Ok(handle)
    }

    fn session(&self) -> u64 {
        self.open(CKF_RW_SESSION).unwrap()
    }

    fn login(&self, session: u64, user: UserType, pin: &[u8]) -> Result<(), Rv> {
        // SAFETY: a valid slice.
        let pin = unsafe { RawInput::new(pin.as_ptr(), pin.len() as u64) };
        ops::login::login(&self.instance, session, user.0, pin)
    }

    fn create(&self, session: u64, template: &Template) -> Result<u64, Rv> {
        let (raw, mut handle) = (entries(template), 0);
        // SAFETY: the entries point into the template; room for one handle.
        let (raw, place) = unsafe {
            (
                RawTemplate::new(raw.as_ptr(), raw.len() as u64),
                RawSlot::new(&raw mut handle),
            )
        };
        ops::object::create(&self.instance, session, &raw, &place)?;
        Ok(handle)
    }

    /// An AES key that may do everything, public so that no login is needed.
    fn aes(&self, session: u64) -> u64 {
        self.create(session, &aes_template()).unwrap()
    }

    fn find(&self, session: u64, template: &Template) -> Result<Vec<u64>, Rv> {
        let raw = entries(template);
        // SAFETY: the entries point into the template.
        let raw = unsafe { RawTemplate::new(raw.as_ptr(), raw.len() as u64) };
        ops::find::init(&self.instance, session, &raw)?;
        let found = self.find_next(session, 100);
        ops::find::finish(&self.instance, session)?;
        found
    }

    fn find_next(&self, session: u64, most: usize) -> Result<Vec<u64>, Rv> {
        let (mut handles, mut count) = (vec![0; most], 0);
        // SAFETY: room for `most` handles and a count.
        let page = unsafe { RawPage::new(handles.as_mut_ptr(), most as u64, &raw mut count) };
        ops::find::next(&self.instance, session, &page)?;
        handles.truncate(count as usize);
        Ok(handles)
    }

    fn read(&self, session: u64, object: u64, attribute: A) -> Result<Vec<u8>, Rv> {
        let mut value = vec![0; 256];
        let mut entry = [CK_ATTRIBUTE {
            type_: attribute.0,
            pValue: value.as_mut_ptr().cast(),
            ulValueLen: value.len() as u64,
        }];
        // SAFETY: one entry with room for 256 bytes.
        let places = unsafe { RawPlaces::new(entry.as_mut_ptr(), 1) };
        ops::attribute::read(&self.instance, session, object, &places)?;
        value.truncate(entry[0].ulValueLen as usize);
        Ok(value)
    }

    /// Calls one of the Init functions with a mechanism whose parameter is these bytes.
    fn init(
        &self,
        init: fn(&Instance, u64, &RawMechanism<'_>, u64) -> Result<(), Rv>,
        session: u64,
        (kind, parameter): (MechanismType, &[u8]),
        key: u64,
    ) -> Result<(), Rv> {
        let raw = CK_MECHANISM {
            mechanism: kind.0,
            pParameter: if parameter.is_empty() {
                std::ptr::null_mut()
            } else {
                parameter.as_ptr().cast_mut().cast()
            },
            ulParameterLen: parameter.len() as u64,
        };
        // SAFETY: a valid mechanism whose parameter holds no pointers.
        init(
            &self.instance,
            session,
            &unsafe { RawMechanism::new(&raw const raw) },
            key,
        )
    }

    /// Calls with room for so many bytes; gives the length that was told and what was written.
    fn part(&self, call: Part, session: u64, data: &[u8], room: Option<usize>) -> (Result<(), Rv>, u64, Vec<u8>) {
        let mut out = vec![0; room.unwrap_or(0)];
        let mut length = out.len() as u64;
        let at = if room.is_some() {
            out.as_mut_ptr()
        } else {
            std::ptr::null_mut()
        };
        // SAFETY: a valid slice, and room as the length says.
        let (input, place) = unsafe {
            (
                RawInput::new(data.as_ptr(), data.len() as u64),
                RawOut::new(at, &raw mut length),
            )
        };
        let result = call(&self.instance, session, input, place);
        (result, length, out)
    }

    /// As [`Self::part`] with plenty of room.
    fn whole(&self, call: Part, session: u64, data: &[u8]) -> Result<Vec<u8>, Rv> {
        let (result, length, mut out) = self.part(call, session, data, Some(data.len() + 512));
        out.truncate(length as usize);
        result.map(|()| out)
    }

    fn last(&self, call: Last, session: u64, room: Option<usize>) -> (Result<(), Rv>, u64, Vec<u8>) {
        let mut out = vec![0; room.unwrap_or(0)];
        let mut length = out.len() as u64;
        let at = if room.is_some() {
            out.as_mut_ptr()
        } else {
            std::ptr::null_mut()
        };
        // SAFETY: room as the length says.
        let place = unsafe { RawOut::new(at, &raw mut length) };
        let result = call(&self.instance, session, place);
        (result, length, out)
    }

    fn slots(&self) -> Result<Vec<u64>, Rv> {
        let (mut ids, mut count) = ([0; 8], 0);
        // SAFETY: a count without a list.
        ops::slot::list(&self.instance, false, &unsafe {
            RawList::new(std::ptr::null_mut(), &raw mut count)
        })?;
        // SAFETY: room for as many ids as the count says; the fake has one slot.
        ops::slot::list(&self.instance, false, &unsafe {
            RawList::new(ids.as_mut_ptr(), &raw mut count)
        })?;
        Ok(ids[..count as usize].to_vec())
    }
}

fn aes_template() -> Template {
    let flags = [A::ENCRYPT, A::DECRYPT, A::SIGN, A::VERIFY].map(|flag| Attribute::boolean(flag, true));
    let fixed = [
        Attribute::ulong(A::CLASS, ObjectClass::SECRET_KEY.0),
        Attribute::ulong(A::KEY_TYPE, KeyType::AES.0),
        Attribute::ulong(A::VALUE_LEN, 32),
        Attribute::boolean(A::PRIVATE, false),
        Attribute::boolean(A::TOKEN, true),
    ];
    fixed.into_iter().chain(flags).collect()
}

fn data(label: &str, token: bool, private: bool) -> Template {
    [
        Attribute::ulong(A::CLASS, ObjectClass::DATA.0),
        Attribute::bytes(A::LABEL, label.as_bytes()),
        Attribute::boolean(A::TOKEN, token),
        Attribute::boolean(A::PRIVATE, private),
    ]
    .into_iter()
    .collect()
}

/// A fake of good will.
fn good() -> Fake {
    Fake::start(|_, _, _, _| None)
}
