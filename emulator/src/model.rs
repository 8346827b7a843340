//! A service's model: operations and shapes as AWS publishes them, and the check of a request against it. One check for all
//! operations, at the edge: what passes has the types, lengths, patterns and values that the model allows.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use regex::Regex;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap};

/// Operations and shapes.
#[derive(Deserialize)]
struct File {
    operations: BTreeMap<String, Operation>,
    shapes: HashMap<String, Shape>,
}

#[derive(Deserialize)]
struct Operation {
    input: Option<Reference>,
    output: Option<Output>,
    #[serde(default)]
    errors: Vec<Reference>,
}

/// What an operation answers; query services wrap it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Output {
    pub(crate) shape: String,
    pub(crate) result_wrapper: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Reference {
    pub(crate) shape: String,
    /// How query services name the elements of a list.
    pub(crate) location_name: Option<String>,
}

/// How query services report an error.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    pub(crate) code: Option<String>,
    pub(crate) http_status_code: Option<u16>,
}

#[derive(Deserialize)]
pub(crate) struct Shape {
    #[serde(rename = "type")]
    pub(crate) kind: Kind,
    #[serde(default)]
    pub(crate) required: Vec<String>,
    #[serde(default)]
    pub(crate) members: BTreeMap<String, Reference>,
    pub(crate) member: Option<Reference>,
    key: Option<Reference>,
    value: Option<Reference>,
    min: Option<i64>,
    max: Option<i64>,
    pattern: Option<String>,
    #[serde(default, rename = "enum")]
    values: Vec<String>,
    #[serde(default)]
    sensitive: bool,
    #[serde(default)]
    fault: bool,
    error: Option<Report>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Structure,
    List,
    Map,
    String,
    Blob,
    Boolean,
    Integer,
    Long,
    Double,
    Timestamp,
}

/// A model, ready to check.
pub(crate) struct Model {
    file: File,
    /// By shape.
    patterns: HashMap<String, Regex>,
}

/// What is wrong with a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// A member of another type: the body cannot be read.
    Type(String),
    /// Members outside of what the model allows, all of them, in AWS's words.
    Constraint(String),
}

impl Model {
    /// Reads a model.
    ///
    /// # Errors
    /// A sentence; the models that are built in are read by a test.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let file: File = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let mut patterns = HashMap::new();
        for (name, shape) in &file.shapes {
            if let Some(pattern) = &shape.pattern {
                // AWS means the whole text, whether it says so or not.
                let whole = Regex::new(&format!("^(?:{pattern})$")).map_err(|error| format!("{name}: {error}"))?;
                patterns.insert(name.clone(), whole);
            }
        }
        Ok(Self { file, patterns })
    }

    /// The names of all operations.
    pub(crate) fn operations(&self) -> impl Iterator<Item = &str> {
        self.file.operations.keys().map(String::as_str)
    }

    /// Whether an operation may answer with this error, and whether the fault is the service's.
    pub(crate) fn error(&self, operation: &str, name: &str) -> Option<bool> {
        let errors = &self.file.operations.get(operation)?.errors;
        errors.iter().find(|error| error.shape == name)?;
        Some(self.file.shapes.get(name)?.fault)
    }

    /// A shape.
    pub(crate) fn shape(&self, name: &str) -> Option<&Shape> {
        self.file.shapes.get(name)
    }

    /// The shape of an operation's input.
    pub(crate) fn input(&self, operation: &str) -> Option<&Shape> {
        self.shape(&self.file.operations.get(operation)?.input.as_ref()?.shape)
    }

    /// What an operation answers; `None` for one that answers nothing.
    pub(crate) fn output(&self, operation: &str) -> Option<&Output> {
        self.file.operations.get(operation)?.output.as_ref()
    }

    /// How query services report one of an operation's errors.
    pub(crate) fn report(&self, operation: &str, name: &str) -> Option<&Report> {
        self.error(operation, name)?;
        self.shape(name)?.error.as_ref()
    }

    /// Holds a request against the input of its operation. Unknown members are ignored.
    ///
    /// # Errors
    /// [`Problem`].
    pub(crate) fn check(&self, operation: &str, members: &Map<String, Value>) -> Result<(), Problem> {
        let input = self
            .file
            .operations
            .get(operation)
            .and_then(|found| found.input.as_ref());
        let Some(input) = input else { return Ok(()) };
        let mut violations = Vec::new();
        self.structure(&input.shape, members, "", &mut violations)?;
        if violations.is_empty() {
            return Ok(());
        }
        let count = violations.len();
        let noun = if count == 1 { "error" } else { "errors" };
        Err(Problem::Constraint(format!(
            "{count} validation {noun} detected: {}",
            violations.join("; ")
        )))
    }

    fn structure(
        &self,
        name: &str,
        members: &Map<String, Value>,
        path: &str,
        out: &mut Vec<String>,
    ) -> Result<(), Problem> {
        let Some(shape) = self.file.shapes.get(name) else {
            return Ok(());
        };
        for (member, reference) in &shape.members {
            let at = join(path, member);
            match members.get(member) {
                None | Some(Value::Null) if shape.required.contains(member) => {
                    out.push(format!(
                        "Value null at '{at}' failed to satisfy constraint: Member must not be null"
                    ));
                }
                None | Some(Value::Null) => {}
                Some(value) => self.value(&reference.shape, value, &at, out)?,
            }
        }
        Ok(())
    }

    fn value(&self, name: &str, value: &Value, at: &str, out: &mut Vec<String>) -> Result<(), Problem> {
        let Some(shape) = self.file.shapes.get(name) else {
            return Ok(());
        };
        let wrong = |wanted: &str| Problem::Type(format!("{at} must be {wanted}"));
        match shape.kind {
            Kind::Structure => {
                let members = value.as_object().ok_or_else(|| wrong("an object"))?;
                self.structure(name, members, at, out)
            }
            Kind::List => {
                let list = value.as_array().ok_or_else(|| wrong("a list"))?;
                bounds(shape, list.len(), "a list", at, out);
                let Some(member) = &shape.member else { return Ok(()) };
                let mut numbered = list.iter().enumerate();
                numbered.try_for_each(|(index, value)| {
                    self.value(&member.shape, value, &format!("{at}.{}.member", index + 1), out)
                })
            }
            Kind::Map => self.map(shape, value.as_object().ok_or_else(|| wrong("an object"))?, at, out),
            Kind::String => {
                self.text(name, shape, value.as_str().ok_or_else(|| wrong("a string"))?, at, out);
                Ok(())
            }
            Kind::Blob => {
                let text = value.as_str().ok_or_else(|| wrong("a string of base64"))?;
                let bytes = STANDARD.decode(text).map_err(|_| wrong("a string of base64"))?;
                bounds(shape, bytes.len(), "a blob", at, out);
                // It may have been a plaintext.
                drop(zeroize::Zeroizing::new(bytes));
                Ok(())
            }
            Kind::Boolean => value.as_bool().map(drop).ok_or_else(|| wrong("true or false")),
            Kind::Double => value.as_f64().map(drop).ok_or_else(|| wrong("a number")),
            Kind::Timestamp => value.as_f64().map(drop).ok_or_else(|| wrong("a number of seconds")),
            Kind::Integer | Kind::Long => {
                let number = value.as_i64().ok_or_else(|| wrong("a whole number"))?;
                range(shape, number, at, out);
                Ok(())
            }
        }
    }

    fn map(&self, shape: &Shape, map: &Map<String, Value>, at: &str, out: &mut Vec<String>) -> Result<(), Problem> {
        let (Some(key), Some(value)) = (&shape.key, &shape.value) else {
            return Ok(());
        };
        for (name, member) in map {
            self.value(&key.shape, &Value::String(name.clone()), &format!("{at}.key"), out)?;
            self.value(&value.shape, member, &format!("{at}.value"), out)?;
        }
        Ok(())
    }

    fn text(&self, name: &str, shape: &Shape, text: &str, at: &str, out: &mut Vec<String>) {
        let shown = if shape.sensitive {
            "***Sensitive Data Redacted***"
        } else {
            text.get(..256).unwrap_or(text)
        };
        let mut say = |rule: String| {
            out.push(format!(
                "Value '{shown}' at '{at}' failed to satisfy constraint: Member must {rule}"
            ))
        };
        let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
        if shape.min.is_some_and(|min| length < min) {
            say(format!(
                "have length greater than or equal to {}",
                shape.min.unwrap_or_default()
            ));
        }
        if shape.max.is_some_and(|max| length > max) {
            say(format!(
                "have length less than or equal to {}",
                shape.max.unwrap_or_default()
            ));
        }
        if !shape.values.is_empty() && !shape.values.iter().any(|known| known == text) {
            say(format!("satisfy enum value set: [{}]", shape.values.join(", ")));
        }
        if self.patterns.get(name).is_some_and(|pattern| !pattern.is_match(text)) {
            say(format!(
                "satisfy regular expression pattern: {}",
                shape.pattern.as_deref().unwrap_or_default()
            ));
        }
    }
}

/// A path in AWS's spelling: members begin with a small letter.
fn join(path: &str, member: &str) -> String {
    let mut letters = member.chars();
    let member: String = letters
        .next()
        .map(|first| first.to_ascii_lowercase())
        .into_iter()
        .chain(letters)
        .collect();
    if path.is_empty() {
        member
    } else {
        format!("{path}.{member}")
    }
}

fn bounds(shape: &Shape, length: usize, what: &str, at: &str, out: &mut Vec<String>) {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let mut say = |rule: &str, bound: i64| {
        out.push(format!("Value at '{at}' ({what}) failed to satisfy constraint: Member must have length {rule} than or equal to {bound}"));
    };
    match (shape.min, shape.max) {
        (Some(min), _) if length < min => say("greater", min),
        (_, Some(max)) if length > max => say("less", max),
        _ => {}
    }
}

fn range(shape: &Shape, number: i64, at: &str, out: &mut Vec<String>) {
    let mut say = |rule: &str, bound: i64| {
        out.push(format!("Value '{number}' at '{at}' failed to satisfy constraint: Member must have value {rule} than or equal to {bound}"));
    };
    match (shape.min, shape.max) {
        (Some(min), _) if number < min => say("greater", min),
        (_, Some(max)) if number > max => say("less", max),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(operation: &str, body: &Value) -> Result<(), Problem> {
        let model = Model::parse(crate::kms::MODEL).unwrap();
        model.check(operation, body.as_object().unwrap())
    }

    fn constraint(operation: &str, body: &Value) -> String {
        match check(operation, body) {
            Err(Problem::Constraint(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_the_model_allows_passes() {
        check(
            "Encrypt",
            &json!({"KeyId": "alias/a", "Plaintext": "AAAA", "EncryptionContext": {"a": "b"}, "New": 1}),
        )
        .unwrap();
        check("ListKeys", &json!({})).unwrap();
    }

    #[test]
    fn what_it_does_not_allow_is_named_in_aws_words() {
        let text = constraint("Encrypt", &json!({"KeyId": ""}));
        assert!(text.starts_with("2 validation errors detected: "), "{text}");
        assert!(
            text.contains(
                "Value '' at 'keyId' failed to satisfy constraint: Member must have length greater than or equal to 1"
            ),
            "{text}"
        );
        assert!(text.contains("Value null at 'plaintext'"), "{text}");
        assert!(constraint("CreateKey", &json!({"KeySpec": "RSA_1"})).contains("enum value set: ["));
        assert!(
            constraint("CreateAlias", &json!({"AliasName": "a b", "TargetKeyId": "k"})).contains("regular expression")
        );
        assert!(constraint("ListKeys", &json!({"Limit": 0})).contains("Member must have value greater"));
        assert!(
            constraint(
                "Encrypt",
                &json!({"KeyId": "k", "Plaintext": STANDARD.encode([0; 4097])})
            )
            .contains("4096")
        );
    }

    #[test]
    fn a_member_of_another_type_cannot_be_read() {
        for body in [
            json!({"KeyId": 5, "Plaintext": "AA=="}),
            json!({"KeyId": "k", "Plaintext": "%"}),
            json!({"KeyId": "k", "Plaintext": "AAAA", "GrantTokens": "x"}),
        ] {
            assert!(matches!(check("Encrypt", &body), Err(Problem::Type(_))), "{body}");
        }
    }

    #[test]
    fn errors_belong_to_operations() {
        let model = Model::parse(crate::kms::MODEL).unwrap();
        assert_eq!(model.error("Encrypt", "DisabledException"), Some(false));
        assert_eq!(model.error("Encrypt", "KMSInternalException"), Some(true));
        assert_eq!(model.error("Encrypt", "TagException"), None);
        assert_eq!(model.operations().count(), 56);
    }
}
