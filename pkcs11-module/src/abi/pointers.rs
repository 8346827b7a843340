//! The caller's pointers, each parsed once into a typed value (STYLE 9). Not here: templates (`template.rs`) and
//! mechanisms (`mechanism.rs`).
//!
//! A value is built from raw pointers in an entry function and read later, when the session has been found: a wrong
//! session handle is reported before a wrong argument. NULL with length 0 is legal.
//!
//! Caller's promise (PKCS#11 3.2, 5): for the duration of the call each non-NULL pointer is valid for the length that
//! comes with it. `new` takes that promise, hence it is unsafe; all that follows relies on it.

use cryptoki_sys::CK_ULONG;
use hsmd_proto::ck::Rv;
use std::marker::PhantomData;

/// No caller owns more: a longer length is a mistake, and `from_raw_parts` must not see it.
const LONGEST: u64 = isize::MAX as u64;

/// Bytes that the caller gives.
#[derive(Clone, Copy)]
pub(crate) struct RawInput<'a> {
    data: *const u8,
    length: CK_ULONG,
    call: PhantomData<&'a [u8]>,
}

impl<'a> RawInput<'a> {
    /// # Safety
    /// The caller's promise (see the file's head) holds for `data` and `length` during `'a`.
    pub(in crate::abi) const unsafe fn new(data: *const u8, length: CK_ULONG) -> Self {
        Self {
            data,
            length,
            call: PhantomData,
        }
    }

    /// The bytes.
    ///
    /// # Errors
    /// `CKR_ARGUMENTS_BAD` for NULL with a length, and for a length that no memory has.
    pub(crate) fn get(self) -> Result<&'a [u8], Rv> {
        if self.length == 0 {
            return Ok(&[]);
        }
        if self.data.is_null() || self.length > LONGEST {
            return Err(Rv::ARGUMENTS_BAD);
        }
        // SAFETY: not NULL, the length is at most isize::MAX, and `new`'s caller promised that it is valid for 'a.
        Ok(unsafe { std::slice::from_raw_parts(self.data, self.length as usize) })
    }

    /// Whether the caller gave no pointer: the signature of a message does not come yet.
    pub(crate) const fn is_absent(&self) -> bool {
        self.data.is_null()
    }

    /// As [`Self::get`], but NULL is refused also with length 0: PINs, for which NULL asks for a PIN pad.
    pub(crate) fn not_null(self) -> Result<&'a [u8], Rv> {
        if self.data.is_null() {
            Err(Rv::ARGUMENTS_BAD)
        } else {
            self.get()
        }
    }
}

/// One value that is written for the caller.
pub(crate) struct RawSlot<'a, T> {
    place: *mut T,
    call: PhantomData<&'a mut T>,
}

impl<T: Copy> RawSlot<'_, T> {
    /// # Safety
    /// `place` is NULL or valid for one `T` during `'a`.
    pub(in crate::abi) const unsafe fn new(place: *mut T) -> Self {
        Self {
            place,
            call: PhantomData,
        }
    }

    /// # Errors
    /// `CKR_ARGUMENTS_BAD` for NULL. Asked before anything is done.
    pub(crate) fn check(&self) -> Result<(), Rv> {
        if self.place.is_null() {
            Err(Rv::ARGUMENTS_BAD)
        } else {
            Ok(())
        }
    }

    /// Writes the value.
    ///
    /// # Errors
    /// `CKR_ARGUMENTS_BAD` for NULL.
    pub(crate) fn set(&self, value: T) -> Result<(), Rv> {
        self.check()?;
        // SAFETY: not NULL, and `new`'s caller promised room for one T. Unaligned: callers cast.
        unsafe { self.place.write_unaligned(value) };
        Ok(())
    }
}

/// A buffer and its length as the two-call rule uses them (PKCS#11 3.2, 5.2).
#[derive(Clone, Copy)]
pub(crate) struct RawOut<'a> {
    data: *mut u8,
    length: *mut CK_ULONG,
    call: PhantomData<&'a mut [u8]>,
}

impl<'a> RawOut<'a> {
    /// # Safety
    /// `length` is NULL or valid for one CK_ULONG, `data` is NULL or valid for `*length` bytes, during `'a`.
    pub(in crate::abi) const unsafe fn new(data: *mut u8, length: *mut CK_ULONG) -> Self {
        Self {
            data,
            length,
            call: PhantomData,
        }
    }

    /// Whether there is no place for a length: the signature of a message does not come yet.
    pub(crate) const fn is_absent(&self) -> bool {
        self.length.is_null()
    }

    /// # Errors
    /// `CKR_ARGUMENTS_BAD` without a place for the length.
    pub(crate) fn get(self) -> Result<OutBuf<'a>, Rv> {
        if self.length.is_null() {
            return Err(Rv::ARGUMENTS_BAD);
        }
        // SAFETY: not NULL, and `new`'s caller promised a CK_ULONG.
        let room = unsafe { self.length.read_unaligned() };
        Ok(OutBuf {
            data: self.data,
            room,
            length: self.length,
            call: PhantomData,
        })
    }
}

/// What became of a result that was to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// It is in the caller's buffer.
    Whole,
    /// Only the length was asked for; the operation goes on.
    Length,
    /// The buffer is too small; the length is told and the operation goes on.
    TooSmall,
}

/// The two-call length rule, in one place.
pub(crate) struct OutBuf<'a> {
    data: *mut u8,
    room: CK_ULONG,
    length: *mut CK_ULONG,
    call: PhantomData<&'a mut [u8]>,
}

impl OutBuf<'_> {
    /// Whether only the length is asked for.
    pub(crate) const fn is_query(&self) -> bool {
        self.data.is_null()
    }

    /// Tells a length without a result: `None` if a result of that length would fit.
    pub(crate) fn refuse(&self, length: usize) -> Option<Written> {
        if self.is_query() {
            self.tell(length);
            Some(Written::Length)
        } else if (length as u64) > self.room {
            self.tell(length);
            Some(Written::TooSmall)
        } else {
            None
        }
    }

    /// Writes a result, or tells its length.
    pub(crate) fn put(&self, result: &[u8]) -> Written {
        if let Some(refused) = self.refuse(result.len()) {
            return refused;
        }
        self.tell(result.len());
        // SAFETY: `data` is not NULL (refuse) and valid for `room` bytes by the promise of `RawOut::new`; the result is
        // not longer than `room`. It is the module's own memory, so it does not overlap.
        unsafe { std::ptr::copy_nonoverlapping(result.as_ptr(), self.data, result.len()) };
        Written::Whole
    }

    fn tell(&self, length: usize) {
        // SAFETY: `RawOut::get` saw that it is not NULL; its caller promised a CK_ULONG.
        unsafe { self.length.write_unaligned(length as CK_ULONG) };
    }
}

/// Memory of known length that is filled for the caller (C_GenerateRandom).
pub(crate) struct RawFill<'a> {
    data: *mut u8,
    length: CK_ULONG,
    call: PhantomData<&'a mut [u8]>,
}

impl<'a> RawFill<'a> {
    /// # Safety
    /// `data` is NULL or valid for `length` bytes during `'a`, and no one else uses them.
    pub(in crate::abi) const unsafe fn new(data: *mut u8, length: CK_ULONG) -> Self {
        Self {
            data,
            length,
            call: PhantomData,
        }
    }

    /// The memory.
    ///
    /// # Errors
    /// `CKR_ARGUMENTS_BAD` for NULL (also with length 0) and for a length that no memory has.
    pub(crate) fn get(self) -> Result<&'a mut [u8], Rv> {
        if self.data.is_null() || self.length > LONGEST {
            return Err(Rv::ARGUMENTS_BAD);
        }
        // SAFETY: not NULL, at most isize::MAX, valid and exclusive by the promise of `new`. The bytes may be
        // uninitialised to the compiler's knowledge only in the caller's language; they come from foreign memory.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.data, self.length as usize) })
    }
}

/// A list of ids with its count: slots, mechanisms, interfaces. The two-call rule counts elements here.
pub(crate) struct RawList<'a, T> {
    items: *mut T,
    count: *mut CK_ULONG,
    call: PhantomData<&'a mut [T]>,
}

impl<T: Copy> RawList<'_, T> {
    /// # Safety
    /// `count` is NULL or valid for one CK_ULONG, `items` is NULL or valid for `*count` elements, during `'a`.
    pub(in crate::abi) const unsafe fn new(items: *mut T, count: *mut CK_ULONG) -> Self {
        Self {
            items,
            count,
            call: PhantomData,
        }
    }

    /// # Errors
    /// `CKR_ARGUMENTS_BAD` without a place for the count.
    pub(crate) fn check(&self) -> Result<(), Rv> {
        if self.count.is_null() {
            Err(Rv::ARGUMENTS_BAD)
        } else {
            Ok(())
        }
    }

    /// Whether only the count is asked for.
    pub(crate) const fn is_query(&self) -> bool {
        self.items.is_null()
    }

    /// Writes the list, or tells its length.
    ///
    /// # Errors
    /// `CKR_ARGUMENTS_BAD` without a place for the count, `CKR_BUFFER_TOO_SMALL`.
    pub(crate) fn put(&self, list: &[T]) -> Result<(), Rv> {
        self.check()?;
        // SAFETY: not NULL; the promise of `new`.
        let room = unsafe { self.count.read_unaligned() };
        // SAFETY: as above.
        unsafe { self.count.write_unaligned(list.len() as CK_ULONG) };
        if self.is_query() {
            return Ok(());
        }
        if (list.len() as u64) > room {
            return Err(Rv::BUFFER_TOO_SMALL);
        }
        for (index, item) in list.iter().enumerate() {
            // SAFETY: index < list.len() <= room, and `new`'s caller promised room for that many elements.
            unsafe { self.items.add(index).write_unaligned(*item) };
        }
        Ok(())
    }
}

/// A list without the two-call rule: at most `most` elements are written, the count tells how many (C_FindObjects).
pub(crate) struct RawPage<'a, T> {
    items: *mut T,
    most: CK_ULONG,
    count: *mut CK_ULONG,
    call: PhantomData<&'a mut [T]>,
}

impl<T: Copy> RawPage<'_, T> {
    /// # Safety
    /// `count` is NULL or valid for one CK_ULONG, `items` is NULL or valid for `most` elements, during `'a`.
    pub(in crate::abi) const unsafe fn new(items: *mut T, most: CK_ULONG, count: *mut CK_ULONG) -> Self {
        Self {
            items,
            most,
            count,
            call: PhantomData,
        }
    }

    /// How many elements fit.
    ///
    /// # Errors
    /// `CKR_ARGUMENTS_BAD` without a place for the count or for the elements.
    pub(crate) fn room(&self) -> Result<usize, Rv> {
        if self.count.is_null() || (self.items.is_null() && self.most != 0) {
            return Err(Rv::ARGUMENTS_BAD);
        }
        Ok(usize::try_from(self.most).unwrap_or(usize::MAX))
    }

    /// Writes as many elements as fit.
    ///
    /// # Errors
    /// As [`Self::room`].
    pub(crate) fn put(&self, list: &[T]) -> Result<(), Rv> {
        let room = self.room()?;
        for (index, item) in list.iter().take(room).enumerate() {
            // SAFETY: index < most, and `new`'s caller promised room for that many elements; not NULL (room).
            unsafe { self.items.add(index).write_unaligned(*item) };
        }
        // SAFETY: not NULL (room); the promise of `new`.
        unsafe { self.count.write_unaligned(list.len().min(room) as CK_ULONG) };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_with_length_zero_is_an_empty_input() {
        // SAFETY: NULL is allowed by the contract of `new`.
        let (empty, bad) = unsafe { (RawInput::new(std::ptr::null(), 0), RawInput::new(std::ptr::null(), 1)) };
        assert_eq!(empty.get(), Ok(&[][..]));
        assert_eq!(bad.get(), Err(Rv::ARGUMENTS_BAD));
        // SAFETY: the absurd length is refused before the pointer is read.
        let absurd = unsafe { RawInput::new([1_u8].as_ptr(), u64::MAX) };
        assert_eq!(absurd.get(), Err(Rv::ARGUMENTS_BAD));
    }

    #[test]
    fn the_two_call_rule_tells_lengths_and_never_writes_past_the_room() {
        let mut data = [0_u8; 4];
        let mut length: CK_ULONG = 0;
        // SAFETY: the length is valid; NULL data is a query.
        let query = unsafe { RawOut::new(std::ptr::null_mut(), &raw mut length) };
        assert_eq!(query.get().unwrap().put(b"abc"), Written::Length);
        assert_eq!(length, 3);
        length = 2;
        // SAFETY: data has 4 bytes, the length says 2.
        let small = unsafe { RawOut::new(data.as_mut_ptr(), &raw mut length) };
        assert_eq!(small.get().unwrap().put(b"abc"), Written::TooSmall);
        assert_eq!((length, data), (3, [0; 4]));
        // SAFETY: data has 4 bytes, the length says 3.
        let fits = unsafe { RawOut::new(data.as_mut_ptr(), &raw mut length) };
        assert_eq!(fits.get().unwrap().put(b"abc"), Written::Whole);
        assert_eq!(data, *b"abc\0");
        // SAFETY: NULL is allowed.
        let missing = unsafe { RawOut::new(data.as_mut_ptr(), std::ptr::null_mut()) };
        assert!(missing.get().is_err());
    }

    #[test]
    fn a_list_that_does_not_fit_tells_its_count() {
        let mut items = [0_u64; 2];
        let mut count: CK_ULONG = 1;
        // SAFETY: one element fits, as the count says.
        let list = unsafe { RawList::new(items.as_mut_ptr(), &raw mut count) };
        assert_eq!(list.put(&[7, 8]), Err(Rv::BUFFER_TOO_SMALL));
        assert_eq!((count, items), (2, [0, 0]));
        // SAFETY: two elements fit.
        let list = unsafe { RawList::new(items.as_mut_ptr(), &raw mut count) };
        assert_eq!(list.put(&[7, 8]), Ok(()));
        assert_eq!(items, [7, 8]);
    }
}
