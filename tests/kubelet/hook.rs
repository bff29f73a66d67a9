//! `sidespan drain` as a hook: by the configuration alone, and whatever the server is doing.

use std::fs;
use std::time::Duration;

use sidespan_test_support::{Answer, Ended, Launch, Signal, Webhook};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::pod::drain;
use crate::{SIDESPAN, until};

#[tokio::test(flavor = "multi_thread")]
async fn it_finds_the_server_and_its_token_by_the_configuration() {
    let auth = "auth:\n  tokens:\n  - {name: till, secret: {env: TILL}, publish: ['>']}\n  \
                - {name: operator, secret: {env: OPERATOR}, manage: true}\n";
    let secrets = [("TILL", "till-till-till-till-till-till"), ("OPERATOR", "oper-oper-oper-oper-oper-oper")];
    let with = |launch: Launch| secrets.iter().fold(launch, |launch, (name, value)| launch.env(name, value));
    let sidecar = with(Launch::new(SIDESPAN)).config(&format!("{CONFIG}{auth}")).start().await;
    // It may have been changed to something that the server ignores.
    let path = sidecar.directory().join("sidespan.yaml");
    fs::write(&path, format!("{CONFIG}{auth}subscriptions: 7\nfuture: {{}}\n")).unwrap();
    let hook = with(drain(&sidecar, &[])).run_to_end().await;
    ended(&hook, 0, "drained\n");
    until(&sidecar, "/readyz", 503).await;
    until(&sidecar, "/readyz/publish", 200).await;
    until(&sidecar, "/readyz/listeners", 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_gone_has_nothing_left() {
    let mut sidecar = Launch::new(SIDESPAN).config(CONFIG).start().await;
    sidecar.kill();
    let url = sidecar.admin_url("");
    ended(
        &drain(&sidecar, &[]).run_to_end().await,
        0,
        &format!("nobody listens at {url}: there is nothing to drain\n"),
    );
    // Somebody who names an address may have named the wrong one.
    let named = Launch::new(SIDESPAN).arguments(&["drain", "--admin", &url]).run_to_end().await;
    assert_eq!(named.status.code(), Some(75), "{}{}", named.stdout, named.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_being_stopped_is_waited_for() {
    let gate = CancellationToken::new();
    let open = gate.clone();
    let webhook = Webhook::start(move |_| Answer::ok().once(&open)).await;
    let subscription = format!(
        "subscriptions: {{billing: {{topic: orders, start: begin, push: {{url: '{}', timeout: 60s}}}}}}\n",
        webhook.url("/")
    );
    let mut sidecar = Launch::new(SIDESPAN).config(&format!("{CONFIG}{subscription}")).start().await;
    sidecar.until_ready().await;
    let url = sidecar.url("/v1/topics/orders/messages");
    let stored = sidespan_test_support::Client::new().post(&url, "17").send().await.unwrap();
    assert_eq!(stored.status, 200, "{}", stored.text());
    webhook.wait_until("an attempt", |received| received.len() == 1).await;
    sidecar.signal(Signal::Terminate);
    until(&sidecar, "/readyz", 503).await;
    let mut hook = tokio::spawn(drain(&sidecar, &[]).run_to_end());
    timeout(Duration::from_millis(500), &mut hook).await.expect_err("it waits for what runs");
    gate.cancel();
    ended(&hook.await.unwrap(), 0, "drained\n");
    assert_eq!(sidecar.ended().await.status.code(), Some(0));
}

#[track_caller]
fn ended(ended: &Ended, code: i32, said: &str) {
    assert_eq!((ended.status.code(), &*ended.stdout), (Some(code), said), "{}", ended.stderr);
}

const CONFIG: &str =
    "version: 1\nservice: shop\nbridges: {local: {kind: embedded, dir: data}}\ntopics: {orders: {}}\n";
