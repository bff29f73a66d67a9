//! the examples: configurations load, and the services publish and are called
//!
//! Each runs as its reader would run it, against the real program. Python and Node are needed, and
//! for the signatures the official libraries, which `tests/examples/setup` installs: what is missing
//! fails, as nothing here is worth skipping silently.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sidespan::bridges::DRIVERS;
use sidespan::config::Config;
use sidespan_test_support::{
    Answer, Client, Launch, Process, Received, Sidecar, Webhook, eventually, free_port, log_file,
};

const SIDESPAN: &str = env!("CARGO_BIN_EXE_sidespan");
const SECRET: &str = "whsec_c2lkZXNwYW4tZXhhbXBsZS1zZWNyZXQtb2YtMzItYnk=";
const OTHER_SECRET: &str = "whsec_c2lkZXNwYW4tYW5vdGhlci1zZWNyZXQtb2YtMzItYnk=";
const ORDERS: usize = 20;

#[test]
fn every_example_configuration_loads() {
    let mut found = Vec::new();
    for folder in ["examples", "examples/orders"] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|ending| ending == "yaml" || ending == "toml") {
                let config = Config::load(&path, DRIVERS).unwrap_or_else(|errors| panic!("{errors}"));
                assert!(!config.subscriptions.is_empty(), "{} shows a subscription", path.display());
                found.push(path);
            }
        }
    }
    assert!(found.len() > DRIVERS.len(), "one for each kind of bridge, and one beside a service: {found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_in_python_gets_back_what_it_publishes() {
    runs("python3", "service.py").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_in_node_gets_back_what_it_publishes() {
    runs("node", "service.mjs").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn official_libraries_accept_the_signature() {
    let webhook = Webhook::start(|_| Answer::ok()).await;
    let sidecar = sidecar(&webhook.url("/events")).await;
    let url = sidecar.url("/v1/topics/orders/messages");
    let body = r#"{"id": "1", "name": "Zoë"}"#;
    let published = Client::new().post(&url, body).header("content-type", "application/json").send().await;
    assert_eq!(published.expect("an answer").status, 200);
    let received = webhook.wait_until("the webhook is called", |received| !received.is_empty()).await;

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("webhook.json");
    fs::write(&file, as_json(&received[0])).unwrap();
    let libraries = installed().await;
    let python = libraries.join("python");
    let node = libraries.join("node/node_modules");
    let verify = |secret: &'static str| {
        [
            ("python3", "verify.py", "PYTHONPATH", &python, secret),
            ("node", "verify.cjs", "NODE_PATH", &node, secret),
        ]
    };
    for (program, script, variable, place, secret) in verify(SECRET).into_iter().chain(verify(OTHER_SECRET)) {
        let mut command = Command::new(program);
        command.arg(root().join("tests/examples").join(script)).arg(secret).arg(&file).env(variable, place);
        let (ended, said) = run(&command, program).await;
        assert_eq!(ended, secret == SECRET, "{script} with {secret} said:\n{said}");
        // A script that cannot start fails with any secret, and would look like a refusal.
        assert!(ended || said.contains("WebhookVerificationError"), "{script} said:\n{said}");
    }
}

/// Runs a service beside Sidespan, gives it orders, and waits until all have come back to it.
async fn runs(program: &str, script: &str) {
    let port = free_port();
    let sidecar = sidecar(&format!("http://127.0.0.1:{port}/events")).await;
    let mut command = Command::new(program);
    command.arg(root().join("examples/orders").join(script)).current_dir(sidecar.directory());
    command.env("WEBHOOK_SECRET", SECRET).env("PORT", port.to_string()).env("SIDESPAN_URL", sidecar.url(""));
    let log = log_file(script);
    let mut service = start(&command, &log);

    let client = Client::new();
    let url = format!("http://127.0.0.1:{port}/orders");
    let said = || format!("{script} said:\n{}", fs::read_to_string(&log).unwrap_or_default());
    eventually(PATIENCE, &format!("{script} answers ({program} runs, see {})", log.display()), async || {
        assert_eq!(service.exit_status(), None, "{}", said());
        client.get(&url).send().await.is_ok()
    })
    .await;
    for id in 1..=ORDERS {
        let order = format!(r#"{{"id": "{id}", "item": "tea"}}"#);
        let answer = client.post(&url, order).send().await.expect("an answer of the service");
        assert_eq!(answer.status, 201, "{}\n{}", answer.text(), said());
    }
    eventually(PATIENCE, "all orders have come back", async || {
        let orders = client.get(&url).send().await.expect("an answer of the service").json();
        let orders = orders.as_array().expect("a list of orders").clone();
        let mut ids: Vec<usize> =
            orders.iter().map(|order| order["id"].as_str().unwrap().parse().unwrap()).collect();
        ids.sort_unstable();
        ids == (1..=ORDERS).collect::<Vec<_>>()
    })
    .await;

    // Anybody can post to a webhook: without a signature nothing is believed.
    let events = format!("http://127.0.0.1:{port}/events");
    let forged = client.post(&events, r#"{"id": "99"}"#).send().await.expect("an answer of the service");
    assert_eq!(forged.status, 401, "{}", said());
    let refused = client.post(&url, "{}").send().await.expect("an answer of the service");
    assert_eq!(refused.status, 400, "{}", said());
    service.kill();
    fs::remove_file(&log).unwrap();
}

/// Starts Sidespan with the configuration of the example.
async fn sidecar(webhook: &str) -> Sidecar {
    let config = fs::read_to_string(root().join("examples/orders/sidespan.yaml")).unwrap();
    let launch = Launch::new(SIDESPAN).config(&config).env("WEBHOOK_SECRET", SECRET);
    let sidecar = launch.env("SIDESPAN__SUBSCRIPTIONS__FULFILMENT__PUSH__URL", webhook).start().await;
    sidecar.until_ready().await;
    sidecar
}

fn as_json(received: &Received) -> String {
    let headers: serde_json::Map<String, serde_json::Value> = received
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().into()))
        .collect();
    serde_json::json!({"headers": headers, "body": received.text()}).to_string()
}

/// Installs the official libraries, unless they are there, and returns where.
async fn installed() -> PathBuf {
    let (ended, said) = run(&Command::new(root().join("tests/examples/setup")), "setup").await;
    assert!(ended, "the official libraries cannot be installed:\n{said}");
    said.lines().last().expect("the place is printed last").into()
}

/// Runs a program to its end; tells whether it succeeded, and what it said.
async fn run(command: &Command, name: &str) -> (bool, String) {
    let log = log_file(name);
    let mut process = start(command, &log);
    let status = process.wait(INSTALLING).await;
    let said = fs::read_to_string(&log).unwrap();
    fs::remove_file(&log).unwrap();
    let status = status.unwrap_or_else(|| panic!("{name} did not end in {INSTALLING:?}; it said:\n{said}"));
    (status.success(), said)
}

fn start(command: &Command, log: &Path) -> Process {
    let file = File::create(log).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    Process::start(command, file.try_clone().unwrap(), file, scratch.path()).expect("a shell to start it")
}

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

const PATIENCE: Duration = Duration::from_secs(60);
const INSTALLING: Duration = Duration::from_secs(300);
