//! Which engine holds the records of a keystore: sled's folder beside its root files, or an etcd. The root files, with the keys that
//! the master key seals, are in the keystore's own folder in both cases.

use std::path::Path;
use std::sync::Arc;

#[cfg(feature = "etcd")]
use hsmd_store::{EtcdOptions, EtcdTls, EtcdUrl, OpenError, WriterId};
use hsmd_store::{LoadReport, SledOptions, Store};

use crate::error::Error;
use crate::keystore::{STORE, store_keys};
use crate::options::Options;
use crate::root::RootRecord;

/// A store in etcd.
#[cfg(feature = "etcd")]
#[derive(Clone, Debug)]
pub struct EtcdPlace {
    /// Members and prefix.
    pub url: EtcdUrl,
    /// TLS; `None`: none.
    pub tls: Option<EtcdTls>,
    /// Revisions that are kept when the node has etcd forget old history; 0: it never does.
    pub keep_revisions: u64,
}

/// Opens the store of the keystore in `dir`, or makes it if `record` is not complete.
pub(crate) fn open(dir: &Path, record: &RootRecord, options: &Options) -> Result<(Store, LoadReport), Error> {
    #[cfg(feature = "etcd")]
    if let Some(place) = &options.etcd {
        let opened = Store::open_etcd(etcd_options(dir, record, place, options), &store_keys(record));
        return opened.map_err(|error| match error {
            // A prefix that holds another store, or something else.
            OpenError::WrongKeys if !record.complete => Error::PrefixTaken,
            error => error.into(),
        });
    }
    Ok(Store::open_sled(
        &dir.join(STORE),
        store_keys(record),
        sled_options(options),
    )?)
}

/// What a node before has left there.
pub(crate) fn offered(dir: &Path, options: &Options) -> Result<Option<Vec<u8>>, Error> {
    #[cfg(feature = "etcd")]
    if let Some(etcd) = bare(dir, options) {
        return Ok(hsmd_store::join_value(&etcd)?);
    }
    let _ = (dir, options);
    Ok(None)
}

/// Where a store in etcd is, for whoever has no keys of it yet.
#[cfg(feature = "etcd")]
pub(crate) fn bare(dir: &Path, options: &Options) -> Option<EtcdOptions> {
    let place = options.etcd.as_ref()?;
    let mut etcd = EtcdOptions::new(place.url.clone(), WriterId([0; 16]), dir.to_owned());
    etcd.tls.clone_from(&place.tls);
    Some(etcd)
}

/// Leaves what a further node needs in the store; one that is on files has none.
pub(crate) fn offer(dir: &Path, options: &Options, value: &[u8]) -> Result<(), Error> {
    #[cfg(feature = "etcd")]
    if let Some(etcd) = bare(dir, options) {
        hsmd_store::offer_join_value(&etcd, value)?;
    }
    #[cfg(not(feature = "etcd"))]
    let _ = (dir, options, value);
    Ok(())
}

#[cfg(feature = "etcd")]
fn etcd_options(dir: &Path, record: &RootRecord, place: &EtcdPlace, options: &Options) -> EtcdOptions {
    let mut etcd = EtcdOptions::new(place.url.clone(), WriterId(record.node.0), dir.to_owned());
    etcd.tls.clone_from(&place.tls);
    etcd.create = !record.complete;
    etcd.alone = options.alone;
    etcd.accept_rollback = options.accept_rollback;
    etcd.keep_revisions = place.keep_revisions;
    etcd.faults = options.faults.clone();
    if let Some(on_fatal) = &options.on_fatal {
        etcd.on_fatal = Arc::clone(on_fatal);
    }
    etcd
}

pub(crate) fn sled_options(options: &Options) -> SledOptions {
    let mut sled = SledOptions {
        segment_bytes: options.segment_bytes,
        faults: options.faults.clone(),
        ..SledOptions::default()
    };
    if let Some(on_fatal) = &options.on_fatal {
        sled.on_fatal = Arc::clone(on_fatal);
    }
    sled
}
