//! `[[subnet]]`: where HSMs may stand. With at least one, CreateHsm and ModifyHsm take known subnets only.

use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// `[[subnet]]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Subnet {
    /// `subnet-xxxxxxxx`.
    pub id: String,
    /// The range of its addresses: `10.0.1.0/24`, between /8 and /30.
    pub cidr: String,
    /// Its availability zone.
    pub zone: String,
    /// `vpc-xxxxxxxx`.
    pub vpc: String,
}

/// Addresses at the start of a subnet that are not given out of our own accord: AWS keeps them for its own.
const KEPT: u32 = 4;

impl Subnet {
    /// The first and the last address: those of the net and of the broadcast.
    #[must_use]
    pub fn bounds(&self) -> Option<(Ipv4Addr, Ipv4Addr)> {
        let (address, length) = self.cidr.split_once('/')?;
        let (address, length): (Ipv4Addr, u32) = (address.parse().ok()?, length.parse().ok()?);
        let hosts = (8..=30).contains(&length).then(|| u32::MAX >> length)?;
        let first = address.to_bits();
        (first & hosts == 0).then(|| (address, Ipv4Addr::from_bits(first | hosts)))
    }

    /// Whether an HSM may have this address here.
    #[must_use]
    pub fn holds(&self, address: Ipv4Addr) -> bool {
        self.bounds()
            .is_some_and(|(first, last)| first < address && address < last)
    }

    /// The lowest address that is free.
    #[must_use]
    pub fn free_address(&self, taken: impl Fn(&str) -> bool) -> Option<String> {
        let (first, last) = self.bounds()?;
        let hosts = first.to_bits() + 1..last.to_bits();
        let ours = hosts.clone().skip(KEPT as usize - 1).map(Ipv4Addr::from_bits);
        // A /30 has only two.
        let few = (hosts.len() < KEPT as usize).then_some(hosts.map(Ipv4Addr::from_bits));
        let mut addresses = ours.chain(few.into_iter().flatten()).map(|address| address.to_string());
        addresses.find(|address| !taken(address))
    }

    /// What is wrong with it, if something is.
    pub(super) fn fault(&self, others: &[Self]) -> Option<&'static str> {
        let id = |text: &str, kind: &str| {
            let rest = text.strip_prefix(kind);
            rest.is_some_and(|rest| {
                rest.len() == 8
                    && rest
                        .bytes()
                        .all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase())
            })
        };
        let Some((first, last)) = self.bounds() else {
            return Some("subnets with a cidr as 10.0.1.0/24, from /8 to /30, that begins at its net's address");
        };
        if !id(&self.id, "subnet-") || !id(&self.vpc, "vpc-") {
            return Some("subnets with id = \"subnet-xxxxxxxx\" and vpc = \"vpc-xxxxxxxx\", hexadecimal digits");
        }
        if self.zone.is_empty()
            || !self
                .zone
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        {
            return Some("subnets with a zone of letters, digits and hyphens");
        }
        let meets = |other: &Self| other.bounds().is_some_and(|(from, to)| first <= to && from <= last);
        let clash = |other: &&Self| other.id == self.id || (other.vpc == self.vpc && meets(other));
        others
            .iter()
            .find(clash)
            .map(|_| "subnets with different ids, and those of a vpc without common addresses")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(id: &str, cidr: &str) -> Subnet {
        Subnet {
            id: format!("subnet-{id}"),
            cidr: cidr.into(),
            zone: "local-1a".into(),
            vpc: "vpc-00000001".into(),
        }
    }

    #[test]
    fn a_subnet_holds_its_hosts_and_gives_out_the_lowest_free_one() {
        let net = subnet("00000001", "10.0.1.0/29");
        let holds = |last: u8| net.holds(Ipv4Addr::new(10, 0, 1, last));
        assert!(!holds(0) && holds(1) && holds(6) && !holds(7) && !holds(8));
        assert_eq!(net.free_address(|_| false).unwrap(), "10.0.1.4");
        assert_eq!(net.free_address(|address| address < "10.0.1.6").unwrap(), "10.0.1.6");
        assert_eq!(net.free_address(|_| true), None);
        assert_eq!(
            subnet("00000001", "10.0.1.4/30").free_address(|_| false).unwrap(),
            "10.0.1.5"
        );
    }

    #[test]
    fn what_is_no_subnet_is_refused() {
        let good = subnet("00000001", "10.0.1.0/24");
        assert_eq!(good.fault(&[subnet("00000002", "10.0.2.0/24")]), None);
        for cidr in [
            "",
            "10.0.1.0",
            "10.0.1.1/24",
            "10.0.1.0/31",
            "10.0.0.0/7",
            "10.0.1.0/x",
            "::/64",
        ] {
            assert!(subnet("00000001", cidr).fault(&[]).is_some(), "{cidr}");
        }
        for wrong in [
            Subnet {
                id: "subnet-1".into(),
                ..good.clone()
            },
            Subnet {
                vpc: "vpc-0000000G".into(),
                ..good.clone()
            },
            Subnet {
                zone: String::new(),
                ..good.clone()
            },
        ] {
            assert!(wrong.fault(&[]).is_some(), "{wrong:?}");
        }
        assert!(
            good.fault(&[subnet("00000001", "10.0.2.0/24")]).is_some(),
            "the same id"
        );
        assert!(
            good.fault(&[subnet("00000002", "10.0.0.0/16")]).is_some(),
            "common addresses"
        );
    }
}
