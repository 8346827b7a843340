//! CloudHSM (API version 2017-04-28, JSON 1.1): DescribeClusters, by which users of KMS find the id of the cluster that a group is.
//! Nothing else of this API is served: clusters are made as groups, by CloudHSM Classic.

use crate::clusters::{Cluster, Clusters, Member, is_passing, short};
use crate::control::Control;
use crate::fault::{Common, Fault};
use crate::protocol::{self, Protocol};
use hsmd_control::long_hsm;
use serde_json::{Map, Value, json};
use tonic::Status;

/// How many clusters an answer has when the request does not say, and at most.
const PAGE: usize = 100;
/// The filters, and which field of a cluster each looks at.
const FILTERS: [(&str, &str); 3] = [("clusterIds", "ClusterId"), ("vpcIds", "VpcId"), ("states", "State")];

/// The front of CloudHSM.
pub(crate) struct CloudHsmV2 {
    clusters: Clusters,
}

type Filters = Vec<(&'static str, Vec<String>)>;

impl CloudHsmV2 {
    pub(crate) fn new(control: Control) -> Self {
        Self {
            clusters: Clusters::new(control),
        }
    }

    /// Performs an operation.
    ///
    /// # Errors
    /// CloudHsmInvalidRequestException, CloudHsmInternalFailureException, and the common ones.
    pub(crate) async fn call(&self, operation: &str, body: &[u8]) -> Result<Map<String, Value>, Fault> {
        if operation != "DescribeClusters" {
            let message = format!("{operation} is not served: clusters are groups of CloudHSM Classic");
            return Err(Fault::common(Protocol::Json, Common::UnknownOperation, message));
        }
        let malformed = |message: String| Fault::common(Protocol::Json, Common::Malformed, message);
        let members = protocol::members(body).map_err(malformed)?;
        let filters = filters(&members)?;
        let start = start(&members)?;
        let most = most(&members)?;
        let all = self.clusters.all().await.map_err(|status| fault(&status))?;
        let authority = self.clusters.authorities().await.map_err(|status| fault(&status))?;
        let shown = all
            .iter()
            .map(|cluster| row(cluster, &authority))
            .filter(|row| fits(row, &filters));
        let shown: Vec<_> = shown.collect();
        let more = start + most < shown.len();
        let page: Value = shown.into_iter().skip(start).take(most).collect();
        let mut answer = Map::from_iter([("Clusters".to_owned(), page)]);
        if more {
            answer.insert("NextToken".into(), (start + most).to_string().into());
        }
        Ok(answer)
    }
}

fn invalid(message: impl Into<String>) -> Fault {
    Fault::new(400, "CloudHsmInvalidRequestException", message)
}

fn fault(status: &Status) -> Fault {
    if is_passing(status) {
        return Fault::common(Protocol::Json, Common::Unavailable, "hsmd does not answer; try again");
    }
    tracing::error!(error = %status, "unexpected answer of the control plane");
    Fault::new(
        500,
        "CloudHsmInternalFailureException",
        "the request failed inside the service",
    )
}

fn filters(members: &Map<String, Value>) -> Result<Filters, Fault> {
    let given = match members.get("Filters") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Object(given)) => given,
        Some(_) => return Err(invalid("Filters must be an object")),
    };
    let read = |(name, values): (&String, &Value)| {
        let filter = FILTERS.iter().find(|filter| filter.0 == name);
        let (_, field) = filter.ok_or_else(|| invalid("Filters: clusterIds, vpcIds and states are known"))?;
        let texts = values.as_array().map(|values| values.iter().map(Value::as_str));
        let texts: Option<Vec<_>> =
            texts.and_then(|mut texts| texts.by_ref().map(|text| Some(text?.to_owned())).collect());
        let texts = texts.ok_or_else(|| invalid(format!("Filters.{name} must be a list of strings")))?;
        Ok((*field, texts))
    };
    given.iter().map(read).collect()
}

fn fits(row: &Value, filters: &Filters) -> bool {
    let one = |(field, values): &(&str, Vec<String>)| {
        let value = row[*field].as_str();
        value.is_some_and(|value| values.iter().any(|wanted| wanted == value))
    };
    filters.iter().all(one)
}

fn start(members: &Map<String, Value>) -> Result<usize, Fault> {
    match members.get("NextToken") {
        None | Some(Value::Null) => Ok(0),
        Some(token) => {
            let start = token.as_str().and_then(|token| token.parse::<u32>().ok());
            start
                .map(|start| start as usize)
                .ok_or_else(|| invalid("NextToken is not one that an answer gave"))
        }
    }
}

fn most(members: &Map<String, Value>) -> Result<usize, Fault> {
    match members.get("MaxResults") {
        None | Some(Value::Null) => Ok(PAGE),
        Some(most) => {
            let most = most.as_u64().and_then(|most| usize::try_from(most).ok());
            most.filter(|most| (1..=PAGE).contains(most))
                .ok_or_else(|| invalid(format!("MaxResults must be between 1 and {PAGE}")))
        }
    }
}

fn row(cluster: &Cluster, authority: &str) -> Value {
    let first = cluster.members.first().map(|member| &member.hsm);
    let subnets = cluster.members.iter().map(|member| {
        let hsm = &member.hsm;
        (hsm.availability_zone.clone(), Value::from(hsm.subnet_id.clone()))
    });
    json!({
        "ClusterId": cluster.id,
        "CreateTimestamp": cluster.modified_ms as f64 / 1000.0,
        "HsmType": first.map_or("", |hsm| &hsm.hsm_type),
        "Hsms": cluster.members.iter().map(|member| hsm(cluster, member)).collect::<Value>(),
        "State": state(cluster),
        "SubnetMapping": Value::Object(subnets.collect()),
        "VpcId": first.map_or("", |hsm| &hsm.vpc_id),
        "Certificates": {"ClusterCertificate": authority},
        "TagList": [],
    })
}

fn hsm(cluster: &Cluster, member: &Member) -> Value {
    let hsm = &member.hsm;
    let id = hsm.hsm_arn.rsplit(['/', ':']).next().unwrap_or_default();
    json!({
        "AvailabilityZone": hsm.availability_zone,
        "ClusterId": cluster.id,
        "SubnetId": hsm.subnet_id,
        "EniId": hsm.eni_id,
        "EniIp": hsm.eni_ip,
        "HsmId": long_hsm(id).unwrap_or_else(|| short(&hsm.hsm_arn).to_owned()),
        "State": if member.is_active() { "ACTIVE" } else { "DEGRADED" },
    })
}

/// The API's word for the state of a group.
fn state(cluster: &Cluster) -> &'static str {
    match cluster.state.as_str() {
        // Of an HSM that does not serve it is not known whether it has a token.
        _ if !cluster.is_initialized() && (cluster.members.is_empty() || cluster.active() > 0) => "UNINITIALIZED",
        "READY" => "ACTIVE",
        "UPDATING" => "UPDATE_IN_PROGRESS",
        _ => "DEGRADED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(value: &Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn filters_leave_what_fits_all_of_them() {
        let row = json!({"ClusterId": "cluster-a", "State": "ACTIVE", "VpcId": "vpc-1"});
        let check = |filters_: Value| fits(&row, &filters(&members(&json!({"Filters": filters_}))).unwrap());
        assert!(check(json!({})));
        assert!(check(
            json!({"clusterIds": ["cluster-b", "cluster-a"], "states": ["ACTIVE"]})
        ));
        assert!(!check(json!({"clusterIds": ["cluster-a"], "states": ["DEGRADED"]})));
        assert!(!check(json!({"vpcIds": []})));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for body in [
            json!({"Filters": []}),
            json!({"Filters": {"names": []}}),
            json!({"Filters": {"states": "ACTIVE"}}),
            json!({"Filters": {"states": [1]}}),
        ] {
            assert_eq!(
                filters(&members(&body)).unwrap_err().code,
                "CloudHsmInvalidRequestException",
                "{body}"
            );
        }
        assert!(start(&members(&json!({"NextToken": "x"}))).is_err());
        assert!(most(&members(&json!({"MaxResults": 0}))).is_err());
        assert!(most(&members(&json!({"MaxResults": 101}))).is_err());
        assert_eq!(most(&Map::new()).unwrap(), PAGE);
    }
}
