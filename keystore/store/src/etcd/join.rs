//! The one value that a node reads before it has any key of the store: sealed by the master key, opaque here. It is written once,
//! by the first node, and read by `hsmd join`.

use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use crate::etcd::api::RangeRequest;
use crate::etcd::client::{Client, Failure};
use crate::etcd::engine::{changed_at, put, run, transaction};
use crate::etcd::layout::Layout;
use crate::etcd::options::EtcdOptions;
use crate::report::OpenError;

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(50);

/// Reads the value; `None`: nobody has offered one under this prefix.
///
/// # Errors
/// [`OpenError::Unreachable`].
pub fn join_value(options: &EtcdOptions) -> Result<Option<Vec<u8>>, OpenError> {
    let (options, runtime) = (options.clone(), runtime()?);
    let read = run(&runtime, async move {
        let client = Client::new(&options)?;
        read(&client, &options).await
    });
    runtime.shutdown_background();
    read.unwrap_or_else(ended)
}

/// Writes the value unless there is one.
///
/// # Errors
/// [`OpenError::Unreachable`].
pub fn offer_join_value(options: &EtcdOptions, value: &[u8]) -> Result<(), OpenError> {
    let (options, runtime, value) = (options.clone(), runtime()?, value.to_vec());
    let written = run(&runtime, async move {
        let client = Client::new(&options)?;
        let key = Layout::new(&options.url.prefix).join();
        if read(&client, &options).await?.is_some() {
            return Ok(());
        }
        // Sent again or too late, it finds the key there: the first one counts.
        let request = transaction(vec![changed_at(&key, 0)], vec![put(&key, value)], Vec::new());
        let sent = client.txn(request).await;
        sent.map(drop)
            .map_err(|failure| OpenError::Unreachable(failure.to_string()))
    });
    runtime.shutdown_background();
    written.unwrap_or_else(ended)
}

fn runtime() -> Result<Runtime, OpenError> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    Ok(builder.worker_threads(1).enable_all().build()?)
}

fn ended<T>() -> Result<T, OpenError> {
    Err(OpenError::Unreachable("the client has ended".to_owned()))
}

async fn read(client: &Client, options: &EtcdOptions) -> Result<Option<Vec<u8>>, OpenError> {
    let request = RangeRequest {
        key: Layout::new(&options.url.prefix).join().into(),
        ..RangeRequest::default()
    };
    let until = Instant::now() + options.patience;
    loop {
        match client.range(request.clone()).await {
            Ok(answer) => return Ok(answer.kvs.first().map(|kv| kv.value.to_vec())),
            Err(Failure::NotSent(_) | Failure::NoAnswer(_)) if Instant::now() < until => {
                tokio::time::sleep(PAUSE).await;
            }
            Err(failure) => return Err(OpenError::Unreachable(failure.to_string())),
        }
    }
}
