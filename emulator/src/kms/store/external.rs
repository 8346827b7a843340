//! Stores behind somebody else's proxy, and the second of the two encryptions under their keys: what the key in the token of `[kms]`
//! has sealed is sealed again with the external key, so that neither side alone opens it.

use super::super::keys::Found;
use super::super::{Kms, internal};
use super::keeper::Trouble;
use super::record::{Code, ExternalSettings};
use super::{Shared, Store};
use crate::fault::Fault;
use crate::uuid;
use crate::xks::client::{Proxy, ProxyConfig, ProxyFailure, RequestMetadata, Sealed};
use crate::xks::mapping;
use aws_lc_rs::digest::{Digest, SHA256, digest};
use std::sync::Arc;
use zeroize::Zeroizing;

/// The length of a tag.
const TAG: usize = 16;

/// A client of the store's proxy.
pub(super) fn proxy(shared: &Shared, settings: &ExternalSettings) -> Result<Arc<Proxy>, Fault> {
    let config = ProxyConfig {
        endpoint: settings.place.endpoint.clone(),
        path: settings.place.path.clone(),
        region: shared.region.clone(),
        access_key_id: settings.access_key_id.clone(),
        secret: Zeroizing::new(settings.secret.expose().to_owned()),
    };
    let proxy = Proxy::new(config, &shared.outbound);
    proxy.map(Arc::new).map_err(|error| {
        tracing::error!(error, "a proxy's endpoint that the model let through");
        internal()
    })
}

/// Asks a proxy how it is.
///
/// # Errors
/// The proxy's.
pub(super) async fn ask(proxy: &Proxy, operation: &str) -> Result<bool, ProxyFailure> {
    let id = request_id();
    let request = RequestMetadata {
        kms_operation: operation.into(),
        kms_request_id: id.as_str().into(),
        ..RequestMetadata::default()
    };
    proxy.health(request).await.map(|health| health.serves())
}

/// Whether a store can be used: the proxy answers, and one of its key managers serves.
pub(super) async fn probe(store: &Store, proxy: &Proxy) -> Result<(), Trouble> {
    match ask(proxy, "KmsHealthCheck").await {
        Ok(true) => Ok(()),
        Ok(false) => Err(Trouble::passing(Code::ProxyUnreachable)),
        Err(failure) => {
            tracing::warn!(%failure, store = store.id(), "the proxy of the external key store");
            let code = Code::of(mapping::connection_error(failure)).unwrap_or(Code::Internal);
            let is_lasting = !matches!(failure, ProxyFailure::Unreachable | ProxyFailure::TimedOut);
            Err(Trouble { code, is_lasting })
        }
    }
}

fn request_id() -> String {
    uuid::text(&uuid::random().unwrap_or_default())
}

/// What the proxy is told of a request for a key.
fn about<'a>(principal: &'a str, arn: &'a str, operation: &'a str, id: &'a str) -> RequestMetadata<'a> {
    RequestMetadata {
        aws_principal_arn: Some(principal.into()),
        kms_key_arn: Some(arn.into()),
        kms_operation: operation.into(),
        kms_request_id: id.into(),
        ..RequestMetadata::default()
    }
}

/// Makes sure that an external key is one to make a KMS key of.
///
/// # Errors
/// XksKeyNotFoundException, XksKeyInvalidConfigurationException, CustomKeyStoreInvalidStateException.
pub(super) async fn usable(kms: &Kms, store: &Store, key: &str) -> Result<(), Fault> {
    let proxy = store
        .proxy()
        .ok_or_else(|| super::invalid_state("the custom key store is not connected"))?;
    let (principal, id) = (kms.principal(), request_id());
    let request = RequestMetadata {
        aws_principal_arn: Some(principal.as_str().into()),
        kms_operation: "CreateKey".into(),
        kms_request_id: id.as_str().into(),
        ..RequestMetadata::default()
    };
    let found = proxy.metadata(key, request).await.map_err(|failure| {
        store.suspect();
        mapping::key_fault(failure)
    })?;
    if found.is_usable() {
        return Ok(());
    }
    let message = "the external key must be an enabled AES_256 key that does ENCRYPT and DECRYPT";
    Err(Fault::new(400, "XksKeyInvalidConfigurationException", message))
}

/// Seals with the external key what the own key has sealed; for other keys it is done already.
pub(in crate::kms) async fn wrap(
    kms: &Kms,
    found: &Found,
    operation: &str,
    context: impl FnOnce() -> Zeroizing<Vec<u8>>,
    sealed: Vec<u8>,
) -> Result<Vec<u8>, Fault> {
    let Some((proxy, key)) = outside(found)? else {
        return Ok(sealed);
    };
    let (principal, id) = (kms.principal(), request_id());
    let request = about(&principal, &found.arn, operation, &id);
    let outer = proxy.encrypt(key, &sealed, hash(context).as_ref(), request).await;
    Ok(join(&outer.map_err(|failure| refused(found, failure))?))
}

/// Opens with the external key, so that what comes out opens with the own key.
pub(in crate::kms) async fn unwrap(
    kms: &Kms,
    found: &Found,
    operation: &str,
    context: impl FnOnce() -> Zeroizing<Vec<u8>>,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let Some((proxy, key)) = outside(found)? else {
        return Ok(Zeroizing::new(sealed.to_vec()));
    };
    let outer = split(sealed).ok_or_else(|| Fault::new(400, "InvalidCiphertextException", ""))?;
    let (principal, id) = (kms.principal(), request_id());
    let request = about(&principal, &found.arn, operation, &id);
    let inner = proxy.decrypt(key, &outer, hash(context).as_ref(), request).await;
    inner.map_err(|failure| refused(found, failure))
}

/// What the proxy authenticates: a hash, since contexts are longer than some hardware takes, and nobody else's business.
fn hash(context: impl FnOnce() -> Zeroizing<Vec<u8>>) -> Digest {
    digest(&SHA256, &context())
}

fn refused(found: &Found, failure: ProxyFailure) -> Fault {
    tracing::warn!(%failure, key = found.arn, "the proxy of the external key store");
    if let (Some(store), ProxyFailure::Unreachable | ProxyFailure::Tls | ProxyFailure::TimedOut) =
        (&found.store, failure)
    {
        store.suspect();
    }
    mapping::use_fault(failure)
}

/// Proxy and external key of a key; `None` for one that has none.
fn outside(found: &Found) -> Result<Option<(Arc<Proxy>, &str)>, Fault> {
    let Some(key) = found.record().backing.external() else {
        return Ok(None);
    };
    let store = found.store.as_ref().filter(|store| store.is_available());
    let proxy = store
        .and_then(|store| store.proxy())
        .ok_or_else(|| found.unavailable())?;
    Ok(Some((proxy, key)))
}

/// Vector with its length, tag, metadata with its length (255: there is none), ciphertext.
fn join(sealed: &Sealed) -> Vec<u8> {
    const NONE: u8 = 255;
    // The client has checked the lengths: 16 and 20 bytes at most.
    let length = |bytes: &[u8]| u8::try_from(bytes.len()).unwrap_or(NONE);
    let mut out = vec![length(&sealed.iv)];
    out.extend_from_slice(&sealed.iv);
    out.extend_from_slice(&sealed.tag);
    out.push(sealed.metadata.as_deref().map_or(NONE, length));
    out.extend_from_slice(sealed.metadata.as_deref().unwrap_or_default());
    out.extend_from_slice(&sealed.ciphertext);
    out
}

fn split(bytes: &[u8]) -> Option<Sealed> {
    let (length, rest) = bytes.split_first()?;
    let (iv, rest) = rest.split_at_checked(usize::from(*length))?;
    let (tag, rest) = rest.split_at_checked(TAG)?;
    let (length, rest) = rest.split_first()?;
    let (metadata, ciphertext) = match length {
        255 => (None, rest),
        length => {
            let (metadata, rest) = rest.split_at_checked(usize::from(*length))?;
            (Some(metadata.to_vec()), rest)
        }
    };
    Some(Sealed {
        ciphertext: ciphertext.to_vec(),
        iv: iv.to_vec(),
        tag: tag.to_vec(),
        metadata,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_proxy_sealed_comes_apart_as_it_was_put_together() {
        for metadata in [None, Some(vec![]), Some(vec![5; 20])] {
            let sealed = Sealed {
                ciphertext: vec![1; 40],
                iv: vec![2; 12],
                tag: vec![3; 16],
                metadata,
            };
            let bytes = join(&sealed);
            assert_eq!(split(&bytes), Some(sealed));
            assert_eq!(split(&bytes[..28]), None);
        }
        assert_eq!(split(&[]), None);
        assert_eq!(split(&[200, 1, 2]), None);
    }
}
