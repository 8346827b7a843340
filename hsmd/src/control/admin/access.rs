//! Where a client finds its partitions from another host, and whom it is to trust there.

use crate::config::Data;
use crate::control::chrystoki::{self, Server};
use crate::control::model::ModelError;
use crate::node::Node;
use hsmd_control::admin::{DescribeAccessRequest, DescribeAccessResponse};

pub(super) fn describe(node: &Node, request: DescribeAccessRequest) -> Result<DescribeAccessResponse, ModelError> {
    let all = node.model.partitions("")?;
    let mut addresses = Vec::new();
    for name in &request.partitions {
        let members = if name.starts_with("arn:") && !name.contains("/partition-") {
            node.model.group(name)?.record.members
        } else {
            vec![name.rsplit("/partition-").next().unwrap_or(name).to_owned()]
        };
        for member in members {
            let partition = all.iter().find(|partition| partition.serial == member);
            let partition = partition.ok_or(ModelError::Unknown("partitions", "partition"))?;
            let address = node.model.hsm(&partition.hsm)?.eni_ip;
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }
    Ok(DescribeAccessResponse {
        servers: servers(&node.config.data, &addresses),
        authorities: node.pki.bundle(),
    })
}

/// `host:port` of each server, as GetConfig names them; nothing without a listener.
fn servers(data: &Data, addresses: &[String]) -> Vec<String> {
    if data.listen.is_empty() {
        return Vec::new();
    }
    let servers = chrystoki::servers(data, addresses).into_iter();
    let render = |server: Server| match server.host.contains(':') {
        true => format!("[{}]:{}", server.host, server.port),
        false => format!("{}:{}", server.host, server.port),
    };
    servers.map(render).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_what_is_advertised_or_each_hsm_with_the_listeners_port() {
        let addresses = ["10.0.0.5".to_owned(), "10.0.1.5".to_owned()];
        let mut data = Data::default();
        assert!(servers(&data, &addresses).is_empty(), "nobody listens");
        data.listen = vec!["0.0.0.0:1800".parse().unwrap()];
        assert_eq!(servers(&data, &addresses), ["10.0.0.5:1800", "10.0.1.5:1800"]);
        for (advertised, expected) in [
            ("hsm.example", "hsm.example:1800"),
            ("hsm.example:1792", "hsm.example:1792"),
            ("fd00::1", "[fd00::1]:1800"),
            ("[fd00::1]:1792", "[fd00::1]:1792"),
        ] {
            data.advertise = advertised.to_owned();
            assert_eq!(servers(&data, &addresses), [expected]);
        }
    }
}
