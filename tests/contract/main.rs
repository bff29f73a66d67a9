//! the contract: the REST door is what `openapi/sidespan.yaml` says, whatever it is asked
//!
//! Schemathesis sends to every operation that is described, of a running server, what fits and what does not:
//! nothing may be answered with 500, or with a status, a media type, a header or a body that is not
//! described. It takes its chances from one seed, which is printed:
//! `tests/run --seed NUMBER contract` repeats a run, and `--long` makes it longer.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking, and what it tried is worth reading"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use sidespan_test_support::{Client, Launch, Random, Sidecar, run};
use tokio::task::JoinSet;

const SIDESPAN: &str = env!("CARGO_BIN_EXE_sidespan");

/// Topics that are there and one whose broker is not; any other name is an address on the open bridge.
const CONFIG: &str = "
version: 1
service: contract
bridges:
  local: { kind: embedded, dir: ./data, open: true }
  gone: { kind: amqp, url: 'amqp://127.0.0.1:1/' }
default_bridge: local
topics:
  orders: {}
  offline: { bridge: gone }
subscriptions:
  billing:
    topic: orders
    push: { url: 'http://127.0.0.1:1/' }
  jobs:
    topic: orders
    pull: { lease: 10s }
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_answers_as_it_is_described() {
    let sidecar = Launch::new(SIDESPAN).config(CONFIG).start().await;
    let mut flow = flow(&sidecar);
    let tried = try_all(&sidecar, &[]).await;
    assert!(flow.try_join_next().is_none(), "a publish in between was not answered with 200");
    flow.shutdown().await;

    let operations = operations(&sidecar).await;
    assert!(operations.len() > 7, "{operations:?}");
    for (operation, statuses) in operations {
        let seen = tried.answers.get(&operation).unwrap_or_else(|| panic!("{operation} was not tried"));
        let succeeded = statuses.iter().any(|status| status.starts_with('2') && seen.contains_key(status));
        // What succeeds by becoming something else than HTTP is for other tests.
        let upgrades = statuses.iter().any(|status| status == "101");
        assert!(succeeded || upgrades, "{operation} never succeeded, so nothing is known of it: {seen:?}");
    }
    sidecar_is_well(sidecar).await;
}

/// What schemathesis found, and how often each operation answered with each status.
struct Tried {
    answers: BTreeMap<String, BTreeMap<String, u64>>,
}

/// Sends to all operations what schemathesis thinks of. Panics with what it found to be wrong.
async fn try_all(sidecar: &Sidecar, more: &[&str]) -> Tried {
    let long = std::env::var_os("SIDESPAN_LONG").is_some();
    let examples = if long { 2_000 } else { 60 };
    let seed = Random::from_env().below(u32::MAX.into());
    let directory = tempfile::tempdir().unwrap();
    let answers = directory.path().join("answers.json");

    let folder = folder();
    let mut command = Command::new("python3");
    command.args(["-m", "schemathesis.cli", "--config-file"]).arg(folder.join("schemathesis.toml"));
    // The file, since the path that it is served at would be left out.
    command.arg("run").arg(folder.join("../../openapi/sidespan.yaml")).args(["--url", &sidecar.url("")]);
    command.args(["--seed", &seed.to_string(), "--max-examples", &examples.to_string()]).args(more);
    // Its own notes, such as a cache, are no part of this repository.
    command.current_dir(directory.path());
    let path = std::env::join_paths([installed().await, folder]).unwrap();
    command.env("PYTHONPATH", path).env("PYTHONDONTWRITEBYTECODE", "1");
    command.env("SCHEMATHESIS_HOOKS", "hooks").env("ANSWERS", &answers);
    let said = run("schemathesis", &command, if long { LONG } else { SHORT }).await;
    assert!(said.success, "{}{}\nsidespan said:\n{}", said.output, said.errors, sidecar.stderr());

    let answers = serde_json::from_str(&fs::read_to_string(answers).unwrap()).unwrap();
    let tried = Tried { answers };
    for (operation, statuses) in &tried.answers {
        println!("{operation}: {statuses:?}");
    }
    tried
}

/// Publishes to the topics that are streamed, so that there is something to see on them.
fn flow(sidecar: &Sidecar) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for topic in ["orders", "a%2Fb", "orders.x", "nobody.has.it"] {
        let url = sidecar.url(&format!("/v1/topics/{topic}/messages"));
        tasks.spawn(async move {
            let client = Client::new();
            let mut pace = tokio::time::interval(Duration::from_millis(20));
            loop {
                pace.tick().await;
                let answer = client.post(&url, "something").send().await.expect("an answer");
                assert_eq!(answer.status, 200, "{}", answer.text());
            }
        });
    }
    tasks
}

/// Returns each operation that the server describes, as `GET /path`, with the statuses that it may have.
async fn operations(sidecar: &Sidecar) -> BTreeMap<String, Vec<String>> {
    let document = Client::new().get(&sidecar.url("/openapi.json")).send().await.expect("an answer").json();
    let mut operations = BTreeMap::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if let Some(responses) = operation.get("responses").and_then(Value::as_object) {
                let statuses = responses.keys().cloned().collect();
                operations.insert(format!("{} {path}", method.to_uppercase()), statuses);
            }
        }
    }
    operations
}

/// It has not failed inside, and stops when it is told to.
async fn sidecar_is_well(mut sidecar: Sidecar) {
    let ended = sidecar.stop().await;
    assert!(ended.status.success(), "{:?}", ended.status);
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
}

/// Installs schemathesis, unless it is there, and returns where.
async fn installed() -> PathBuf {
    let said = run("setup", &Command::new(folder().join("setup")), INSTALLING).await;
    assert!(said.success, "schemathesis cannot be installed:\n{}", said.errors);
    said.output.trim().into()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/contract")
}

const SHORT: Duration = Duration::from_secs(300);
const LONG: Duration = Duration::from_secs(3_600);
const INSTALLING: Duration = Duration::from_secs(300);
