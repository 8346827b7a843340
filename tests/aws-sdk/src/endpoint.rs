//! Where the AWS side is and who calls it, from the environment, and a client of each SDK for it.

use std::env;

use aws_sdk_kms::config::{BehaviorVersion, Credentials, Region, SharedHttpClient};

use crate::ask::Failure;
use crate::tally::Tally;

/// The endpoint.
pub(crate) struct Endpoint {
    url: String,
    /// Its region.
    pub(crate) region: String,
    credentials: Credentials,
    http: SharedHttpClient,
}

/// A variable of the environment.
///
/// # Errors
/// When it is not set.
pub(crate) fn variable(name: &str) -> Result<String, Failure> {
    env::var(name).map_err(|_| format!("{name} is not set: source the env file of `hsmd dev`").into())
}

macro_rules! client {
    ($(#[$doc:meta])* $name:ident, $sdk:ident) => {
        $(#[$doc])*
        pub(crate) fn $name(&self, tally: &Tally) -> $sdk::Client {
            let config = $sdk::Config::builder()
                .behavior_version(BehaviorVersion::v2026_01_12())
                .endpoint_url(&self.url)
                .region(Region::new(self.region.clone()))
                .credentials_provider(self.credentials.clone())
                .http_client(self.http.clone())
                // An answer that only the second attempt gets is a finding.
                .retry_config($sdk::config::retry::RetryConfig::disabled())
                .interceptor(tally.clone())
                .build();
            $sdk::Client::from_conf(config)
        }
    };
}

impl Endpoint {
    /// What `AWS_ENDPOINT_URL`, `AWS_DEFAULT_REGION`, `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` say.
    ///
    /// # Errors
    /// When one is not set.
    pub(crate) fn from_environment() -> Result<Self, Failure> {
        let (id, secret) = (variable("AWS_ACCESS_KEY_ID")?, variable("AWS_SECRET_ACCESS_KEY")?);
        Ok(Self {
            url: variable("AWS_ENDPOINT_URL")?,
            region: variable("AWS_DEFAULT_REGION")?,
            credentials: Credentials::new(id, secret, None, None, "environment"),
            http: aws_smithy_http_client::Builder::new().build_http(),
        })
    }

    /// The same endpoint for somebody who has another secret.
    pub(crate) fn with_wrong_secret(&self) -> Self {
        let id = self.credentials.access_key_id();
        Self {
            url: self.url.clone(),
            region: self.region.clone(),
            credentials: Credentials::new(id, "x".repeat(40), None, None, "wrong"),
            http: self.http.clone(),
        }
    }

    client!(
        /// A client of CloudHSM Classic.
        cloudhsm, aws_sdk_cloudhsm
    );
    client!(
        /// A client of Redshift.
        redshift, aws_sdk_redshift
    );
    client!(
        /// A client of KMS.
        kms, aws_sdk_kms
    );
}
