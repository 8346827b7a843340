//! What all scenarios use: how a refusal is expected, how to wait for a state, how other programs are run.

use std::error::Error;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Why a scenario ended. What does not hold is a panic; this is a call that did not succeed.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// Expects that the call is refused with this modelled error (`is_..._exception`) or, where the model has none, this code.
macro_rules! refused {
    ($call:expr, code $code:literal) => {{
        let error = match $call.send().await {
            Ok(answer) => panic!("{} was not refused with {}: {answer:?}", stringify!($call), $code),
            Err(error) => error.into_service_error(),
        };
        assert_eq!(error.meta().code(), Some($code), "{error:?}");
        error
    }};
    ($call:expr, $is:ident) => {{
        let error = match $call.send().await {
            Ok(answer) => panic!("{} was not refused: {}: {answer:?}", stringify!($call), stringify!($is)),
            Err(error) => error.into_service_error(),
        };
        assert!(error.$is(), "not {}: {error:?}", stringify!($is));
        error
    }};
}
pub(crate) use refused;

/// The value of a member that the answer must have.
///
/// # Errors
/// When it has not.
pub(crate) fn given<T>(value: Option<T>, member: &'static str) -> Result<T, Failure> {
    value.ok_or_else(|| format!("the answer has no {member}").into())
}

/// An error with all that is behind it, on one line.
pub(crate) fn shown(failure: &(dyn Error + 'static)) -> String {
    let mut text = failure.to_string();
    let mut inner = failure.source();
    while let Some(error) = inner {
        text = format!("{text}: {error}");
        inner = error.source();
    }
    text
}

/// When waiting for a state ends.
pub(crate) struct Patience(Instant);

impl Patience {
    /// A minute.
    pub(crate) fn new() -> Self {
        Self(Instant::now() + Duration::from_secs(60))
    }

    /// Waits before the next look.
    ///
    /// # Errors
    /// After a minute, with what is the case instead.
    pub(crate) async fn pause(&self, found: String) -> Result<(), Failure> {
        if Instant::now() > self.0 {
            return Err(format!("still {found} after a minute").into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        Ok(())
    }
}

/// Runs a program and gives what it wrote.
///
/// # Errors
/// When it does not start or says no, with what it complained about.
pub(crate) fn program(name: &str, arguments: &[&str], input: &[u8]) -> Result<Vec<u8>, Failure> {
    let mut command = Command::new(name);
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .map_err(|error| format!("{name} does not start: {error}"))?;
    if let Some(mut pipe) = child.stdin.take() {
        pipe.write_all(input)?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        return Err(format!("{name} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(output.stdout)
}

/// A certificate that nobody knows, in PEM.
///
/// # Errors
/// Those of openssl.
pub(crate) fn certificate(name: &str) -> Result<String, Failure> {
    let (key, subject) = (format!("{name}.key"), format!("/CN={name}"));
    let made = program(
        "openssl",
        &[
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", &subject, "-keyout", &key,
        ],
        &[],
    )?;
    Ok(String::from_utf8(made)?)
}
