//! `validate`, `check`, and what helps to write a configuration.

use sidespan_test_support::{Answer, Launch, Webhook};

use crate::{SIDESPAN, ended, sidespan};

#[tokio::test]
async fn validate_says_what_a_configuration_means() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/embedded.yaml");
    let said = sidespan(&["validate", path]).await;
    ended(&said, 0);
    for part in [
        "service       orders-api",
        "bridge        local: embedded, default, open to any topic",
        "topic         orders -> orders on local",
        "subscription  billing: orders on local -> http://127.0.0.1:8080/events",
        "group orders-api.billing, at-least-once, in order by key, from the beginning",
        "dead letters -> dead.orders-api.billing on local",
    ] {
        assert!(said.stdout.contains(part), "{part:?} is missing in:\n{}", said.stdout);
    }
    let json = sidespan(&["validate", path, "-o", "json"]).await;
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["subscriptions"][0]["dead_letter"]["address"], "dead.orders-api.billing");
}

#[tokio::test]
async fn check_connects_and_says_what_is_wrong() {
    let webhook = Webhook::start(|_| Answer::ok()).await;
    let yaml = |url: &str, more: &str| {
        format!(
            "version: 1\nservice: s\ndefault_bridge: local\nbridges:\n  local: {{kind: embedded, dir: d}}\n{more}\
             topics: {{orders: {{}}}}\nsubscriptions:\n  billing:\n    topic: orders\n    push: {{url: '{url}'}}\n"
        )
    };
    let check = async |text: &str| {
        let launch = Launch::new(SIDESPAN).config(text);
        launch.arguments(&["check", "sidespan.yaml", "--timeout", "2s"]).run_to_end().await
    };
    let well = check(&yaml(&webhook.url("/"), "")).await;
    ended(&well, 0);
    assert!(well.stdout.lines().all(|line| line.starts_with("ok ")), "{}", well.stdout);
    assert!(well.stdout.contains("dead letters (dead.s.billing on local)"), "{}", well.stdout);
    assert!(webhook.received().is_empty(), "a check sends nothing");

    let wrong = check(&yaml("http://127.0.0.1:1/?token=hunter2", "")).await;
    ended(&wrong, 1);
    assert!(!wrong.stdout.contains("hunter2"), "{}", wrong.stdout);
    assert!(
        wrong.stdout.contains("WRONG  subscription billing, webhook http://127.0.0.1:1/: "),
        "{}",
        wrong.stdout
    );

    let auth = "auth: {tokens: [{name: till, secret: till-till-till-till-till-till, publish: ['orders.*', o], manage: true},\
                {name: late, secret: {file: absent}, subscribe: ['>']}]}\n";
    let with_auth = format!("{}{auth}", yaml(&webhook.url("/"), ""));
    let wrong = check(&with_auth).await;
    ended(&wrong, 1);
    assert!(wrong.stdout.contains("ok     caller till: can call"), "{}", wrong.stdout);
    assert!(
        wrong.stdout.contains("WRONG  caller late: cannot read the secret in absent"),
        "{}",
        wrong.stdout
    );
    let valid = Launch::new(SIDESPAN).config(&with_auth).arguments(&["validate", "sidespan.yaml"]);
    let valid = valid.run_to_end().await;
    ended(&valid, 0);
    for line in
        ["caller        till: publishes to orders.*, o; manages the server", "caller        late: reads >"]
    {
        assert!(valid.stdout.contains(line), "{}", valid.stdout);
    }
    let replicas = "replicas: {peers: ['localhost:7400'], secrets: [hunter2hunter2, {file: absent}, \
                    a-secret-that-is-only-good-for-tests]}\n";
    let wrong = check(&format!("{}{replicas}", yaml(&webhook.url("/"), ""))).await;
    ended(&wrong, 1);
    for line in [
        "WRONG  replicas, secret 1: too short",
        "WRONG  replicas, secret 2: cannot read the secret in absent",
        "ok     replicas, secret 3: can be shared",
    ] {
        assert!(wrong.stdout.contains(line), "{}", wrong.stdout);
    }
    assert!(!wrong.stdout.contains("hunter2"), "{}", wrong.stdout);
    let metadata = check(&yaml("http://169.254.169.254/latest", "")).await;
    ended(&metadata, 1);
    assert!(metadata.stdout.contains("is never called"), "{}", metadata.stdout);

    #[cfg(feature = "kafka")]
    {
        let down = "  main: {kind: kafka, brokers: ['127.0.0.1:1']}\n";
        let wrong = check(&yaml(&webhook.url("/"), down)).await;
        ended(&wrong, 1);
        assert!(wrong.stdout.contains("WRONG  bridge main: "), "{}", wrong.stdout);
        assert!(wrong.stdout.contains("ok     bridge local: "), "{}", wrong.stdout);
    }
}

#[tokio::test]
async fn what_helps_to_write_a_configuration_is_printed() {
    let schema = sidespan(&["config", "schema"]).await;
    ended(&schema, 0);
    let schema: serde_json::Value = serde_json::from_str(&schema.stdout).unwrap();
    assert!(schema.pointer("/$defs/BridgeFile/oneOf/0/properties/dir").is_some());
    for shell in ["bash", "zsh", "fish"] {
        let script = sidespan(&["completion", shell]).await;
        ended(&script, 0);
        assert!(script.stdout.contains("sidespan"), "{shell}");
    }
    let version = sidespan(&["--version"]).await;
    assert_eq!(version.stdout, format!("sidespan {}\n", env!("CARGO_PKG_VERSION")));
}
