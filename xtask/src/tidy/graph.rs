//! Rules about crates: which may depend on which, what may not be shipped, licences, reasons for each dependency.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::licence;
use crate::ci;
use crate::workspace::{Workspace, output_of};

/// What each member may depend on among the members, tests aside (docs/architecture.md, "Code map").
const ARROWS: &[(&str, &[&str])] = &[
    ("hsmd-proto", &[]),
    ("hsmd-control", &[]),
    ("hsmd-tls", &["hsmd-proto"]),
    ("hsmd-crypto", &["hsmd-proto"]),
    ("hsmd-store", &[]),
    ("hsmd-fleet", &[]),
    (
        "hsmd-keystore",
        &["hsmd-proto", "hsmd-crypto", "hsmd-store", "hsmd-fleet"],
    ),
    (
        "hsmd",
        &[
            "hsmd-proto",
            "hsmd-control",
            "hsmd-tls",
            "hsmd-crypto",
            "hsmd-store",
            "hsmd-fleet",
            "hsmd-keystore",
            "hsmd-import",
        ],
    ),
    ("hsmd-import", &[]),
    ("hsmd-pkcs11", &["hsmd-proto", "hsmd-tls", "hsmd-crypto"]),
    ("hsmd-aws", &["hsmd-control", "hsmd-tls"]),
    ("hsmd-tests", &["hsmd-proto", "hsmd-control"]),
    (
        "hsmd-benches",
        &["hsmd-proto", "hsmd-crypto", "hsmd-store", "hsmd-keystore", "hsmd-tests"],
    ),
    (
        "hsmd-fuzz",
        &[
            "hsmd",
            "hsmd-aws",
            "hsmd-proto",
            "hsmd-crypto",
            "hsmd-store",
            "hsmd-keystore",
            "hsmd-import",
            "hsmd-pkcs11",
        ],
    ),
    ("xtask", &[]),
];

/// Members whose dependencies reach a user's machine.
const SHIPPED: [&str; 3] = ["hsmd", "hsmd-pkcs11", "hsmd-aws"];

/// Crates that may not be shipped, and why.
const BANNED: [(&str, &str); 3] = [
    ("ring", "aws-lc is the one engine"),
    ("openssl-sys", "aws-lc is the one engine"),
    (
        "rsa",
        "its private operations leak by time (RUSTSEC-2023-0071); an oracle in tests, and in the build `portable` alone",
    ),
];

/// The members that have a build without a C compiler (docs/providers.md).
const PORTABLE_MEMBERS: [&str; 2] = ["hsmd", "hsmd-pkcs11"];

/// Crates that may not be in that build, and why. `rsa` is, and the build says so.
const NOT_IN_PORTABLE: [(&str, &str); 5] = [
    ("aws-lc-rs", "the build `portable` has no C"),
    ("aws-lc-sys", "the build `portable` has no C"),
    ("cc", "the build `portable` has no C"),
    ("ring", "the build `portable` has no C"),
    ("openssl-sys", "the build `portable` has no C"),
];

/// What the module must not bring into an application.
const NOT_IN_MODULE: [&str; 4] = ["tokio", "tonic", "hsmd-keystore", "hsmd-store"];

/// Holds `cargo metadata` and `cargo tree` against the rules; `documented` is docs/dependencies.md.
pub(super) fn check(workspace: &Workspace, documented: &str, errors: &mut Vec<String>) -> Result<(), String> {
    let graph = Graph::new(&workspace.metadata);
    arrows(&graph, errors);
    reasons(&graph, documented, errors);
    licences(&graph, errors);
    let tree = |member, edges, features: &[&str]| {
        let arguments = ["tree", "-p", member, "-e", edges, "--prefix", "none"];
        output_of(workspace.cargo().args(arguments).args(features))
    };
    for member in SHIPPED {
        shipped(member, &tree(member, "normal,build", &[])?, &BANNED, errors);
    }
    for member in PORTABLE_MEMBERS {
        shipped(
            member,
            &tree(member, "normal,build", &ci::PORTABLE)?,
            &NOT_IN_PORTABLE,
            errors,
        );
    }
    errors.extend(module_tree(&tree("hsmd-pkcs11", "normal", &[])?));
    Ok(())
}

/// Packages by id, and the members.
struct Graph<'a> {
    packages: BTreeMap<&'a str, &'a Value>,
    members: Vec<&'a Value>,
}

impl<'a> Graph<'a> {
    fn new(metadata: &'a Value) -> Self {
        let packages: BTreeMap<&str, &Value> = list(&metadata["packages"])
            .map(|package| (text(&package["id"]), package))
            .collect();
        let members = list(&metadata["workspace_members"])
            .filter_map(|id| packages.get(text(id)).copied())
            .collect();
        Self { packages, members }
    }

    fn is_member(&self, name: &str) -> bool {
        self.members.iter().any(|member| text(&member["name"]) == name)
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn arrows(graph: &Graph<'_>, errors: &mut Vec<String>) {
    for member in &graph.members {
        let name = text(&member["name"]);
        let Some((_, allowed)) = ARROWS.iter().find(|(row, _)| *row == name) else {
            errors.push(format!(
                "{name}: a new member needs a row in xtask/src/tidy/graph.rs: what may it depend on?"
            ));
            continue;
        };
        for dependency in list(&member["dependencies"]) {
            let (to, kind) = (text(&dependency["name"]), text(&dependency["kind"]));
            if kind != "dev" && graph.is_member(to) && !allowed.contains(&to) {
                errors.push(format!("{name} depends on {to}: against the direction of the code map"));
            }
        }
    }
}

fn reasons(graph: &Graph<'_>, documented: &str, errors: &mut Vec<String>) {
    let mut direct = BTreeSet::new();
    for member in &graph.members {
        direct.extend(list(&member["dependencies"]).map(|dependency| text(&dependency["name"])));
    }
    for name in direct.into_iter().filter(|name| !graph.is_member(name)) {
        if !documented
            .lines()
            .any(|line| line.starts_with(&format!("| `{name}` |")))
        {
            errors.push(format!("docs/dependencies.md: no line says what `{name}` is for"));
        }
    }
    for line in documented.lines() {
        let Some(name) = line.strip_prefix("| `").and_then(|rest| rest.split('`').next()) else {
            continue;
        };
        let used = graph.members.iter().flat_map(|member| list(&member["dependencies"]));
        if !used.into_iter().any(|dependency| text(&dependency["name"]) == name) {
            errors.push(format!("docs/dependencies.md: no member depends on `{name}` any more"));
        }
    }
}

fn licences(graph: &Graph<'_>, errors: &mut Vec<String>) {
    for package in graph.packages.values() {
        let licence = text(&package["license"]);
        if !licence::allowed(licence) {
            let (name, version) = (text(&package["name"]), text(&package["version"]));
            errors.push(format!("{name} {version}: the licence `{licence}` is not on the list"));
        }
    }
}

/// What `cargo tree` of a member that users run names and must not. The metadata's graph would not do: it has edges for
/// optional dependencies that no feature turns on.
fn shipped(member: &str, tree: &str, banned: &[(&str, &str)], errors: &mut Vec<String>) {
    let names: BTreeSet<&str> = tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
    for (name, why) in banned.iter().filter(|(name, _)| names.contains(name)) {
        errors.push(format!("{member} ships `{name}`: {why}"));
    }
}

/// What `cargo tree` of the module names and must not.
fn module_tree(tree: &str) -> Vec<String> {
    let names: BTreeSet<&str> = tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
    NOT_IN_MODULE
        .iter()
        .filter(|name| names.contains(*name))
        .map(|name| format!("hsmd-pkcs11 depends on `{name}`: it runs inside other programs"))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Graph, arrows, licences, module_tree, reasons, shipped};

    fn sample() -> serde_json::Value {
        json!({
            "workspace_members": ["m", "s"],
            "packages": [
                {"id": "m", "name": "hsmd-pkcs11", "version": "1", "license": "MIT",
                 "dependencies": [{"name": "hsmd-store", "kind": null}, {"name": "ring", "kind": null},
                                  {"name": "rsa", "kind": "dev"}]},
                {"id": "s", "name": "hsmd-store", "version": "1", "license": "MIT", "dependencies": []},
                {"id": "r", "name": "ring", "version": "1", "license": "GPL-3.0", "dependencies": []},
                {"id": "x", "name": "rsa", "version": "1", "license": "MIT", "dependencies": []},
            ],
        })
    }

    #[test]
    fn an_arrow_against_the_direction_is_named() {
        let (metadata, mut errors) = (sample(), Vec::new());
        arrows(&Graph::new(&metadata), &mut errors);
        assert_eq!(
            errors,
            ["hsmd-pkcs11 depends on hsmd-store: against the direction of the code map"]
        );
    }

    #[test]
    fn a_banned_crate_that_is_shipped_is_named() {
        let mut errors = Vec::new();
        let tree = "hsmd v0.1.0\nring v0.17.0\nrsa-x v1.0.0\n";
        shipped("hsmd", tree, &super::BANNED, &mut errors);
        assert_eq!(errors, ["hsmd ships `ring`: aws-lc is the one engine"]);
    }

    #[test]
    fn a_licence_off_the_list_is_named() {
        let (metadata, mut errors) = (sample(), Vec::new());
        licences(&Graph::new(&metadata), &mut errors);
        assert_eq!(errors, ["ring 1: the licence `GPL-3.0` is not on the list"]);
    }

    #[test]
    fn every_dependency_needs_its_reason_and_every_reason_its_dependency() {
        let (metadata, mut errors) = (sample(), Vec::new());
        reasons(&Graph::new(&metadata), "| `ring` | x |\n| `gone` | y |\n", &mut errors);
        assert_eq!(errors.len(), 2, "{errors:?}");
        assert!(
            errors[0].contains("`rsa`") && errors[1].contains("`gone`"),
            "{errors:?}"
        );
    }

    #[test]
    fn a_runtime_in_the_module_is_named() {
        assert_eq!(module_tree("hsmd-pkcs11 v0.1.0\ntokio v1.0.0\n").len(), 1);
        assert!(module_tree("hsmd-pkcs11 v0.1.0\ntokio-util v1.0.0\n").is_empty());
    }
}
