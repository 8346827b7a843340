//! JSON members and the control plane's messages: the JSON names of the fields are the model's member names. A message whose
//! only field is called `members` stands for a list that may be missing, so in JSON it is the list itself.

use crate::protocol;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage as _, Value as Field};
use serde_json::{Map, Value};

/// The request of a JSON body. Unknown members are ignored, as AWS does: the 2016 command line sends some. An empty body is
/// an empty object.
///
/// # Errors
/// A sentence that names the member: not JSON, not an object, a value of another type.
pub(super) fn request(descriptor: &MessageDescriptor, body: &[u8]) -> Result<DynamicMessage, String> {
    read(descriptor, &protocol::members(body)?)
}

fn read(descriptor: &MessageDescriptor, members: &Map<String, Value>) -> Result<DynamicMessage, String> {
    let mut message = DynamicMessage::new(descriptor.clone());
    for field in descriptor.fields() {
        match members.get(field.json_name()) {
            None | Some(Value::Null) => {}
            Some(value) => message.set_field(&field, read_field(&field, value)?),
        }
    }
    Ok(message)
}

fn read_field(field: &FieldDescriptor, value: &Value) -> Result<Field, String> {
    let wrong = |wanted: &str| format!("{} must be {wanted}", field.json_name());
    if field.is_list() {
        let list = value.as_array().ok_or_else(|| wrong("a list"))?;
        let list = list.iter().map(|value| read_value(field, value));
        return Ok(Field::List(list.collect::<Result<_, _>>()?));
    }
    read_value(field, value)
}

fn read_value(field: &FieldDescriptor, value: &Value) -> Result<Field, String> {
    let wrong = |wanted: &str| format!("{} must be {wanted}", field.json_name());
    match field.kind() {
        Kind::String => {
            let text = value.as_str().ok_or_else(|| wrong("a string"))?;
            Ok(Field::String(text.to_owned()))
        }
        Kind::Message(descriptor) => match list_field(&descriptor) {
            Some(inner) => {
                let mut message = DynamicMessage::new(descriptor.clone());
                message.set_field(
                    &inner,
                    read_field(&inner, value).map_err(|_| wrong("a list of strings"))?,
                );
                Ok(Field::Message(message))
            }
            None => {
                let members = value.as_object().ok_or_else(|| wrong("an object"))?;
                Ok(Field::Message(read(&descriptor, members)?))
            }
        },
        // The model has strings, lists and structures only; a test walks the descriptors.
        _ => Err(wrong("of another type")),
    }
}

/// The field of a message that stands for a list.
fn list_field(descriptor: &MessageDescriptor) -> Option<FieldDescriptor> {
    let mut fields = descriptor.fields();
    let only = fields
        .next()
        .filter(|field| field.name() == "members" && field.is_list());
    only.filter(|_| fields.next().is_none())
}

/// The JSON of an answer. Empty texts are left out, as AWS leaves out what a resource does not have; lists are always there.
pub(super) fn answer(message: &DynamicMessage) -> Map<String, Value> {
    let mut members = Map::new();
    for field in message.descriptor().fields() {
        let value = write(&message.get_field(&field));
        let absent = matches!(&value, Value::Null) || value.as_str().is_some_and(str::is_empty);
        if !absent {
            members.insert(field.json_name().to_owned(), value);
        }
    }
    members
}

fn write(value: &Field) -> Value {
    match value {
        Field::String(text) => Value::String(text.clone()),
        Field::List(list) => Value::Array(list.iter().map(write).collect()),
        Field::Message(message) => {
            let mut members = answer(message);
            // A tag's value may be empty, and a tag without one is not a tag.
            for field in message.descriptor().fields() {
                if message.has_field(&field) {
                    members
                        .entry(field.json_name())
                        .or_insert_with(|| write(&message.get_field(&field)));
                }
            }
            Value::Object(members)
        }
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hsmd_control::DESCRIPTORS;
    use prost_reflect::DescriptorPool;
    use serde_json::json;

    fn descriptor(name: &str) -> MessageDescriptor {
        let pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
        pool.get_message_by_name(&format!("cloudhsm.v1.{name}")).unwrap()
    }

    fn refused(name: &str, body: &Value) -> String {
        request(&descriptor(name), body.to_string().as_bytes()).unwrap_err()
    }

    #[test]
    fn bodies_become_requests_and_unknown_members_are_ignored() {
        let body = json!({"Label": "a", "HsmSoftwareVersion": "5.3.5", "FipsCertified": false});
        let message = request(&descriptor("CreateHapgRequest"), body.to_string().as_bytes()).unwrap();
        assert_eq!(message.get_field_by_name("label").unwrap().as_str(), Some("a"));
        for empty in [&b""[..], b" \n", b"{}"] {
            assert!(request(&descriptor("ListHsmsRequest"), empty).is_ok());
        }
    }

    #[test]
    fn a_value_of_another_type_is_named() {
        assert_eq!(
            refused("CreateHapgRequest", &json!({"Label": 5})),
            "Label must be a string"
        );
        assert_eq!(
            refused("ModifyHapgRequest", &json!({"PartitionSerialList": "1"})),
            "PartitionSerialList must be a list of strings"
        );
        assert_eq!(
            refused("AddTagsToResourceRequest", &json!({"TagList": [5]})),
            "TagList must be an object"
        );
        assert_eq!(
            refused("AddTagsToResourceRequest", &json!({"TagList": [{"Key": []}]})),
            "Key must be a string"
        );
        assert_eq!(refused("ListHsmsRequest", &json!([])), "the body is not a JSON object");
    }

    #[test]
    fn a_list_that_may_be_missing_is_a_list_in_json() {
        let ask = |body: &Value| {
            let message = request(&descriptor("ModifyHapgRequest"), body.to_string().as_bytes()).unwrap();
            message.has_field_by_name("partition_serial_list")
        };
        assert!(ask(&json!({"PartitionSerialList": []})));
        assert!(!ask(&json!({})));
    }

    #[test]
    fn answers_keep_lists_and_tags_and_leave_empty_texts_out() {
        let described = DynamicMessage::new(descriptor("DescribeHapgResponse"));
        let members = answer(&described);
        assert!(!members.contains_key("Label"));
        assert_eq!(members["PartitionSerialList"], json!([]));
        let body = json!({"ResourceArn": "x", "TagList": [{"Key": "k", "Value": ""}]});
        let tags = request(&descriptor("AddTagsToResourceRequest"), body.to_string().as_bytes()).unwrap();
        assert_eq!(answer(&tags)["TagList"], json!([{"Key": "k", "Value": ""}]));
    }

    #[test]
    fn the_messages_have_strings_lists_and_structures_only() {
        let pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
        let messages = pool
            .all_messages()
            .filter(|message| message.package_name() == "cloudhsm.v1");
        let mut seen = 0;
        for field in messages.flat_map(|message| message.fields().collect::<Vec<_>>()) {
            assert!(
                matches!(field.kind(), Kind::String | Kind::Message(_)),
                "{}",
                field.full_name()
            );
            seen += 1;
        }
        assert!(seen > 60, "{seen}");
    }
}
