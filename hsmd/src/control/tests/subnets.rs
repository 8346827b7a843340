//! Where HSMs stand, by the map of subnets.

use super::{keystore, model};
use crate::config::Subnet;
use crate::control::hsms::HsmChange;
use crate::control::model::{Model, ModelError, NewHsm};

fn subnet(number: u8, cidr: &str, zone: &str) -> Subnet {
    Subnet {
        id: format!("subnet-0000000{number}"),
        cidr: cidr.into(),
        zone: zone.into(),
        vpc: "vpc-000000aa".into(),
    }
}

fn mapped() -> Model {
    let (model, _) = model(&keystore());
    model.over(vec![
        subnet(1, "10.0.1.0/29", "local-1a"),
        subnet(2, "10.0.2.0/24", "local-1b"),
        subnet(3, "10.0.3.0/24", "local-1a"),
    ])
}

fn create(model: &Model, subnet: &str, address: &str) -> Result<(String, String), ModelError> {
    let hsm = model.create_hsm(&NewHsm {
        subnet_id: subnet.into(),
        eni_ip: address.into(),
        ..NewHsm::default()
    })?;
    model.confirm(&hsm.id).unwrap();
    assert_eq!(hsm.vpc_id, "vpc-000000aa");
    Ok((hsm.arn, hsm.eni_ip))
}

#[test]
fn an_address_comes_from_the_subnet_and_is_given_once() {
    let model = mapped();
    let ips: Vec<_> = (0..3)
        .map(|_| create(&model, "subnet-00000001", "").unwrap().1)
        .collect();
    assert_eq!(ips, ["10.0.1.4", "10.0.1.5", "10.0.1.6"]);
    assert!(matches!(
        create(&model, "subnet-00000001", ""),
        Err(ModelError::SubnetFull)
    ));
    create(&model, "subnet-00000001", "10.0.1.1").unwrap();
    assert!(matches!(
        create(&model, "subnet-00000001", "10.0.1.1"),
        Err(ModelError::AddressTaken)
    ));
    for wrong in ["10.0.1.0", "10.0.1.7", "10.0.2.9", "1.2.3.4"] {
        assert!(
            matches!(
                create(&model, "subnet-00000001", wrong),
                Err(ModelError::Invalid("EniIp", _))
            ),
            "{wrong}"
        );
    }
    for unknown in ["", "subnet-00000009"] {
        assert!(matches!(
            create(&model, unknown, ""),
            Err(ModelError::Unknown("SubnetId", _))
        ));
    }
    assert_eq!(model.zones().into_iter().collect::<Vec<_>>(), ["local-1a", "local-1b"]);
}

#[test]
fn an_hsm_moves_within_its_zone_and_its_address_with_it() {
    let model = mapped();
    let (arn, _) = create(&model, "subnet-00000001", "").unwrap();
    let to = |subnet: Option<&str>, ip: Option<&str>| HsmChange {
        subnet_id: subnet.map(str::to_owned),
        eni_ip: ip.map(str::to_owned),
        ..HsmChange::default()
    };
    let refused = |change: HsmChange| model.modify_hsm(&arn, change).unwrap_err();
    assert!(matches!(
        refused(to(Some("subnet-00000002"), None)),
        ModelError::Invalid("SubnetId", _)
    ));
    assert!(matches!(
        refused(to(Some("subnet-00000009"), None)),
        ModelError::Unknown("SubnetId", _)
    ));
    assert!(matches!(
        refused(to(None, Some("10.0.3.9"))),
        ModelError::Invalid("EniIp", _)
    ));
    assert!(matches!(
        refused(to(Some("subnet-00000003"), Some("10.0.1.5"))),
        ModelError::Invalid("EniIp", _)
    ));
    let moved = model.modify_hsm(&arn, to(Some("subnet-00000003"), None)).unwrap();
    assert_eq!((moved.eni_ip.as_str(), moved.state.name()), ("10.0.3.4", "UPDATING"));
    model.confirm(&moved.id).unwrap();
    // The same again changes nothing.
    let same = model
        .modify_hsm(&arn, to(Some("subnet-00000003"), Some("10.0.3.4")))
        .unwrap();
    assert_eq!(same.state.name(), "RUNNING");
    let moved = model.modify_hsm(&arn, to(None, Some("10.0.3.77"))).unwrap();
    assert_eq!(moved.eni_ip, "10.0.3.77");
}
