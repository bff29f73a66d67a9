//! `sidespan subscriptions`.

use serde_json::{Value, json};
use sidespan_test_support::Launch;

use crate::SIDESPAN;

const CONFIG: &str = "
version: 1
service: shop
bridges: { local: { kind: embedded, dir: ./data, open: true } }
registry: { bridge: local }
";

#[tokio::test]
async fn a_subscription_is_made_shown_paused_moved_and_ended() {
    let sidecar = Launch::new(SIDESPAN).config(CONFIG).start().await;
    sidecar.until_ready().await;
    let server = sidecar.url("");
    let ask = async |arguments: &[&str]| {
        let all = [&["subscriptions", "-o", "json", "--server", &server], arguments].concat();
        let ended = Launch::new(SIDESPAN).arguments(&all).run_to_end().await;
        let lines = ended.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect();
        (ended.status.code(), lines, ended.stderr)
    };
    let (code, lines, said): (_, Vec<Value>, _) = ask(&["put", "jobs", "--topic", "orders", "--pull"]).await;
    assert_eq!((code, &lines[0]["spec"]), (Some(0), &json!({"topic": "orders", "pull": {}})), "{said}");
    let revision = lines[0]["revision"].as_str().unwrap().to_owned();

    let (_, lines, _): (_, Vec<Value>, _) = ask(&["ls"]).await;
    assert_eq!((lines.len(), &lines[0]["name"]), (1, &json!("jobs")));
    let (_, lines, _): (_, Vec<Value>, _) = ask(&["pause", "jobs"]).await;
    assert_eq!(lines[0]["is_paused"], true);
    let (code, _, said): (_, Vec<Value>, _) = ask(&["rm", "jobs", "--if-revision", &revision]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("(412)"), "{said}");
    let (_, lines, _): (_, Vec<Value>, _) = ask(&["resume", "jobs"]).await;
    assert_eq!(lines[0]["is_paused"], false);
    let (code, _, said): (_, Vec<Value>, _) = ask(&["seek", "jobs", "--to", "begin"]).await;
    assert_eq!(code, Some(0), "{said}");
    let (code, lines, _): (_, Vec<Value>, _) = ask(&["get", "jobs"]).await;
    assert_eq!((code, &lines[0]["origin"]), (Some(0), &json!("registry")));
    let (code, _, said): (_, Vec<Value>, _) = ask(&["rm", "jobs"]).await;
    assert_eq!(code, Some(0), "{said}");
    let (_, lines, _): (_, Vec<Value>, _) = ask(&["ls"]).await;
    assert!(lines.is_empty(), "{lines:?}");
}

#[tokio::test]
async fn what_a_subscription_is_made_of_is_read_from_a_file() {
    let sidecar = Launch::new(SIDESPAN).config(CONFIG).start().await;
    sidecar.until_ready().await;
    let launch = Launch::new(SIDESPAN);
    std::fs::write(launch.directory().join("jobs.yaml"), "topic: orders\npull: { lease: 10s }\n").unwrap();
    let server = sidecar.url("");
    let put = ["subscriptions", "put", "jobs", "--file", "jobs.yaml", "--server", &server];
    let ended = launch.arguments(&put).run_to_end().await;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    assert!(ended.stdout.starts_with("jobs: "), "{}", ended.stdout);

    let missing = ["subscriptions", "put", "jobs", "--file", "absent.yaml", "--server", &server];
    let ended = Launch::new(SIDESPAN).arguments(&missing).run_to_end().await;
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.stderr.contains("absent.yaml"), "{}", ended.stderr);
}
