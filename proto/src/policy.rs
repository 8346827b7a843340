//! Partition policies (DESIGN 8): chosen at creation, may be tightened, never loosened.

/// What a partition allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Policy {
    /// As SoftHSM: RSA-1024, v1.5 and CBC wrapping; the latch is off.
    Legacy,
    /// The default: compatible, closed to API attacks.
    Standard,
    /// Production: no usage flag unless named, wrapping by trusted keys only.
    Strict,
    /// Strict, and only approved mechanisms and sizes.
    Fips,
}

impl Policy {
    /// All policies, loosest first.
    pub const ALL: [Self; 4] = [Self::Legacy, Self::Standard, Self::Strict, Self::Fips];

    /// The name in configuration, output and records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Standard => "standard",
            Self::Strict => "strict",
            Self::Fips => "fips",
        }
    }

    /// Reads a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.name() == name)
    }

    /// The smallest RSA modulus in bits.
    #[must_use]
    pub const fn min_rsa_bits(self) -> u64 {
        match self {
            Self::Legacy => 1024,
            _ => 2048,
        }
    }

    /// Whether origin and latch rules (DESIGN 8) hold.
    #[must_use]
    pub const fn latches(self) -> bool {
        !matches!(self, Self::Legacy)
    }

    /// Whether usage flags that a template does not name default to TRUE where the key type can.
    #[must_use]
    pub const fn usage_by_default(self) -> bool {
        matches!(self, Self::Legacy | Self::Standard)
    }

    /// Whether the daemon makes the IVs of AES-GCM encryptions, and takes no others.
    #[must_use]
    pub const fn makes_ivs(self) -> bool {
        matches!(self, Self::Strict | Self::Fips)
    }

    /// Whether verification, public-key encryption, digests and random may run in the module.
    #[must_use]
    pub const fn local_public_operations(self) -> bool {
        matches!(self, Self::Legacy | Self::Standard)
    }
}

impl std::fmt::Display for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::Policy;

    #[test]
    fn every_policy_reads_back_from_its_name() {
        for policy in Policy::ALL {
            assert_eq!(Policy::from_name(policy.name()), Some(policy));
        }
    }
}
