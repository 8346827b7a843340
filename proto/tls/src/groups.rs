//! The groups in which all TLS here agrees on keys: daemon, module and emulator, on both planes.

use rustls::NamedGroup;
use rustls::crypto::CryptoProvider;

/// The most wanted first: the hybrid of X25519 and ML-KEM, because what is recorded today must not be read later.
const GROUPS: [NamedGroup; 4] = [
    NamedGroup::X25519MLKEM768,
    NamedGroup::X25519,
    NamedGroup::secp256r1,
    NamedGroup::secp384r1,
];

/// The provider with these groups alone, in this order. One that it does not have stays away.
#[must_use]
pub fn with_groups(provider: CryptoProvider) -> CryptoProvider {
    let of = |name: &NamedGroup| provider.kx_groups.iter().copied().find(|group| group.name() == *name);
    let kx_groups = GROUPS.iter().filter_map(of).collect();
    CryptoProvider { kx_groups, ..provider }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aws_lc_has_every_group_and_the_hybrid_is_first() {
        let provider = with_groups(rustls::crypto::aws_lc_rs::default_provider());
        let names: Vec<NamedGroup> = provider.kx_groups.iter().map(|group| group.name()).collect();
        assert_eq!(names, GROUPS);
    }
}
