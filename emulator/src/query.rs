//! The AWS query protocol, inwards: pairs of a form in the body or in the query of the address, `Tags.Tag.1.Key=stage`, become
//! the members that a service's model describes. Nothing about services is known here, and nothing is written: that is `xml`.

use crate::fault::{Common, Fault};
use crate::model::{Kind, Model, Problem, Shape};
use crate::protocol::Protocol;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::ops::Bound;
use zeroize::Zeroizing;

/// The most pairs of a request.
const MOST: usize = 10_000;
/// The highest number of an element in a list.
const HIGHEST: u32 = 100_000;

/// The parameters of a request: each name once. Values may be secrets.
pub(crate) struct Form(BTreeMap<String, Zeroizing<String>>);

impl Form {
    /// Reads the query of an address, if there is one, and a body.
    ///
    /// # Errors
    /// MalformedQueryString.
    pub(crate) fn parse(query: Option<&str>, body: &[u8]) -> Result<Self, Fault> {
        let mut form = BTreeMap::new();
        let parts = query.map(str::as_bytes).into_iter().chain([body]);
        for pair in parts.flat_map(|part| part.split(|byte| *byte == b'&')) {
            if pair.is_empty() {
                continue;
            }
            let mut sides = pair.splitn(2, |byte| *byte == b'=');
            let name = decode(sides.next().unwrap_or_default())?;
            let value = decode(sides.next().unwrap_or_default())?;
            if form.len() == MOST {
                return Err(malformed(format!("a request has at most {MOST} parameters")));
            }
            if form.insert(name.to_string(), value).is_some() {
                let name = name.get(..128).unwrap_or(&name);
                return Err(malformed(format!("the parameter {name} stands there twice")));
            }
        }
        Ok(Self(form))
    }

    /// The value of a parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.as_str())
    }

    /// The members of an operation's input. What the model does not know is passed over.
    ///
    /// # Errors
    /// MalformedInput, for values and numbers of another type; MissingParameter; ValidationError.
    pub(crate) fn members(&self, model: &Model, operation: &str) -> Result<Map<String, Value>, Fault> {
        let Some(input) = model.input(operation) else {
            return Ok(Map::new());
        };
        let members = self.structure(model, input, "")?;
        let missing = input.required.iter().find(|name| !members.contains_key(*name));
        if let Some(name) = missing {
            let message = format!("The request must contain the parameter {name}.");
            return Err(Fault::new(400, "MissingParameter", message));
        }
        match model.check(operation, &members) {
            Ok(()) => Ok(members),
            Err(Problem::Type(message)) => Err(Fault::common(Protocol::Query, Common::Malformed, message)),
            Err(Problem::Constraint(message)) => Err(Fault::new(400, "ValidationError", message)),
        }
    }

    fn structure(&self, model: &Model, shape: &Shape, path: &str) -> Result<Map<String, Value>, Fault> {
        let mut members = Map::new();
        for (name, reference) in &shape.members {
            let at = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            if let Some(value) = self.value(model, &reference.shape, &at)? {
                members.insert(name.clone(), value);
            }
        }
        Ok(members)
    }

    fn value(&self, model: &Model, shape: &str, at: &str) -> Result<Option<Value>, Fault> {
        let Some(shape) = model.shape(shape) else {
            return Ok(None);
        };
        match shape.kind {
            Kind::Structure if self.below(at).next().is_some() => {
                self.structure(model, shape, at).map(|map| Some(map.into()))
            }
            Kind::Structure | Kind::Map => Ok(None),
            Kind::List => self.list(model, shape, at),
            kind => self.get(at).map(|text| scalar(kind, text, at)).transpose(),
        }
    }

    /// Elements by number: `Tags.Tag.1` as the model names them, `Tags.member.1` as services without such names do, `Tags.1`.
    fn list(&self, model: &Model, shape: &Shape, at: &str) -> Result<Option<Value>, Fault> {
        let Some(member) = &shape.member else { return Ok(None) };
        let names = [member.location_name.as_deref().unwrap_or("member"), "member"];
        let mut elements = BTreeMap::new();
        for rest in self.below(at) {
            let mut words = rest.split('.');
            let first = words.next().unwrap_or_default();
            let (number, path) = if names.contains(&first) {
                let number = words.next().unwrap_or_default();
                (number, format!("{at}.{first}.{number}"))
            } else if first.starts_with(|digit: char| digit.is_ascii_digit()) {
                (first, format!("{at}.{first}"))
            } else {
                continue;
            };
            let number = number
                .parse::<u32>()
                .ok()
                .filter(|number| (1..=HIGHEST).contains(number));
            let number = number.ok_or_else(|| wrong(&path, &format!("must end with a number from 1 to {HIGHEST}")))?;
            let known = elements.entry(number).or_insert_with(|| path.clone());
            if *known != path {
                return Err(wrong(&path, "stands there twice, in two spellings"));
            }
        }
        match self.get(at) {
            // How SDKs write a list without elements.
            Some("") if elements.is_empty() => return Ok(Some(Value::Array(Vec::new()))),
            Some(_) => return Err(wrong(at, "must be a list")),
            None if elements.is_empty() => return Ok(None),
            None => {}
        }
        let values = elements.into_values().map(|path| {
            let value = self.value(model, &member.shape, &path)?;
            value.ok_or_else(|| wrong(&path, "must be a structure"))
        });
        values.collect::<Result<Vec<_>, _>>().map(|list| Some(list.into()))
    }

    /// What follows `at` and a dot in the names that begin so.
    fn below(&self, at: &str) -> impl Iterator<Item = &str> {
        let prefix = format!("{at}.");
        let from = (Bound::Included(prefix.clone()), Bound::Unbounded);
        let found = self.0.range(from).map(|(name, _)| name.as_str());
        found.map_while(move |name| name.strip_prefix(prefix.as_str()))
    }
}

fn scalar(kind: Kind, text: &str, at: &str) -> Result<Value, Fault> {
    let value = match kind {
        Kind::Boolean => match text {
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            _ => None,
        },
        Kind::Integer => text.parse::<i32>().ok().map(Value::from),
        Kind::Long => text.parse::<i64>().ok().map(Value::from),
        Kind::Double | Kind::Timestamp => text.parse::<f64>().ok().map(Value::from),
        Kind::String | Kind::Blob | Kind::Structure | Kind::List | Kind::Map => Some(text.into()),
    };
    value.ok_or_else(|| {
        let wanted = match kind {
            Kind::Boolean => "must be true or false",
            Kind::Integer | Kind::Long => "must be a whole number",
            _ => "must be a number",
        };
        wrong(at, wanted)
    })
}

/// `application/x-www-form-urlencoded`: percent signs with two hexadecimal digits, plus signs for spaces, UTF-8.
fn decode(text: &[u8]) -> Result<Zeroizing<String>, Fault> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16);
                let (high, low) = (digit(bytes.next()), digit(bytes.next()));
                let (Some(high), Some(low)) = (high, low) else {
                    return Err(malformed(
                        "a percent sign must be followed by two hexadecimal digits".into(),
                    ));
                };
                (high << 4 | low) as u8
            }
            other => *other,
        });
    }
    let text = String::from_utf8(out).map_err(|_| malformed("the parameters are not UTF-8".into()))?;
    Ok(Zeroizing::new(text))
}

fn malformed(message: String) -> Fault {
    Fault::new(404, "MalformedQueryString", message)
}

fn wrong(at: &str, rule: &str) -> Fault {
    let at = at.get(..256).unwrap_or(at);
    Fault::common(Protocol::Query, Common::Malformed, format!("{at} {rule}"))
}

/// Reads anything as a request of each operation that is served.
pub(crate) fn fuzz(model: &Model, data: &[u8]) {
    let Ok(form) = Form::parse(None, data) else { return };
    for operation in model.operations() {
        let _ = form.members(model, operation);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(operation: &str, body: &str) -> Result<Value, (u16, String, String)> {
        let model = Model::parse(crate::redshift::MODEL).unwrap();
        let members = Form::parse(None, body.as_bytes()).and_then(|form| form.members(&model, operation));
        members
            .map(Value::Object)
            .map_err(|fault| (fault.status.as_u16(), fault.code.into_owned(), fault.message))
    }

    fn code(operation: &str, body: &str) -> String {
        read(operation, body).unwrap_err().1
    }

    #[test]
    fn members_lists_and_structures_are_read_in_all_spellings() {
        let expected = json!({
            "HsmClientCertificateIdentifier": "a b",
            "Tags": [{"Key": "stage", "Value": "ä&="}, {"Key": "owner", "Value": ""}],
        });
        for name in ["Tags.Tag", "Tags.member", "Tags"] {
            let body = format!(
                "Action=x&{name}.10.Key=owner&{name}.10.Value=&HsmClientCertificateIdentifier=a+b&{name}.2.Key=stage&\
                 {name}.2.Value=%C3%A4%26%3d&Unknown.1=x"
            );
            assert_eq!(
                read("CreateHsmClientCertificate", &body),
                Ok(expected.clone()),
                "{name}"
            );
        }
    }

    #[test]
    fn numbers_flags_and_empty_lists_are_read() {
        let body = "ClusterIdentifier=c&SkipFinalClusterSnapshot=true&FinalClusterSnapshotRetentionPeriod=-1";
        let expected = json!({
            "ClusterIdentifier": "c", "SkipFinalClusterSnapshot": true, "FinalClusterSnapshotRetentionPeriod": -1
        });
        assert_eq!(read("DeleteCluster", body), Ok(expected));
        assert_eq!(
            read("DescribeTags", "TagKeys=&MaxRecords=20"),
            Ok(json!({"TagKeys": [], "MaxRecords": 20}))
        );
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for body in ["a=%", "a=%4", "a=%zz", "a=%ff", "a=1&a=2"] {
            assert_eq!(code("DescribeTags", body), "MalformedQueryString", "{body}");
        }
        for body in [
            "MaxRecords=x",
            "MaxRecords=3000000000",
            "TagKeys=x",
            "TagKeys.TagKey.0=x",
            "TagKeys.TagKey.x=y",
        ] {
            assert_eq!(code("DescribeTags", body), "MalformedInput", "{body}");
        }
        assert_eq!(code("DescribeTags", "TagKeys.TagKey.1=x&TagKeys.1=y"), "MalformedInput");
        assert_eq!(code("CreateTags", "ResourceName=a&Tags.Tag.1=x"), "MalformedInput");
        assert_eq!(
            code("DeleteCluster", "ClusterIdentifier=c&SkipFinalClusterSnapshot=yes"),
            "MalformedInput"
        );
        let missing = read("DeleteHsmConfiguration", "").unwrap_err();
        assert_eq!(missing.1, "MissingParameter");
        assert!(missing.2.contains("HsmConfigurationIdentifier"), "{missing:?}");
    }

    #[test]
    fn values_outside_of_the_model_are_validation_errors() {
        let body = "ClusterIdentifier=c&NodeType=dc2.large&MasterUsername=u&CatalogName=A+B";
        assert_eq!(code("CreateCluster", body), "ValidationError");
    }
}
