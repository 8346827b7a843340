//! CK_ATTRIBUTE arrays: templates that the caller gives, and the places that C_GetAttributeValue fills.

use cryptoki_sys::{CK_ATTRIBUTE, CK_ULONG};
use hsmd_proto::attribute::{self, Attribute, Kind, MAX_NESTING, Template, decode_nested, encode_nested};
use hsmd_proto::ck::{AttributeType, Rv};
use std::marker::PhantomData;

/// The most attributes of one template: what the wire takes.
const MOST: CK_ULONG = hsmd_proto::convert::MAX_ATTRIBUTES as CK_ULONG;
/// The longest value: half of what a message body holds.
const LONGEST: CK_ULONG = 1 << 19;
/// `CK_UNAVAILABLE_INFORMATION`: all ones (PKCS#11 3.2, 3.1).
pub(crate) const UNAVAILABLE: CK_ULONG = CK_ULONG::MAX;

/// A template that the caller gives.
pub(crate) struct RawTemplate<'a> {
    entries: *const CK_ATTRIBUTE,
    count: CK_ULONG,
    call: PhantomData<&'a [CK_ATTRIBUTE]>,
}

impl RawTemplate<'_> {
    /// # Safety
    /// `entries` is NULL or valid for `count` attributes, and each one's `pValue` is NULL or valid for its `ulValueLen`
    /// bytes (arrays: of attributes, for which the same holds), during `'a`.
    pub(in crate::abi) const unsafe fn new(entries: *const CK_ATTRIBUTE, count: CK_ULONG) -> Self {
        Self {
            entries,
            count,
            call: PhantomData,
        }
    }

    /// Copies the template out of the caller's memory. The form of the values is not checked here.
    ///
    /// # Errors
    /// `CKR_ARGUMENTS_BAD` for NULL with a count and for an absurd count, `CKR_ATTRIBUTE_VALUE_INVALID` for a value
    /// without memory or of absurd length.
    pub(crate) fn parse(&self) -> Result<Template, Rv> {
        if self.count == 0 {
            return Ok(Template::default());
        }
        if self.entries.is_null() || self.count > MOST {
            return Err(Rv::ARGUMENTS_BAD);
        }
        (0..self.count as usize)
            .map(|index| {
                // SAFETY: index < count; the promise of `new`. Unaligned: callers cast.
                let entry = unsafe { self.entries.add(index).read_unaligned() };
                // SAFETY: the promise of `new` covers the entry's value.
                unsafe { copy_entry(&entry, MAX_NESTING) }
            })
            .collect()
    }
}

/// `levels`: how deep templates may nest below.
///
/// # Safety
/// The entry's value is as [`RawTemplate::new`] demands.
unsafe fn copy_entry(entry: &CK_ATTRIBUTE, levels: u32) -> Result<Attribute, Rv> {
    let kind = AttributeType(entry.type_);
    let length = entry.ulValueLen;
    if length == 0 {
        return Ok(Attribute::bytes(kind, &[]));
    }
    if entry.pValue.is_null() || length > LONGEST {
        return Err(Rv::ATTRIBUTE_VALUE_INVALID);
    }
    if attribute::kind(kind) == Some(Kind::Template) {
        // SAFETY: the promise: the value is an array of attributes of that many bytes.
        let nested = unsafe { copy_nested(entry.pValue.cast(), length, levels)? };
        return Ok(Attribute {
            attribute: kind,
            value: encode_nested(&nested),
        });
    }
    // SAFETY: not NULL, at most 512 KiB, valid by the promise.
    let value = unsafe { std::slice::from_raw_parts(entry.pValue.cast::<u8>(), length as usize) };
    Ok(Attribute::bytes(kind, value))
}

/// One more level, if there may be one. Entries may share memory, so that what they come to is bounded too.
///
/// # Safety
/// `entries` is valid for `bytes` bytes of attributes, and so are their values.
unsafe fn copy_nested(entries: *const CK_ATTRIBUTE, bytes: CK_ULONG, levels: u32) -> Result<Template, Rv> {
    let size = size_of::<CK_ATTRIBUTE>() as CK_ULONG;
    let below = levels.checked_sub(1).ok_or(Rv::ATTRIBUTE_VALUE_INVALID)?;
    if !bytes.is_multiple_of(size) || bytes / size > MOST {
        return Err(Rv::ATTRIBUTE_VALUE_INVALID);
    }
    let mut room = LONGEST as usize;
    (0..(bytes / size) as usize)
        .map(|index| {
            // SAFETY: index is below the count that fits `bytes`.
            let entry = unsafe { entries.add(index).read_unaligned() };
            if attribute::kind(AttributeType(entry.type_)).is_none() {
                return Err(Rv::ATTRIBUTE_VALUE_INVALID);
            }
            // SAFETY: the promise covers the nested values.
            let copied = unsafe { copy_entry(&entry, below)? };
            room = room
                .checked_sub(copied.value.len())
                .ok_or(Rv::ATTRIBUTE_VALUE_INVALID)?;
            Ok(copied)
        })
        .collect()
}

/// The places that C_GetAttributeValue fills.
pub(crate) struct RawPlaces<'a> {
    entries: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    call: PhantomData<&'a mut [CK_ATTRIBUTE]>,
}

impl RawPlaces<'_> {
    /// # Safety
    /// `entries` is NULL or valid for `count` attributes; each one's `pValue` is NULL or has room for its `ulValueLen`
    /// bytes (arrays: is an array of attributes, for which the same holds), during `'a`.
    pub(in crate::abi) const unsafe fn new(entries: *mut CK_ATTRIBUTE, count: CK_ULONG) -> Self {
        Self {
            entries,
            count,
            call: PhantomData,
        }
    }

    /// The types that are asked for, in order.
    ///
    /// # Errors
    /// `CKR_ARGUMENTS_BAD` for NULL with a count and for an absurd count.
    pub(crate) fn types(&self) -> Result<Vec<AttributeType>, Rv> {
        if self.count == 0 {
            return Ok(Vec::new());
        }
        if self.entries.is_null() || self.count > MOST {
            return Err(Rv::ARGUMENTS_BAD);
        }
        // SAFETY: index < count; the promise of `new`.
        let entry = |index| unsafe { self.entries.add(index).read_unaligned() };
        Ok((0..self.count as usize)
            .map(|index| AttributeType(entry(index).type_))
            .collect())
    }

    /// Answers one entry. Only called with indexes of [`Self::types`].
    ///
    /// # Errors
    /// What the value's absence is, or `CKR_BUFFER_TOO_SMALL`: the entry then says so, and the others go on.
    pub(crate) fn fill(&self, index: usize, value: Result<&[u8], Rv>) -> Result<(), Rv> {
        if self.entries.is_null() || index as CK_ULONG >= self.count {
            return Err(Rv::ARGUMENTS_BAD);
        }
        // SAFETY: index < count; the promise of `new`.
        let place = unsafe { self.entries.add(index) };
        // SAFETY: as above.
        let mut entry = unsafe { place.read_unaligned() };
        let result = match value {
            // SAFETY: the promise of `new` covers the entry's value.
            Ok(value) => unsafe { fill_entry(&mut entry, value) },
            Err(rv) => {
                entry.ulValueLen = UNAVAILABLE;
                Err(rv)
            }
        };
        // SAFETY: as above.
        unsafe { place.write_unaligned(entry) };
        result
    }
}

/// # Safety
/// The entry's value is as [`RawPlaces::new`] demands.
unsafe fn fill_entry(entry: &mut CK_ATTRIBUTE, value: &[u8]) -> Result<(), Rv> {
    if attribute::kind(AttributeType(entry.type_)) == Some(Kind::Template) {
        let Some(nested) = decode_nested(value) else {
            entry.ulValueLen = UNAVAILABLE;
            return Err(Rv::ATTRIBUTE_TYPE_INVALID);
        };
        // SAFETY: the caller's promise.
        return unsafe { fill_nested(entry, &nested) };
    }
    let (room, length) = (entry.ulValueLen, value.len() as CK_ULONG);
    if entry.pValue.is_null() {
        entry.ulValueLen = length;
        return Ok(());
    }
    if length > room {
        entry.ulValueLen = UNAVAILABLE;
        return Err(Rv::BUFFER_TOO_SMALL);
    }
    // SAFETY: not NULL, `room` bytes by the promise, and the value is not longer; it is the module's own memory.
    unsafe { std::ptr::copy_nonoverlapping(value.as_ptr(), entry.pValue.cast::<u8>(), value.len()) };
    entry.ulValueLen = length;
    Ok(())
}

/// # Safety
/// As [`fill_entry`].
unsafe fn fill_nested(entry: &mut CK_ATTRIBUTE, nested: &Template) -> Result<(), Rv> {
    let needed = (nested.0.len() * size_of::<CK_ATTRIBUTE>()) as CK_ULONG;
    if entry.pValue.is_null() {
        entry.ulValueLen = needed;
        return Ok(());
    }
    if needed > entry.ulValueLen {
        entry.ulValueLen = UNAVAILABLE;
        return Err(Rv::BUFFER_TOO_SMALL);
    }
    entry.ulValueLen = needed;
    let places: *mut CK_ATTRIBUTE = entry.pValue.cast();
    let mut result = Ok(());
    for (index, inner) in nested.0.iter().enumerate() {
        // SAFETY: index is below the count for which `ulValueLen` has room.
        let place = unsafe { places.add(index) };
        // SAFETY: as above.
        let mut one = unsafe { place.read_unaligned() };
        one.type_ = inner.attribute.0;
        // SAFETY: the promise covers the nested values; they nest no deeper than `decode_nested` lets them.
        let filled = unsafe { fill_entry(&mut one, &inner.value) };
        // SAFETY: as above.
        unsafe { place.write_unaligned(one) };
        result = result.and(filled);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: AttributeType, value: &mut [u8]) -> CK_ATTRIBUTE {
        CK_ATTRIBUTE {
            type_: kind.0,
            pValue: value.as_mut_ptr().cast(),
            ulValueLen: value.len() as CK_ULONG,
        }
    }

    #[test]
    fn a_template_is_copied_and_absurd_ones_are_refused() {
        let mut label = *b"label";
        let entries = [entry(AttributeType::LABEL, &mut label)];
        // SAFETY: one valid entry.
        let parsed = unsafe { RawTemplate::new(entries.as_ptr(), 1) }.parse().unwrap();
        assert_eq!(parsed.value(AttributeType::LABEL), Some(&label[..]));
        for count in [1 << 60, CK_ULONG::MAX, MOST + 1] {
            // SAFETY: the count is refused before the entries are read.
            let absurd = unsafe { RawTemplate::new(entries.as_ptr(), count) };
            assert_eq!(absurd.parse(), Err(Rv::ARGUMENTS_BAD));
        }
        let missing = [CK_ATTRIBUTE {
            pValue: std::ptr::null_mut(),
            ..entries[0]
        }];
        // SAFETY: NULL is refused before it is read.
        let refused = unsafe { RawTemplate::new(missing.as_ptr(), 1) }.parse();
        assert_eq!(refused, Err(Rv::ATTRIBUTE_VALUE_INVALID));
    }

    #[test]
    fn a_nested_template_goes_in_and_comes_out() {
        let mut yes = [1_u8];
        let mut inner = [entry(AttributeType::SENSITIVE, &mut yes)];
        let outer = [CK_ATTRIBUTE {
            type_: AttributeType::UNWRAP_TEMPLATE.0,
            pValue: inner.as_mut_ptr().cast(),
            ulValueLen: size_of::<CK_ATTRIBUTE>() as CK_ULONG,
        }];
        // SAFETY: one entry with a nested array of one entry.
        let parsed = unsafe { RawTemplate::new(outer.as_ptr(), 1) }.parse().unwrap();
        let bytes = parsed.value(AttributeType::UNWRAP_TEMPLATE).unwrap();
        let mut out = [0_u8];
        let mut places = [entry(AttributeType::LABEL, &mut out)];
        let mut wanted = [CK_ATTRIBUTE {
            pValue: places.as_mut_ptr().cast(),
            ..outer[0]
        }];
        // SAFETY: one place with a nested array of one place.
        let raw = unsafe { RawPlaces::new(wanted.as_mut_ptr(), 1) };
        assert_eq!(raw.fill(0, Ok(bytes)), Ok(()));
        assert_eq!((places[0].type_, places[0].ulValueLen), (AttributeType::SENSITIVE.0, 1));
        assert_eq!(out, [1]);
    }

    #[test]
    fn a_place_that_is_too_small_says_so_and_is_not_written() {
        let mut out = [9_u8; 2];
        let mut places = [entry(AttributeType::LABEL, &mut out)];
        // SAFETY: one valid place.
        let raw = unsafe { RawPlaces::new(places.as_mut_ptr(), 1) };
        assert_eq!(raw.fill(0, Ok(b"abc")), Err(Rv::BUFFER_TOO_SMALL));
        assert_eq!(raw.fill(1, Ok(b"abc")), Err(Rv::ARGUMENTS_BAD));
        assert_eq!((places[0].ulValueLen, out), (UNAVAILABLE, [9, 9]));
    }
}
