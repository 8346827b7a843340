//! Signature Version 4: who signed a request. The verification is `scratchstack-aws-signature`'s, of signatures in a query
//! `presigned`'s; here are the access keys,
//! the region and service that a signature must name, and the words for what is wrong.

use crate::config::{AccessKey, SECRET_LENGTH};
use crate::fault::{Common, Fault};
use crate::presigned::Presigned;
use crate::route::Row;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::Request;
use scratchstack_aws_signature::principal::User;
use scratchstack_aws_signature::{
    GetSigningKeyRequest, GetSigningKeyResponse, KSecretKey, NO_ADDITIONAL_SIGNED_HEADERS, SignatureError,
    SignatureOptions, sigv4_validate_request,
};
use std::str::FromStr as _;
use std::sync::Arc;
use tower::BoxError;

/// Verifies requests.
pub(crate) struct Verifier {
    keys: Arc<Vec<AccessKey>>,
    region: String,
    /// False: any request is taken for good.
    verify: bool,
}

impl Verifier {
    pub(crate) fn new(keys: Vec<AccessKey>, region: String, verify: bool) -> Self {
        Self {
            keys: Arc::new(keys),
            region,
            verify,
        }
    }

    /// Checks a request at a time.
    ///
    /// # Errors
    /// A common error, in the words of the service's protocol.
    pub(crate) async fn verify(
        &self,
        request: &Request<Bytes>,
        row: &'static Row,
        now: DateTime<Utc>,
    ) -> Result<(), Fault> {
        if !self.verify {
            return Ok(());
        }
        let presigned = Presigned::of(request).and_then(|found| match found {
            None => Ok(false),
            Some(presigned) => {
                let key = |id: &str| self.keys.iter().find(|key| key.id == id);
                let secret = |id: &str| key(id).map(|key| key.secret.as_str());
                let scope = (self.region.as_str(), row.signing);
                presigned.verify(request, scope, now, secret).map(|()| true)
            }
        });
        match presigned {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err((kind, message)) => return Err(Fault::common(row.protocol, kind, worded(kind, message))),
        }
        let keys = self.keys.clone();
        let mut find =
            tower::service_fn(move |asked: GetSigningKeyRequest| std::future::ready(signing_key(&keys, &asked)));
        let checked = sigv4_validate_request(
            request.clone(),
            &self.region,
            row.signing,
            &mut find,
            now,
            &NO_ADDITIONAL_SIGNED_HEADERS,
            SignatureOptions::default(),
        );
        let Err(error) = checked.await else { return Ok(()) };
        let (kind, message) = reason(error);
        Err(Fault::common(row.protocol, kind, message))
    }
}

fn signing_key(keys: &[AccessKey], asked: &GetSigningKeyRequest) -> Result<GetSigningKeyResponse, BoxError> {
    let unknown =
        || SignatureError::InvalidClientTokenId("The security token included in the request is invalid.".into());
    let key = keys
        .iter()
        .find(|key| key.id == asked.access_key())
        .ok_or_else(unknown)?;
    let secret = KSecretKey::<{ SECRET_LENGTH + 4 }>::from_str(&key.secret)?;
    let response = GetSigningKeyResponse::builder()
        .principal(User::new("aws", "000000000000", "/", "hsmd")?)
        .signing_key(secret.to_ksigning(asked.request_date(), asked.region(), asked.service()))
        .build()?;
    Ok(response)
}

/// What the verification says, as one of ours.
fn reason(error: BoxError) -> (Common, String) {
    let error = SignatureError::from(error);
    let message = error.to_string();
    let kind = match &error {
        SignatureError::MissingAuthenticationToken(_) => Common::MissingAuthentication,
        SignatureError::InvalidClientTokenId(_) | SignatureError::ExpiredToken(_) => Common::UnknownAccessKey,
        SignatureError::SignatureDoesNotMatch(Some(text))
            if text.starts_with("Signature expired") || text.starts_with("Signature not yet") =>
        {
            Common::Expired
        }
        SignatureError::SignatureDoesNotMatch(_) => Common::WrongSignature,
        SignatureError::IO(_) | SignatureError::InternalServiceError(_) => {
            tracing::error!(%message, "a signature could not be verified");
            return (Common::Internal, "the signature could not be verified".into());
        }
        _ => Common::IncompleteSignature,
    };
    (kind, worded(kind, message))
}

/// The expected canonical request and signature would help a guesser.
fn worded(kind: Common, message: String) -> String {
    match kind {
        Common::WrongSignature => {
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access \
             Key, the region and the signing method."
                .into()
        }
        _ => message,
    }
}
