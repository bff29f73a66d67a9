//! How the server is started and stopped.

use std::pin::pin;
use std::time::{Duration, Instant};

use sidespan_test_support::{Answer, Launch, Signal, Webhook};

use crate::{SIDESPAN, development, ended, shell, sidespan};

#[tokio::test]
async fn a_configuration_that_cannot_be_read_ends_it_before_anything_is_touched() {
    let wrong = "version: 1\nservice: s\nbridges: {b: {kind: embedded, dri: d}}\nlimits: {timeout: 1h}\n";
    let refused = Launch::new(SIDESPAN).config(wrong).run_to_end().await;
    ended(&refused, 78);
    let lines: Vec<&str> = refused.stderr.lines().collect();
    assert_eq!(
        lines,
        [
            "sidespan.yaml: limits.timeout: must be at most `limits.max_timeout`",
            "sidespan.yaml: bridges.b.dri: unknown key; did you mean `dir`?",
        ]
    );
    assert_eq!(refused.stdout, "");

    ended(&sidespan(&["serve", "--config", "missing.yaml"]).await, 78);
    ended(&sidespan(&["serve"]).await, 2);
    ended(&sidespan(&["validate", "missing.yaml"]).await, 78);
    ended(&sidespan(&["--listen", "0.0.0.0:0"]).await, 78);
}

#[tokio::test]
async fn a_secret_that_cannot_sign_ends_it_before_anything_is_touched() {
    let yaml = |secret: &str| {
        format!(
            "version: 1\nservice: s\nbridges: {{b: {{kind: embedded, dir: d, open: true}}}}\n\
             subscriptions: {{s: {{topic: t, push: {{url: 'http://127.0.0.1:1', secrets: [{secret}]}}}}}}\n"
        )
    };
    for secret in ["hunter2", "whsec_c2hvcnQ=", "{env: BAD}"] {
        for command in [&["serve", "--config", "sidespan.yaml"][..], &["validate", "sidespan.yaml"]] {
            let launch = Launch::new(SIDESPAN).config(&yaml(secret)).env("BAD", "hunter2");
            let refused = launch.arguments(command).run_to_end().await;
            ended(&refused, 78);
            let said = &refused.stderr;
            assert!(
                said.starts_with("sidespan.yaml: subscriptions.s.push.secrets: a signing secret "),
                "{said}"
            );
            assert!(!said.contains("hunter2"), "{said}");
        }
    }
    let absent =
        Launch::new(SIDESPAN).config(&yaml("{file: absent}")).arguments(&["validate", "sidespan.yaml"]);
    ended(&absent.run_to_end().await, 0);
}

#[tokio::test]
async fn a_token_that_cannot_be_used_ends_it_before_anything_is_touched() {
    let good = "good-good-good-good-good-good";
    let yaml = |first: &str, second: &str| {
        format!(
            "version: 1\nservice: s\nbridges: {{b: {{kind: embedded, dir: d, open: true}}}}\n\
             auth: {{tokens: [{{name: a, secret: {first}, manage: true}}, {{name: b, secret: {second}, manage: true}}]}}\n"
        )
    };
    for (secret, reason) in [
        ("hunter2", "a token has at least 24 bytes, this one 7"),
        ("{env: BAD}", "a token is one word"),
        (good, "a has the same token"),
    ] {
        for command in [&["serve", "--config", "sidespan.yaml"][..], &["validate", "sidespan.yaml"]] {
            let launch = Launch::new(SIDESPAN).config(&yaml(good, secret));
            let launch = launch.env("BAD", "hunter2 hunter2 hunter2 hunter2");
            let refused = launch.arguments(command).run_to_end().await;
            ended(&refused, 78);
            let said = &refused.stderr;
            assert!(said.starts_with(&format!("sidespan.yaml: auth.tokens.1.secret: {reason}")), "{said}");
            assert!(!said.contains("hunter2") && !said.contains("good-good"), "{said}");
        }
    }
    let launch = Launch::new(SIDESPAN).config(&yaml(good, "{file: absent}"));
    ended(&launch.arguments(&["validate", "sidespan.yaml"]).run_to_end().await, 0);
}

#[tokio::test]
async fn a_webhook_where_nothing_is_ever_called_ends_it_before_anything_is_touched() {
    for host in ["169.254.169.254", "2852039166", "[::ffff:169.254.169.254]", "[fe80::1]"] {
        let yaml = format!(
            "version: 1\nservice: s\nbridges: {{b: {{kind: embedded, dir: d, open: true}}}}\n\
             subscriptions: {{s: {{topic: t, push: {{url: 'http://{host}/latest'}}}}}}\n"
        );
        let refused = Launch::new(SIDESPAN).config(&yaml).run_to_end().await;
        ended(&refused, 78);
        let said = &refused.stderr;
        assert!(said.starts_with("sidespan.yaml: subscriptions.s.push.url: "), "{said}");
        assert!(said.contains("is never called"), "{said}");
    }
}

#[tokio::test]
async fn it_starts_beside_a_kubernetes_service_of_its_name() {
    let launch =
        Launch::new(SIDESPAN).config("version: 1\nservice: s\nbridges: {b: {kind: embedded, dir: d}}\n");
    let launch = launch
        .env("SIDESPAN_SERVICE_HOST", "10.96.0.17")
        .env("SIDESPAN_SERVICE_PORT", "7400")
        .env("SIDESPAN_PORT", "tcp://10.96.0.17:7400")
        .env("SIDESPAN_PORT_7400_TCP", "tcp://10.96.0.17:7400")
        .env("SIDESPAN_PORT_7400_TCP_ADDR", "10.96.0.17");
    let mut sidecar = launch.start().await;
    sidecar.until_ready().await;
    ended(&sidecar.stop().await, 0);
}

#[tokio::test]
async fn the_variable_names_the_configuration_where_no_option_does() {
    let launch =
        Launch::new(SIDESPAN).config("version: 1\nservice: s\nbridges: {b: {kind: embedded, dir: d}}\n");
    let mut sidecar = launch.arguments(&["serve"]).env("SIDESPAN_CONFIG", "sidespan.yaml").start().await;
    ended(&sidecar.stop().await, 0);
}

#[tokio::test]
async fn development_mode_says_where_it_is_and_what_to_try() {
    let sidecar = development().await;
    let said = sidecar.stderr();
    for part in [&sidecar.url(""), "development mode", "./sidespan-data", "curl -H", "sidespan sub orders"] {
        assert!(said.contains(part), "{part:?} is missing in:\n{said}");
    }
}

#[tokio::test]
async fn a_push_gets_what_was_published_before_it_was_asked_for() {
    let webhook = Webhook::start(|_| Answer::ok()).await;
    let mut sidecar = development().await;
    ended(&sidespan(&["publish", "orders", "early", "--server", &sidecar.url("")]).await, 0);
    ended(&sidecar.stop().await, 0);
    let data = sidecar.directory().join("sidespan-data");
    let push = format!("orders={}", webhook.url("/events"));
    let arguments = ["--dir", data.to_str().unwrap(), "--push", &push];
    let pushing = Launch::new(SIDESPAN).arguments(&arguments).start().await;
    ended(&sidespan(&["publish", "orders", "late", "--server", &pushing.url("")]).await, 0);
    let received = webhook.wait_until("both are pushed", |received| received.len() >= 2).await;
    let mut texts: Vec<&str> = received.iter().map(|one| one.text()).collect();
    texts.sort_unstable();
    assert_eq!(texts, ["early", "late"]);
}

#[tokio::test]
async fn drain_returns_when_deliveries_are_finished_and_publishing_goes_on() {
    let mut sidecar = development().await;
    let drained = sidespan(&["drain", "--admin", &sidecar.admin_url("")]).await;
    ended(&drained, 0);
    assert_eq!(drained.stdout, "drained\n");
    ended(&sidespan(&["publish", "t", "x", "--server", &sidecar.url("")]).await, 0);
    sidecar.signal(Signal::Interrupt);
    ended(&sidecar.ended().await, 0);
}

#[tokio::test]
async fn drain_takes_as_long_as_it_is_asked_to_while_publishing_goes_on() {
    let sidecar = development().await;
    let (begun, admin) = (Instant::now(), sidecar.admin_url(""));
    let arguments = ["drain", "--admin", &admin, "--at-least", "3s"];
    let mut draining = pin!(sidespan(&arguments));
    let publish = async { sidespan(&["publish", "t", "x", "--server", &sidecar.url("")]).await };
    tokio::select! {
        _ = &mut draining => panic!("it took {:?}", begun.elapsed()),
        published = publish => ended(&published, 0),
    }
    let drained = draining.await;
    ended(&drained, 0);
    assert!(begun.elapsed() >= Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_unix_socket_is_as_good_as_a_port() {
    let line = "$SIDESPAN --listen unix:s.sock --admin 127.0.0.1:0 2>log & \
                until $SIDESPAN publish t x --server unix:s.sock; do sleep 0.1; kill -0 $! || exit 1; done; \
                kill $!; wait $!";
    let done = shell(line).await;
    ended(&done, 0);
    assert!(done.stdout.starts_with("stored in t at 0-1"), "{}", done.stdout);
}
