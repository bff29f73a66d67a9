//! A small service that publishes and is called, and the signature that it checks.

use std::fs::{self, File};
use std::process::Command;

use sidespan_test_support::{
    Answer, Client, Launch, Process, Received, Said, Sidecar, Webhook, eventually, free_port, log_file, run,
};

use crate::workshop::Workshop;
use crate::{PATIENCE, SECRET, SIDESPAN, root};

const OTHER_SECRET: &str = "whsec_c2lkZXNwYW4tYW5vdGhlci1zZWNyZXQtb2YtMzItYnk=";
const ORDERS: usize = 20;

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
    let workshop = Workshop::get().await;
    let node = workshop.folder().join("node_modules");
    let verify = |secret: &'static str| {
        [
            ("python3", "verify.py", "PYTHONPATH", workshop.python(), secret),
            ("node", "verify.cjs", "NODE_PATH", node.as_path(), secret),
        ]
    };
    for (program, script, variable, place, secret) in verify(SECRET).into_iter().chain(verify(OTHER_SECRET)) {
        let mut command = Command::new(program);
        command.arg(root().join("tests/examples").join(script)).arg(secret).arg(&file).env(variable, place);
        let Said { success, output, errors } = run(script, &command, PATIENCE).await;
        assert_eq!(success, secret == SECRET, "{script} with {secret} said:\n{output}{errors}");
        // A script that cannot start fails with any secret, and would look like a refusal.
        assert!(success || errors.contains("WebhookVerificationError"), "{script} said:\n{errors}");
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
    let file = File::create(&log).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let mut service = Process::start(&command, file.try_clone().unwrap(), file, scratch.path())
        .expect("a shell to start it");

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
