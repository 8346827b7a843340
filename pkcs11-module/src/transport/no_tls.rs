//! In place of `tls`, in a build without aws-lc: no server is reached but by its Unix socket (docs/providers.md).

use crate::config::{ConfigError, Remote};
use rustls::ClientConfig;
use std::sync::Arc;

/// Refuses.
///
/// # Errors
/// [`ConfigError::NoTls`].
pub(crate) const fn load(_: &Remote) -> Result<Arc<ClientConfig>, ConfigError> {
    Err(ConfigError::NoTls)
}
