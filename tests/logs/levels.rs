//! The level is changed while the server runs: over the admin port, for a while, and by the file.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use sidespan_test_support::{Client, Launch, Sidecar, eventually};

use crate::{PATIENCE, SIDESPAN, lines, store};

const CONFIG: &str = "version: 1\nservice: shop\nlog: {format: json, level: LEVEL}\n\
                      bridges: {local: {kind: embedded, dir: data, open: true}}\n";

async fn start(level: &str) -> Sidecar {
    Launch::new(SIDESPAN).config(&CONFIG.replace("LEVEL", level)).start().await
}

async fn put(sidecar: &Sidecar, body: &Value) -> (StatusCode, Value) {
    let request = Client::new().request(Method::PUT, &sidecar.admin_url("/log")).body(body.to_string());
    let answer = request.send().await.unwrap();
    (answer.status, answer.json())
}

async fn level(sidecar: &Sidecar) -> Value {
    Client::new().get(&sidecar.admin_url("/log")).send().await.unwrap().json()
}

fn debugs(sidecar: &Sidecar) -> usize {
    lines(&sidecar.stderr())
        .iter()
        .filter(|line| line["level"] == "DEBUG" || line["level"] == "TRACE")
        .count()
}

#[tokio::test]
async fn the_level_is_changed_at_once_and_back() {
    let sidecar = start("info").await;
    store(&sidecar, "orders", "x", &[]).await;
    assert_eq!(level(&sidecar).await["level"], "info");
    assert_eq!(debugs(&sidecar), 0);
    let (status, report) = put(&sidecar, &json!({"level": "info,sidespan=debug"})).await;
    assert_eq!(
        (status, &report["level"], &report["configured"]),
        (StatusCode::OK, &json!("info,sidespan=debug"), &json!("info"))
    );
    eventually(PATIENCE, "more is said", async || {
        let _ = Client::new().get(&sidecar.url("/v1/nothing")).send().await.unwrap();
        debugs(&sidecar) > 0
    })
    .await;
    assert_eq!(put(&sidecar, &json!({"level": "info"})).await.1["level"], "info");
    let before = debugs(&sidecar);
    let _ = Client::new().get(&sidecar.url("/v1/nothing")).send().await.unwrap();
    assert_eq!(debugs(&sidecar), before);
}

#[tokio::test]
async fn a_level_for_a_while_goes_back_by_itself() {
    let sidecar = start("warn").await;
    let (status, report) = put(&sidecar, &json!({"level": "trace", "for": "500ms"})).await;
    assert_eq!((status, &report["level"]), (StatusCode::OK, &json!("trace")));
    assert!(report["until"].is_string(), "{report}");
    eventually(PATIENCE, "it is over", async || level(&sidecar).await["level"] == "warn").await;
    assert_eq!(level(&sidecar).await["until"], Value::Null);
}

#[tokio::test]
async fn what_is_no_level_is_refused_with_what_is() {
    let sidecar = start("info").await;
    for (body, told) in [
        (json!({"level": "verbose"}), "use off, error, warn, info, debug or trace"),
        (json!({"level": "info,sidespan::delivery=loud"}), "sidespan::delivery=loud"),
        (json!({"level": "info", "for": "10"}), "duration"),
        (json!({"level": "info", "for": "0s"}), "for: "),
        (json!({"level": "info", "untill": "10m"}), "untill"),
        (json!({}), "level"),
    ] {
        let (status, problem) = put(&sidecar, &body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
        assert!(problem["detail"].as_str().unwrap().contains(told), "{problem}");
    }
    assert_eq!(level(&sidecar).await["level"], "info");
}

#[tokio::test]
async fn the_command_tells_the_level_and_changes_it() {
    let sidecar = start("info").await;
    let admin = sidecar.admin_url("");
    let command = async |arguments: &[&str]| {
        let arguments: Vec<&str> =
            [&["log-level", "--admin", admin.trim_end_matches('/')][..], arguments].concat();
        Launch::new(SIDESPAN).arguments(&arguments).run_to_end().await
    };
    assert_eq!(command(&[]).await.stdout, "info\n");
    assert_eq!(command(&["debug"]).await.stdout, "debug, in the place of info\n");
    let timed = command(&["warn", "--for", "10m"]).await.stdout;
    assert!(timed.starts_with("warn until 2") && timed.ends_with(", then info\n"), "{timed}");
    assert_eq!(command(&["loud"]).await.status.code(), Some(2));
}

#[tokio::test]
async fn a_level_that_changes_in_the_file_is_used() {
    let sidecar = start("info").await;
    let file = sidecar.directory().join("sidespan.yaml");
    std::fs::write(file, CONFIG.replace("LEVEL", "debug")).unwrap();
    eventually(PATIENCE, "the file's level holds", async || level(&sidecar).await["level"] == "debug").await;
}
