//! How many documents a batch has, and how long one is.

use crate::error::Error;

/// Most bytes of name and value together: what the store's largest record holds when it is sealed.
const MAX_BYTES: usize = 68 << 10;
/// Most documents in one batch.
const MAX_WRITES: usize = 100;

/// Not too many at once. The store takes a few more, for the record of the act.
///
/// # Errors
/// [`Error::TooLarge`].
pub(super) const fn check_number(writes: usize) -> Result<(), Error> {
    if writes > MAX_WRITES {
        Err(Error::TooLarge)
    } else {
        Ok(())
    }
}

/// All names are there, and no value is too long.
///
/// # Errors
/// [`Error::TooLarge`].
pub(super) fn check_size<'a>(mut changes: impl Iterator<Item = (&'a str, Option<&'a Vec<u8>>)>) -> Result<(), Error> {
    let fits = |(name, value): (&str, Option<&Vec<u8>>)| {
        !name.is_empty() && name.len() + value.map_or(0, Vec::len) <= MAX_BYTES
    };
    if changes.all(fits) {
        Ok(())
    } else {
        Err(Error::TooLarge)
    }
}
