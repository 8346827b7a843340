//! The AWS model beside the generated gRPC client: requests are written as the model's JSON, answers are held against it.

use std::collections::BTreeSet;

use hsmd_control::cloudhsm::cloud_hsm_client::CloudHsmClient;
use hsmd_control::cloudhsm::*;
use hsmd_control::{DESCRIPTORS, ERROR_KEY, IF_LAST_MODIFIED_KEY, MODEL};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, Kind, MessageDescriptor, ReflectMessage as _, Value};
use regex::Regex;
use serde_json::{Map, Value as Json, json};
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use hsmd_tests::daemon::Daemon;

/// Texts that the model's pattern of String cannot hold: whole files. AWS's own answers break it as well.
const FILES: [&str; 2] = ["ConfigFile", "ConfigCred"];

/// A refused call.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) code: Code,
    /// The error's name in the model.
    pub(super) error: String,
    pub(super) message: String,
}

/// A client of the control plane.
pub(super) struct Control {
    runtime: Runtime,
    client: CloudHsmClient<Channel>,
    pool: DescriptorPool,
    pub(super) model: Json,
    /// Operations that were answered.
    pub(super) answered: BTreeSet<String>,
    /// Sent as metadata with the next call.
    pub(super) if_last_modified: Option<String>,
}

impl Control {
    pub(super) fn connect(daemon: &Daemon) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let uri = daemon.variable("HSMD_ENDPOINT").to_owned();
        let endpoint = Endpoint::from_shared(uri).expect("an endpoint");
        let channel = runtime.block_on(endpoint.connect()).expect("the daemon listens");
        Self {
            client: CloudHsmClient::new(channel),
            runtime,
            pool: DescriptorPool::decode(DESCRIPTORS).expect("the descriptors"),
            model: serde_json::from_str(MODEL).expect("the model"),
            answered: BTreeSet::new(),
            if_last_modified: None,
        }
    }

    /// Calls an operation that must succeed; its answer fits the model.
    pub(super) fn must(&mut self, operation: &str, input: Json) -> Json {
        let shown = input.to_string();
        self.call(operation, input)
            .unwrap_or_else(|refusal| panic!("{operation} {shown}: {refusal:?}"))
    }

    /// Calls an operation. An answer, or the name of an error, that the model does not have fails the test.
    pub(super) fn call(&mut self, operation: &str, input: Json) -> Result<Json, Refusal> {
        let request = self.message(&format!("{operation}Request"), &input).encode_to_vec();
        match self.send(operation, &request) {
            Ok(answer) => {
                let descriptor = self.descriptor(&format!("{operation}Response"));
                let answer = DynamicMessage::decode(descriptor, answer.as_slice()).expect("an answer");
                let answer = to_json(&answer);
                let shape = self.model["operations"][operation]["output"]
                    .as_str()
                    .expect("an output");
                self.validate(shape, &answer, operation);
                self.answered.insert(operation.to_owned());
                Ok(answer)
            }
            Err(status) => {
                let error = status.metadata().get(ERROR_KEY).and_then(|name| name.to_str().ok());
                let error = error
                    .unwrap_or_else(|| panic!("{operation}: no error name: {status:?}"))
                    .to_owned();
                let errors = self.model["operations"][operation]["errors"]
                    .as_array()
                    .expect("errors");
                assert!(errors.contains(&json!(error)), "{operation} has no {error}: {status:?}");
                Err(Refusal {
                    code: status.code(),
                    error,
                    message: status.message().to_owned(),
                })
            }
        }
    }

    fn send(&mut self, operation: &str, bytes: &[u8]) -> Result<Vec<u8>, Status> {
        let read = self.if_last_modified.take();
        macro_rules! send {
            ($($name:literal $method:ident $request:ident)*) => {
                match operation {
                    $($name => {
                        let mut request = Request::new($request::decode(bytes).expect("a request"));
                        if let Some(read) = read {
                            let read = read.parse().expect("metadata");
                            request.metadata_mut().insert(IF_LAST_MODIFIED_KEY, read);
                        }
                        let answer = self.runtime.block_on(self.client.$method(request))?;
                        Ok(answer.into_inner().encode_to_vec())
                    })*
                    other => panic!("no operation {other}"),
                }
            };
        }
        send! {
            "CreateHsm" create_hsm CreateHsmRequest
            "DescribeHsm" describe_hsm DescribeHsmRequest
            "ListHsms" list_hsms ListHsmsRequest
            "ModifyHsm" modify_hsm ModifyHsmRequest
            "DeleteHsm" delete_hsm DeleteHsmRequest
            "CreateHapg" create_hapg CreateHapgRequest
            "DescribeHapg" describe_hapg DescribeHapgRequest
            "ListHapgs" list_hapgs ListHapgsRequest
            "ModifyHapg" modify_hapg ModifyHapgRequest
            "DeleteHapg" delete_hapg DeleteHapgRequest
            "CreateLunaClient" create_luna_client CreateLunaClientRequest
            "DescribeLunaClient" describe_luna_client DescribeLunaClientRequest
            "ListLunaClients" list_luna_clients ListLunaClientsRequest
            "ModifyLunaClient" modify_luna_client ModifyLunaClientRequest
            "DeleteLunaClient" delete_luna_client DeleteLunaClientRequest
            "GetConfig" get_config GetConfigRequest
            "ListAvailableZones" list_available_zones ListAvailableZonesRequest
            "AddTagsToResource" add_tags_to_resource AddTagsToResourceRequest
            "RemoveTagsFromResource" remove_tags_from_resource RemoveTagsFromResourceRequest
            "ListTagsForResource" list_tags_for_resource ListTagsForResourceRequest
        }
    }

    fn descriptor(&self, message: &str) -> MessageDescriptor {
        let name = format!("cloudhsm.v1.{message}");
        self.pool
            .get_message_by_name(&name)
            .unwrap_or_else(|| panic!("no message {name}"))
    }

    fn message(&self, name: &str, fields: &Json) -> DynamicMessage {
        let descriptor = self.descriptor(name);
        let mut message = DynamicMessage::new(descriptor.clone());
        for (name, value) in fields.as_object().expect("an object") {
            let field = descriptor
                .get_field_by_json_name(name)
                .unwrap_or_else(|| panic!("{} has no {name}", descriptor.name()));
            let value = match (value, field.kind()) {
                (Json::String(text), _) => Value::String(text.clone()),
                // A list that may be missing is a message of its own.
                (Json::Array(_), Kind::Message(list)) if !field.is_list() => {
                    Value::Message(self.message(list.name(), &json!({ "members": value })))
                }
                (Json::Array(list), Kind::Message(element)) => {
                    let one = |fields| Value::Message(self.message(element.name(), fields));
                    Value::List(list.iter().map(one).collect())
                }
                (Json::Array(list), _) => {
                    let text = |text: &Json| Value::String(text.as_str().expect("a text").to_owned());
                    Value::List(list.iter().map(text).collect())
                }
                (other, _) => panic!("{name}: {other}"),
            };
            message.set_field(&field, value);
        }
        message
    }

    /// Holds a value against a shape of the model. An empty text that is not required is one that is missing.
    fn validate(&self, shape: &str, value: &Json, at: &str) {
        let rule = &self.model["shapes"][shape];
        match value {
            Json::Object(members) => {
                let known = rule["members"].as_object().expect("members");
                let required = rule["required"].as_array().cloned().unwrap_or_default();
                assert!(
                    required
                        .iter()
                        .all(|name| members.contains_key(name.as_str().expect("a name"))),
                    "{at}"
                );
                for (name, value) in members {
                    let shape = known
                        .get(name)
                        .unwrap_or_else(|| panic!("{at}: the model has no {name}"));
                    let missing = value == "" && !required.contains(&json!(name));
                    if !missing && !FILES.contains(&name.as_str()) {
                        self.validate(shape.as_str().expect("a shape"), value, &format!("{at}.{name}"));
                    }
                }
            }
            Json::Array(list) => {
                let member = rule["member"].as_str().expect("a list");
                for value in list {
                    self.validate(member, value, at);
                }
            }
            Json::String(text) => assert!(fits(rule, text), "{at} = {text:?} is no {shape}"),
            other => panic!("{at}: {other}"),
        }
    }
}

/// Whether a text has a shape of the model.
pub(super) fn fits(rule: &Json, text: &str) -> bool {
    let pattern = rule["pattern"].as_str().unwrap_or_default();
    let pattern = Regex::new(&format!("^(?-u:{pattern})$")).expect("a pattern");
    let length = text.chars().count() as u64;
    let bounds = rule["min"].as_u64().unwrap_or(0)..=rule["max"].as_u64().unwrap_or(u64::MAX);
    let values = rule["enum"].as_array();
    (rule["pattern"].is_null() || pattern.is_match(text))
        && bounds.contains(&length)
        && values.is_none_or(|values| values.contains(&json!(text)))
}

fn to_json(message: &DynamicMessage) -> Json {
    let mut fields = Map::new();
    for field in message.descriptor().fields() {
        let value = message.get_field(&field);
        fields.insert(field.json_name().to_owned(), value_to_json(&value));
    }
    Json::Object(fields)
}

fn value_to_json(value: &Value) -> Json {
    match value {
        Value::String(text) => json!(text),
        Value::List(list) => Json::Array(list.iter().map(value_to_json).collect()),
        Value::Message(message) => to_json(message),
        other => panic!("the model has no such value: {other:?}"),
    }
}
