//! Around every request of the control plane: which act it is, who asks, and what came of it. What changes something has its
//! record durable before it is answered; what is refused is counted.

use super::scene::{REQUEST, RequestScene};
use crate::control::Caller;
use crate::node::Node;
use hsmd_keystore::Keystore;
use hsmd_keystore::audit::{Act, Event, Outcome, Who};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::{Code, Status};
use tower::{Layer, Service};

/// Methods that change nothing begin with one of these.
const READS: [&str; 12] = [
    "List",
    "Get",
    "Describe",
    "Status",
    "Watch",
    "Check",
    "Head",
    "Tail",
    "WhoAmI",
    "Verify",
    "Read",
    "ServerReflection",
];

/// The methods and their acts; what is not here and no read is [`Act::Control`].
const METHODS: [(&str, Act); 28] = [
    ("CreateHsm", Act::HsmCreate),
    ("ModifyHsm", Act::HsmModify),
    ("DeleteHsm", Act::HsmDelete),
    ("SuspendHsm", Act::HsmSuspend),
    ("ResumeHsm", Act::HsmResume),
    ("InitializeHsm", Act::HsmInitialize),
    ("ZeroizeHsm", Act::HsmZeroize),
    ("CreateHapg", Act::GroupCreate),
    ("ModifyHapg", Act::GroupModify),
    ("DeleteHapg", Act::GroupDelete),
    ("CreateLunaClient", Act::ClientCreate),
    ("ModifyLunaClient", Act::ClientModify),
    ("DeleteLunaClient", Act::ClientDelete),
    ("AssignClient", Act::ClientAssign),
    ("RevokeClient", Act::ClientRevoke),
    ("GetConfig", Act::ClientConfig),
    ("AddTagsToResource", Act::TagsChange),
    ("RemoveTagsFromResource", Act::TagsChange),
    ("CreatePartition", Act::PartitionCreate),
    ("DeletePartition", Act::PartitionDelete),
    ("TightenPartition", Act::PartitionModify),
    ("RekeyPartition", Act::PartitionModify),
    ("CloneGroup", Act::GroupModify),
    ("SetUse", Act::LogSettings),
    ("Export", Act::LogExport),
    ("ResizePartition", Act::PartitionModify),
    ("Restore", Act::BackupRestore),
    ("Batch", Act::DocumentsChange),
];

/// The act of a method; `None`: it changes nothing.
fn act(path: &str) -> Option<Act> {
    let (service, method) = path.rsplit_once('/')?;
    if service.ends_with(".Backup") && method == "Create" {
        return Some(Act::BackupCreate);
    }
    if let Some((_, act)) = METHODS.iter().find(|(name, _)| *name == method) {
        return Some(*act);
    }
    if READS.iter().any(|read| method.starts_with(read)) || service.starts_with("/grpc.") {
        return None;
    }
    if service.ends_with(".Records") {
        return Some(Act::DocumentsChange);
    }
    Some(if method.contains("Certificate") {
        Act::CertificateChange
    } else {
        Act::Control
    })
}

/// Puts [`AuditService`] around services.
#[derive(Clone)]
pub(crate) struct AuditLayer(pub(crate) Arc<Node>);

impl<S> Layer<S> for AuditLayer {
    type Service = AuditService<S>;

    fn layer(&self, inner: S) -> AuditService<S> {
        AuditService {
            inner,
            node: self.0.clone(),
        }
    }
}

/// A service whose requests are recorded.
#[derive(Clone)]
pub(crate) struct AuditService<S> {
    inner: S,
    node: Arc<Node>,
}

impl<S> Service<Request<Body>> for AuditService<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The one that is ready serves; the clone is for the next request.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        let (keystore, fleet) = (self.node.keystore.clone(), self.node.fleet.clone());
        let path = request.uri().path().to_owned();
        let act = act(&path);
        let scene = Arc::new(RequestScene {
            who: who(&request),
            act: act.unwrap_or(Act::Control),
            method: path.trim_start_matches('/').to_owned(),
            recorded: AtomicBool::new(false),
            barrier: AtomicU64::new(0),
        });
        Box::pin(async move {
            let response = REQUEST.scope(scene.clone(), inner.call(request)).await?;
            let code = code(&response);
            match (act, code) {
                (Some(_), Code::Ok) if !scene.recorded.load(Ordering::Acquire) => {
                    let event = scene.event();
                    let recorded = tokio::task::spawn_blocking(move || keystore.audit().record(event)).await;
                    if !matches!(recorded, Ok(Ok(()))) {
                        let status = Status::unavailable("the request has no record in the audit log; try again");
                        return Ok(status.into_http());
                    }
                }
                (_, Code::Ok) | (None, Code::NotFound | Code::InvalidArgument | Code::Unimplemented) => {}
                (_, code) => keystore.audit().note(scene.event().result(Outcome::Grpc(code as i32))),
            }
            // INV-6: what must hold on every node does before the caller is told.
            if let (Some(fleet), position @ 1..) = (fleet, scene.barrier.load(Ordering::Acquire)) {
                let applied = tokio::task::spawn_blocking(move || fleet.barrier(position)).await;
                if !matches!(applied, Ok(Ok(()))) {
                    let status = Status::unavailable("it is done here; whether all nodes know is not known; try again");
                    return Ok(status.into_http());
                }
            }
            Ok(response)
        })
    }
}

/// The code of an answer; a stream that goes wrong later counts as begun.
fn code(response: &Response<Body>) -> Code {
    let status = response.headers().get(Status::GRPC_STATUS);
    status.map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()))
}

/// Who asks: an administrator by certificate, or the user at the other end of the socket.
fn who(request: &Request<Body>) -> Who {
    request.extensions().get::<Caller>().map_or(Who::Unknown, of_caller)
}

fn of_caller(caller: &Caller) -> Who {
    match caller.name.strip_prefix("uid:").and_then(|user| user.parse().ok()) {
        Some(user) => Who::Local { user, process: 0 },
        None => Who::Administrator {
            name: caller.name.to_string(),
            role: caller.role.name().to_owned(),
        },
    }
}

/// Tells the log of a request that was denied, under the id by which an auditor resolves it. Many of one caller are counted.
pub(crate) fn denied(keystore: &Keystore, caller: Option<&Caller>, path: &str, id: &str) {
    let who = caller.map_or(Who::Unknown, of_caller);
    let known = act(path).unwrap_or(Act::Control);
    let event = Event::new(if caller.is_some() { known } else { Act::ConnectionRefuse })
        .by(&who)
        .detail(format!("denied {id} {}", path.trim_start_matches('/')))
        .result(Outcome::Grpc(Code::PermissionDenied as i32));
    keystore.audit().note(event);
}

#[cfg(test)]
mod tests {
    use super::act;
    use hsmd_keystore::audit::Act;
    use prost::Message as _;

    #[test]
    fn every_method_that_changes_something_is_an_act() {
        let set = prost_types::FileDescriptorSet::decode(hsmd_control::DESCRIPTORS).unwrap();
        let mut acts = 0;
        for file in &set.file {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    let changes = [
                        "Create", "Modify", "Delete", "Add", "Remove", "Set", "Put", "Suspend", "Resume",
                    ]
                    .iter()
                    .any(|word| method.name().starts_with(word));
                    assert!(!changes || act(&path).is_some(), "{path} is not recorded");
                    acts += usize::from(act(&path).is_some());
                }
            }
        }
        assert!(acts > 20);
        assert_eq!(act("/cloudhsm.v1.CloudHsm/CreateHsm"), Some(Act::HsmCreate));
        assert_eq!(act("/cloudhsm.v1.CloudHsm/ListHsms"), None);
        assert_eq!(act("/hsmd.admin.v1.HsmAdmin/Anything"), Some(Act::Control));
        assert_eq!(act("/grpc.health.v1.Health/Check"), None);
    }
}
