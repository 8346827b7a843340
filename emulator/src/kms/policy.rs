//! GetKeyPolicy, PutKeyPolicy, ListKeyPolicies: policies are checked, kept and shown. Who may call is decided by the access keys
//! of the configuration, so a policy permits nothing and forbids nothing here.

use super::input::{Input, truncated};
use super::{Answer, Kms, lifecycle};
use crate::fault::Fault;
use serde_json::{Map, Value, json};

/// The most bytes of a policy (the API's limit).
const MOST: usize = 32 << 10;

/// The policy that a request names, or the usual one.
///
/// # Errors
/// MalformedPolicyDocumentException.
pub(super) fn read(kms: &Kms, input: &Input) -> Result<String, Fault> {
    let Some(text) = input.text("Policy") else {
        let root = format!("arn:aws:iam::{}:root", kms.account);
        let policy = json!({"Version": "2012-10-17", "Id": "key-default-1", "Statement": [{
            "Sid": "Enable IAM User Permissions", "Effect": "Allow", "Principal": {"AWS": root},
            "Action": "kms:*", "Resource": "*"}]});
        return Ok(policy.to_string());
    };
    let malformed = |message: &str| Fault::new(400, "MalformedPolicyDocumentException", message);
    if text.len() > MOST {
        return Err(malformed("the policy must have at most 32 KiB"));
    }
    let policy: Map<String, Value> =
        serde_json::from_str(text).map_err(|_| malformed("the policy must be a JSON object"))?;
    let statements = statements(&policy).map_err(malformed)?;
    let locks_out = !statements.iter().any(|statement| keeps_open(statement, &kms.account));
    if locks_out && !input.flag("BypassPolicyLockoutSafetyCheck") {
        return Err(malformed(
            "The new key policy will not allow you to update the key policy in the future.",
        ));
    }
    Ok(text.to_owned())
}

/// The statements of a policy, each with what the grammar of policies asks for.
fn statements(policy: &Map<String, Value>) -> Result<Vec<&Map<String, Value>>, &'static str> {
    match policy.get("Version").map(Value::as_str) {
        None | Some(Some("2012-10-17" | "2008-10-17")) => {}
        Some(_) => return Err("Version must be 2012-10-17 or 2008-10-17"),
    }
    let all = match policy.get("Statement") {
        Some(Value::Array(all)) => all.iter().collect(),
        Some(one @ Value::Object(_)) => vec![one],
        _ => return Err("the policy must have a Statement: an object, or a list of objects"),
    };
    let statements: Option<Vec<_>> = all.into_iter().map(Value::as_object).collect();
    let statements = statements.ok_or("each Statement must be an object")?;
    for statement in &statements {
        if !matches!(statement.get("Effect").and_then(Value::as_str), Some("Allow" | "Deny")) {
            return Err("the Effect of a Statement must be Allow or Deny");
        }
        for (one, other, message) in [
            (
                "Principal",
                "NotPrincipal",
                "a Statement must have either Principal or NotPrincipal",
            ),
            (
                "Action",
                "NotAction",
                "a Statement must have either Action or NotAction",
            ),
            (
                "Resource",
                "NotResource",
                "a Statement must have either Resource or NotResource",
            ),
        ] {
            if statement.contains_key(one) == statement.contains_key(other) {
                return Err(message);
            }
        }
    }
    Ok(statements)
}

/// Whether a statement lets somebody of this account change the policy again.
fn keeps_open(statement: &Map<String, Value>, account: &str) -> bool {
    let allows = statement.get("Effect").and_then(Value::as_str) == Some("Allow");
    let ours = |name: &str| name == "*" || name == account || name.split(':').nth(4) == Some(account);
    let principal = match statement.get("Principal") {
        Some(Value::Object(kinds)) => texts(kinds.get("AWS")).any(ours),
        Some(all) => all.as_str() == Some("*"),
        None => false,
    };
    let action = texts(statement.get("Action")).any(|pattern| like(pattern, "kms:PutKeyPolicy"));
    allows && principal && action
}

/// A text, or the texts of a list.
fn texts(value: Option<&Value>) -> impl Iterator<Item = &str> {
    let list = match value {
        Some(Value::Array(list)) => list.as_slice(),
        Some(one) => std::slice::from_ref(one),
        None => &[],
    };
    list.iter().filter_map(Value::as_str)
}

/// Whether a pattern with `*` is an action's name, whatever the case of its letters.
fn like(pattern: &str, action: &str) -> bool {
    let (pattern, action) = (pattern.to_ascii_lowercase(), action.to_ascii_lowercase());
    let parts: Vec<_> = pattern.split('*').collect();
    match parts.as_slice() {
        [] => false,
        [only] => *only == action,
        [first, middle @ .., last] => action
            .strip_prefix(first)
            .and_then(|rest| rest.strip_suffix(last))
            .is_some_and(|rest| follow(rest, middle)),
    }
}

/// Whether parts stand in a text one after the other.
fn follow(text: &str, parts: &[&str]) -> bool {
    let mut rest = text;
    parts.iter().all(|part| {
        let after = rest.find(part).map(|at| &rest[at + part.len()..]);
        rest = after.unwrap_or_default();
        after.is_some()
    })
}

/// GetKeyPolicy.
pub(super) async fn get(kms: &Kms, input: Input) -> Answer {
    let found = kms.allowed(&input, "KeyId").await?;
    usual_name(&input)?;
    Ok(Map::from_iter([
        ("Policy".to_owned(), found.record().policy.as_str().into()),
        ("PolicyName".to_owned(), "default".into()),
    ]))
}

/// PutKeyPolicy.
pub(super) async fn put(kms: &Kms, input: Input) -> Answer {
    usual_name(&input)?;
    kms.allowed(&input, "KeyId").await?;
    let policy = read(kms, &input)?;
    lifecycle::change(kms, &input, |record| record.policy = policy).await?;
    Ok(Map::new())
}

/// ListKeyPolicies.
pub(super) async fn list(kms: &Kms, input: Input) -> Answer {
    kms.allowed(&input, "KeyId").await?;
    let (page, more) = input.page(vec!["default"], 100)?;
    let mut answer = Map::from_iter([("PolicyNames".to_owned(), json!(page))]);
    truncated(&mut answer, more);
    Ok(answer)
}

/// A key has one policy.
fn usual_name(input: &Input) -> Result<(), Fault> {
    match input.text("PolicyName") {
        None | Some("default") => Ok(()),
        Some(_) => Err(Fault::new(400, "NotFoundException", "No such policy exists")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(policy: &Value) -> bool {
        let policy = policy.as_object().unwrap();
        statements(policy)
            .unwrap()
            .iter()
            .any(|statement| keeps_open(statement, "123456789012"))
    }

    fn policy(principal: &Value, action: &Value) -> Value {
        json!({"Statement": {"Effect": "Allow", "Principal": principal, "Action": action, "Resource": "*"}})
    }

    #[test]
    fn a_policy_that_nobody_of_the_account_could_change_again_is_seen() {
        let root = json!({"AWS": ["arn:aws:iam::123456789012:root"]});
        for action in ["*", "kms:*", "kms:Put*", "KMS:PutKeyPolicy", "kms:*Policy"] {
            assert!(open(&policy(&root, &json!([action]))), "{action}");
        }
        for action in ["kms:Get*", "kms:PutKeyPolic", "s3:*", "kms:*Key"] {
            assert!(!open(&policy(&root, &json!(action))), "{action}");
        }
        assert!(open(&policy(&json!("*"), &json!("kms:*"))));
        assert!(!open(&policy(
            &json!({"AWS": "arn:aws:iam::999999999999:root"}),
            &json!("kms:*")
        )));
    }

    #[test]
    fn what_the_grammar_does_not_allow_is_refused() {
        let good = policy(&json!("*"), &json!("kms:*"));
        for (name, value) in [
            ("Effect", json!("Perhaps")),
            ("NotAction", json!("x")),
            ("NotPrincipal", json!("x")),
        ] {
            let mut bad = good.clone();
            bad["Statement"][name] = value;
            assert!(statements(bad.as_object().unwrap()).is_err(), "{name}");
        }
        for bad in [
            json!({}),
            json!({"Statement": "x"}),
            json!({"Statement": [1]}),
            json!({"Version": "1", "Statement": []}),
        ] {
            assert!(statements(bad.as_object().unwrap()).is_err(), "{bad}");
        }
    }
}
