//! RekeyPartition: what is refused is refused before the stream of answers begins; the work is the keystore's.

use super::describe;
use super::partitions::{authorise, bytes};
use crate::audit::in_scene;
use crate::control::fault;
use crate::control::model::ModelError;
use crate::control::rekey::rekeyed;
use crate::node::Node;
use hsmd_control::admin::{RekeyPartitionRequest, RekeyPartitionResponse, RekeyProgress, rekey_partition_response};
use hsmd_keystore::Rekey;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Answers on their way.
const QUEUE: usize = 8;

/// What the caller gets.
pub(super) type Answers = ReceiverStream<Result<RekeyPartitionResponse, Status>>;

/// A partition whose PINs were right.
pub(super) struct Begun {
    partition: String,
    rekey: Rekey,
}

pub(super) fn begin(node: &Arc<Node>, request: RekeyPartitionRequest) -> Result<Begun, ModelError> {
    const RULE: &str = "as long as pin.min_length and pin.max_length say";
    let so_pin = bytes(&request.so_pin).ok_or(ModelError::Missing("SoPin", RULE))?;
    authorise(node, &request.partition, &request.hsm_so_pin)?;
    let (user_pin, crypto_user_pin) = (bytes(&request.user_pin), bytes(&request.crypto_user_pin));
    let rekey = node
        .model
        .begin_rekey(&request.partition, so_pin, user_pin, crypto_user_pin)?;
    let partition = request.partition.clone();
    Ok(Begun { partition, rekey })
}

/// Does it beside the runtime's workers; it goes on when the caller goes.
pub(super) fn go(node: Arc<Node>, begun: Begun) -> Answers {
    let (sender, receiver) = mpsc::channel(QUEUE);
    tokio::task::spawn_blocking(in_scene(move || {
        let Begun { partition, rekey } = begun;
        let mut progress = |records: u64, of: u64| {
            // A sign of life; one that finds no room is not missed.
            let part = rekey_partition_response::Part::Progress(RekeyProgress { records, of });
            let _ = sender.try_send(Ok(RekeyPartitionResponse { part: Some(part) }));
        };
        let done = rekey.run(&mut progress).map_err(|error| rekeyed(error, &partition));
        let last = done.and_then(|objects| {
            tracing::info!(partition, objects, "partition rekeyed");
            let record = node.model.partition(&partition)?;
            describe(&node, &record)
        });
        let last = match last {
            Ok(partition) => {
                let part = Some(rekey_partition_response::Part::Partition(partition));
                Ok(RekeyPartitionResponse { part })
            }
            Err(error) => Err(fault::status(&error)),
        };
        // Nobody to tell when the client has gone.
        let _ = sender.blocking_send(last);
    }));
    ReceiverStream::new(receiver)
}
