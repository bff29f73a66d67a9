//! breaking changes: what callers were promised in `openapi/` and `proto/` still holds
//!
//! `released/` has both as they were when somebody last promised them. Each of the two is compared with what
//! the tree has now, by oasdiff and by buf: what a caller who holds to the promise would stumble over
//! fails. So does an operation that is not promised yet, since nothing would watch over it.
//!
//! Who adds an operation, or breaks the promise knowingly, copies what the failure names, in the same commit. A
//! commit that does both changes a line that is there already, which is what its reader looks for, and
//! says why in its body.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use sidespan_test_support::{Said, run};
use tokio::sync::OnceCell;

#[tokio::test]
async fn the_rest_door_keeps_its_promise() {
    let (promised, now) = (released().join("sidespan.yaml"), root().join("openapi/sidespan.yaml"));
    let said = oasdiff(&promised, &now).await;
    assert!(
        said.success,
        "openapi/sidespan.yaml breaks what was promised:\n{}{}\n{KNOWINGLY}",
        said.output, said.errors
    );
    let unpromised: Vec<String> =
        operations(&read(&now)).difference(&operations(&read(&promised))).cloned().collect();
    assert!(unpromised.is_empty(), "nobody has promised {unpromised:?} yet.\n{KNOWINGLY}");
}

#[tokio::test]
async fn the_grpc_door_keeps_its_promise() {
    let (promised, now) = (released().join("proto"), root().join("proto"));
    let said = buf(&promised, &now).await;
    assert!(said.success, "proto/ breaks what was promised:\n{}{}\n{KNOWINGLY}", said.output, said.errors);
    let unpromised: Vec<String> = calls(&now).difference(&calls(&promised)).cloned().collect();
    assert!(unpromised.is_empty(), "nobody has promised {unpromised:?} yet.\n{KNOWINGLY}");
}

/// A check that sees nothing would be green for ever.
#[tokio::test]
async fn a_breaking_change_of_the_rest_door_is_seen() {
    let unseen = seen_otherwise(
        &[
            ("an operation is gone", &|document| remove(document, "/paths/~1v1~1topics~1{topic}/get")),
            ("a parameter is gone", &|document| remove(document, "/paths/~1v1~1topics/get/parameters/0")),
            ("a parameter is required", &|document| {
                document["components"]["parameters"]["PageToken"]["required"] = json!(true);
            }),
            ("a parameter has less room", &|document| {
                document["components"]["parameters"]["PageSize"]["schema"]["maximum"] = json!(10);
            }),
            ("an encoding is no longer taken", &|document| {
                document["paths"]["/v1/topics/{topic}/batches"]["post"]["parameters"][0]["schema"]["enum"] =
                    json!(["gzip", "identity"]);
            }),
            ("a media type is no longer taken", &|document| {
                remove(
                    document,
                    "/paths/~1v1~1topics~1{topic}~1batches/post/requestBody/content/application~1x-ndjson",
                );
            }),
            ("a member is no longer taken", &|document| {
                remove(document, "/components/schemas/Message/properties/key")
            }),
            ("a member must be sent", &|document| {
                document["components"]["schemas"]["Message"]["required"] = json!(["key"]);
            }),
            ("a member is no longer answered", &|document| {
                remove(document, "/components/schemas/Receipt/properties/id");
                document["components"]["schemas"]["Receipt"]["required"] =
                    json!(["topic", "guarantee", "duplicate", "deduplicated"]);
            }),
            ("a member is not always answered", &|document| {
                document["components"]["schemas"]["Problem"]["required"] = json!(["type", "title", "status"]);
            }),
            ("a member is of another type", &|document| {
                document["components"]["schemas"]["BatchResult"]["properties"]["stored"]["type"] =
                    json!("string");
            }),
            ("a success has another status", &|document| {
                let responses = &mut document["paths"]["/v1/topics/{topic}/messages"]["post"]["responses"];
                responses["201"] = responses["200"].take();
                remove(responses, "/200");
            }),
            ("an answer is of another media type", &|document| {
                let content = &mut document["paths"]["/v1/topics"]["get"]["responses"]["200"]["content"];
                content["text/plain"] = content["application/json"].take();
                remove(content, "/application~1json");
            }),
        ],
        false,
    )
    .await;
    assert!(unseen.is_empty(), "not seen: {unseen:?}");
}

/// Nobody would look at a check that objects to everything.
#[tokio::test]
async fn what_only_adds_to_the_rest_door_passes() {
    let refused = seen_otherwise(
        &[
            ("nothing", &|_| {}),
            ("another operation", &|document| {
                let copy = document["paths"]["/v1/topics"].clone();
                document["paths"]["/v1/places"] = copy;
                document["paths"]["/v1/places"]["get"]["operationId"] = json!("listPlaces");
            }),
            ("another parameter", &|document| {
                let parameters = &mut document["paths"]["/v1/topics"]["get"]["parameters"];
                let more = json!({"name": "reverse", "in": "query", "schema": {"type": "boolean"}});
                parameters.as_array_mut().unwrap().push(more);
            }),
            ("another member of what is sent", &|document| {
                document["components"]["schemas"]["Message"]["properties"]["colour"] =
                    json!({"type": "string"});
            }),
            ("another member of an answer", &|document| {
                document["components"]["schemas"]["Receipt"]["properties"]["colour"] =
                    json!({"type": "string"});
            }),
            ("another problem", &|document| {
                let codes = &mut document["components"]["schemas"]["Code"]["enum"];
                codes.as_array_mut().unwrap().push(json!("TOO_EARLY"));
            }),
            ("another status for a problem", &|document| {
                let responses = &mut document["paths"]["/v1/topics"]["get"]["responses"];
                responses["418"] = responses["400"].clone();
            }),
        ],
        true,
    )
    .await;
    assert!(refused.is_empty(), "refused: {refused:?}");
}

/// A check that sees nothing would be green for ever.
#[tokio::test]
async fn a_breaking_change_of_the_grpc_door_is_seen() {
    let promised = root().join("proto");
    for (what, old, new) in [
        ("a field has another number", "Message message = 2;", "Message message = 12;"),
        ("a field has another type", "uint32 failed = 2;", "string failed = 2;"),
        ("a call is gone", "rpc Publish(", "// rpc Publish("),
        ("a call has a stream", "returns (PublishResponse)", "returns (stream PublishResponse)"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let changed = directory.path().join("proto");
        copy(&promised, &changed);
        let file = changed.join("sidespan/v1/publisher.proto");
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(old), "{what}: there is no {old:?}");
        fs::write(&file, text.replacen(old, new, 1)).unwrap();
        assert!(!buf(&promised, &changed).await.success, "not seen: {what}");
    }
}

type Change<'a> = (&'a str, &'a dyn Fn(&mut Value));

/// Returns which of the changes to the description oasdiff does not take for what they are.
async fn seen_otherwise(changes: &[Change<'_>], harmless: bool) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    let [before, after] = ["before.json", "after.json"].map(|name| directory.path().join(name));
    let document = read(&root().join("openapi/sidespan.yaml"));
    fs::write(&before, document.to_string()).unwrap();
    let mut otherwise = Vec::new();
    for (what, change) in changes {
        let mut changed = document.clone();
        change(&mut changed);
        fs::write(&after, changed.to_string()).unwrap();
        let said = oasdiff(&before, &after).await;
        if said.success != harmless {
            otherwise.push(format!("{what}: {}{}", said.output, said.errors));
        }
    }
    otherwise
}

async fn oasdiff(before: &Path, after: &Path) -> Said {
    let mut command = Command::new(installed().await.join("oasdiff"));
    command.args(["breaking", "--fail-on", "WARN", "--severity-levels"]);
    command.arg(root().join("tests/breaking/severities")).arg(before).arg(after);
    run("oasdiff", &command, PATIENCE).await
}

async fn buf(before: &Path, after: &Path) -> Said {
    let mut command = Command::new(installed().await.join("buf"));
    command.arg("breaking").arg(after).arg("--against").arg(before);
    run("buf", &command, PATIENCE).await
}

/// Returns each operation of a description, such as `get /v1/topics`.
fn operations(document: &Value) -> BTreeSet<String> {
    let paths = document["paths"].as_object().unwrap();
    let operations = paths.iter().flat_map(|(path, item)| {
        let methods =
            item.as_object().unwrap().iter().filter(|(_, operation)| operation.get("responses").is_some());
        methods.map(move |(method, _)| format!("{method} {path}"))
    });
    operations.collect()
}

/// Returns each call that is described under a folder, such as `publisher.proto: rpc Publish(...)`.
fn calls(proto: &Path) -> BTreeSet<String> {
    let mut calls = BTreeSet::new();
    for entry in fs::read_dir(proto.join("sidespan/v1")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.lines().map(str::trim).filter(|line| line.starts_with("rpc "));
        calls.extend(lines.map(|line| format!("{name}: {line}")));
    }
    calls
}

fn read(document: &Path) -> Value {
    yaml_serde::from_str(&fs::read_to_string(document).unwrap()).unwrap()
}

/// Removes what a JSON pointer leads to, which must be there.
fn remove(value: &mut Value, pointer: &str) {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let name = name.replace("~1", "/");
    let removed = match value.pointer_mut(parent).expect(pointer) {
        Value::Object(members) => members.remove(&name),
        Value::Array(items) => Some(items.remove(name.parse().unwrap())),
        other => panic!("{pointer} leads into {other}"),
    };
    assert!(removed.is_some(), "there is no {pointer}");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Installs the tools, unless they are there, and returns where.
async fn installed() -> &'static Path {
    static PLACE: OnceCell<PathBuf> = OnceCell::const_new();
    let install = async || {
        let setup = Command::new(root().join("tests/breaking/setup"));
        let said = run("setup", &setup, INSTALLING).await;
        assert!(said.success, "oasdiff and buf cannot be installed:\n{}", said.errors);
        PathBuf::from(said.output.trim())
    };
    PLACE.get_or_init(install).await
}

fn released() -> PathBuf {
    root().join("tests/breaking/released")
}

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

const KNOWINGLY: &str = "If it is meant, promise it in the same commit:
  cp openapi/sidespan.yaml tests/breaking/released/
  rm -r tests/breaking/released/proto; cp -r proto tests/breaking/released/";
const PATIENCE: Duration = Duration::from_secs(60);
const INSTALLING: Duration = Duration::from_secs(300);
