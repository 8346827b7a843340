//! The control plane's services over all its connections ([`super::incoming`]), behind one gate ([`super::gate`]). Health and
//! reflection are served beside them.

use super::gate::GateLayer;
use super::incoming::Sockets;
use super::{admin, backup, cloudhsm, documents, fleet, identity};
use crate::audit::{self, AuditLayer};
use crate::metrics::CallCount;
use crate::node::Node;
use hsmd_control::admin::hsm_admin_server::HsmAdminServer;
use hsmd_control::audit::audit_server::AuditServer;
use hsmd_control::backup::backup_server::BackupServer;
use hsmd_control::cloudhsm::cloud_hsm_server::CloudHsmServer;
use hsmd_control::fleet::fleet_server::FleetServer;
use hsmd_control::identity::identity_server::IdentityServer;
use hsmd_control::records::records_server::RecordsServer;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;

/// The largest request of the control plane in bytes.
const MAX_MESSAGE: usize = 1 << 20;

/// How often an idle connection is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Serves the control plane until told to stop; running requests end first.
///
/// # Errors
/// A sentence, when the server cannot go on.
pub(crate) async fn serve(node: Arc<Node>, sockets: Sockets, mut stop: watch::Receiver<bool>) -> Result<(), String> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<CloudHsmServer<cloudhsm::Service>>().await;
    health.set_serving::<HsmAdminServer<admin::Service>>().await;
    health.set_serving::<RecordsServer<documents::Service>>().await;
    health.set_serving::<BackupServer<backup::Service>>().await;
    health.set_serving::<IdentityServer<identity::Service>>().await;
    health.set_serving::<FleetServer<fleet::Service>>().await;
    health.set_serving::<AuditServer<audit::Service>>().await;
    let describe = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(hsmd_control::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let reflection = describe().build_v1().map_err(|error| error.to_string())?;
    // What gRPC's own Python library and older tools ask for.
    let reflection_alpha = describe().build_v1alpha().map_err(|error| error.to_string())?;
    let incoming = ReceiverStream::new(sockets.accept(&node, &stop));
    let cloudhsm = CloudHsmServer::new(cloudhsm::Service(node.clone())).max_decoding_message_size(MAX_MESSAGE);
    let admin = HsmAdminServer::new(admin::Service(node.clone())).max_decoding_message_size(MAX_MESSAGE);
    let records = documents::Service {
        node: node.clone(),
        stop: stop.clone(),
    };
    let records = RecordsServer::new(records).max_decoding_message_size(MAX_MESSAGE);
    let log = AuditServer::new(audit::Service(node.clone())).max_decoding_message_size(MAX_MESSAGE);
    let backup = BackupServer::new(backup::Service(node.clone())).max_decoding_message_size(MAX_MESSAGE);
    let identity = IdentityServer::new(identity::Service(node.clone())).max_decoding_message_size(MAX_MESSAGE);
    let fleet = FleetServer::new(fleet::Service(node.clone())).max_decoding_message_size(MAX_MESSAGE);
    Server::builder()
        .layer(CallCount(node.calls.clone()))
        .layer(GateLayer(node.clone()))
        .layer(AuditLayer(node.clone()))
        .http2_keepalive_interval(Some(KEEPALIVE))
        .concurrency_limit_per_connection(node.config.control.max_streams as usize)
        .max_concurrent_streams(node.config.control.max_streams)
        .add_service(health_service)
        .add_service(reflection)
        .add_service(reflection_alpha)
        .add_service(cloudhsm)
        .add_service(admin)
        .add_service(records)
        .add_service(log)
        .add_service(backup)
        .add_service(identity)
        .add_service(fleet)
        .serve_with_incoming_shutdown(incoming, async move {
            // An error means that the sender is gone: stop as well.
            let _ = stop.wait_for(|stop| *stop).await;
        })
        .await
        .map_err(|error| error.to_string())
}
