//! `kill -9` at random moments of a running daemon under administrators' changes: what was acknowledged is there after the restart,
//! what was under way is done or not, never half (INV-2, INV-3), and nothing is in trouble. Kills at every single step of the store
//! are in `hsmd/src/control/tests/kills.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hsmd_control::admin::hsm_admin_client::HsmAdminClient;
use hsmd_control::admin::{CreatePartitionRequest, DeletePartitionRequest, ListPartitionsRequest, StatusRequest};
use hsmd_control::cloudhsm::CreateHsmRequest;
use hsmd_control::cloudhsm::cloud_hsm_client::CloudHsmClient;
use hsmd_control::records::operation::Kind;
use hsmd_control::records::records_client::RecordsClient;
use hsmd_control::records::{BatchRequest, ListRequest, Operation, PutOperation};
use hsmd_tests::daemon::Daemon;
use hsmd_tests::soak::{Random, Soak};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

const WORKERS: usize = 3;
/// Partitions that one worker has at a time: an HSM has room for 100.
const PARTITIONS: usize = 5;

/// What one worker knows.
#[derive(Default)]
struct Known {
    /// Partitions: label and serial number.
    partitions: BTreeMap<String, String>,
    /// Labels of partitions that were deleted, and acknowledged so.
    gone: Vec<String>,
    /// The label of the partition whose creation or deletion was not acknowledged.
    doubt: Option<String>,
    /// The number that was last written to both records of the worker, and the one under way.
    written: u64,
    writing: u64,
    /// ARNs of HSMs by client token.
    hsms: BTreeMap<String, String>,
    next: u64,
}

fn create_hsm(token: &str) -> CreateHsmRequest {
    CreateHsmRequest {
        subnet_id: Some("subnet-0a1b2c3d".into()),
        ssh_key: Some(String::new()),
        iam_role_arn: Some("arn:aws:iam::123456789012:role/x".into()),
        subscription_type: Some("PRODUCTION".into()),
        client_token: Some(token.into()),
        ..CreateHsmRequest::default()
    }
}

async fn connect(uri: String) -> Channel {
    Endpoint::from_shared(uri)
        .expect("a URI")
        .connect()
        .await
        .expect("a daemon")
}

/// Changes until the daemon is gone.
async fn work(worker: usize, uri: String, mut known: Known, mut random: Random, done: Arc<AtomicUsize>) -> Known {
    let channel = connect(uri).await;
    let mut admin = HsmAdminClient::new(channel.clone());
    let mut cloudhsm = CloudHsmClient::new(channel.clone());
    let mut records = RecordsClient::new(channel);
    loop {
        let full = known.partitions.len() >= PARTITIONS;
        known.next += 1;
        let alive = match random.below(10) {
            0 if known.hsms.len() < 4 => {
                let token = format!("w{worker}t{}", known.next);
                let answer = cloudhsm.create_hsm(create_hsm(&token)).await;
                answer.map(|answer| drop(known.hsms.insert(token, answer.into_inner().hsm_arn)))
            }
            1..=3 if !full => {
                let label = format!("w{worker}p{}", known.next);
                known.doubt = Some(label.clone());
                let request = CreatePartitionRequest {
                    hsm: known.hsms.values().next().cloned().unwrap_or_default(),
                    label: label.clone(),
                    ..CreatePartitionRequest::default()
                };
                let answer = admin.create_partition(request).await;
                answer.map(|answer| {
                    let serial = answer.into_inner().partition.unwrap_or_default().serial;
                    known.partitions.insert(label, serial);
                    known.doubt = None;
                })
            }
            4 | 5 if full => {
                let (label, serial) = known.partitions.pop_first().expect("one of several");
                known.doubt = Some(label.clone());
                let answer = admin
                    .delete_partition(DeletePartitionRequest {
                        partition: serial,
                        ..DeletePartitionRequest::default()
                    })
                    .await;
                answer.map(|_| {
                    known.gone.push(label);
                    known.doubt = None;
                })
            }
            _ => {
                known.writing += 1;
                let put = |side| PutOperation {
                    key: format!("w{worker}/{side}"),
                    value: known.writing.to_string().into_bytes(),
                };
                let operations = ["a", "b"].map(|side| Operation {
                    kind: Some(Kind::Put(put(side))),
                });
                let request = BatchRequest {
                    operations: operations.into(),
                    ..BatchRequest::default()
                };
                let answer = records.batch(request).await;
                answer.map(|_| known.written = known.writing)
            }
        };
        match alive {
            Ok(()) => drop(done.fetch_add(1, Ordering::SeqCst)),
            // An HSM that is not RUNNING yet, or more than one without a name: nothing was done.
            Err(status) if matches!(status.code(), Code::FailedPrecondition | Code::InvalidArgument) => {
                known.doubt = None
            }
            // The daemon was killed; whatever else it is shows in the checks.
            Err(_) => return known,
        }
    }
}

/// Holds the daemon against what a worker knows, and takes over what was in doubt.
async fn check(worker: usize, uri: String, known: &mut Known) {
    let channel = connect(uri).await;
    let mut admin = HsmAdminClient::new(channel.clone());
    let list = admin
        .list_partitions(ListPartitionsRequest::default())
        .await
        .expect("a list");
    let mut there: BTreeMap<String, String> = list
        .into_inner()
        .partitions
        .into_iter()
        .filter(|partition| partition.label.starts_with(&format!("w{worker}p")))
        .map(|partition| {
            assert_eq!(partition.trouble, "", "{}", partition.label);
            (partition.label, partition.serial)
        })
        .collect();
    let doubt = known.doubt.take().and_then(|label| there.remove_entry(&label));
    assert_eq!(there, known.partitions, "worker {worker}");
    assert!(known.gone.iter().all(|label| !there.contains_key(label)));
    known.partitions.extend(doubt);

    let mut cloudhsm = CloudHsmClient::new(channel.clone());
    for (token, arn) in &known.hsms {
        let again = cloudhsm.create_hsm(create_hsm(token)).await.expect("the same HSM");
        assert_eq!(again.into_inner().hsm_arn, *arn, "the same token again");
    }
    let request = ListRequest {
        prefix: format!("w{worker}/"),
        ..ListRequest::default()
    };
    let found = RecordsClient::new(channel)
        .list(request)
        .await
        .expect("a list")
        .into_inner()
        .records;
    let values: Vec<_> = found
        .iter()
        .map(|record| String::from_utf8_lossy(&record.value).into_owned())
        .collect();
    if known.written > 0 || !values.is_empty() {
        assert_eq!((values.len(), &values[0]), (2, &values[1]), "both or none");
        let value: u64 = values[0].parse().expect("a number");
        assert!(
            (known.written..=known.writing).contains(&value),
            "{value} is not {}",
            known.written
        );
        known.written = value;
    }
    let status = admin.status(StatusRequest {}).await.expect("a status").into_inner();
    assert!(
        status.quarantined.is_empty() && status.troubles.is_empty(),
        "{status:?}"
    );
}

#[test]
fn what_administrators_were_told_survives_kill_9() {
    let soak = Soak::new("control-kills", 4);
    let mut random = Random::new(soak.seed);
    let mut daemon = Daemon::start();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut all: Vec<_> = (0..WORKERS).map(|_| Known::default()).collect();
    let done = Arc::new(AtomicUsize::new(0));
    for round in 0..soak.rounds {
        let uri = daemon.variable("HSMD_ENDPOINT").to_owned();
        let until = done.load(Ordering::SeqCst) + 1 + random.below(60);
        let workers: Vec<_> = all
            .drain(..)
            .enumerate()
            .map(|(worker, known)| {
                let own = Random::new(random.bits());
                runtime.spawn(work(worker, uri.clone(), known, own, done.clone()))
            })
            .collect();
        while done.load(Ordering::SeqCst) < until && workers.iter().any(|worker| !worker.is_finished()) {
            std::thread::yield_now();
        }
        daemon.kill9();
        all.extend(
            workers
                .into_iter()
                .map(|worker| runtime.block_on(worker).expect("a worker")),
        );
        daemon.restart();
        for (worker, known) in all.iter_mut().enumerate() {
            runtime.block_on(check(worker, uri.clone(), known));
        }
        soak.progress(round, || {
            format!("{} changes acknowledged", done.load(Ordering::SeqCst))
        });
    }
    let figures = format!("{} changes acknowledged", done.load(Ordering::SeqCst));
    soak.verdict(done.load(Ordering::SeqCst) > soak.rounds, &figures);
}
