//! the command line: every command, run as people run it

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::time::Duration;

use sidespan_test_support::{Answer, Ended, Launch, Sidecar, Signal, Webhook, eventually};

const SIDESPAN: &str = env!("CARGO_BIN_EXE_sidespan");

/// Runs a command to its end.
async fn sidespan(arguments: &[&str]) -> Ended {
    Launch::new(SIDESPAN).arguments(arguments).run_to_end().await
}

/// Runs a line of shell, in which `$SIDESPAN` is the program.
async fn shell(line: &str) -> Ended {
    Launch::new("/bin/sh").arguments(&["-c", line]).env("SIDESPAN", SIDESPAN).run_to_end().await
}

async fn development() -> Sidecar {
    let sidecar = Launch::new(SIDESPAN).start().await;
    sidecar.until_ready().await;
    sidecar
}

#[track_caller]
fn ended(ended: &Ended, code: i32) {
    assert_eq!(ended.status.code(), Some(code), "{}\n{}", ended.stdout, ended.stderr);
}

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
async fn what_is_published_is_seen() {
    let sidecar = development().await;
    let url = sidecar.url("");
    let server = ["--server", url.as_str()];
    let publish = async |arguments: &[&str]| {
        let all: Vec<&str> = [&["publish", "a topic/x"], arguments, &server].concat();
        let done = sidespan(&all).await;
        ended(&done, 0);
        done.stdout
    };
    let receipt = publish(&[r#"{"id": 17}"#, "--key", "zoë", "--header", "note= 100% é "]).await;
    assert!(receipt.starts_with("stored in a topic/x at 0-1, id "), "{receipt}");
    let receipt = publish(&["plain", "--idempotency-key", "once", "-o", "json"]).await;
    let receipt: serde_json::Value = serde_json::from_str(&receipt).unwrap();
    assert_eq!(receipt["deduplicated"], true);
    let again = publish(&["plain", "--idempotency-key", "once"]).await;
    assert!(again.starts_with("stored before"), "{again}");
    publish(&["--tombstone", "--key", "gone"]).await;

    let sub = async |more: &[&str]| {
        sidespan(&[&["sub", "a topic/x", "-n", "3", "--start", "begin"], more, &server].concat()).await
    };
    let seen = sub(&[]).await;
    ended(&seen, 0);
    assert!(seen.stdout.contains("key=zoë\n  note:  100% é \n{\"id\": 17}\n"), "{}", seen.stdout);
    assert!(seen.stdout.ends_with("key=gone\n  (tombstone)\n"), "{}", seen.stdout);

    let seen = sub(&["-o", "json"]).await;
    let objects: Vec<serde_json::Value> =
        seen.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects.len(), 3);
    assert_eq!(objects[0]["data"]["id"], 17);
    assert_eq!(objects[1]["text"], "plain");
    assert_eq!(objects[2]["tombstone"], true);
}

#[tokio::test]
async fn payloads_come_from_files_and_standard_input() {
    let sidecar = development().await;
    let server = sidecar.url("");
    ended(&shell(&format!("printf piped | $SIDESPAN publish t - --server {server}")).await, 0);
    ended(&shell(&format!("printf filed > f && $SIDESPAN publish t --file f --server {server}")).await, 0);
    let lines = format!(
        r#"(printf '{{"text":"one"}}\n\n'; sleep 0.2; printf '{{"text":"two","key":"k"}}') | $SIDESPAN publish t --ndjson --server {server}"#
    );
    let stored = shell(&lines).await;
    ended(&stored, 0);
    assert_eq!(stored.stdout, "stored 2 messages in t\n");
    let seen =
        sidespan(&["sub", "t", "-n", "4", "--start", "begin", "-o", "json", "--server", &server]).await;
    let texts: Vec<String> = seen
        .stdout
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["text"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(texts, ["piped", "filed", "one", "two"]);
}

#[tokio::test]
async fn the_exit_code_tells_refused_from_not_now() {
    let sidecar = development().await;
    let url = sidecar.url("");
    let refused = sidespan(&["publish", "t", "x", "--header", "te=x", "--server", &url]).await;
    ended(&refused, 1);
    assert!(refused.stderr.contains("(400)") && refused.stderr.contains("reserved"), "{}", refused.stderr);
    let large = format!("head -c 1100000 /dev/zero | $SIDESPAN publish t - --server {url}");
    ended(&shell(&large).await, 1);
    let larger = format!("head -c 8000000 /dev/zero > f && $SIDESPAN publish t --file f --server {url}");
    ended(&shell(&larger).await, 1);
    let half =
        format!(r#"printf '{{"text":"a"}}\n{{"txt":"b"}}\n' | $SIDESPAN publish t --ndjson --server {url}"#);
    let half = shell(&half).await;
    ended(&half, 1);
    assert!(half.stderr.contains("stored: 1, failed: 1"), "{}", half.stderr);

    let nowhere = ["--server", "http://127.0.0.1:1"];
    for command in [&["publish", "t", "x"][..], &["sub", "t"]] {
        let unreachable = sidespan(&[command, &nowhere].concat()).await;
        ended(&unreachable, 75);
        assert!(unreachable.stderr.contains("cannot reach http://127.0.0.1:1"), "{}", unreachable.stderr);
    }
    ended(&sidespan(&["drain", "--admin", "http://127.0.0.1:1"]).await, 75);
    ended(&sidespan(&["publish", "t"]).await, 2);
    ended(&sidespan(&["publish", "t", "x", "--timeout", "9999999999y"]).await, 2);
    ended(&sidespan(&["sub", "t", "--server", "https://h"]).await, 2);
    ended(&sidespan(&["sub", "t", "--start", "now", "--server", &url]).await, 1);
}

#[tokio::test]
async fn of_lines_that_are_not_all_stored_it_is_said_which() {
    let sidecar = development().await;
    let url = sidecar.url("");
    let publish = async |options: &str| {
        let lines =
            r#"(yes '{"text":"a"}' | head -n 1000; printf '{"text":"b"}\n{"txt":"c"}\n{"text":"d"}\n')"#;
        let done = shell(&format!("{lines} | $SIDESPAN publish t --ndjson {options} --server {url}")).await;
        ended(&done, 1);
        done
    };
    let text = publish("").await;
    assert!(text.stderr.starts_with("message 1001 not stored: "), "{}", text.stderr);
    assert!(text.stderr.contains("unknown field `txt`"), "{}", text.stderr);
    assert!(text.stderr.contains("stored from earlier batches: 1000"), "{}", text.stderr);

    let json = publish("-o json").await;
    let outcomes: Vec<serde_json::Value> =
        json.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(outcomes.len(), 1003);
    assert!(outcomes.iter().enumerate().all(|(index, outcome)| outcome["index"] == index));
    let failed: Vec<_> = outcomes.iter().filter(|outcome| outcome["status"] != 200).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0]["index"], 1001);
}

#[tokio::test]
async fn a_reader_that_goes_away_ends_it_quietly() {
    let sidecar = development().await;
    let url = sidecar.url("");
    ended(&sidespan(&["publish", "t", "only", "--server", &url]).await, 0);
    let line = format!(
        "{{ $SIDESPAN sub t --start begin -o json --server {url}; echo \"code $?\" >&2; }} | head -n 1"
    );
    let seen = shell(&line).await;
    assert!(seen.stdout.contains("\"only\""), "{}", seen.stdout);
    assert_eq!(seen.stderr, "following t from begin\ncode 0\n");
}

#[tokio::test]
async fn following_goes_on_after_the_server_was_away_and_ends_with_an_interrupt() {
    let mut sidecar = development().await;
    let url = sidecar.url("");
    ended(&sidespan(&["publish", "t", "0", "--server", &url]).await, 0);
    let seen = sidecar.directory().join("seen");
    let line = format!("$SIDESPAN sub t -n 3 --start begin -o json --server {url} | tee {}", seen.display());
    let following = tokio::spawn(async move { shell(&line).await });
    ended(&sidespan(&["publish", "t", "1", "--server", &url]).await, 0);
    let lines = || fs::read_to_string(&seen).unwrap_or_default().lines().count();
    eventually(PATIENCE, "two messages are seen", async || lines() == 2).await;
    sidecar.kill();
    sidecar.start_again().await;
    ended(&sidespan(&["publish", "t", "2", "--server", &url]).await, 0);
    let seen = following.await.unwrap();
    ended(&seen, 0);
    let data: Vec<i64> = seen
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["data"].as_i64().unwrap())
        .collect();
    assert_eq!(data, [0, 1, 2]);

    let line = format!(
        "$SIDESPAN sub t --server {url} 2>said & until grep -qs following said; do sleep 0.05; done; \
         kill -INT $! && wait $! && cat said >&2"
    );
    let interrupted = shell(&line).await;
    ended(&interrupted, 0);
    assert_eq!(
        interrupted.stderr,
        "following t from end; 3 messages are stored earlier (--start begin shows them)\n"
    );
}

#[tokio::test]
async fn following_a_pattern_goes_on_without_a_gap() {
    let mut sidecar = development().await;
    let url = sidecar.url("");
    ended(&sidespan(&["publish", "t.a", "0", "--server", &url]).await, 0);
    let seen = sidecar.directory().join("seen");
    let line =
        format!("$SIDESPAN sub 't.*' -n 3 --start begin -o json --server {url} | tee {}", seen.display());
    let following = tokio::spawn(async move { shell(&line).await });
    let lines = || fs::read_to_string(&seen).unwrap_or_default().lines().count();
    eventually(PATIENCE, "a message is seen", async || lines() == 1).await;
    sidecar.kill();
    sidecar.start_again().await;
    // Before the reader is back, as a rule.
    for topic in ["t.b", "t.a"] {
        ended(&sidespan(&["publish", topic, "1", "--server", &url]).await, 0);
    }
    let seen = following.await.unwrap();
    ended(&seen, 0);
    let topics: Vec<String> = seen
        .stdout
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["topic"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(topics, ["t.a", "t.b", "t.a"]);
    assert!(seen.stderr.contains("connected again\n"), "{}", seen.stderr);
}

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
async fn a_unix_socket_is_as_good_as_a_port() {
    let line = "$SIDESPAN --listen unix:s.sock --admin 127.0.0.1:0 2>log & \
                until $SIDESPAN publish t x --server unix:s.sock; do sleep 0.1; kill -0 $! || exit 1; done; \
                kill $!; wait $!";
    let done = shell(line).await;
    ended(&done, 0);
    assert!(done.stdout.starts_with("stored in t at 0-1"), "{}", done.stdout);
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

const PATIENCE: Duration = Duration::from_secs(30);
