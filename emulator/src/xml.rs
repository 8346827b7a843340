//! The AWS query protocol, outwards: an operation's answer as XML, in the shapes of the service's model.

use crate::model::{Kind, Model};
use crate::protocol::{NAMESPACE, escape};
use quick_xml::Writer;
use quick_xml::events::{BytesEnd, BytesStart, BytesText, Event};
use serde_json::{Map, Value};
use std::io;

/// `<OpResponse><OpResult>...</OpResult><ResponseMetadata>...`; without a result when the model has none.
///
/// # Errors
/// None in practice: memory takes all.
pub(crate) fn answer(
    model: &Model,
    operation: &str,
    members: &Map<String, Value>,
    request_id: &str,
) -> io::Result<Vec<u8>> {
    let mut xml = Xml {
        model,
        writer: Writer::new(Vec::with_capacity(1_024)),
    };
    let outer = format!("{operation}Response");
    let start = BytesStart::new(&outer).with_attributes([("xmlns", NAMESPACE)]);
    xml.writer.write_event(Event::Start(start))?;
    if let Some(output) = model.output(operation) {
        let wrapper = output.result_wrapper.as_deref();
        xml.structure(wrapper.unwrap_or(&output.shape), &output.shape, members)?;
    }
    xml.start("ResponseMetadata")?;
    xml.text("RequestId", request_id)?;
    xml.end("ResponseMetadata")?;
    xml.end(&outer)?;
    Ok(xml.writer.into_inner())
}

struct Xml<'a> {
    model: &'a Model,
    writer: Writer<Vec<u8>>,
}

impl Xml<'_> {
    fn start(&mut self, name: &str) -> io::Result<()> {
        self.writer.write_event(Event::Start(BytesStart::new(name)))
    }

    fn end(&mut self, name: &str) -> io::Result<()> {
        self.writer.write_event(Event::End(BytesEnd::new(name)))
    }

    fn text(&mut self, name: &str, text: &str) -> io::Result<()> {
        self.start(name)?;
        // Our own escaping: it has a place for what XML 1.0 has none for.
        self.writer
            .write_event(Event::Text(BytesText::from_escaped(escape(text))))?;
        self.end(name)
    }

    fn structure(&mut self, name: &str, shape: &str, members: &Map<String, Value>) -> io::Result<()> {
        self.start(name)?;
        let model = self.model;
        if let Some(shape) = model.shape(shape) {
            for (member, reference) in &shape.members {
                match members.get(member) {
                    None | Some(Value::Null) => {}
                    Some(value) => self.value(member, &reference.shape, value)?,
                }
            }
        }
        self.end(name)
    }

    fn value(&mut self, name: &str, shape: &str, value: &Value) -> io::Result<()> {
        match value {
            Value::Object(members) => self.structure(name, shape, members),
            // Readers tell an empty list from none: it must be there.
            Value::Array(list) if list.is_empty() => self.writer.write_event(Event::Empty(BytesStart::new(name))),
            Value::Array(list) => {
                let model = self.model;
                let member = model.shape(shape).filter(|shape| shape.kind == Kind::List);
                let Some(member) = member.and_then(|shape| shape.member.as_ref()) else {
                    return Ok(());
                };
                self.start(name)?;
                for element in list {
                    self.value(
                        member.location_name.as_deref().unwrap_or("member"),
                        &member.shape,
                        element,
                    )?;
                }
                self.end(name)
            }
            Value::String(text) => self.text(name, text),
            Value::Bool(_) | Value::Number(_) => self.text(name, &value.to_string()),
            Value::Null => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn written(operation: &str, members: &Value) -> String {
        let model = Model::parse(crate::redshift::MODEL).unwrap();
        String::from_utf8(answer(&model, operation, members.as_object().unwrap(), "r-1").unwrap()).unwrap()
    }

    #[test]
    fn an_answer_is_that_of_the_api_reference() {
        let certificate = json!({
            "HsmClientCertificateIdentifier": "myhsmclientcert", "HsmClientCertificatePublicKey": "a<b\n", "Tags": [],
        });
        assert_eq!(
            written(
                "CreateHsmClientCertificate",
                &json!({"HsmClientCertificate": certificate})
            ),
            "<CreateHsmClientCertificateResponse xmlns=\"http://redshift.amazonaws.com/doc/2012-12-01/\">\
             <CreateHsmClientCertificateResult><HsmClientCertificate>\
             <HsmClientCertificateIdentifier>myhsmclientcert</HsmClientCertificateIdentifier>\
             <HsmClientCertificatePublicKey>a&lt;b\n</HsmClientCertificatePublicKey><Tags/>\
             </HsmClientCertificate></CreateHsmClientCertificateResult>\
             <ResponseMetadata><RequestId>r-1</RequestId></ResponseMetadata></CreateHsmClientCertificateResponse>"
        );
    }

    #[test]
    fn elements_have_the_names_of_the_model_and_an_operation_may_answer_nothing() {
        let text = written(
            "DescribeTags",
            &json!({"TaggedResources": [{"Tag": {"Key": "a"}}], "Unknown": 1}),
        );
        assert!(
            text.contains("<TaggedResources><TaggedResource><Tag><Key>a</Key></Tag>"),
            "{text}"
        );
        assert!(!text.contains("Unknown"), "{text}");
        assert!(!written("DeleteTags", &json!({})).contains("Result"));
    }
}
