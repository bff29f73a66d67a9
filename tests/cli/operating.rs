//! Commands for operators, beside a server that is named by its configuration.

use serde_json::Value;
use sidespan_test_support::{Answer, Client, Ended, Launch, Sidecar, Webhook, eventually};

use crate::{PATIENCE, SIDESPAN, ended};

/// A server that asks who calls, with a subscription.
async fn server(webhook: &Webhook) -> Sidecar {
    let launch = Launch::new(SIDESPAN).config(&format!(
        "version: 1\nservice: s\nbridges: {{b: {{kind: embedded, dir: d}}}}\ntopics: {{orders: {{}}}}\n\
         subscriptions: {{billing: {{topic: orders, start: begin, push: {{url: '{}'}}}}}}\n\
         auth:\n  tokens:\n\
         \x20 - {{name: till, secret: till-till-till-till-till-till, publish: [orders]}}\n\
         \x20 - {{name: operator, secret: operator-operator-operator, manage: true}}\n",
        webhook.url("/")
    ));
    let sidecar = launch.start().await;
    sidecar.until_ready().await;
    sidecar
}

/// Runs a command as in the server's own container.
async fn beside(sidecar: &Sidecar, arguments: &[&str]) -> Ended {
    let admin = sidecar.admin_url("");
    let launch = Launch::new(SIDESPAN).arguments(arguments);
    let launch = launch.env("SIDESPAN_CONFIG", sidecar.directory().join("sidespan.yaml").to_str().unwrap());
    launch
        .env("SIDESPAN__ADMIN", admin.trim_start_matches("http://").trim_end_matches('/'))
        .run_to_end()
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn stat_shows_what_came_while_it_looked() {
    let webhook = Webhook::start(|_| Answer::ok()).await;
    let sidecar = server(&webhook).await;
    let publish = async || {
        let post = Client::new().post(&sidecar.url("/v1/topics/orders/messages"), "17");
        let answer = post.header("authorization", "Bearer till-till-till-till-till-till").send().await;
        assert_eq!(answer.unwrap().status, 200);
    };
    publish().await;
    eventually(PATIENCE, "a look in which something came", async || {
        let look = ["stat", "--window", "500ms", "-o", "json"];
        let (seen, ()) = tokio::join!(beside(&sidecar, &look), publish());
        ended(&seen, 0);
        let said: Value = serde_json::from_str(&seen.stdout).unwrap();
        let (topic, subscription) = (&said["topics"][0], &said["subscriptions"][0]);
        assert_eq!((&topic["topic"], &topic["bridge"]), (&"orders".into(), &"b".into()));
        assert_eq!(
            (&subscription["subscription"], &subscription["state"]),
            (&"billing".into(), &"running".into())
        );
        topic["success"] == 1.0 && subscription["success"] == 1.0 && subscription["rate"].as_f64() > Some(0.0)
    })
    .await;
    let seen = beside(&sidecar, &["stat", "--window", "100ms"]).await;
    ended(&seen, 0);
    assert!(seen.stdout.starts_with("TOPIC ") && seen.stdout.contains("\nbilling "), "{}", seen.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn they_show_the_token_of_the_configuration_to_the_server_that_it_names_alone() {
    let webhook = Webhook::start(|_| Answer::ok()).await;
    let sidecar = server(&webhook).await;
    let changed = beside(&sidecar, &["log-level", "debug"]).await;
    ended(&changed, 0);
    let admin = sidecar.admin_url("");
    let named = beside(&sidecar, &["log-level", "info", "--admin", &admin]).await;
    ended(&named, 1);
    assert!(named.stderr.contains("--token-file"), "{}", named.stderr);
}
