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
use sidespan_test_support::{Answer, Client, Launch, Random, Sidecar, Webhook, run};
use tokio::sync::OnceCell;
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
  asked:
    topic: asked
    push: { url: ANSWERING, reply: true }
  answered:
    topic: questions
    pull: {}
  resting:
    topic: orders
    pull: {}
  stocked:
    topic: orders
    pull: { lease: 1s }
    retry: { max_attempts: 1000, backoff: { base: 10ms, cap: 10ms } }
registry: { bridge: local }
";

/// Somebody who may all, and somebody who may little.
const AUTH: &str = "
auth:
  tokens:
    - { name: all, secret: all-5b0c1b0a7f6e4d3c2b1a0f9e, publish: ['>'], subscribe: ['>'], manage: true }
    - { name: till, secret: till-9d8e7f6a5b4c3d2e1f0a9b8c, publish: [orders] }
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_answers_as_it_is_described() {
    let (sidecar, _answering) = start("").await;
    let tried = with_flow(&sidecar, None, try_all(&sidecar, &[])).await;
    each_succeeded(&tried);
    is_well(&sidecar).await;
}

/// Without a token nothing is to be had, and with one no more than it says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_answers_as_it_is_described_to_callers_and_strangers() {
    let (sidecar, _answering) = start(AUTH).await;
    let all = "Authorization: Bearer all-5b0c1b0a7f6e4d3c2b1a0f9e";
    let tried = with_flow(&sidecar, Some(all), try_all(&sidecar, &["--header", all])).await;
    each_succeeded(&tried);

    // What they get is always the same, so a few of each will do.
    let till = "Authorization: Bearer till-9d8e7f6a5b4c3d2e1f0a9b8c";
    let few = ["--phases", "fuzzing", "--mode", "positive"];
    let tried = try_all(&sidecar, &[&few[..], &["--header", till]].concat()).await;
    let statuses = |operation: &str| tried[operation].keys().map(String::as_str).collect::<Vec<_>>();
    assert!(statuses("POST /v1/topics/{topic}/messages").contains(&"200"));
    assert_eq!(statuses("POST /v1/subscriptions/{subscription}/pull"), ["403"]);

    let tried = try_all(&sidecar, &few).await;
    for (operation, seen) in tried {
        assert_eq!(seen.keys().collect::<Vec<_>>(), ["401"], "{operation} to a stranger");
    }
    is_well(&sidecar).await;
}

/// Starts a server, and a service that answers what is asked at `asked`.
async fn start(more: &str) -> (Sidecar, Webhook) {
    let answering = Webhook::start(|_| Answer::ok().body("well")).await;
    let config = format!("{CONFIG}{more}").replace("ANSWERING", &format!("'{}'", answering.url("/")));
    (Launch::new(SIDESPAN).config(&config).start().await, answering)
}

/// How often each operation answered with each status.
type Tried = BTreeMap<String, BTreeMap<String, u64>>;

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

    let tried: Tried = serde_json::from_str(&fs::read_to_string(answers).unwrap()).unwrap();
    for (operation, statuses) in &tried {
        println!("{operation}: {statuses:?}");
    }
    tried
}

/// Every operation was tried, and succeeded at least once: of one that always refuses nothing is known.
fn each_succeeded(tried: &Tried) {
    let operations = operations();
    assert!(operations.len() > 7, "{operations:?}");
    for (operation, statuses) in operations {
        let seen = tried.get(&operation).unwrap_or_else(|| panic!("{operation} was not tried"));
        let succeeded = statuses.iter().any(|status| status.starts_with('2') && seen.contains_key(status));
        // What succeeds by becoming something else than HTTP is for other tests.
        let upgrades = statuses.iter().any(|status| status == "101");
        assert!(succeeded || upgrades, "{operation} never succeeded: {seen:?}");
    }
}

/// Publishes meanwhile to the topics that are streamed, so that there is something to see on them, and asks what
/// nobody answers, so that there is something to reply to.
async fn with_flow(sidecar: &Sidecar, header: Option<&str>, trying: impl Future<Output = Tried>) -> Tried {
    let mut tasks = JoinSet::new();
    for topic in ["orders", "a%2Fb", "orders.x", "nobody.has.it"] {
        let url = sidecar.url(&format!("/v1/topics/{topic}/messages"));
        let mut request = Client::new().post(&url, "something");
        if let Some((name, value)) = header.and_then(|header| header.split_once(": ")) {
            request = request.header(name, value);
        }
        tasks.spawn(async move {
            let mut pace = tokio::time::interval(Duration::from_millis(20));
            loop {
                pace.tick().await;
                let answer = request.clone().send().await.expect("an answer");
                assert_eq!(answer.status, 200, "{}", answer.text());
            }
        });
    }
    let url = sidecar.url("/v1/topics/questions/requests");
    let mut question = Client::new().post(&url, "anything").header("Sidespan-Timeout", "100ms");
    if let Some((name, value)) = header.and_then(|header| header.split_once(": ")) {
        question = question.header(name, value);
    }
    tasks.spawn(async move {
        let mut pace = tokio::time::interval(Duration::from_millis(100));
        loop {
            pace.tick().await;
            let answer = question.clone().send().await.expect("an answer");
            // 404 until the subscription has begun.
            assert!([200, 404, 504].contains(&answer.status.as_u16()), "{}", answer.text());
        }
    });
    let tried = trying.await;
    assert!(tasks.try_join_next().is_none(), "a publish in between was not answered with 200");
    tasks.shutdown().await;
    tried
}

/// Returns each operation that is described, as `GET /path`, with the statuses that it may have.
fn operations() -> BTreeMap<String, Vec<String>> {
    let document: Value = yaml_serde::from_str(include_str!("../../openapi/sidespan.yaml")).unwrap();
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

/// It lives, and nothing has failed inside.
async fn is_well(sidecar: &Sidecar) {
    let answer = Client::new().get(&sidecar.admin_url("/livez")).send().await.expect("an answer");
    assert_eq!(answer.status, 200);
    let log = sidecar.stderr();
    assert!(!log.contains("panicked") && !log.contains(r#""level":"ERROR""#), "{log}");
}

/// Installs schemathesis, unless it is there, and returns where.
async fn installed() -> PathBuf {
    static PLACE: OnceCell<PathBuf> = OnceCell::const_new();
    let install = async || {
        let said = run("setup", &Command::new(folder().join("setup")), INSTALLING).await;
        assert!(said.success, "schemathesis cannot be installed:\n{}", said.errors);
        said.output.trim().into()
    };
    PLACE.get_or_init(install).await.clone()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/contract")
}

const SHORT: Duration = Duration::from_secs(300);
const LONG: Duration = Duration::from_secs(3_600);
const INSTALLING: Duration = Duration::from_secs(300);
