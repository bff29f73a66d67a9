//! The program does its work in the image: as nobody, with a root that cannot be written, and no shell.

use std::fs;

use serde_json::json;
use sidespan_test_support::{Answer, Client, Webhook};

use crate::SIDESPAN;
use crate::dockerfile::image;
use crate::room::Room;

#[tokio::test]
async fn it_publishes_and_delivers_with_nothing_but_what_the_image_holds() {
    serves(SIDESPAN).await;
}

/// Runs a program as the image does, and has it take and deliver a message, drain and stop.
pub(crate) async fn serves(program: &str) {
    let webhook = Webhook::start(|_| Answer::ok()).await;
    let config = format!(
        "version: 1\nservice: s\nbridges: {{local: {{kind: embedded, dir: .}}}}\ntopics: {{orders: {{}}}}\n\
         subscriptions: {{billing: {{topic: orders, start: begin, push: {{url: '{}'}}}}}}\n",
        webhook.url("/")
    );
    let room = Room::new(program, &config).await;
    let image = image();
    let command: Vec<&str> = image.command.iter().map(String::as_str).collect();
    let mut sidecar = room.launch(&command).start().await;
    sidecar.until_ready().await;

    let status = fs::read_to_string(format!("/proc/{}/status", sidecar.id())).unwrap();
    let is = |key: &str, value: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        assert_eq!(line.map(str::trim), Some(value), "{key} in\n{status}");
    };
    is("NoNewPrivs", "1");
    is("CapEff", "0000000000000000");
    let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", sidecar.id())).unwrap();
    let root = mounts.lines().find(|line| line.split(' ').nth(4) == Some("/")).expect("a root");
    assert!(root.split(' ').nth(5).is_some_and(|options| options.starts_with("ro")), "{root}");

    let url = sidecar.url("/v1/topics/orders/messages");
    let order = Client::new().post(&url, json!({"id": 17}).to_string());
    let published = order.header("content-type", "application/json").send().await.unwrap();
    assert_eq!(published.status, 200, "{}", published.text());
    let received = webhook.wait_until("the message", |received| !received.is_empty()).await;
    assert_eq!(received[0].text(), r#"{"id":17}"#);
    assert!(!room.written().is_empty(), "the log is in the volume");

    let admin = sidecar.admin_url("");
    let drain = room.launch(&["/usr/local/bin/sidespan", "drain", "--admin", &admin]).run_to_end().await;
    assert!(drain.status.success(), "the preStop hook: {}", drain.stderr);
    let ended = sidecar.stop().await;
    assert!(ended.status.success(), "{}", ended.stderr);

    let shell = room.launch(&["/bin/sh", "-c", "true"]).run_to_end().await;
    assert!(!shell.status.success(), "there is no shell");
}
