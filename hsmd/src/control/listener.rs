//! The control plane's socket: mode 0600, so that only the daemon's user and root administer it. Health and reflection
//! are served beside the services.

use super::{admin, backup, cloudhsm, documents};
use crate::node::Node;
use hsmd_control::admin::hsm_admin_server::HsmAdminServer;
use hsmd_control::backup::backup_server::BackupServer;
use hsmd_control::cloudhsm::cloud_hsm_server::CloudHsmServer;
use hsmd_control::records::records_server::RecordsServer;
use std::sync::Arc;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

/// The largest request of the control plane in bytes.
const MAX_MESSAGE: usize = 1 << 20;

/// Serves the control plane until told to stop; running requests end first.
///
/// # Errors
/// A sentence, when the server cannot go on.
pub(crate) async fn serve(
    node: Arc<Node>,
    listener: UnixListener,
    mut stop: watch::Receiver<bool>,
) -> Result<(), String> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<CloudHsmServer<cloudhsm::Service>>().await;
    health.set_serving::<HsmAdminServer<admin::Service>>().await;
    health.set_serving::<RecordsServer<documents::Service>>().await;
    health.set_serving::<BackupServer<backup::Service>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(hsmd_control::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(|error| error.to_string())?;
    let cloudhsm = CloudHsmServer::new(cloudhsm::Service(node.clone())).max_decoding_message_size(MAX_MESSAGE);
    let admin = HsmAdminServer::new(admin::Service(node.clone())).max_decoding_message_size(MAX_MESSAGE);
    let records = documents::Service {
        node: node.clone(),
        stop: stop.clone(),
    };
    let records = RecordsServer::new(records).max_decoding_message_size(MAX_MESSAGE);
    let backup = BackupServer::new(backup::Service(node.clone())).max_decoding_message_size(MAX_MESSAGE);
    Server::builder()
        .concurrency_limit_per_connection(node.config.control.max_streams as usize)
        .max_concurrent_streams(node.config.control.max_streams)
        .add_service(health_service)
        .add_service(reflection)
        .add_service(cloudhsm)
        .add_service(admin)
        .add_service(records)
        .add_service(backup)
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), async move {
            // An error means that the sender is gone: stop as well.
            let _ = stop.wait_for(|stop| *stop).await;
        })
        .await
        .map_err(|error| error.to_string())
}
