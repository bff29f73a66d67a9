//! `request`, and what its exit code says.

use sidespan_test_support::{Answer, Launch, Webhook, eventually};

use crate::{PATIENCE, SIDESPAN, ended, sidespan};

#[tokio::test]
async fn what_is_answered_is_printed() {
    let webhook = Webhook::start(|asked| {
        let status = if asked.text() == "no" { 422 } else { 200 };
        Answer::status(status).body(format!("{} to you", asked.text()))
    })
    .await;
    let config = format!(
        "version: 1\nservice: shop\nbridges: {{ local: {{ kind: embedded, dir: ./data, open: true }} }}\n\
         subscriptions: {{ asked: {{ topic: asked, push: {{ url: '{}', reply: true }} }} }}\n",
        webhook.url("/")
    );
    let sidecar = Launch::new(SIDESPAN).config(&config).start().await;
    sidecar.until_ready().await;
    let url = sidecar.url("");
    let ask = async |arguments: &[&str]| {
        sidespan(&[&["request"], arguments, &["--server", url.as_str()]].concat()).await
    };
    eventually(PATIENCE, "somebody listens", async || ask(&["asked", "hello"]).await.status.success()).await;
    let done = ask(&["asked", "hello", "-H", "zone=2"]).await;
    ended(&done, 0);
    assert_eq!(done.stdout, "hello to you");
    assert_eq!(webhook.received().last().unwrap().headers["sidespan-header-zone"], "2");
    let done = ask(&["asked", "no"]).await;
    ended(&done, 1);
    assert_eq!(done.stdout, "no to you");
    assert!(done.stderr.contains("422"), "{}", done.stderr);
    let done = ask(&["nobody", "hello"]).await;
    ended(&done, 1);
    assert!(done.stderr.contains("nobody answers"), "{}", done.stderr);
}
