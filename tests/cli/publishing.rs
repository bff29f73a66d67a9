//! `publish`, and what its exit code says.

use crate::{development, ended, shell, sidespan};

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
