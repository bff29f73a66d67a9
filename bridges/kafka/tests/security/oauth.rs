//! Tokens of an issuer, which is a server of the test's own.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sidespan_bridge::Fault;
use sidespan_test_support::{Answer, Webhook, unique_name};
use tokio::time::{Instant, timeout_at};

use super::{Secured, log, open, publish, publish_at_last, receive};

/// Returns a token that the broker takes without a signature, as it is set up to.
fn token(lifetime: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let claims = json!({"sub": "shop", "iat": now, "exp": now + lifetime});
    let encode = |json: Value| URL_SAFE_NO_PAD.encode(json.to_string());
    format!("{}.{}.", encode(json!({"alg": "none"})), encode(claims))
}

fn issued(lifetime: u64) -> Answer {
    let body = json!({"access_token": token(lifetime), "token_type": "Bearer", "expires_in": lifetime});
    Answer::ok().header("content-type", "application/json").body(body.to_string())
}

fn sasl(issuer: &Webhook) -> Value {
    json!({"sasl": {
        "mechanism": "oauthbearer", "token_endpoint": issuer.url("/token"),
        "client_id": "shop", "client_secret": "open-sesame", "scope": "kafka",
    }})
}

/// The tokens are good for ten seconds and the broker ends connections with them: so each is
/// replaced in time, and everything goes on.
#[tokio::test]
async fn tokens_are_fetched_ahead_and_shown_again_before_they_expire() {
    let Some(secured) = Secured::shared().await else { return };
    let topic = unique_name("tokens");
    secured.kafka.create_topic(&topic, 1).await;
    let issuer = Webhook::start(|_| issued(10)).await;
    let bridge = open(&[&secured.at("SASL")], sasl(&issuer));
    publish_at_last(&*bridge, &topic, "hello").await;
    receive(&*bridge, &topic, "hello").await;
    let asked = issuer.received();
    assert_eq!(asked[0].text(), "grant_type=client_credentials&scope=kafka");
    assert_eq!(asked[0].header("authorization"), "Basic c2hvcDpvcGVuLXNlc2FtZQ==");

    while issuer.received().len() < 3 {
        publish(&*bridge, &topic, "more").await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    log::has_none_of(&["open-sesame", "c2hvcDpvcGVuLXNlc2FtZQ", "eyJhbGciOiJub25lIn0"]);
}

/// An issuer that refuses, and one that is away, are said in words; once it is back all is well.
#[tokio::test]
async fn an_issuer_that_refuses_is_said_and_its_return_is_enough() {
    let Some(secured) = Secured::shared().await else { return };
    let topic = unique_name("refusing");
    secured.kafka.create_topic(&topic, 1).await;
    let issuer = Webhook::start(|_| Answer::status(401).body("client_secret=open-sesame is wrong")).await;
    let bridge = open(&[&secured.at("SASL")], sasl(&issuer));
    // From the first time on: `check` asks once.
    let deadline = Instant::now() + Duration::from_secs(3);
    let error = timeout_at(deadline, bridge.probe(deadline)).await.expect("an answer in time").unwrap_err();
    assert_eq!(error.fault, Fault::Denied, "{error}");
    assert!(error.to_string().contains("refuses with 401: check `sasl.client_id`"), "{error}");
    issuer.follow(|_| issued(300));
    publish_at_last(&*bridge, &topic, "hello").await;
    receive(&*bridge, &topic, "hello").await;
    log::has_none_of(&["open-sesame"]);
}
