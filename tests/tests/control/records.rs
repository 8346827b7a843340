//! Records of a running daemon: what was acknowledged survives `kill -9` (INV-2), and `hsmctl record`.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use hsmd_control::records::records_client::RecordsClient;
use hsmd_control::records::{GetRequest, ListRequest, PutRequest, WatchRequest};
use hsmd_tests::daemon::Daemon;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use super::{expect, hsmctl};

async fn client(daemon: &Daemon) -> RecordsClient<Channel> {
    let uri = daemon.variable("HSMD_ENDPOINT").to_owned();
    RecordsClient::new(
        Endpoint::from_shared(uri)
            .expect("a URI")
            .connect()
            .await
            .expect("a daemon"),
    )
}

fn put(key: String, value: Vec<u8>) -> PutRequest {
    PutRequest {
        key,
        value,
        ..PutRequest::default()
    }
}

// INV-2, INV-10
#[test]
fn every_acknowledged_record_survives_kill_9() {
    const WRITERS: usize = 4;
    let mut daemon = Daemon::start();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut acknowledged = Vec::new();
    for round in 0..3 {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let mut client = runtime.block_on(client(&daemon));
                runtime.spawn(async move {
                    let mut done = Vec::new();
                    for number in 0.. {
                        let key = format!("{round}/{writer}/{number}");
                        let value = vec![7; 1 + number % 5_000];
                        match client.put(put(key.clone(), value)).await {
                            Ok(answer) => done.push((key, answer.into_inner().version, 1 + number % 5_000)),
                            Err(_) => break,
                        }
                    }
                    done
                })
            })
            .collect();
        let mut watcher = runtime.block_on(client(&daemon));
        runtime.block_on(async {
            let request = WatchRequest {
                prefix: format!("{round}/"),
                ..WatchRequest::default()
            };
            let mut stream = watcher.watch(request).await.expect("a watch").into_inner();
            let mut seen = 0;
            while seen < 60 {
                seen += stream.message().await.expect("a change").expect("more").changes.len();
            }
        });
        daemon.kill9();
        for writer in writers {
            acknowledged.extend(runtime.block_on(writer).expect("a writer"));
        }
        daemon.restart();
    }
    let mut client = runtime.block_on(client(&daemon));
    runtime.block_on(async {
        for (key, version, bytes) in &acknowledged {
            let request = GetRequest {
                key: key.clone(),
                ..GetRequest::default()
            };
            let found = client.get(request).await.expect("what was acknowledged").into_inner();
            let found = found.record.expect("a record");
            assert_eq!((found.version, found.value.len()), (*version, *bytes), "{key}");
        }
        let request = WatchRequest {
            after: Some(1),
            ..WatchRequest::default()
        };
        let refused = client.watch(request).await.expect_err("a restart forgets changes");
        assert_eq!(refused.code(), Code::OutOfRange);
        let mut found = 0;
        let mut page_token = String::new();
        loop {
            let request = ListRequest {
                page_token,
                ..ListRequest::default()
            };
            let page = client.list(request).await.expect("a page").into_inner();
            found += page.records.len();
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        // What was under way when the daemon died may be there as well.
        assert!(
            (acknowledged.len()..=acknowledged.len() + 3 * WRITERS).contains(&found),
            "{found}"
        );
    });
}

#[test]
fn hsmctl_writes_reads_lists_and_deletes_records() {
    let daemon = Daemon::start();
    let mut command = Command::new(Path::new(daemon.variable("HSMCTL")));
    command.args([
        "--endpoint",
        daemon.variable("HSMD_ENDPOINT"),
        "record",
        "put",
        "config/web",
    ]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("hsmctl");
    child
        .stdin
        .take()
        .expect("a pipe")
        .write_all(b"{\"a\": 1}")
        .expect("it reads");
    assert!(child.wait().expect("it ends").success());
    assert!(
        expect(0, hsmctl(&daemon, "record get config/web"))
            .text
            .contains("{\"a\": 1}")
    );
    assert!(
        expect(0, hsmctl(&daemon, "record list config/"))
            .text
            .contains("config/web")
    );
    expect(
        7,
        hsmctl(&daemon, "record put config/web --file /dev/null --if-version 0"),
    );
    expect(3, hsmctl(&daemon, "record get config/web --namespace other"));
    expect(2, hsmctl(&daemon, "record delete config/web"));
    expect(0, hsmctl(&daemon, "record delete config/web --yes"));
    expect(3, hsmctl(&daemon, "record get config/web"));
}
