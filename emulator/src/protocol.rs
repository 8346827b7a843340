//! The two protocols: JSON 1.1 (CloudHSM, KMS) and query with XML answers (Redshift).

use crate::fault::Fault;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::{Map, Value};

/// How a service writes its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// AWS JSON 1.1.
    Json,
    /// AWS query: a form in, XML out.
    Query,
}

const JSON: HeaderValue = HeaderValue::from_static("application/x-amz-json-1.1");
const XML: HeaderValue = HeaderValue::from_static("text/xml");

/// The members of a JSON body; an empty one has none.
///
/// # Errors
/// A sentence, for what is no JSON object.
pub(crate) fn members(body: &[u8]) -> Result<Map<String, Value>, String> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Map::new());
    }
    serde_json::from_slice(body).map_err(|_| "the body is not a JSON object".to_owned())
}

/// A JSON answer.
pub(crate) fn json(request_id: &str, body: &Map<String, Value>) -> Response<Full<Bytes>> {
    let body = serde_json::to_vec(body).unwrap_or_default();
    reply(StatusCode::OK, JSON, "x-amzn-requestid", request_id, body)
}

/// An XML answer.
pub(crate) fn xml(request_id: &str, body: Vec<u8>) -> Response<Full<Bytes>> {
    reply(StatusCode::OK, XML, "x-amzn-requestid", request_id, body)
}

/// A refusal in the form of a protocol.
pub(crate) fn refuse(protocol: Protocol, request_id: &str, fault: &Fault) -> Response<Full<Bytes>> {
    match protocol {
        Protocol::Json => {
            let mut body = fault.members.clone();
            body.insert("__type".into(), fault.code.as_ref().into());
            body.insert("message".into(), fault.message.as_str().into());
            let body = serde_json::to_vec(&body).unwrap_or_default();
            let mut answer = reply(fault.status, JSON, "x-amzn-requestid", request_id, body);
            if let Ok(code) = HeaderValue::from_str(&fault.code) {
                answer.headers_mut().insert("x-amzn-errortype", code);
            }
            answer
        }
        Protocol::Query => {
            let kind = if fault.status.is_server_error() {
                "Receiver"
            } else {
                "Sender"
            };
            let body = format!(
                "<ErrorResponse xmlns=\"{NAMESPACE}\">\n  <Error>\n    <Type>{kind}</Type>\n    <Code>{}</Code>\n    \
                 <Message>{}</Message>\n  </Error>\n  <RequestId>{request_id}</RequestId>\n</ErrorResponse>\n",
                escape(&fault.code),
                escape(&fault.message)
            );
            reply(fault.status, XML, "x-amzn-requestid", request_id, body.into_bytes())
        }
    }
}

/// The namespace of Redshift's answers.
pub(crate) const NAMESPACE: &str = "http://redshift.amazonaws.com/doc/2012-12-01/";

/// Text as XML content.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\r' => out.push_str("&#xD;"),
            // What XML 1.0 has no place for.
            control if control < ' ' && !matches!(control, '\n' | '\t') => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}

fn reply(
    status: StatusCode,
    kind: HeaderValue,
    id_name: &'static str,
    request_id: &str,
    body: Vec<u8>,
) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, kind);
    // Browsers must not guess, and nothing may be kept: answers may hold plaintexts.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(id_name, id);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_becomes_xml_content() {
        assert_eq!(escape("a<b>&\"\u{1}\n"), "a&lt;b&gt;&amp;&quot;\u{fffd}\n");
    }
}
