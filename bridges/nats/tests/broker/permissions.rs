//! What the server's permissions forbid is said at once, and by name.

use std::time::Duration;

use sidespan_bridge::{Start, Topic};
use tokio::time::Instant;

use super::*;

const USERS: &str = r#"
authorization { users: [
  { user: operator, password: o }
  { user: service, password: s, permissions: {
      publish: ["_INBOX.>", "$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.INFO.>", "allowed"]
      subscribe: ["_INBOX.>"] } }
  { user: deaf, password: d, permissions: { publish: ">", subscribe: { deny: "_INBOX.>" } } }
] }
"#;

#[tokio::test]
async fn what_is_forbidden_is_denied_at_once_and_the_rest_works() {
    let nats = match Nats::start_with(USERS).await {
        Ok(nats) => nats,
        Err(skipped) => return eprintln!("{skipped}"),
    };
    let operator = async_nats::ConnectOptions::with_user_and_password("operator".into(), "o".into());
    let operator = Operator(operator.connect(nats.url()).await.unwrap());
    operator.make("allowed", json!({})).await;
    operator.make("forbidden", json!({})).await;
    let more = json!({"username": "service", "password": "s", "create_streams": {}});
    let bridge = open_with(&nats, more);

    publish(&*bridge, "allowed", vec![text("x")]).await;
    let began = Instant::now();
    let outcomes = bridge.publisher().publish(&Topic::new("forbidden"), vec![text("x")], soon()).await;
    denied(outcomes[0].as_ref().unwrap_err(), "forbidden");
    let error = refusal(&*bridge, all_of("allowed")).await;
    denied(&error, "$JS.API.CONSUMER.");
    let error = bridge.ensure(&Topic::new("not.there"), soon()).await.unwrap_err();
    denied(&error, "$JS.API.STREAM.CREATE.not_there");
    assert!(began.elapsed() < Duration::from_secs(2), "said after {:?}", began.elapsed());
    publish(&*bridge, "allowed", vec![text("x")]).await;
}

/// Without a store too; and who may not hear the answers is told so, rather than that nobody answers.
#[tokio::test]
async fn what_may_not_be_listened_to_is_denied_by_name() {
    let nats = match Nats::start_with(USERS).await {
        Ok(nats) => nats,
        Err(skipped) => return eprintln!("{skipped}"),
    };
    let bridge = open_with(&nats, json!({"username": "service", "password": "s", "mode": "core"}));
    let began = Instant::now();
    for group in [Some("group".into()), None] {
        let to = Subscribe { group, start: Start::End, ..all_of("secret.topic") };
        denied(&refusal(&*bridge, to).await, "subscribe to secret.topic");
    }
    assert!(began.elapsed() < Duration::from_secs(2), "said after {:?}", began.elapsed());
    let bridge = open_with(&nats, json!({"username": "deaf", "password": "d"}));
    let error = bridge.probe(Instant::now() + Duration::from_secs(2)).await.unwrap_err();
    denied(&error, "subscribe to _INBOX.>");
}

fn denied(error: &Error, subject: &str) {
    assert_eq!(error.fault, Fault::Denied, "{error}");
    assert!(error.to_string().contains(subject), "{error}");
}
