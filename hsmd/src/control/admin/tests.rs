//! The service at its edge: every call with nothing in it, and the answers that tell a caller what to do.

use super::Service;
use crate::control::ModelError;
use crate::data::tests::node;
use crate::node::Node;
use hsmd_control::admin::hsm_admin_server::HsmAdmin as _;
#[allow(clippy::wildcard_imports, reason = "every message of the service")]
use hsmd_control::admin::*;
use std::sync::Arc;
use tokio_stream::StreamExt as _;
use tonic::{Code, Request};

fn pin(text: &str) -> Option<Pin> {
    Some(Pin {
        value: text.as_bytes().to_vec(),
    })
}

fn service(change: impl FnOnce(&mut crate::config::Config)) -> (Arc<Node>, Service) {
    let node = node(change);
    (node.clone(), Service(node))
}

macro_rules! refusals {
    ($service:ident: $($call:ident $request:expr => $code:ident, $words:literal;)*) => {
        $(
            let refused = $service.$call(Request::new($request)).await.unwrap_err();
            let name = stringify!($call);
            assert_eq!(refused.code(), Code::$code, "{name}: {}", refused.message());
            assert!(refused.message().contains($words), "{name}: {}", refused.message());
        )*
    };
}

#[tokio::test]
async fn a_call_with_nothing_in_it_is_refused_by_name() {
    let (_node, service) = service(|_| ());
    refusals! { service:
        create_partition CreatePartitionRequest::default() => InvalidArgument, "label";
        delete_partition DeletePartitionRequest::default() => NotFound, "partition";
        resize_partition ResizePartitionRequest::default() => NotFound, "partition";
        tighten_partition TightenPartitionRequest::default() => InvalidArgument, "policy";
        reset_partition_pin ResetPartitionPinRequest::default() => InvalidArgument, "SoPin";
        set_crypto_user_pin SetCryptoUserPinRequest::default() => InvalidArgument, "UserPin";
        rekey_partition RekeyPartitionRequest::default() => InvalidArgument, "SoPin";
        clone_group CloneGroupRequest::default() => InvalidArgument, "UserPin";
        list_roles ListRolesRequest::default() => NotFound, "partition";
        unlock_role UnlockRoleRequest::default() => InvalidArgument, "Role";
        list_logins ListLoginsRequest::default() => NotFound, "partition";
        revoke_login RevokeLoginRequest::default() => NotFound, "partition";
        set_log_level SetLogLevelRequest::default() => InvalidArgument, "Level";
        initialize_hsm InitializeHsmRequest::default() => InvalidArgument, "label";
        zeroize_hsm ZeroizeHsmRequest::default() => InvalidArgument, "Hsm";
        assign_client AssignClientRequest::default() => InvalidArgument, "Partition";
        revoke_client RevokeClientRequest::default() => InvalidArgument, "Partition";
        delete_local_client DeleteLocalClientRequest::default() => InvalidArgument, "Client";
    }
    // What names nothing means everything, or the only one.
    let assignments = service
        .list_assignments(Request::new(ListAssignmentsRequest::default()))
        .await;
    assert!(assignments.unwrap().into_inner().assignments.is_empty());
    let officer = service
        .describe_security_officer(Request::new(DescribeSecurityOfficerRequest::default()))
        .await;
    assert!(!officer.unwrap().into_inner().officer.unwrap().initialized);
    let open = service.list_connections(Request::new(ListConnectionsRequest {})).await;
    assert!(open.unwrap().into_inner().connections.is_empty());
}

#[tokio::test]
async fn the_officers_pin_is_asked_for_where_the_configuration_says_so() {
    let (node, service) = service(|config| config.hsm.require_so = true);
    let create = |hsm_so_pin| CreatePartitionRequest {
        label: "web".into(),
        so_pin: pin("so-pin-1"),
        user_pin: pin("user-pin"),
        max_objects: 7,
        hsm_so_pin,
        ..CreatePartitionRequest::default()
    };
    let init = || InitializeHsmRequest {
        label: "vault".into(),
        so_pin: pin("officer"),
        domain: pin("demo"),
        ..InitializeHsmRequest::default()
    };
    refusals! { service: create_partition create(None) => FailedPrecondition, "InitializeHsm"; }
    service.initialize_hsm(Request::new(init())).await.unwrap();
    let serial = node.model().partitions("").unwrap()[0].serial.clone();
    let delete = |hsm_so_pin| DeletePartitionRequest {
        partition: serial.clone(),
        hsm_so_pin,
    };
    let tighten = TightenPartitionRequest {
        partition: serial.clone(),
        policy: "strict".into(),
        ..TightenPartitionRequest::default()
    };
    let resize = ResizePartitionRequest {
        partition: serial.clone(),
        ..ResizePartitionRequest::default()
    };
    refusals! { service:
        initialize_hsm init() => FailedPrecondition, "already";
        create_partition create(None) => PermissionDenied, "require_so";
        create_partition create(pin("wrong")) => PermissionDenied, "not right";
        create_partition create(pin("")) => PermissionDenied, "not right";
        delete_partition delete(None) => PermissionDenied, "require_so";
        tighten_partition tighten => PermissionDenied, "require_so";
        resize_partition resize => PermissionDenied, "require_so";
    }
    let made = service.create_partition(Request::new(create(pin("officer")))).await;
    let made = made.unwrap().into_inner().partition.unwrap();
    assert!(
        made.user_pin && made.max_objects == 7 && made.token_label == "web",
        "{made:?}"
    );
    service
        .delete_partition(Request::new(delete(pin("officer"))))
        .await
        .unwrap();
    refusals! { service:
        create_partition create(pin("a")) => PermissionDenied, "not right";
        create_partition create(pin("b")) => PermissionDenied, "not right";
        create_partition create(pin("c")) => PermissionDenied, "not right";
        create_partition create(pin("officer")) => FailedPrecondition, "locked";
    }
    assert!(matches!(node.model().partition(&serial), Err(ModelError::NotFound(_))));
}

#[tokio::test]
async fn a_partition_is_rekeyed_with_all_its_pins_and_progress_is_told() {
    let (_node, service) = service(|_| ());
    let create = CreatePartitionRequest {
        label: "web".into(),
        so_pin: pin("so-pin-1"),
        user_pin: pin("user-pin"),
        ..CreatePartitionRequest::default()
    };
    let made = service
        .create_partition(Request::new(create))
        .await
        .unwrap()
        .into_inner();
    let serial = made.partition.unwrap().serial;
    let rekey = |so_pin, user_pin| RekeyPartitionRequest {
        partition: serial.clone(),
        so_pin,
        user_pin,
        ..RekeyPartitionRequest::default()
    };
    refusals! { service:
        rekey_partition rekey(pin("wrong"), pin("user-pin")) => PermissionDenied, "security officer";
        rekey_partition rekey(pin("so-pin-1"), pin("wrong")) => PermissionDenied, "user";
        rekey_partition rekey(pin("so-pin-1"), None) => InvalidArgument, "UserPin";
    }
    let begun = service.rekey_partition(Request::new(rekey(pin("so-pin-1"), pin("user-pin"))));
    let answers: Vec<_> = begun.await.unwrap().into_inner().collect().await;
    let last = answers.last().unwrap().as_ref().unwrap().part.clone();
    let Some(rekey_partition_response::Part::Partition(partition)) = last else {
        panic!("{answers:?}");
    };
    assert!(partition.serial == serial && partition.user_pin, "{partition:?}");
    assert!(answers.len() > 1, "progress was told");
}

#[tokio::test]
async fn a_policy_that_is_none_or_looser_and_a_level_without_log_are_refused() {
    let (node, service) = service(|config| config.hsm.policy = "strict".into());
    let partition = node.model().partitions("").unwrap()[0].serial.clone();
    let tighten = |policy: &str| TightenPartitionRequest {
        partition: partition.clone(),
        policy: policy.into(),
        ..TightenPartitionRequest::default()
    };
    let level = SetLogLevelRequest { level: "debug".into() };
    refusals! { service:
        tighten_partition tighten("lax") => InvalidArgument, "policy";
        tighten_partition tighten("standard") => FailedPrecondition, "loosened";
        set_log_level level => InvalidArgument, "no log";
    }
    let done = service.tighten_partition(Request::new(tighten("fips"))).await;
    assert_eq!(done.unwrap().into_inner().partition.unwrap().policy, "fips");
}
