//! What `[store]` says of an etcd. A build without the feature `etcd` refuses to be told of one.

use super::Store;
use hsmd_keystore::Options;

/// Whether `store.url` may be this.
pub(super) fn is_url(url: &str) -> bool {
    #[cfg(feature = "etcd")]
    let good = url.parse::<hsmd_keystore::EtcdUrl>().is_ok();
    #[cfg(not(feature = "etcd"))]
    let good = false;
    url.is_empty() || good
}

/// Tells the keystore of it. The configuration was checked.
pub(crate) fn tell(store: &Store, options: &mut Options) {
    #[cfg(feature = "etcd")]
    {
        let set = |path: &std::path::Path| (!path.as_os_str().is_empty()).then(|| path.to_owned());
        options.etcd = store.url.parse().ok().map(|url| hsmd_keystore::EtcdPlace {
            url,
            tls: set(&store.etcd_ca).map(|ca| hsmd_keystore::EtcdTls {
                ca,
                identity: set(&store.etcd_cert).zip(set(&store.etcd_key)),
            }),
            keep_revisions: store.etcd_keep_revisions,
        });
    }
    #[cfg(not(feature = "etcd"))]
    let _ = (store, options);
}
