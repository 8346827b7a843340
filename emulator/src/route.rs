//! Which service and operation a request is for: `X-Amz-Target` for JSON services, `Action` for query services.

use crate::fault::{Common, Fault};
use crate::protocol::Protocol;
use crate::query::Form;
use http::HeaderMap;

/// A service of AWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// CloudHSM Classic.
    CloudHsm,
    /// CloudHSM of 2017.
    CloudHsmV2,
    /// Key Management Service.
    Kms,
    /// Redshift.
    Redshift,
}

/// A service, how it is signed for, and what its requests' `X-Amz-Target` begins with.
pub(crate) struct Row {
    pub(crate) service: Service,
    pub(crate) protocol: Protocol,
    /// The service in a signature's scope.
    pub(crate) signing: &'static str,
    targets: &'static [&'static str],
}

/// The services with targets. The second target of CloudHSM is that of the 2016 command line.
const ROWS: [Row; 3] = [
    Row {
        service: Service::CloudHsm,
        protocol: Protocol::Json,
        signing: "cloudhsm",
        targets: &[
            "CloudHsmFrontendService",
            "com.amazonaws.cloudhsm.CloudHsmFrontendService",
        ],
    },
    Row {
        service: Service::CloudHsmV2,
        protocol: Protocol::Json,
        signing: "cloudhsm",
        targets: &["BaldrApiService"],
    },
    Row {
        service: Service::Kms,
        protocol: Protocol::Json,
        signing: "kms",
        targets: &["TrentService"],
    },
];

/// The one service of the query protocol.
static REDSHIFT: Row = Row {
    service: Service::Redshift,
    protocol: Protocol::Query,
    signing: "redshift",
    targets: &[],
};

/// Finds the destination of a query request.
///
/// # Errors
/// MissingAction.
pub(crate) fn find_query(form: &Form) -> Result<Route, Fault> {
    let missing = "the request names no operation: neither X-Amz-Target nor Action is there";
    let action = form.get("Action").filter(|action| !action.is_empty());
    let action = action.ok_or_else(|| Fault::new(400, "MissingAction", missing))?;
    Ok(Route {
        row: &REDSHIFT,
        operation: action.to_owned(),
    })
}

/// A request's destination.
pub(crate) struct Route {
    pub(crate) row: &'static Row,
    pub(crate) operation: String,
}

/// How the client speaks, before it is known whether the service exists.
pub(crate) fn protocol(headers: &HeaderMap) -> Protocol {
    if headers.contains_key(TARGET) {
        Protocol::Json
    } else {
        Protocol::Query
    }
}

const TARGET: &str = "x-amz-target";

/// Finds the destination.
///
/// # Errors
/// [`Common::UnknownOperation`].
pub(crate) fn find(headers: &HeaderMap) -> Result<Route, Fault> {
    let protocol = protocol(headers);
    let unknown = |message: String| Fault::common(protocol, Common::UnknownOperation, message);
    let target = headers.get(TARGET).and_then(|value| value.to_str().ok());
    let target = target.ok_or_else(|| unknown("the request names no operation: X-Amz-Target is missing".into()))?;
    let (name, operation) = target.rsplit_once('.').unwrap_or((target, ""));
    let row = ROWS.iter().find(|row| row.targets.contains(&name));
    let row = row.ok_or_else(|| unknown(format!("there is no service {}", shown(name))))?;
    if operation.is_empty() || operation.len() > 128 || !operation.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(unknown("X-Amz-Target names no operation".into()));
    }
    Ok(Route {
        row,
        operation: operation.to_owned(),
    })
}

/// A client's text in a message: bounded.
fn shown(text: &str) -> &str {
    text.get(..128).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(target: &str) -> Result<(Service, String), String> {
        let mut headers = HeaderMap::new();
        headers.insert(TARGET, target.parse().unwrap());
        find(&headers)
            .map(|route| (route.row.service, route.operation))
            .map_err(|fault| fault.message)
    }

    #[test]
    fn both_targets_of_cloudhsm_are_known() {
        let expected = (Service::CloudHsm, "ListHsms".to_owned());
        assert_eq!(route("CloudHsmFrontendService.ListHsms"), Ok(expected.clone()));
        assert_eq!(
            route("com.amazonaws.cloudhsm.CloudHsmFrontendService.ListHsms"),
            Ok(expected)
        );
    }

    #[test]
    fn what_names_nothing_is_refused() {
        for target in [
            "",
            "ListHsms",
            "CloudHsmFrontendService.",
            "Other.ListHsms",
            "CloudHsmFrontendService.a/b",
        ] {
            assert!(route(target).is_err(), "{target}");
        }
        assert!(find(&HeaderMap::new()).is_err());
    }
}
