//! `hsmd.identity.v1.Identity`: certificates of the control plane.

use super::access::{Caller, Role};
use super::administrators::{AdminRecord, NewAdmin, check_name};
use super::fault::{self, blocking};
use super::model::ModelError;
use crate::node::Node;
use crate::pki::{self, Validity, days};
use hsmd_control::identity::identity_server::Identity;
use hsmd_control::identity::{
    Certificate, Denial, IssueCertificateRequest, IssueCertificateResponse, ListCertificatesRequest,
    ListCertificatesResponse, ListDenialsRequest, ListDenialsResponse, RegisterCertificateRequest,
    RegisterCertificateResponse, RevokeCertificateRequest, RevokeCertificateResponse, WhoAmIRequest, WhoAmIResponse,
};
use std::sync::Arc;
use tonic::{Request, Response, Status};
use x509_cert::der::DecodePem as _;

/// Days of validity when none are given, and the most.
const DAYS: u32 = 365;
const MAX_DAYS: u32 = 3_650;

/// The service.
pub(super) struct Service(pub(super) Arc<Node>);

#[tonic::async_trait]
impl Identity for Service {
    async fn issue_certificate(
        &self,
        request: Request<IssueCertificateRequest>,
    ) -> Result<Response<IssueCertificateResponse>, Status> {
        let by = caller(&request)?;
        let request = request.into_inner();
        let node = self.0.clone();
        let record = blocking(move || issue(&node, &request)).await?;
        tracing::info!(certificate = record.id, name = record.name, role = record.role, %by, "certificate issued");
        Ok(Response::new(IssueCertificateResponse {
            certificate: Some(view(&record)),
            authorities: self.0.pki.bundle(),
        }))
    }

    async fn register_certificate(
        &self,
        request: Request<RegisterCertificateRequest>,
    ) -> Result<Response<RegisterCertificateResponse>, Status> {
        let by = caller(&request)?;
        let request = request.into_inner();
        let node = self.0.clone();
        let register = move || {
            let new = NewAdmin {
                name: &request.name,
                role: role(&request.role)?,
                certificate: &request.certificate,
                issued: false,
            };
            node.model.register_admin(&new)
        };
        let record = blocking(register).await?;
        tracing::info!(certificate = record.id, name = record.name, role = record.role, %by, "certificate registered");
        Ok(Response::new(RegisterCertificateResponse {
            certificate: Some(view(&record)),
            authorities: self.0.pki.bundle(),
        }))
    }

    async fn list_certificates(
        &self,
        _: Request<ListCertificatesRequest>,
    ) -> Result<Response<ListCertificatesResponse>, Status> {
        let certificates = self.0.model.administrators().iter().map(view).collect();
        Ok(Response::new(ListCertificatesResponse { certificates }))
    }

    async fn revoke_certificate(
        &self,
        request: Request<RevokeCertificateRequest>,
    ) -> Result<Response<RevokeCertificateResponse>, Status> {
        let by = caller(&request)?;
        let name = request.into_inner().certificate;
        let node = self.0.clone();
        let record = blocking(move || node.model.revoke_admin(&name)).await?;
        let connections = self.0.end_strangers();
        tracing::info!(certificate = record.id, name = record.name, connections, %by, "certificate revoked");
        Ok(Response::new(RevokeCertificateResponse {
            certificate: Some(view(&record)),
            connections: u32::try_from(connections).unwrap_or(u32::MAX),
        }))
    }

    async fn who_am_i(&self, request: Request<WhoAmIRequest>) -> Result<Response<WhoAmIResponse>, Status> {
        let by = caller(&request)?;
        Ok(Response::new(WhoAmIResponse {
            name: by.name.to_string(),
            role: by.role.to_string(),
        }))
    }

    async fn list_denials(
        &self,
        request: Request<ListDenialsRequest>,
    ) -> Result<Response<ListDenialsResponse>, Status> {
        let id = request.into_inner().id;
        let found = self.0.denials.find(&id);
        if found.is_empty() && !id.is_empty() {
            return Err(fault::status(&ModelError::Unknown("id", "denial")));
        }
        let denials = found.into_iter().map(|denial| Denial {
            id: denial.id,
            time: denial.time_ms / 1_000,
            caller: denial.caller,
            role: denial.role.to_owned(),
            method: denial.method,
            reason: denial.reason.to_owned(),
        });
        Ok(Response::new(ListDenialsResponse {
            denials: denials.collect(),
        }))
    }
}

/// Who asks, as the gate has found out.
fn caller<T>(request: &Request<T>) -> Result<CallerName, Status> {
    let caller = request.extensions().get::<Caller>();
    let Caller { name, role } = caller.ok_or_else(|| Status::internal("no caller"))?.clone();
    Ok(CallerName { name, role })
}

/// A caller for the log.
struct CallerName {
    name: Arc<str>,
    role: Role,
}

impl std::fmt::Display for CallerName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.name, self.role)
    }
}

fn role(name: &str) -> Result<Role, ModelError> {
    Role::from_name(name).ok_or(ModelError::Invalid("role", "admin, operator, auditor or service"))
}

fn issue(node: &Node, request: &IssueCertificateRequest) -> Result<AdminRecord, ModelError> {
    let role = role(&request.role)?;
    check_name(&request.name)?;
    let validity = match request.days {
        0 => DAYS,
        days @ 1..=MAX_DAYS => days,
        _ => return Err(ModelError::Invalid("days", "at most 3650")),
    };
    let subject = pki::read_request(&request.request)?;
    let authority = node.pki.administrators();
    let issued = authority.issue(&subject, &request.name, [], days(validity.into()))?;
    node.model.register_admin(&NewAdmin {
        name: &request.name,
        role,
        certificate: &pki::pem(&issued),
        issued: true,
    })
}

fn view(record: &AdminRecord) -> Certificate {
    let parsed = x509_cert::Certificate::from_pem(record.certificate.trim().as_bytes());
    let validity = parsed.map_or(Validity { from: 0, until: 0 }, |certificate| Validity::of(&certificate));
    let state = match record.revoked_ms {
        0 if validity.is_now() => "active",
        0 => "expired",
        _ => "revoked",
    };
    Certificate {
        id: record.id.clone(),
        name: record.name.clone(),
        role: record.role.clone(),
        sha256: record.sha256.clone(),
        not_before: validity.from,
        not_after: validity.until,
        state: state.to_owned(),
        issued: record.issued,
        certificate: record.certificate.clone(),
    }
}
