//! The official AWS SDKs for Rust, unmodified, against the AWS side of hsmd: every operation that it serves of CloudHSM Classic,
//! Redshift and KMS, with typed answers and typed errors. It works in the current folder on a fresh `hsmd dev`, whose env file is
//! its environment, and starts nothing but `hsmctl`, `openssl` and `pkcs11-tool`. `cargo xtask soak aws-sdk` does the rest.

mod ask;
mod cloudhsm;
mod endpoint;
mod kms;
mod redshift;
mod tally;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use ask::Failure;
use endpoint::Endpoint;
use tally::Tally;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime of this thread alone");
    let endpoint = match Endpoint::from_environment() {
        Ok(endpoint) => Arc::new(endpoint),
        Err(failure) => {
            eprintln!("hsmd-aws-sdk: {failure}");
            return ExitCode::FAILURE;
        }
    };
    let start = Instant::now();
    let good = runtime.block_on(services(&endpoint));
    let word = if good { "good" } else { "BAD" };
    println!("VERDICT aws-sdk: {word}: {} s", start.elapsed().as_secs());
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// All three, whatever becomes of the one before; a line for each.
async fn services(endpoint: &Arc<Endpoint>) -> bool {
    let tallies = [cloudhsm::OPERATIONS, redshift::OPERATIONS, kms::OPERATIONS].map(Tally::new);
    let [cloudhsm, redshift, kms] = &tallies;
    let mut good = true;
    let work = tokio::spawn(cloudhsm::run(Arc::clone(endpoint), cloudhsm.clone()));
    good &= done("cloudhsm", cloudhsm, work).await;
    let work = tokio::spawn(redshift::run(Arc::clone(endpoint), redshift.clone(), cloudhsm.clone()));
    good &= done("redshift", redshift, work).await;
    let work = tokio::spawn(kms::run(Arc::clone(endpoint), kms.clone()));
    good & done("kms", kms, work).await
}

async fn done(service: &str, tally: &Tally, work: tokio::task::JoinHandle<Result<(), Failure>>) -> bool {
    let start = Instant::now();
    let failure = match work.await {
        Ok(Ok(())) => None,
        Ok(Err(failure)) => Some(ask::shown(failure.as_ref())),
        // What it panicked about is on the screen.
        Err(_) => Some("a check failed".to_owned()),
    };
    let seconds = start.elapsed().as_secs_f64();
    if let Some(failure) = &failure {
        println!("{service}: FAILED after {}: {failure}", tally.last());
    }
    let trouble = tally.trouble();
    for sentence in &trouble {
        println!("{service}: {sentence}");
    }
    println!("{service}: {}, {seconds:.1} s", tally.summary());
    failure.is_none() && trouble.is_empty()
}
