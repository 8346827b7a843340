//! The rows of shapes and fields against the AWS model.

use crate::control::fields::{Fields, Value};
use crate::control::shapes::{ALL, ANY};
use hsmd_control::cloudhsm::*;
use serde_json::Value as Json;

fn model() -> Json {
    serde_json::from_str(hsmd_control::MODEL).unwrap()
}

#[test]
fn every_shape_is_the_models() {
    let model = model();
    for shape in ALL {
        let wanted = &model["shapes"][shape.name];
        assert_eq!(wanted["type"], "string", "{}", shape.name);
        assert_eq!(
            shape.pattern,
            wanted["pattern"].as_str().unwrap_or_default(),
            "{}",
            shape.name
        );
        let number = |key: &str, default| wanted[key].as_u64().map_or(default, |number| number as usize);
        assert_eq!(
            shape.length,
            (number("min", ANY.0), number("max", ANY.1)),
            "{}",
            shape.name
        );
        let values = wanted["enum"].as_array().cloned().unwrap_or_default();
        assert_eq!(values, shape.values, "{}", shape.name);
    }
}

/// A text that each shape takes, and some that it refuses. A pattern that does not compile would refuse the first.
#[test]
fn every_pattern_works() {
    let arn = |kind: &str| format!("arn:aws:cloudhsm:us-east-1:123456789012:{kind}-0a1b2c3d");
    let pem = include_str!("a.pem");
    for shape in ALL {
        let good = match shape.name {
            "SubnetId" => "subnet-0a1b2c3d".to_owned(),
            "IpAddress" => "10.0.0.7".to_owned(),
            "IamRoleArn" => "arn:aws-iso:iam::123456789012:role/a+b=c,d.e-f@g_h".to_owned(),
            "SubscriptionType" => "PRODUCTION".to_owned(),
            "HsmArn" => arn("hsm"),
            "HapgArn" => arn("hapg"),
            "ClientArn" => arn("client"),
            "HsmSerialNumber" | "PartitionSerial" => "157826001".to_owned(),
            "Certificate" => pem.to_owned(),
            "CertificateFingerprint" => "0A:".repeat(15) + "ff",
            "ClientVersion" => "5.3".to_owned(),
            _ => "Abc9".to_owned(),
        };
        assert!(shape.fits(&good), "{} refuses {good}", shape.name);
        let tag = shape.name.starts_with("Tag");
        let longer = format!("{good}\u{fc}");
        assert_eq!(shape.fits(&longer), tag, "{} and {longer}", shape.name);
        let line = format!("{good}\n");
        assert_eq!(
            shape.fits(&line),
            tag || shape.name == "Certificate",
            "{} and a line end",
            shape.name
        );
        assert!(
            !shape.fits(&good.repeat(20_000 / good.len() + 1)),
            "{} has no end",
            shape.name
        );
    }
}

#[test]
fn every_request_has_the_models_fields() {
    let model = model();
    let shapes = &model["shapes"];
    let mut operations = 0;
    let mut check = |operation: &str, request: &dyn Fields| {
        operations += 1;
        let wanted = &shapes[model["operations"][operation]["input"].as_str().unwrap()];
        let members = wanted["members"].as_object().unwrap();
        let fields = request.fields();
        assert_eq!(fields.len(), members.len(), "{operation}");
        for field in fields {
            let name = members[field.name].as_str().unwrap();
            let shape = match (shapes[name]["type"].as_str().unwrap(), &field.value) {
                ("string", Value::Text(_)) => name,
                ("list", Value::List(_)) => shapes[name]["member"].as_str().unwrap(),
                ("list", Value::Tags(_)) => "TagKey",
                (kind, _) => panic!("{operation}.{} is {kind}", field.name),
            };
            assert_eq!(field.shape.name, shape, "{operation}.{}", field.name);
            let required = wanted["required"]
                .as_array()
                .is_some_and(|list| list.contains(&field.name.into()));
            assert_eq!(field.required, required, "{operation}.{}", field.name);
        }
    };
    macro_rules! check {
        ($($operation:literal $request:ident)*) => {$(check($operation, &$request::default());)*};
    }
    check! {
        "CreateHsm" CreateHsmRequest "DescribeHsm" DescribeHsmRequest "ListHsms" ListHsmsRequest
        "ModifyHsm" ModifyHsmRequest "DeleteHsm" DeleteHsmRequest
        "CreateHapg" CreateHapgRequest "DescribeHapg" DescribeHapgRequest "ListHapgs" ListHapgsRequest
        "ModifyHapg" ModifyHapgRequest "DeleteHapg" DeleteHapgRequest
        "CreateLunaClient" CreateLunaClientRequest "DescribeLunaClient" DescribeLunaClientRequest
        "ListLunaClients" ListLunaClientsRequest "ModifyLunaClient" ModifyLunaClientRequest
        "DeleteLunaClient" DeleteLunaClientRequest
        "GetConfig" GetConfigRequest "ListAvailableZones" ListAvailableZonesRequest
        "AddTagsToResource" AddTagsToResourceRequest "RemoveTagsFromResource" RemoveTagsFromResourceRequest
        "ListTagsForResource" ListTagsForResourceRequest
    }
    assert_eq!(operations, model["operations"].as_object().unwrap().len());
}
