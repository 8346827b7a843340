//! Tests of the operations through [`crate::KeySet`].
