//! A running daemon: listens, says that it is ready, waits for a signal, and stops in order: no new connections, running
//! requests finish, the store closes.

use crate::audit;
use crate::control;
use crate::data::{Listener, Remote};
use crate::metrics;
use crate::node::Node;
use crate::notify;
use hsmd_keystore::audit::{Act, Event};
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

/// How often idle key sets are looked for.
const HOUSEKEEPING: Duration = Duration::from_secs(10);

/// Why serving ended with an error.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A socket cannot be made.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// What was to be done when everything listens failed.
    #[error("{0}")]
    Ready(String),
    /// The store did not close cleanly. Nothing acknowledged is lost.
    #[error("closing the store: {0}")]
    Close(String),
}

/// Serves until SIGTERM or SIGINT. `ready` runs when everything listens.
///
/// # Errors
/// See [`ServeError`].
pub fn run(node: Node, ready: impl FnOnce(&Node) -> Result<(), String>) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("hsmd-io")
        .build()?;
    let node = Arc::new(node);
    let result = runtime.block_on(async {
        let stopped = signalled()?;
        serve(node.clone(), ready, stopped).await
    });
    // Pools and connections that outlived the grace must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// Serves until `stopped` is done.
///
/// # Errors
/// See [`ServeError`].
pub async fn serve(
    node: Arc<Node>,
    ready: impl FnOnce(&Node) -> Result<(), String>,
    stopped: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let data = Listener::bind(&node.config.data)?;
    let remote = Remote::bind(&node.config.data).await?;
    let addresses = remote.addresses();
    let sockets = control::Sockets::bind(&node.config.control).await?;
    let metrics = metrics::Listener::bind(&node.config.metrics).await?;
    let figures = metrics.address();
    let (stop, stopping) = watch::channel(false);
    let (alive, mut ended) = mpsc::channel::<()>(1);
    remote.run(&node, &stopping, &alive);
    tokio::spawn(data.run(node.clone(), stopping.clone(), alive.clone()));
    let control = {
        let (node, stopping, alive) = (node.clone(), stopping.clone(), alive);
        async move {
            let served = control::serve(node, sockets, stopping).await;
            drop(alive);
            served
        }
    };
    let control = tokio::spawn(control);
    let metrics = tokio::spawn(metrics.run(node.clone()));
    let housekeeper = tokio::spawn(housekeeping(node.clone()));
    follow_control(&node)?;
    let watchdog = tokio::spawn(notify::watchdog());
    let syslog = tokio::spawn(audit::forward(node.clone()));
    ready(&node).map_err(ServeError::Ready)?;
    audit::started(&node);
    notify::ready();
    tracing::info!(data = %node.config.data.socket.display(), remote = ?addresses, metrics = ?figures, control = %node.config.control.socket.display(), "ready");

    stopped.await;
    tracing::info!("stopping");
    notify::stopping();
    node.keystore.audit().note(Event::new(Act::DaemonStop));
    let _ = stop.send(true);
    let grace = Duration::from_millis(node.config.stop.grace_ms);
    if tokio::time::timeout(grace, ended.recv()).await.is_err() {
        tracing::warn!(
            grace_ms = node.config.stop.grace_ms,
            "some requests did not end in time"
        );
    }
    control.abort();
    housekeeper.abort();
    metrics.abort();
    watchdog.abort();
    syslog.abort();
    for socket in [&node.config.data.socket, &node.config.control.socket] {
        // It may be gone already; a stale one would be replaced at the next start.
        let _ = std::fs::remove_file(socket);
    }
    let (keystore, fleet) = (node.keystore.clone(), node.fleet.clone());
    let closed = tokio::task::spawn_blocking(move || {
        if let Some(fleet) = fleet {
            fleet.stop();
        }
        keystore.close()
    });
    let closed = closed.await;
    match closed {
        Ok(Ok(())) => tracing::info!("stopped"),
        Ok(Err(error)) => return Err(ServeError::Close(error.to_string())),
        Err(error) => return Err(ServeError::Close(error.to_string())),
    }
    Ok(())
}

fn signalled() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// What other nodes change of the control plane's records is seen here, some moments later.
fn follow_control(node: &Arc<Node>) -> io::Result<()> {
    let Some(fleet) = node.fleet.clone() else { return Ok(()) };
    let node = Arc::downgrade(node);
    let thread = std::thread::Builder::new().name("hsmd-fleet-view".into());
    thread.spawn(move || {
        let mut seen = 0;
        while let Some(next) = fleet.control_changed(seen) {
            let Some(node) = node.upgrade() else { return };
            seen = next;
            node.read_again();
            if node.serves() {
                node.model.confirm_own();
            }
        }
    })?;
    Ok(())
}

/// Wipes the keys of partitions that nobody has asked for a while.
async fn housekeeping(node: Arc<Node>) {
    let mut ticks = tokio::time::interval(HOUSEKEEPING);
    loop {
        ticks.tick().await;
        node.pki.keep_fresh();
        node.end_strangers();
        node.clients.end_expired();
        let node = Arc::clone(&node);
        let work = move || {
            node.keystore.idle_wipe();
            if node.fleet.is_some() && node.serves() {
                node.model.take_over();
            }
        };
        if tokio::task::spawn_blocking(work).await.is_err() {
            tracing::error!("housekeeping panicked; please report this");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::bind_socket;
    use crate::data::tests::{Client, node};
    use hsmd_control::admin::hsm_admin_client::HsmAdminClient;
    use hsmd_control::admin::{CreatePartitionRequest, ListPartitionsRequest, StatusRequest};
    use hsmd_control::cloudhsm::cloud_hsm_client::CloudHsmClient;
    use hsmd_control::cloudhsm::{CreateHsmRequest, DescribeHsmRequest, ListHsmsRequest};
    use hsmd_proto::ck::Rv;
    use hsmd_proto::wire::request::Op;
    use hsmd_proto::wire::{self};
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::net::UnixStream;
    use tokio::sync::oneshot;
    use tonic::Code;
    use tonic::transport::{Channel, Endpoint};

    struct Running {
        folder: tempfile::TempDir,
        stop: oneshot::Sender<()>,
        task: tokio::task::JoinHandle<Result<(), ServeError>>,
    }

    async fn start() -> Running {
        let folder = tempfile::tempdir().unwrap();
        let node = node(|config| {
            config.data.socket = folder.path().join("data.sock");
            config.control.socket = folder.path().join("control.sock");
        });
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = oneshot::channel();
        let serve = serve(node, move |_| ready.send(()).map_err(|()| String::new()), async move {
            let _ = stopped.await;
        });
        let task = tokio::spawn(serve);
        is_ready.await.unwrap();
        Running { folder, stop, task }
    }

    impl Running {
        async fn channel(&self) -> Channel {
            let uri = format!("unix://{}/control.sock", self.folder.path().display());
            Endpoint::from_shared(uri).unwrap().connect().await.unwrap()
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_stop_lets_the_running_request_finish_and_closes_everything() {
        let running = start().await;
        let data = running.folder.path().join("data.sock");
        assert_eq!(std::fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o660);
        let mut client = Client::over(UnixStream::connect(&data).unwrap());
        client.hello();
        client.send(0, |_| Op::Ping(wire::Ping {}));
        running.stop.send(()).unwrap();
        assert_eq!(Rv(client.receive().0.rv), Rv::OK);
        running.task.await.unwrap().unwrap();
        assert!(UnixStream::connect(&data).is_err());
        assert_eq!(std::fs::read_dir(running.folder.path()).unwrap().count(), 0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_socket_left_behind_is_replaced_and_a_living_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let living = bind_socket(&path, 0o600, None).unwrap();
        let refused = bind_socket(&path, 0o600, None).unwrap_err().to_string();
        assert!(refused.contains("another process"), "{refused}");
        drop(living);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_control_plane_creates_describes_and_lists() {
        let running = start().await;
        let channel = running.channel().await;
        let mut cloud = CloudHsmClient::new(channel.clone());
        let request = CreateHsmRequest {
            subnet_id: Some("subnet-0a1b2c3d".into()),
            ssh_key: Some(String::new()),
            iam_role_arn: Some("arn:aws:iam::123456789012:role/x".into()),
            subscription_type: Some("PRODUCTION".into()),
            ..CreateHsmRequest::default()
        };
        let arn = cloud.create_hsm(request.clone()).await.unwrap().into_inner().hsm_arn;
        let described = cloud
            .describe_hsm(DescribeHsmRequest {
                hsm_arn: Some(arn.clone()),
                ..Default::default()
            })
            .await;
        let described = described.unwrap().into_inner();
        assert!(
            ["PENDING", "RUNNING"].contains(&described.status.as_str()),
            "{}",
            described.status
        );
        assert_eq!(described.vpc_id, "vpc-0a1b2c3d");
        let list = cloud.list_hsms(ListHsmsRequest::default()).await.unwrap().into_inner();
        assert_eq!((list.hsm_list.len(), list.next_token.as_str()), (2, ""));
        let bad = CreateHsmRequest {
            subnet_id: Some("subnet-1".into()),
            ..request
        };
        let refused = cloud.create_hsm(bad).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains("SubnetId"), "{}", refused.message());
        let unknown = DescribeHsmRequest {
            hsm_serial_number: Some("1".into()),
            ..Default::default()
        };
        assert_eq!(cloud.describe_hsm(unknown).await.unwrap_err().code(), Code::NotFound);

        let mut admin = HsmAdminClient::new(channel);
        let several = CreatePartitionRequest {
            label: "web".into(),
            ..Default::default()
        };
        assert_eq!(
            admin.create_partition(several).await.unwrap_err().code(),
            Code::InvalidArgument
        );
        let partitions = admin
            .list_partitions(ListPartitionsRequest::default())
            .await
            .unwrap()
            .into_inner()
            .partitions;
        assert_eq!(
            partitions.iter().map(|partition| partition.slot).collect::<Vec<_>>(),
            [0, 1]
        );
        let status = admin.status(StatusRequest {}).await.unwrap().into_inner();
        assert_eq!((status.hsms, status.partitions, status.quarantined.len()), (2, 2, 0));
        drop((cloud, admin));
        running.stop.send(()).unwrap();
        running.task.await.unwrap().unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn health_is_served() {
        let running = start().await;
        let mut health = tonic_health::pb::health_client::HealthClient::new(running.channel().await);
        for service in ["", "cloudhsm.v1.CloudHsm", "hsmd.admin.v1.HsmAdmin"] {
            let request = tonic_health::pb::HealthCheckRequest {
                service: service.into(),
            };
            let answer = health.check(request).await.unwrap().into_inner();
            assert_eq!(
                answer.status(),
                tonic_health::pb::health_check_response::ServingStatus::Serving
            );
        }
    }
}
