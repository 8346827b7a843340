//! Counts what an SDK's client does, operation by operation, as the SDK itself reports it at the end of each call.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_sdk_kms::config::ConfigBag;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::FinalizerInterceptorContextRef;
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;

/// What of an operation is to be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// An answer.
    Answer,
    /// A modelled error: the endpoint does not serve what the operation is for.
    Refusal,
}

#[derive(Debug, Default)]
struct Seen {
    operations: BTreeMap<String, (u64, u64)>,
    last: String,
    without_id: u64,
}

/// The calls of one service. Clones count together.
#[derive(Clone)]
pub(crate) struct Tally {
    wanted: &'static [(&'static str, Wanted)],
    seen: Arc<Mutex<Seen>>,
}

impl Tally {
    /// `wanted`: the operations that are to be called.
    pub(crate) fn new(wanted: &'static [(&'static str, Wanted)]) -> Self {
        let seen = Arc::default();
        Self { wanted, seen }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The operation that was called last.
    pub(crate) fn last(&self) -> String {
        self.seen().last.clone()
    }

    /// Operations that were not called or never did what they should, and answers without a request id.
    pub(crate) fn trouble(&self) -> Vec<String> {
        let seen = self.seen();
        let mut found = Vec::new();
        for (name, wanted) in self.wanted {
            let (answered, refused) = seen.operations.get(*name).copied().unwrap_or_default();
            let enough = match wanted {
                Wanted::Answer => answered > 0,
                Wanted::Refusal => refused > 0 && answered == 0,
            };
            if !enough {
                found.push(format!("{name}: answered {answered} times, refused {refused} times"));
            }
        }
        if seen.without_id > 0 {
            found.push(format!("{} answers had no request id", seen.without_id));
        }
        found
    }

    /// Counts, for people.
    pub(crate) fn summary(&self) -> String {
        let seen = self.seen();
        let mut answering = 0;
        for (name, wanted) in self.wanted {
            let answered = seen.operations.get(*name).is_some_and(|(answered, _)| *answered > 0);
            answering += usize::from(answered && *wanted == Wanted::Answer);
        }
        let (answered, refused) = (seen.operations.values()).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        let never = self
            .wanted
            .iter()
            .filter(|(_, wanted)| *wanted == Wanted::Refusal)
            .count();
        let called = seen.operations.len();
        format!(
            "{called} operations called, {answering} of {} answer, {never} refuse; {answered} answers, {refused} refusals",
            self.wanted.len() - never
        )
    }
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tally")
    }
}

impl Intercept for Tally {
    fn name(&self) -> &'static str {
        "Tally"
    }

    fn read_after_execution(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let name = config.load::<Metadata>().map_or("unknown", Metadata::name).to_owned();
        let answered = matches!(context.output_or_error(), Some(Ok(_)));
        let identified = context.response().is_some_and(|response| {
            let headers = response.headers();
            headers.contains_key("x-amzn-requestid") || headers.contains_key("x-amz-request-id")
        });
        let mut seen = self.seen();
        seen.without_id += u64::from(!identified);
        let count = seen.operations.entry(name.clone()).or_default();
        if answered {
            count.0 += 1;
        } else {
            count.1 += 1;
        }
        seen.last = name;
        Ok(())
    }
}
