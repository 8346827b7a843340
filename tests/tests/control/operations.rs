//! Every operation through the generated client: good and bad input, repetition, parallel callers, kill -9.

use std::fs;
use std::thread;

use hsmd_tests::daemon::Daemon;
use hsmd_tests::peers;
use hsmd_tests::wait;
use serde_json::{Value as Json, json};
use tonic::Code;

use super::model::{Control, fits};
use super::{expect, hsmctl};

const ROLE: &str = "arn:aws:iam::123456789012:role/x";

fn certificate(daemon: &Daemon, name: &str) -> String {
    let path = daemon.folder().join(name).with_extension("pem");
    let mut openssl = daemon.command(&peers::program("openssl"));
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
    ]);
    openssl.args([
        "-days",
        "30",
        "-subj",
        &format!("/CN={name}/O=hsmd/OU=tests of the control plane"),
    ]);
    openssl
        .arg("-keyout")
        .arg(daemon.folder().join("key.pem"))
        .arg("-out")
        .arg(&path);
    peers::succeed(&mut openssl);
    fs::read_to_string(path).expect("a certificate")
}

fn text(answer: &Json, field: &str) -> String {
    answer[field]
        .as_str()
        .unwrap_or_else(|| panic!("no {field} in {answer}"))
        .to_owned()
}

/// A running HSM of its own: ARN and serial number.
fn hsm(control: &mut Control) -> (String, String) {
    let input =
        json!({ "SubnetId": "subnet-0a1b2c3d", "SshKey": "", "IamRoleArn": ROLE, "SubscriptionType": "PRODUCTION" });
    let arn = text(&control.must("CreateHsm", input), "HsmArn");
    running(control, &arn);
    let described = control.must("DescribeHsm", json!({ "HsmArn": arn }));
    (arn, text(&described, "SerialNumber"))
}

fn running(control: &mut Control, arn: &str) {
    let look = || (control.must("DescribeHsm", json!({ "HsmArn": arn }))["Status"] == "RUNNING").then_some(());
    wait::until(wait::PATIENCE, look).expect("the HSM runs");
}

/// A new partition's serial number.
fn partition(daemon: &Daemon, hsm: &str) -> String {
    let made = expect(0, hsmctl(daemon, &format!("partition create p --hsm {hsm} -o json")));
    let made: Json = serde_json::from_slice(&made.output).expect("JSON");
    text(&made[0], "serial")
}

/// What there is: all that the List and Describe operations say.
fn state(control: &mut Control) -> Json {
    let mut all = Vec::new();
    for (list, field, describe, name) in [
        ("ListHsms", "HsmList", "DescribeHsm", "HsmArn"),
        ("ListHapgs", "HapgList", "DescribeHapg", "HapgArn"),
        ("ListLunaClients", "ClientList", "DescribeLunaClient", "ClientArn"),
    ] {
        for arn in control.must(list, json!({}))[field].as_array().expect("a list").clone() {
            all.push(control.must(describe, json!({ name: arn })));
            all.push(control.must("ListTagsForResource", json!({ "ResourceArn": arn })));
        }
    }
    Json::Array(all)
}

#[test]
fn every_operation_answers_as_the_model_says() {
    let mut daemon = Daemon::start();
    let mut control = Control::connect(&daemon);
    let hsms = [hsm(&mut control), hsm(&mut control)];
    let by_serial = control.must("DescribeHsm", json!({ "HsmSerialNumber": hsms[1].1 }));
    assert_eq!(by_serial["HsmArn"], json!(hsms[1].0));
    let listed = control.must("ListHsms", json!({}));
    assert_eq!(listed["HsmList"].as_array().map(Vec::len), Some(3));
    let change = json!({ "HsmArn": hsms[0].0, "EniIp": "10.1.2.3", "SyslogIp": "10.1.2.4" });
    control.must("ModifyHsm", change);
    running(&mut control, &hsms[0].0);
    let zones = control.must("ListAvailableZones", json!({}));
    assert_eq!(zones["AZList"], json!(["local-1a"]));
    let serials = [partition(&daemon, &hsms[0].1), partition(&daemon, &hsms[1].1)];
    assert!(serials[0].starts_with(&hsms[0].1));
    let group = a_group(&mut control, &serials);
    let client = a_client(&daemon, &mut control, &group, &serials);
    tags(&mut control, &client);

    // INV-2: what was acknowledged is there after a kill, member for member.
    let before = state(&mut control);
    daemon.restart();
    let answered = std::mem::take(&mut control.answered);
    control = Control::connect(&daemon);
    control.answered = answered;
    assert_eq!(state(&mut control), before);
    deletions(&mut control, &hsms, &group, &client);
    let operations = control.model["operations"].as_object().expect("operations");
    let all: Vec<_> = operations.keys().cloned().collect();
    assert_eq!(control.answered.iter().cloned().collect::<Vec<_>>(), all);
}

fn a_group(control: &mut Control, serials: &[String]) -> String {
    let group = text(&control.must("CreateHapg", json!({ "Label": "web" })), "HapgArn");
    let change = json!({ "HapgArn": group, "Label": "shop", "PartitionSerialList": serials });
    control.must("ModifyHapg", change);
    let described = control.must("DescribeHapg", json!({ "HapgArn": group }));
    assert_eq!(described["PartitionSerialList"], json!(serials));
    assert_eq!(
        (&described["Label"], &described["State"]),
        (&json!("shop"), &json!("READY"))
    );
    assert_eq!(text(&described, "HapgSerial").len(), 10);
    assert_eq!(control.must("ListHapgs", json!({}))["HapgList"], json!([group]));
    group
}

fn a_client(daemon: &Daemon, control: &mut Control, group: &str, serials: &[String]) -> String {
    let pem = certificate(daemon, "app");
    let client = text(
        &control.must("CreateLunaClient", json!({ "Certificate": pem })),
        "ClientArn",
    );
    let described = control.must("DescribeLunaClient", json!({ "ClientArn": client }));
    let print = json!({ "CertificateFingerprint": described["CertificateFingerprint"] });
    assert_eq!(control.must("DescribeLunaClient", print)["Certificate"], json!(pem));
    let renewed = certificate(daemon, "renewed");
    let change = json!({ "ClientArn": client, "Certificate": renewed });
    control.must("ModifyLunaClient", change);
    assert_eq!(
        control.must("ListLunaClients", json!({}))["ClientList"],
        json!([client])
    );
    for version in ["5.1", "5.3"] {
        let input = json!({ "ClientArn": client, "ClientVersion": version, "HapgList": [group] });
        let file = text(&control.must("GetConfig", input), "ConfigFile");
        let members = serials.join(",");
        for part in [
            "ServerName00 = 10.1.2.3;",
            "ServerName01",
            "VirtualToken00Label = shop;",
            &members,
        ] {
            assert!(file.contains(part), "{part} is missing:\n{file}");
        }
    }
    client
}

fn tags(control: &mut Control, arn: &str) {
    let tags = json!([{ "Key": "stage", "Value": "" }, { "Key": "owner", "Value": "\u{fc}ber uns" }]);
    control.must("AddTagsToResource", json!({ "ResourceArn": arn, "TagList": tags }));
    let keys = json!({ "ResourceArn": arn, "TagKeyList": ["stage"] });
    control.must("RemoveTagsFromResource", keys);
    let tags = control.must("ListTagsForResource", json!({ "ResourceArn": arn }));
    assert_eq!(tags["TagList"], json!([{ "Key": "owner", "Value": "\u{fc}ber uns" }]));
}

fn deletions(control: &mut Control, hsms: &[(String, String)], group: &str, client: &str) {
    let first = &hsms[0].0;
    let refused = control.call("DeleteHsm", json!({ "HsmArn": first }));
    let refused = refused.expect_err("it has a member of a group");
    assert_eq!(refused.error, "CloudHsmServiceException");
    control.must("DeleteHapg", json!({ "HapgArn": group }));
    control.must("DeleteLunaClient", json!({ "ClientArn": client }));
    for (arn, _) in hsms {
        control.must("DeleteHsm", json!({ "HsmArn": arn }));
        let described = control.must("DescribeHsm", json!({ "HsmArn": arn }));
        assert_eq!(described["Status"], "TERMINATED");
    }
    for (operation, input) in [
        ("DeleteHapg", json!({ "HapgArn": group })),
        ("DeleteLunaClient", json!({ "ClientArn": client })),
        ("ListTagsForResource", json!({ "ResourceArn": first })),
    ] {
        let refused = control.call(operation, input).expect_err("it is gone");
        assert_eq!(refused.code, Code::NotFound);
        assert_eq!(refused.error, "InvalidRequestException");
    }
}

/// Values for one member that the model or we refuse, beside the good `base`.
fn bad_values(rule: &Json, good: &Json) -> Vec<Json> {
    let mut bad: Vec<Json> = ["", "\u{fc}", "!", "x y\tz", "arn:aws:cloudhsm:x"]
        .into_iter()
        .map(str::to_owned)
        .chain(["x".repeat(100_000)])
        .filter(|text| !fits(rule, text) || text.len() > 4096)
        .map(|text| json!(text))
        .collect();
    if let Some(arn) = good.as_str().filter(|text| text.starts_with("arn:aws:cloudhsm")) {
        bad.push(json!(arn.replace("000000000000", "999999999999")));
        bad.push(json!(arn.replace("local-1", "us-east-1")));
        bad.push(json!(format!("{}00000000", &arn[..arn.len() - 8])));
    }
    bad
}

/// A good input for each operation, over things that exist.
fn good_inputs(daemon: &Daemon, control: &mut Control) -> Json {
    let (arn, serial) = hsm(control);
    let member = partition(daemon, &serial);
    let group = text(&control.must("CreateHapg", json!({ "Label": "web" })), "HapgArn");
    let pem = certificate(daemon, "app");
    let client = text(
        &control.must("CreateLunaClient", json!({ "Certificate": pem })),
        "ClientArn",
    );
    let other = certificate(daemon, "other");
    let tag = json!([{ "Key": "a", "Value": "b" }]);
    json!({
        "CreateHsm": { "SubnetId": "subnet-0a1b2c3d", "SshKey": "ssh-rsa AAAA", "EniIp": "10.5.5.5", "IamRoleArn": ROLE,
            "ExternalId": "x", "SubscriptionType": "PRODUCTION", "ClientToken": "t1", "SyslogIp": "10.5.5.6" },
        "DescribeHsm": { "HsmArn": arn, "HsmSerialNumber": serial },
        "ListHsms": { "NextToken": "" }, "ListHapgs": { "NextToken": "" }, "ListLunaClients": { "NextToken": "" },
        "ModifyHsm": { "HsmArn": arn, "SubnetId": "subnet-0a1b2c3e", "EniIp": "10.5.5.7", "IamRoleArn": ROLE,
            "ExternalId": "y", "SyslogIp": "10.5.5.8" },
        "DeleteHsm": { "HsmArn": arn },
        "CreateHapg": { "Label": "web" },
        "DescribeHapg": { "HapgArn": group },
        "ModifyHapg": { "HapgArn": group, "Label": "shop", "PartitionSerialList": [member] },
        "DeleteHapg": { "HapgArn": group },
        "CreateLunaClient": { "Label": "other", "Certificate": other },
        "DescribeLunaClient": { "ClientArn": client, "CertificateFingerprint": "00:".repeat(15) + "00" },
        "ModifyLunaClient": { "ClientArn": client, "Certificate": other },
        "DeleteLunaClient": { "ClientArn": client },
        "GetConfig": { "ClientArn": client, "ClientVersion": "5.3", "HapgList": [group] },
        "ListAvailableZones": {},
        "AddTagsToResource": { "ResourceArn": client, "TagList": tag },
        "RemoveTagsFromResource": { "ResourceArn": client, "TagKeyList": ["a"] },
        "ListTagsForResource": { "ResourceArn": client },
    })
}

/// Inputs that differ from a good one in one field, which is missing or bad.
fn bad_inputs(model: &Json, input: &Json, base: &Json, field: &str) -> Vec<Json> {
    let shapes = &model["shapes"];
    let rule = &shapes[input["members"][field].as_str().expect("a shape")];
    let element = &shapes[rule["member"].as_str().unwrap_or_default()];
    let with = |value: Json| {
        let mut input = base.clone();
        input[field] = value;
        input
    };
    let mut inputs = Vec::new();
    if input["required"]
        .as_array()
        .is_some_and(|list| list.contains(&json!(field)))
    {
        let mut without = base.clone();
        without.as_object_mut().expect("an object").remove(field);
        inputs.push(without);
    }
    if element["type"] == "structure" {
        let long = ("k".repeat(129), "v".repeat(257));
        for (key, value) in [("", "a"), (&long.0, "a"), ("k", &long.1), ("aws:k", "a")] {
            inputs.push(with(json!([{ "Key": key, "Value": value }])));
        }
        let incomplete = [json!([]), json!([{ "Key": "a" }]), json!([{ "Value": "a" }])];
        inputs.extend(incomplete.into_iter().map(with));
    } else if rule["type"] == "list" {
        let good = &base[field][0];
        inputs.extend(bad_values(element, good).into_iter().map(|bad| with(json!([bad]))));
        inputs.push(with(json!(vec![good.clone(); 101])));
    } else {
        inputs.extend(bad_values(rule, &base[field]).into_iter().map(with));
    }
    inputs
}

#[test]
fn bad_input_is_refused_with_the_name_of_the_field() {
    let daemon = Daemon::start();
    let mut control = Control::connect(&daemon);
    let good = good_inputs(&daemon, &mut control);
    let before = state(&mut control);
    let mut tried = 0;
    let model = control.model.clone();
    for (operation, rules) in model["operations"].as_object().expect("operations") {
        let input = &model["shapes"][rules["input"].as_str().expect("an input")];
        for field in input["members"].as_object().expect("members").keys() {
            for input in bad_inputs(&model, input, &good[operation], field) {
                tried += 1;
                let shown: String = input.to_string().chars().take(300).collect();
                let at = format!("{operation}.{field}: {shown}");
                let refused = control.call(operation, input).expect_err(&at);
                assert!(refused.message.contains(field.as_str()), "{at}: {refused:?}");
                let expected = [Code::InvalidArgument, Code::NotFound].contains(&refused.code);
                assert!(expected, "{at}: {refused:?}");
            }
        }
    }
    assert!(tried > 150, "{tried} inputs were tried");
    assert_eq!(state(&mut control), before, "nothing was half done");
}

/// What each of some threads gets, all started together.
fn together<T: Send>(daemon: &Daemon, work: impl Fn(&mut Control, usize) -> T + Sync) -> Vec<T> {
    let start = std::sync::Barrier::new(8);
    let one = |number| {
        let mut control = Control::connect(daemon);
        start.wait();
        work(&mut control, number)
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|number| scope.spawn(move || one(number))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("a thread"))
            .collect()
    })
}

#[test]
fn in_parallel_every_call_is_done_once() {
    let daemon = Daemon::start();
    let mut control = Control::connect(&daemon);
    let new = json!({ "SubnetId": "subnet-0a1b2c3d", "SshKey": "", "IamRoleArn": ROLE, "SubscriptionType": "PRODUCTION",
        "ClientToken": "once" });
    let arns = together(&daemon, |control, _| {
        text(&control.must("CreateHsm", new.clone()), "HsmArn")
    });
    assert!(
        arns.iter().all(|arn| *arn == arns[0]),
        "one ClientToken, one HSM: {arns:?}"
    );
    let pem = certificate(&daemon, "app");
    let input = json!({ "Certificate": pem });
    let clients = together(&daemon, |control, _| {
        text(&control.must("CreateLunaClient", input.clone()), "ClientArn")
    });
    assert!(clients.iter().all(|arn| *arn == clients[0]), "{clients:?}");
    together(&daemon, |control, number| {
        let tags = json!([{ "Key": format!("k{number}"), "Value": "" }]);
        control.must("AddTagsToResource", json!({ "ResourceArn": arns[0], "TagList": tags }));
    });
    let tags = control.must("ListTagsForResource", json!({ "ResourceArn": arns[0] }));
    assert_eq!(
        tags["TagList"].as_array().map(Vec::len),
        Some(8),
        "no tag is lost: {tags}"
    );

    let group = text(&control.must("CreateHapg", json!({ "Label": "web" })), "HapgArn");
    let read = text(
        &control.must("DescribeHapg", json!({ "HapgArn": group })),
        "LastModifiedTimestamp",
    );
    let changed = together(&daemon, |control, number| {
        control.if_last_modified = Some(read.clone());
        control.call(
            "ModifyHapg",
            json!({ "HapgArn": group, "Label": format!("web{number}") }),
        )
    });
    assert_eq!(changed.iter().filter(|done| done.is_ok()).count(), 1, "{changed:?}");
    assert!(
        changed
            .iter()
            .flat_map(|done| done.as_ref().err())
            .all(|refused| refused.code == Code::Aborted)
    );
    let deleted = together(&daemon, |control, _| {
        control.call("DeleteHapg", json!({ "HapgArn": group })).is_ok()
    });
    assert_eq!(deleted.iter().filter(|done| **done).count(), 1);
    let deleted = together(&daemon, |control, _| {
        control.call("DeleteHsm", json!({ "HsmArn": arns[0] }))
    });
    assert!(
        deleted.iter().all(Result::is_ok),
        "a deleted HSM is deleted: {deleted:?}"
    );
}

#[test]
fn hsmctl_has_a_command_for_each() {
    let daemon = Daemon::start();
    let folder = daemon.folder().display().to_string();
    for name in ["app", "new"] {
        certificate(&daemon, name);
    }
    let run = |code: i32, arguments: &str| -> Json {
        let done = expect(code, hsmctl(&daemon, &format!("{arguments} -o json")));
        serde_json::from_slice(&done.output).unwrap_or_default()
    };
    let hsm = run(0, "hsm create --subnet subnet-0a1b2c3d");
    let (arn, serial) = (text(&hsm, "arn"), text(&hsm, "serial"));
    let running = || (run(0, &format!("hsm describe {serial}"))["status"] == "RUNNING").then_some(());
    wait::until(wait::PATIENCE, running).expect("the HSM runs");
    let member = partition(&daemon, &serial);
    run(0, "group create web");
    assert_eq!(
        run(0, &format!("group add web {member}"))["partitions"],
        json!([member])
    );
    run(0, &format!("hsm suspend {serial}"));
    assert_eq!(run(0, "group describe web")["state"], "DEGRADED");
    run(0, &format!("hsm resume {serial}"));
    run(0, "group modify web --label shop");
    run(2, &format!("client create --certificate-file {folder}/none.pem"));
    run(
        0,
        &format!("client create --certificate-file {folder}/app.pem --label app"),
    );
    run(0, &format!("client modify app -t {folder}/new.pem"));
    assert_eq!(run(0, "client list")[0]["label"], "app");
    let file = expect(0, hsmctl(&daemon, "client config app shop --client-version 5.1"));
    assert!(file.text.contains("VirtualToken00Label = shop;"), "{}", file.text);
    assert_eq!(run(0, &format!("tag add {arn} stage=test"))[0]["key"], "stage");
    assert_eq!(run(0, &format!("tag remove {arn} stage")), json!([]));
    assert_eq!(run(0, "zones"), json!([{ "zone": "local-1a" }]));
    run(2, &format!("group remove shop {member}"));
    run(0, &format!("group remove shop {member} --yes"));
    run(2, "group delete shop");
    run(0, "group delete shop --yes");
    run(3, "group delete shop --yes");
    run(0, "client delete app --yes");
    run(0, &format!("hsm modify {serial} --external-id x"));
    run(0, &format!("hsm delete {serial} --dry-run"));
    assert_eq!(run(0, &format!("hsm delete {serial} --yes"))["status"], "TERMINATED");
}
