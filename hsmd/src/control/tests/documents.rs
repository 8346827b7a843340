//! Records through the service: what is refused and how, quotas, batches, pages, watches. What the keystore keeps of them is tested
//! there; what survives a kill in `tests/tests/control`.

use crate::control::access::{Caller, Role};
use crate::control::documents::Service;
use crate::data::tests::node;
use hsmd_control::records::operation::Kind;
use hsmd_control::records::records_server::Records;
use hsmd_control::records::*;
use hsmd_control::{RECORD_VERSION_KEY, REVISION_KEY};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_stream::StreamExt as _;
use tonic::{Code, Request, Status};

/// Longer than anything here takes.
const DEADLINE: Duration = Duration::from_secs(30);

fn service(limits: impl FnOnce(&mut crate::config::Records)) -> (Service, tokio::sync::watch::Sender<bool>) {
    let (sender, stop) = tokio::sync::watch::channel(false);
    let node = node(|config| limits(&mut config.records));
    (Service { node, stop }, sender)
}

/// A request as the gate hands it on.
fn by<T>(name: &str, role: Role, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let name = name.into();
    request.extensions_mut().insert(Caller { name, role });
    request
}

fn by_admin<T>(message: T) -> Request<T> {
    by("uid:0", Role::Admin, message)
}

#[tokio::test]
async fn a_service_sees_the_namespace_of_its_own_name_and_no_other() {
    let (service, _stop) = service(|_| {});
    let put = |namespace: &str| PutRequest {
        namespace: namespace.into(),
        ..put("key", b"value", None)
    };
    service.put(by("web", Role::Service, put(""))).await.unwrap();
    service.put(by("web", Role::Service, put("web"))).await.unwrap();
    for other in ["local", "shop", "web2", "WEB"] {
        let refused = service.put(by("web", Role::Service, put(other))).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{other}");
    }
    let read = |namespace: &str| GetRequest {
        namespace: namespace.into(),
        ..get("key")
    };
    assert!(service.get(by("web", Role::Service, read("web"))).await.is_ok());
    assert!(service.get(by_admin(read("web"))).await.is_ok());
    let refused = service.get(by("shop", Role::Service, read("web"))).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let own = service.get(by("shop", Role::Service, read(""))).await.unwrap_err();
    assert_eq!(own.code(), Code::NotFound);
    assert!(
        service.get(Request::new(read(""))).await.is_err(),
        "nobody in particular"
    );
}

fn put(key: &str, value: &[u8], expected_version: Option<u64>) -> PutRequest {
    PutRequest {
        key: key.into(),
        value: value.to_vec(),
        expected_version,
        ..PutRequest::default()
    }
}

fn delete(key: &str, expected_version: Option<u64>) -> DeleteRequest {
    DeleteRequest {
        key: key.into(),
        expected_version,
        ..DeleteRequest::default()
    }
}

fn get(key: &str) -> GetRequest {
    GetRequest {
        key: key.into(),
        ..GetRequest::default()
    }
}

fn operation(kind: Kind) -> Operation {
    Operation { kind: Some(kind) }
}

fn compare(key: &str, version: u64) -> Operation {
    let key = key.into();
    operation(Kind::Compare(Compare { key, version }))
}

fn write(key: &str, value: &[u8]) -> Operation {
    operation(Kind::Put(PutOperation {
        key: key.into(),
        value: value.into(),
    }))
}

fn erase(key: &str) -> Operation {
    operation(Kind::Delete(DeleteOperation { key: key.into() }))
}

async fn batch(service: &Service, operations: Vec<Operation>) -> Result<BatchResponse, Status> {
    let request = BatchRequest {
        operations,
        ..BatchRequest::default()
    };
    Ok(service.batch(by_admin(request)).await?.into_inner())
}

async fn written(service: &Service, request: PutRequest) -> Result<PutResponse, Status> {
    Ok(service.put(by_admin(request)).await?.into_inner())
}

async fn value(service: &Service, key: &str) -> Result<Vec<u8>, Code> {
    let found = service.get(by_admin(get(key))).await.map_err(|status| status.code())?;
    Ok(found.into_inner().record.unwrap_or_default().value)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_does_not_fit_is_refused_and_named() {
    let (service, _stop) = service(|_| {});
    let first = written(&service, put("a", b"1", Some(0))).await.unwrap();
    let refused = written(&service, put("a", b"2", Some(0))).await.unwrap_err();
    assert_eq!(refused.code(), Code::Aborted);
    let named = refused
        .metadata()
        .get(RECORD_VERSION_KEY)
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    assert_eq!(named, first.version.to_string());
    let second = written(&service, put("a", b"2", Some(first.version))).await.unwrap();
    assert!(second.version > first.version && second.revision > first.revision);
    let refused = service
        .delete(by_admin(delete("a", Some(first.version))))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Aborted);
    service
        .delete(by_admin(delete("a", Some(second.version))))
        .await
        .unwrap();
    assert_eq!(value(&service, "a").await, Err(Code::NotFound));
    // What is not there is deleted already.
    service.delete(by_admin(delete("a", None))).await.unwrap();
    let again = written(&service, put("a", b"3", Some(0))).await.unwrap();
    assert!(again.version > second.version, "a version is never used twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_a_limit_is_refused_with_field_and_rule() {
    let (service, _stop) = service(|_| {});
    let refused = |request| async {
        let status = written(&service, request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        status.message().split(' ').next().unwrap_or_default().to_owned()
    };
    assert_eq!(refused(put("", b"x", None)).await, "key");
    assert_eq!(refused(put(&"k".repeat(513), b"x", None)).await, "key");
    assert_eq!(refused(put("k", &[0; 65_537], None)).await, "value");
    for namespace in ["a/b", "a b", &"n".repeat(65), "\u{e4}"] {
        let namespace = namespace.to_owned();
        assert_eq!(
            refused(PutRequest {
                namespace,
                ..put("k", b"x", None)
            })
            .await,
            "namespace"
        );
    }
    let operation_id = vec![1; 15];
    assert_eq!(
        refused(PutRequest {
            operation_id,
            ..put("k", b"x", None)
        })
        .await,
        "operation_id"
    );
    // At the limits.
    written(&service, put(&"k".repeat(512), &[7; 65_536], None))
        .await
        .unwrap();
    assert_eq!(value(&service, &"k".repeat(512)).await.unwrap().len(), 65_536);
    let many = |count: usize, bytes: usize| {
        (0..count)
            .map(|number| write(&format!("m{number}"), &vec![0; bytes]))
            .collect()
    };
    assert!(batch(&service, many(100, 9_000)).await.unwrap().committed);
    for operations in [
        Vec::new(),
        many(101, 1),
        many(100, 9_900),
        vec![write("a", b"1"), erase("a")],
        vec![Operation::default()],
        vec![erase("")],
    ] {
        assert_eq!(
            batch(&service, operations).await.unwrap_err().code(),
            Code::InvalidArgument
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_happens_whole_or_says_which_compare_failed() {
    let (service, _stop) = service(|_| {});
    let first = batch(&service, vec![compare("a", 0), write("a", b"1"), write("b", b"2")])
        .await
        .unwrap();
    assert!(first.committed && first.versions[0] == 0 && first.versions[1] > 0);
    let version = first.versions[1];
    let refused = batch(&service, vec![write("c", b"3"), compare("a", version), compare("b", 0)])
        .await
        .unwrap();
    assert!(!refused.committed);
    let failed = refused.failed.unwrap();
    assert_eq!(
        (failed.operation, failed.key.as_str(), failed.version),
        (2, "b", first.versions[2])
    );
    assert_eq!(value(&service, "c").await, Err(Code::NotFound));
    let done = batch(&service, vec![erase("a"), compare("a", version), write("b", b"4")])
        .await
        .unwrap();
    assert_eq!((done.committed, done.versions[0]), (true, 0));
    assert_eq!(value(&service, "b").await.unwrap(), b"4");
    let only_compares = batch(&service, vec![compare("a", 0)]).await.unwrap();
    assert!(only_compares.committed);
}

// INV-10
#[tokio::test(flavor = "multi_thread")]
async fn the_same_operation_twice_is_done_once() {
    let (service, _stop) = service(|_| {});
    let request = PutRequest {
        operation_id: vec![9; 16],
        ..put("a", b"1", Some(0))
    };
    let first = written(&service, request.clone()).await.unwrap();
    assert_eq!(written(&service, request.clone()).await.unwrap(), first);
    let other = PutRequest {
        namespace: "other".into(),
        ..request
    };
    assert_ne!(
        written(&service, other).await.unwrap().revision,
        first.revision,
        "of another namespace"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_do_not_see_each_other_and_have_quotas_of_their_own() {
    let (service, _stop) = service(|limits| {
        limits.max_records = 2;
        limits.max_namespaces = 2;
    });
    let within = |namespace: &str, key: &str| {
        let namespace = namespace.to_owned();
        PutRequest {
            namespace,
            ..put(key, b"x", None)
        }
    };
    for (namespace, key) in [("one", "a"), ("one", "b"), ("on", "a")] {
        written(&service, within(namespace, key)).await.unwrap();
    }
    for (namespace, key) in [("one", "c"), ("three", "a")] {
        let refused = written(&service, within(namespace, key)).await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted, "{namespace} {key}");
    }
    let request = ListRequest {
        namespace: "on".into(),
        ..ListRequest::default()
    };
    let list = service.list(by_admin(request)).await.unwrap().into_inner();
    assert_eq!(list.records.len(), 1, "{list:?}");
    // Room again.
    let gone = DeleteRequest {
        namespace: "on".into(),
        ..delete("a", None)
    };
    service.delete(by_admin(gone)).await.unwrap();
    written(&service, within("three", "a")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_has_pages_and_tokens_of_another_list_are_refused() {
    let (service, _stop) = service(|_| {});
    for number in 0..25 {
        written(&service, put(&format!("p/{number:02}"), b"v", None))
            .await
            .unwrap();
    }
    written(&service, put("q", b"v", None)).await.unwrap();
    let page = |prefix: &str, token: String| ListRequest {
        prefix: prefix.into(),
        page_size: 10,
        page_token: token,
        keys_only: true,
        ..ListRequest::default()
    };
    let (mut keys, mut token, mut revisions) = (Vec::new(), String::new(), Vec::new());
    loop {
        let list = service.list(by_admin(page("p/", token))).await.unwrap().into_inner();
        assert!(
            list.records
                .iter()
                .all(|record| record.value.is_empty() && record.version > 0)
        );
        keys.extend(list.records.into_iter().map(|record| record.key));
        revisions.push(list.revision);
        token = list.next_page_token;
        if token.is_empty() {
            break;
        }
        written(&service, put("q", b"meanwhile", None)).await.unwrap();
    }
    assert_eq!(keys, (0..25).map(|number| format!("p/{number:02}")).collect::<Vec<_>>());
    assert!(
        revisions.windows(2).all(|pair| pair[0] == pair[1]),
        "watch from the first: {revisions:?}"
    );
    for token in [
        "x",
        "0000000000000001q",
        "000000000000000zp/01",
        "\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}",
    ] {
        let refused = service.list(by_admin(page("p/", token.into()))).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{token}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_under_load_sees_every_change_once_and_in_order() {
    const WRITERS: usize = 4;
    const WRITES: usize = 200;
    let (service, stop) = service(|_| {});
    let service = Arc::new(service);
    let request = WatchRequest {
        prefix: "w/".into(),
        ..WatchRequest::default()
    };
    let mut stream = service.watch(by_admin(request)).await.unwrap().into_inner();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let service = service.clone();
            tokio::spawn(async move {
                for number in 0..WRITES {
                    let key = format!("w/{writer}");
                    written(&service, put("unwatched", b"", None)).await.unwrap();
                    written(&service, put(&key, number.to_string().as_bytes(), None))
                        .await
                        .unwrap();
                }
            })
        })
        .collect();
    let (mut seen, mut revision) = (BTreeMap::<String, Vec<String>>::new(), 0);
    while seen.values().map(Vec::len).sum::<usize>() < WRITERS * WRITES {
        let next = tokio::time::timeout(DEADLINE, stream.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        assert!(next.revision > revision, "in order, each once");
        revision = next.revision;
        for change in next.changes {
            let record = change.record.unwrap();
            let value = String::from_utf8(record.value).unwrap();
            seen.entry(record.key).or_default().push(value);
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let wanted: Vec<_> = (0..WRITES).map(|number| number.to_string()).collect();
    assert!(seen.values().all(|values| *values == wanted));
    // The daemon's stop ends it with a word.
    stop.send(true).unwrap();
    let last = tokio::time::timeout(DEADLINE, stream.next()).await.unwrap().unwrap();
    assert_eq!(last.unwrap_err().code(), Code::Unavailable);
    assert!(stream.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_from_a_forgotten_revision_says_where_to_begin() {
    let (service, _stop) = service(|_| {});
    let first = written(&service, put("a", b"", None)).await.unwrap().revision;
    let watch = |after| {
        let request = WatchRequest {
            after: Some(after),
            ..WatchRequest::default()
        };
        service.watch(by_admin(request))
    };
    // A watch that nobody reads falls behind and is told so.
    let mut slow = watch(first).await.unwrap().into_inner();
    let mut last = 0;
    for _ in 0..5_000 {
        last = written(&service, put("a", b"", None)).await.unwrap().revision;
    }
    let refused = watch(first).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange);
    let current = refused
        .metadata()
        .get(REVISION_KEY)
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    assert_eq!(current, last.to_string());
    assert_eq!(
        watch(last + 1_000).await.unwrap_err().code(),
        Code::OutOfRange,
        "of the future"
    );
    watch(last).await.unwrap();
    let end = async {
        while let Some(answer) = slow.next().await {
            if let Err(status) = answer {
                return Some(status.code());
            }
        }
        None
    };
    assert_eq!(
        tokio::time::timeout(DEADLINE, end).await.unwrap(),
        Some(Code::OutOfRange)
    );
}
