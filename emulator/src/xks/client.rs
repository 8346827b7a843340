//! KMS's side of the XKS proxy API: signed requests to a proxy, an answer within 250 ms or none, and nothing in an answer taken
//! for granted. What the failures mean to a caller of KMS is in [`super::mapping`].

use super::error::ErrorName;
use super::outbound::{ConnectProblem, Outbound};
use super::sigv4::Signer;
use super::wire::{self, Decrypt, Decrypted, Encrypt, Encrypted, Metadata, Plain, Refusal};
use bytes::Bytes;
use chrono::Utc;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Serialize;
use std::borrow::Cow;
use std::error::Error;
use std::time::Duration;
use zeroize::Zeroizing;

pub(crate) use super::wire::{Health, KeyStatus, RequestMetadata};

/// KMS waits so long for an answer, connection and handshake included.
pub(crate) const PATIENCE: Duration = Duration::from_millis(250);
/// The most bytes of an answer: many times the longest that the specification knows.
const LONGEST_ANSWER: usize = 64 << 10;
/// An idle connection is kept so long; servers close theirs later.
const IDLE: Duration = Duration::from_secs(20);

/// Which proxy, and how to sign for it.
pub(crate) struct ProxyConfig {
    /// `https://host`
    pub(crate) endpoint: String,
    /// `[/prefix]/kms/xks/v1`
    pub(crate) path: String,
    /// The region of KMS.
    pub(crate) region: String,
    pub(crate) access_key_id: String,
    pub(crate) secret: Zeroizing<String>,
}

/// A proxy. Cheap to use from many tasks at once; connections are kept and used again.
pub(crate) struct Proxy {
    client: Client<Outbound, Full<Bytes>>,
    signer: Signer,
    host: String,
    path: String,
}

/// Why a call of a proxy has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProxyFailure {
    /// No connection, or it was lost.
    #[error("the proxy cannot be reached")]
    Unreachable,
    /// No TLS with it.
    #[error("no TLS connection with the proxy")]
    Tls,
    /// No answer in time.
    #[error("the proxy did not answer in time")]
    TimedOut,
    /// An answer that breaks the rule named here.
    #[error("the proxy's answer cannot be used: {0}")]
    BadResponse(&'static str),
    /// The proxy's own word.
    #[error("the proxy refused: {0:?}")]
    Refused(ErrorName),
}

/// What a proxy says of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyMetadata {
    pub(crate) spec: String,
    pub(crate) usage: Vec<String>,
    pub(crate) status: KeyStatus,
}

impl KeyMetadata {
    /// Whether KMS can make a key of it: AES-256, enabled, and it encrypts and decrypts.
    pub(crate) fn is_usable(&self) -> bool {
        let does = |wanted: &str| self.usage.iter().any(|usage| usage == wanted);
        self.spec == wire::AES_256 && self.status == KeyStatus::Enabled && does("ENCRYPT") && does("DECRYPT")
    }
}

/// What an encryption gave; all of it belongs in the ciphertext that KMS answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sealed {
    /// As long as the plaintext.
    pub(crate) ciphertext: Vec<u8>,
    /// 12 or 16 bytes.
    pub(crate) iv: Vec<u8>,
    /// 16 bytes.
    pub(crate) tag: Vec<u8>,
    /// At most 20 bytes; `None` when the proxy sent none.
    pub(crate) metadata: Option<Vec<u8>>,
}

type Answer<T> = Result<T, ProxyFailure>;

impl Proxy {
    /// A proxy; nothing is connected yet.
    ///
    /// # Errors
    /// A sentence, for an endpoint that is no `https://host`.
    pub(crate) fn new(config: ProxyConfig, outbound: &Outbound) -> Result<Self, String> {
        let host = config.endpoint.strip_prefix("https://").unwrap_or_default();
        let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
        if host.is_empty() || !host.bytes().all(good) {
            return Err("the endpoint must be https:// and a host name".into());
        }
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE);
        Ok(Self {
            client: builder.build(outbound.clone()),
            host: host.to_owned(),
            signer: Signer::new(config.access_key_id, config.secret, config.region),
            path: config.path,
        })
    }

    /// GetHealthStatus.
    ///
    /// # Errors
    /// [`ProxyFailure`].
    pub(crate) async fn health(&self, request: RequestMetadata<'_>) -> Answer<Health> {
        let body = Plain {
            request_metadata: request,
        };
        let answer = self.call("/health", &body).await?;
        health(&answer)
    }

    /// GetKeyMetadata of an external key.
    ///
    /// # Errors
    /// [`ProxyFailure`].
    pub(crate) async fn metadata(&self, key: &str, request: RequestMetadata<'_>) -> Answer<KeyMetadata> {
        let body = Plain {
            request_metadata: request,
        };
        let answer = self.call(&target(key, "metadata")?, &body).await?;
        metadata(&answer)
    }

    /// Encrypt. The integrity value is always asked for, and held against the answer.
    ///
    /// # Errors
    /// [`ProxyFailure`].
    pub(crate) async fn encrypt(
        &self,
        key: &str,
        plaintext: &[u8],
        aad: &[u8],
        request: RequestMetadata<'_>,
    ) -> Answer<Sealed> {
        let encoded = wire::text(plaintext);
        let aad_text = wire::text(aad);
        let body = Encrypt {
            request_metadata: request,
            plaintext: Cow::Borrowed(&encoded),
            encryption_algorithm: wire::AES_GCM.into(),
            additional_authenticated_data: optional(&aad_text),
            ciphertext_data_integrity_value_algorithm: Some(wire::SHA_256.into()),
        };
        let answer = self.call(&target(key, "encrypt")?, &body).await?;
        sealed(&answer, plaintext.len(), aad)
    }

    /// Decrypt what [`Self::encrypt`] gave, with the same additional authenticated data.
    ///
    /// # Errors
    /// [`ProxyFailure`].
    pub(crate) async fn decrypt(
        &self,
        key: &str,
        sealed: &Sealed,
        aad: &[u8],
        request: RequestMetadata<'_>,
    ) -> Answer<Zeroizing<Vec<u8>>> {
        let encoded = [&sealed.ciphertext, &sealed.iv, &sealed.tag].map(|part| wire::text(part));
        let [ciphertext, iv, tag] = encoded.each_ref().map(|text| Cow::Borrowed(text.as_str()));
        let metadata = sealed.metadata.as_deref().map(wire::text);
        let aad_text = wire::text(aad);
        let body = Decrypt {
            request_metadata: request,
            ciphertext,
            encryption_algorithm: wire::AES_GCM.into(),
            initialization_vector: iv,
            authentication_tag: tag,
            additional_authenticated_data: optional(&aad_text),
            ciphertext_metadata: metadata.as_ref().map(|text| Cow::Borrowed(text.as_str())),
        };
        let answer = self.call(&target(key, "decrypt")?, &body).await?;
        opened(&answer, sealed.ciphertext.len())
    }

    async fn call(&self, target: &str, body: &impl Serialize) -> Answer<Zeroizing<Vec<u8>>> {
        // Structures of strings always serialise.
        let body = serde_json::to_vec(body).unwrap_or_default();
        match tokio::time::timeout(PATIENCE, self.exchange(target, body)).await {
            Ok(answer) => answer,
            Err(_) => Err(ProxyFailure::TimedOut),
        }
    }

    async fn exchange(&self, target: &str, body: Vec<u8>) -> Answer<Zeroizing<Vec<u8>>> {
        const UNSENT: ProxyFailure = ProxyFailure::BadResponse("the request cannot be written");
        let path = format!("{}{target}", self.path);
        let stamp = self.signer.sign(&self.host, &path, &body, Utc::now()).ok_or(UNSENT)?;
        let address = Uri::builder()
            .scheme("https")
            .authority(self.host.as_str())
            .path_and_query(path);
        let request = Request::builder()
            .method(Method::POST)
            .uri(address.build().map_err(|_| UNSENT)?)
            .header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(header::HOST, self.host.as_str())
            .header("x-amz-date", stamp.time)
            .header(header::AUTHORIZATION, stamp.authorization)
            .body(Full::new(Bytes::from(body)))
            .map_err(|_| UNSENT)?;
        let answer = self.client.request(request).await.map_err(|error| cause(&error))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LONGEST_ANSWER).collect().await;
        let body = body.map_err(|error| match error.downcast_ref::<hyper::Error>() {
            Some(_) => ProxyFailure::Unreachable,
            None => ProxyFailure::BadResponse("the body is too long"),
        })?;
        // A copy that is wiped; what HTTP and TLS held of it is theirs.
        let body = Zeroizing::new(body.to_bytes().to_vec());
        if status == StatusCode::OK {
            Ok(body)
        } else {
            Err(refusal(&body))
        }
    }
}

/// The end of a key's path. The names that KMS allows need no encoding; `.` and `..` would change the path.
fn target(key: &str, operation: &str) -> Answer<String> {
    if super::is_key_id(key) {
        Ok(format!("/keys/{key}/{operation}"))
    } else {
        Err(ProxyFailure::Refused(ErrorName::KeyNotFound))
    }
}

fn optional(text: &str) -> Option<Cow<'_, str>> {
    (!text.is_empty()).then_some(Cow::Borrowed(text))
}

/// Why hyper has no answer.
fn cause(error: &legacy::Error) -> ProxyFailure {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(problem) = error.downcast_ref::<ConnectProblem>() {
            return match problem {
                ConnectProblem::Tcp(_) => ProxyFailure::Unreachable,
                ConnectProblem::Tls(_) => ProxyFailure::Tls,
            };
        }
        // In TLS 1.3 a server refuses the client's certificate after the handshake.
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if inner.is_some_and(|inner| inner.is::<rustls::Error>()) {
            return ProxyFailure::Tls;
        }
        next = error.source();
    }
    ProxyFailure::Unreachable
}

pub(super) fn refusal(body: &[u8]) -> ProxyFailure {
    let refusal: Option<Refusal<'_>> = serde_json::from_slice(body).ok();
    let Some(refusal) = refusal else {
        return ProxyFailure::BadResponse("an error without its name");
    };
    if let Some(message) = refusal.error_message {
        // KMS shows it to the account in CloudWatch, never to the caller.
        let shown: String = message.chars().take(512).collect();
        tracing::debug!(error = &*refusal.error_name, message = shown, "the proxy refused");
    }
    let name = ErrorName::parse(&refusal.error_name);
    name.map_or(
        ProxyFailure::BadResponse("an error of no known name"),
        ProxyFailure::Refused,
    )
}

fn read<'a, T: serde::Deserialize<'a>>(body: &'a [u8]) -> Answer<T> {
    serde_json::from_slice(body).map_err(|_| ProxyFailure::BadResponse("the body has another form"))
}

fn field(text: &str) -> Answer<Zeroizing<Vec<u8>>> {
    wire::bytes(text).ok_or(ProxyFailure::BadResponse("a member is not base64"))
}

pub(super) fn health(body: &[u8]) -> Answer<Health> {
    let health: Health = read(body)?;
    if health.is_good() {
        Ok(health)
    } else {
        Err(ProxyFailure::BadResponse("a fleet's size is out of bounds"))
    }
}

pub(super) fn metadata(body: &[u8]) -> Answer<KeyMetadata> {
    let found: Metadata<'_> = read(body)?;
    if found.key_usage.len() > 10 {
        return Err(ProxyFailure::BadResponse("more than ten usages"));
    }
    Ok(KeyMetadata {
        spec: found.key_spec.into_owned(),
        usage: found.key_usage.into_iter().map(Cow::into_owned).collect(),
        status: found.key_status,
    })
}

pub(super) fn sealed(body: &[u8], length: usize, aad: &[u8]) -> Answer<Sealed> {
    let found: Encrypted<'_> = read(body)?;
    let take = |text: &str| field(text).map(|bytes| bytes.to_vec());
    let sealed = Sealed {
        ciphertext: take(&found.ciphertext)?,
        iv: take(&found.initialization_vector)?,
        tag: take(&found.authentication_tag)?,
        metadata: found.ciphertext_metadata.as_deref().map(take).transpose()?,
    };
    let metadata = sealed.metadata.as_deref().unwrap_or_default();
    if sealed.ciphertext.len() != length {
        return Err(ProxyFailure::BadResponse(
            "the ciphertext has another length than the plaintext",
        ));
    }
    if !wire::VECTORS.contains(&sealed.iv.len()) {
        return Err(ProxyFailure::BadResponse("the vector has neither 12 nor 16 bytes"));
    }
    if sealed.tag.len() != wire::TAG {
        return Err(ProxyFailure::BadResponse("the tag has not 16 bytes"));
    }
    if metadata.len() > wire::MOST_METADATA {
        return Err(ProxyFailure::BadResponse("the metadata has more than 20 bytes"));
    }
    let stated = found.ciphertext_data_integrity_value.as_deref();
    let stated = stated.ok_or(ProxyFailure::BadResponse("the integrity value is missing"))?;
    let computed = wire::integrity(aad, metadata, &sealed.iv, &sealed.ciphertext, &sealed.tag);
    if field(stated)?.as_slice() != computed {
        return Err(ProxyFailure::BadResponse(
            "the integrity value is that of something else",
        ));
    }
    Ok(sealed)
}

pub(super) fn opened(body: &[u8], length: usize) -> Answer<Zeroizing<Vec<u8>>> {
    let found: Decrypted<'_> = read(body)?;
    let plaintext = field(&found.plaintext)?;
    if plaintext.len() == length {
        Ok(plaintext)
    } else {
        Err(ProxyFailure::BadResponse(
            "the plaintext has another length than the ciphertext",
        ))
    }
}

#[cfg(test)]
mod tests;
