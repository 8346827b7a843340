//! Tokens with many objects, and the removal of what a row has made.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cryptoki_sys::*;
use hsmd_tests::template::{Attribute, bytes, flag, number};

use crate::job::Answer;
use crate::worker::Attached;

/// The label of the n-th object.
pub(crate) fn label(number: usize) -> String {
    format!("p11bench-object-{number:06}")
}

fn template(index: usize) -> Vec<Attribute> {
    vec![
        number(CKA_CLASS, CKO_SECRET_KEY),
        number(CKA_KEY_TYPE, CKK_AES),
        flag(CKA_TOKEN, true),
        flag(CKA_PRIVATE, true),
        flag(CKA_SENSITIVE, true),
        bytes(CKA_LABEL, label(index)),
        bytes(CKA_ID, label(index)),
        bytes(CKA_VALUE, [&[0x5a; 24][..], &(index as u64).to_le_bytes()].concat()),
    ]
}

/// Creates private AES keys, each with a label of its own, until there are so many or the time is over.
pub(crate) fn fill(attached: &Attached, objects: usize, threads: usize, limit: Duration) -> Result<Answer, String> {
    let (start, next, made) = (Instant::now(), AtomicUsize::new(0), AtomicUsize::new(0));
    let trouble = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let result = (|| {
                    let session = attached.module.open_session(attached.slot)?;
                    while start.elapsed() < limit {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        if index >= objects {
                            break;
                        }
                        attached.module.create(session, &template(index))?;
                        made.fetch_add(1, Ordering::Relaxed);
                    }
                    attached.module.close_session(session)
                })();
                if let Err(rv) = result {
                    *trouble.lock().expect("no thread panicked") = Some(rv);
                }
            });
        }
    });
    match (trouble.into_inner().expect("no thread panicked"), made.into_inner()) {
        // A full disk or a limit of the token: what was reached counts.
        (Some(rv), 0) => Err(format!("C_CreateObject: {rv}")),
        (_, made) => Ok(Answer::Filled {
            made,
            seconds: start.elapsed().as_secs_f64(),
        }),
    }
}

/// Destroys objects with a few threads. One that is gone already is no error.
pub(crate) fn destroy(attached: &Attached, objects: &[CK_OBJECT_HANDLE]) {
    if objects.is_empty() {
        return;
    }
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let Ok(session) = attached.module.open_session(attached.slot) else {
                    return;
                };
                while let Some(object) = objects.get(next.fetch_add(1, Ordering::Relaxed)) {
                    _ = attached.module.destroy(session, *object);
                }
                _ = attached.module.close_session(session);
            });
        }
    });
}
