//! What is rendered is what Kubernetes takes, of the oldest and the newest release, and no field besides.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cases::{Case, all};
use crate::tools::{Done, run, schemas, tool};

#[test]
fn kubernetes_knows_every_field_that_is_rendered() {
    let folder = tempfile::tempdir().unwrap();
    for case in all() {
        fs::write(folder.path().join(format!("{}.{}.yaml", case.chart, case.name)), case.render()).unwrap();
    }
    let operators = operators();
    for release in RELEASES {
        let done = conform(release, &operators, folder.path());
        assert!(done.succeeded, "{release}: {}{}", done.stdout, done.stderr);
        assert!(done.stdout.contains("Skipped: 0"), "{release}: {}", done.stdout);
    }
}

#[test]
fn a_field_that_nobody_knows_is_found() {
    let operators = operators();
    let rendered = Case::named("sidespan", "fleet").render();
    for (field, wrong) in [
        ("enableServiceLinks:", "enableServiceLink:"),
        ("scrapeTimeout:", "scrapeTimeOut:"),
        ("pollingInterval:", "polingInterval:"),
        ("maxUnavailable: 1\n", "maxUnavailible: 1\n"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        assert!(rendered.contains(field), "{field}");
        fs::write(folder.path().join("wrong.yaml"), rendered.replace(field, wrong)).unwrap();
        let done = conform(RELEASES[0], &operators, folder.path());
        let name = wrong.split(':').next().unwrap();
        assert!(!done.succeeded && done.stdout.contains(name), "{wrong}: {}", done.stdout);
    }
}

/// Validates all files of a folder.
pub(crate) fn conform(release: &str, operators: &TempDir, folder: &Path) -> Done {
    let own = schemas().join(release).join("{{.ResourceKind}}{{.KindSuffix}}.json");
    let others = operators.path().join("{{.ResourceKind}}.json");
    let (own, others) = (own.to_str().unwrap(), others.to_str().unwrap());
    let arguments = ["-strict", "-summary", "-schema-location", own, "-schema-location", others];
    run(tool("kubeconform"), &[&arguments, [folder.to_str().unwrap()].as_slice()].concat())
}

/// Makes schemas of what operators define.
pub(crate) fn operators() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in fs::read_dir(schemas().join("crds")).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        let definition: Value = yaml_serde::from_str(&text).unwrap();
        let kind = definition["spec"]["names"]["kind"].as_str().unwrap().to_lowercase();
        let mut schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone();
        close(&mut schema);
        fs::write(folder.path().join(format!("{kind}.json")), schema.to_string()).unwrap();
    }
    folder
}

/// Has an object take no properties but those that it names.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            let is_open = object.contains_key("additionalProperties")
                || object.get("x-kubernetes-preserve-unknown-fields") == Some(&json!(true));
            if object.get("properties").is_some_and(Value::is_object) && !is_open {
                object.insert("additionalProperties".into(), json!(false));
            }
            object.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The oldest that the charts are for, and the newest that there are schemas of.
pub(crate) const RELEASES: [&str; 2] = ["v1.29.0", "v1.37.0"];
