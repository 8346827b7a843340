//! CloudHSM Classic (API version 2014-05-30, JSON 1.1): each operation is the control plane's call of the same name. Fields,
//! patterns and errors are checked there, once; here is only the translation (`message`).

mod message;

use crate::control::Control;
use crate::dynamic::DynamicCodec;
use crate::fault::{Common, Fault};
use crate::operations;
use crate::protocol::Protocol;
use hsmd_control::{DESCRIPTORS, ERROR_KEY, RETRYABLE_KEY};
use http::uri::PathAndQuery;
use prost_reflect::{DescriptorPool, MethodDescriptor, ServiceDescriptor};
use serde_json::{Map, Value};
use std::str::FromStr as _;
use tonic::client::Grpc;
use tonic::{Code, Request, Status};

/// The service's name in the control plane.
const SERVICE: &str = "cloudhsm.v1.CloudHsm";

/// The operations for the documentation: those of the control plane.
///
/// # Errors
/// A sentence, for descriptors without the service.
pub(crate) fn operations() -> Result<String, String> {
    let pool = DescriptorPool::decode(DESCRIPTORS).map_err(|error| error.to_string())?;
    let service = pool
        .get_service_by_name(SERVICE)
        .ok_or("the control plane has no such service")?;
    let mut rows: Vec<_> = service
        .methods()
        .map(|method| vec![method.name().to_owned(), "yes".to_owned()])
        .collect();
    rows.sort();
    Ok(operations::table(&["operation", "served"], &rows))
}

/// The front of CloudHSM Classic.
pub(crate) struct CloudHsm {
    control: Control,
    service: ServiceDescriptor,
}

impl CloudHsm {
    /// A front over a connection to the control plane.
    ///
    /// # Errors
    /// A sentence, for descriptors without the service.
    pub(crate) fn new(control: Control) -> Result<Self, String> {
        let pool = DescriptorPool::decode(DESCRIPTORS).map_err(|error| error.to_string())?;
        let service = pool
            .get_service_by_name(SERVICE)
            .ok_or("the control plane has no such service")?;
        Ok(Self { control, service })
    }

    /// Performs an operation.
    ///
    /// # Errors
    /// The modelled ones, and the common ones.
    pub(crate) async fn call(&self, operation: &str, body: &[u8]) -> Result<Map<String, Value>, Fault> {
        let method = self.service.methods().find(|method| method.name() == operation);
        let method = method.ok_or_else(|| {
            Fault::common(
                Protocol::Json,
                Common::UnknownOperation,
                format!("there is no operation {operation}"),
            )
        })?;
        let request = message::request(&method.input(), body)
            .map_err(|error| Fault::common(Protocol::Json, Common::Malformed, error))?;
        let answer = self.send(&method, request).await.map_err(|status| fault(&status))?;
        Ok(message::answer(&answer))
    }

    async fn send(
        &self,
        method: &MethodDescriptor,
        request: prost_reflect::DynamicMessage,
    ) -> Result<prost_reflect::DynamicMessage, Status> {
        let path = format!("/{SERVICE}/{}", method.name());
        let path = PathAndQuery::from_str(&path).map_err(|error| Status::internal(error.to_string()))?;
        let mut grpc = Grpc::new(self.control.clone());
        grpc.ready()
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        let codec = DynamicCodec {
            answer: method.output(),
        };
        Ok(grpc.unary(Request::new(request), path, codec).await?.into_inner())
    }
}

/// The modelled error of a refused call.
fn fault(status: &Status) -> Fault {
    let text = |key: &str| status.metadata().get(key).and_then(|value| value.to_str().ok());
    let Some(name) = text(ERROR_KEY) else {
        return match status.code() {
            Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded | Code::Unknown => {
                tracing::warn!(error = status.message(), "hsmd does not answer");
                Fault::common(Protocol::Json, Common::Unavailable, "hsmd does not answer; try again")
            }
            code => {
                tracing::error!(
                    ?code,
                    error = status.message(),
                    "unexpected answer of the control plane"
                );
                Fault::common(
                    Protocol::Json,
                    Common::Internal,
                    "the request failed inside the service",
                )
            }
        };
    };
    let http = if name == "CloudHsmInternalException" { 500 } else { 400 };
    let fault = Fault::new(http, name.to_owned(), status.message());
    // Only this error's shape has the member.
    if name == "CloudHsmServiceException" {
        fault.with("retryable", text(RETRYABLE_KEY) == Some("true"))
    } else {
        fault
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Endpoints;

    fn refused(code: Code, name: Option<&'static str>) -> Fault {
        let mut status = Status::new(code, "PartitionSerialList: no");
        if let Some(name) = name {
            status.metadata_mut().insert(ERROR_KEY, name.parse().unwrap());
            status.metadata_mut().insert(RETRYABLE_KEY, "true".parse().unwrap());
        }
        fault(&status)
    }

    #[test]
    fn a_modelled_error_keeps_its_name_and_members() {
        let fault = refused(Code::Aborted, Some("CloudHsmServiceException"));
        assert_eq!(
            (fault.status.as_u16(), fault.code.as_ref()),
            (400, "CloudHsmServiceException")
        );
        assert_eq!(fault.members["retryable"], true);
        let fault = refused(Code::NotFound, Some("InvalidRequestException"));
        assert!(fault.members.is_empty());
        assert_eq!(
            refused(Code::Internal, Some("CloudHsmInternalException"))
                .status
                .as_u16(),
            500
        );
    }

    #[test]
    fn a_daemon_that_is_away_is_no_error_of_the_client() {
        for code in [Code::Unavailable, Code::Cancelled, Code::DeadlineExceeded] {
            assert_eq!(refused(code, None).status.as_u16(), 503);
        }
        assert_eq!(refused(Code::Internal, None).status.as_u16(), 500);
    }

    #[tokio::test]
    async fn an_operation_that_does_not_exist_is_named() {
        let nobody = Endpoints::One("unix:///nonexistent/control.sock".into());
        let front = CloudHsm::new(Control::new(&nobody, None).unwrap()).unwrap();
        let fault = front.call("CreateHsms", b"{}").await.unwrap_err();
        assert_eq!(fault.code, "UnknownOperationException");
        assert!(fault.message.contains("CreateHsms"));
        let fault = front.call("ListHsms", b"{}").await.unwrap_err();
        assert_eq!(fault.code, "ServiceUnavailableException");
    }
}
