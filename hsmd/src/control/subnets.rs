//! Where an HSM stands: zone, VPC and address by the map of subnets of the configuration. Without a map every subnet is taken, as
//! long as it is written as one.

use super::model::{Model, ModelError, State, fresh};
use super::records::HsmRecord;
use crate::config::Subnet;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

const SUBNET: &str = "SubnetId";
const ADDRESS: &str = "EniIp";

/// Where an HSM is to stand.
pub(super) struct Place {
    pub(super) vpc: String,
    pub(super) zone: String,
    pub(super) address: String,
}

impl Model {
    /// The same model over the subnets of the configuration.
    #[must_use]
    pub(crate) fn over(mut self, subnets: Vec<Subnet>) -> Self {
        self.subnets = subnets;
        self
    }

    /// The zones in which HSMs can be, and are.
    #[must_use]
    pub fn zones(&self) -> BTreeSet<String> {
        let mut zones: BTreeSet<_> = self.subnets.iter().map(|subnet| subnet.zone.clone()).collect();
        if zones.is_empty() {
            zones.insert(self.config.availability_zone.clone());
        }
        zones.extend(self.hsms().into_iter().map(|hsm| hsm.availability_zone));
        zones
    }

    /// The place of a new HSM, or of one that moves: then `now` is what it was.
    pub(super) fn place(
        &self,
        state: &State,
        subnet: &str,
        address: Option<&str>,
        now: Option<&HsmRecord>,
    ) -> Result<Place, ModelError> {
        let own = now.map_or("", |hsm| &hsm.id);
        if address.is_some_and(|address| state.has_address(address, own)) {
            return Err(ModelError::AddressTaken);
        }
        let taken = |address: &str| state.has_address(address, own);
        let known = self.subnets.iter().find(|known| known.id == subnet);
        if known.is_none() && (self.subnets.is_empty() || self.config.other_subnets) {
            let kept = now.map(|hsm| hsm.eni_ip.clone());
            let chosen = address.map(str::to_owned).or(kept);
            return Ok(Place {
                vpc: subnet.replace("subnet-", "vpc-"),
                zone: now.map_or_else(
                    || self.config.availability_zone.clone(),
                    |hsm| hsm.availability_zone.clone(),
                ),
                address: chosen.unwrap_or_else(|| fresh(any_address, |address| taken(address))),
            });
        }
        let known = known.ok_or(ModelError::Unknown(SUBNET, "subnet"))?;
        if now.is_some_and(|hsm| hsm.availability_zone != known.zone) {
            return Err(ModelError::Invalid(SUBNET, "a subnet of the HSM's availability zone"));
        }
        let fits = |address: &str| address.parse::<Ipv4Addr>().is_ok_and(|address| known.holds(address));
        let address = match address {
            Some(address) if fits(address) => address.to_owned(),
            Some(_) => return Err(ModelError::Invalid(ADDRESS, "an address of a host in the subnet")),
            None => match now.filter(|hsm| fits(&hsm.eni_ip)) {
                Some(hsm) => hsm.eni_ip.clone(),
                None => known.free_address(taken).ok_or(ModelError::SubnetFull)?,
            },
        };
        Ok(Place {
            vpc: known.vpc.clone(),
            zone: known.zone.clone(),
            address,
        })
    }
}

fn any_address() -> String {
    let [a, b] = hsmd_crypto::random::array();
    format!("10.0.{a}.{}", b.clamp(4, 254))
}
