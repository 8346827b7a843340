//! The one door of the control plane: every request, on whatever connection, is held against the registered certificates and
//! the table of roles as they are at this moment. Health and reflection come through here too.

use super::access::{self, Caller, Role};
use super::origin::Origin;
use crate::node::Node;
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::codegen::{BoxFuture, Service};
use tonic::metadata::MetadataValue;
use tower::Layer;

/// Users of a name space that have no number here all appear as this one: nobody in particular.
const OVERFLOW_USER: u32 = 65_534;

/// Puts a [`Gate`] before all services.
#[derive(Clone)]
pub(super) struct GateLayer(pub(super) Arc<Node>);

impl<S> Layer<S> for GateLayer {
    type Service = Gate<S>;

    fn layer(&self, inner: S) -> Gate<S> {
        Gate {
            inner,
            node: self.0.clone(),
        }
    }
}

/// See the module.
#[derive(Clone)]
pub(super) struct Gate<S> {
    inner: S,
    node: Arc<Node>,
}

impl<S> Service<Request<Body>> for Gate<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<Response<Body>, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        match admit(&self.node, request.extensions().get::<Origin>(), request.uri().path()) {
            Ok(caller) => {
                request.extensions_mut().insert(caller);
                if self.node.fleet.is_none() || !sees_records(request.uri().path()) {
                    return Box::pin(self.inner.call(request));
                }
                let node = Arc::clone(&self.node);
                // The one that is ready is this one.
                let other = self.inner.clone();
                let mut inner = std::mem::replace(&mut self.inner, other);
                Box::pin(async move {
                    // It says itself what goes wrong.
                    let _ = tokio::task::spawn_blocking(move || node.freshen()).await;
                    inner.call(request).await
                })
            }
            Err(status) => Box::pin(std::future::ready(Ok(status.into_http()))),
        }
    }
}

/// Whether a method rests on the control plane's records, which other nodes of a fleet change. The state of the daemon itself is told
/// without asking the store.
fn sees_records(path: &str) -> bool {
    let services = [
        "/cloudhsm.v1.CloudHsm/",
        "/hsmd.admin.v1.HsmAdmin/",
        "/hsmd.identity.v1.Identity/",
    ];
    let moves = ["/hsmd.fleet.v1.Fleet/MoveHsm", "/hsmd.fleet.v1.Fleet/Evacuate"];
    let own = path == "/hsmd.admin.v1.HsmAdmin/Status";
    !own && (services.iter().any(|service| path.starts_with(service)) || moves.contains(&path))
}

/// Who asks, if it may; else the refusal, which is the same for all reasons but for its id.
fn admit(node: &Node, origin: Option<&Origin>, path: &str) -> Result<Caller, Status> {
    let caller = origin.and_then(|origin| caller(node, origin));
    let (name, role, reason) = match (&caller, origin) {
        (Some(caller), _) if access::may(caller.role, path) => return Ok(caller.clone()),
        (Some(caller), _) => (caller.name.to_string(), caller.role.name(), "not of this role"),
        (None, Some(origin)) => (origin.to_string(), "", "not registered, or no longer"),
        (None, None) => ("?".to_owned(), "", "not registered, or no longer"),
    };
    let id = node.denials.note(name, role, path, reason);
    crate::audit::denied(&node.keystore, caller.as_ref(), path, &id);
    let mut status = Status::permission_denied(format!("denied; an auditor can resolve the id {id}"));
    // 16 hexadecimal digits are a value of metadata.
    if let Ok(value) = MetadataValue::try_from(&id) {
        status.metadata_mut().insert(hsmd_control::DENIAL_KEY, value);
    }
    Err(status)
}

/// Who somebody is now. Nothing is remembered from the connection's beginning but what it proved.
fn caller(node: &Node, origin: &Origin) -> Option<Caller> {
    match origin {
        Origin::Certificate { sha256, .. } => node.model.caller_of(sha256),
        Origin::Local { user } => local_role(node, *user).map(|role| Caller {
            name: format!("uid:{user}").into(),
            role,
        }),
    }
}

/// The role of a local user: root and the daemon's own administer; others as the configuration says.
pub(super) fn local_role(node: &Node, user: u32) -> Option<Role> {
    let control = &node.config.control;
    if user == 0 || user == crate::memory::effective_user() {
        Some(Role::Admin)
    } else if user == OVERFLOW_USER {
        None
    } else if control.operators.contains(&user) {
        Some(Role::Operator)
    } else if control.auditors.contains(&user) {
        Some(Role::Auditor)
    } else {
        None
    }
}
