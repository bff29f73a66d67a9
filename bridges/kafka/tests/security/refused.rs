//! Where there is no way in, one line says what to change, and no secret is in it.

use std::time::Duration;

use serde_json::{Value, json};
use sidespan_bridge::{Bridge, Driver, Error, Fault, Settings};
use sidespan_test_support::{Certificates, eventually};
use tokio::time::{Instant, timeout_at};

use super::{KafkaDriver, PATIENCE, Secured, log, open, publish};

/// Opens a bridge that does not get in; returns what its probe says.
async fn refused(address: &str, keys: Value, expected: &str) -> Fault {
    let bridge = open(&[address], keys);
    let mut last = None;
    eventually(PATIENCE, &format!("{expected:?} of {address}"), async || {
        let error = refusal(&*bridge).await;
        let said = error.to_string().contains(expected);
        if last.replace(error.to_string()).as_ref() != Some(&error.to_string()) {
            eprintln!("{error}");
        }
        assert!(!error.to_string().contains('\n'), "{error}");
        said
    })
    .await;
    is_logged_once(address, expected).await;
    let fault = refusal(&*bridge).await.fault;
    let answer = publish(&*bridge, "orders", "x").await.unwrap_err();
    assert!(matches!(answer.fault, Fault::Unavailable | Fault::Denied), "{answer:?}");
    fault
}

/// Returns what the probe says, in time: nobody waits for it any longer.
async fn refusal(bridge: &dyn Bridge) -> Error {
    let deadline = Instant::now() + Duration::from_secs(3);
    let said = timeout_at(deadline, bridge.probe(deadline)).await;
    said.expect("an answer in time").expect_err("nobody gets in")
}

/// The log has the line by now, or soon, and only once however often the client tries.
async fn is_logged_once(address: &str, expected: &str) {
    let above_debug = |line: &String| line.contains(" WARN ") || line.contains(" ERROR ");
    let about = |line: &String| line.contains(address) && line.contains(expected) && above_debug(line);
    let count = || log::lines().iter().filter(|line| about(line)).count();
    eventually(PATIENCE, &format!("{expected:?} in the log"), async || count() > 0).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(count(), 1, "{:#?}", log::lines().iter().filter(|line| about(line)).collect::<Vec<_>>());
}

#[tokio::test]
async fn wrong_credentials_are_said_once_and_never_shown() {
    let Some(secured) = Secured::shared().await else { return };
    let sasl = |mechanism: &str| json!({"sasl": {"mechanism": mechanism, "username": "alice", "password": "wonder-bread"}});
    assert_eq!(
        refused(&secured.at("SASL"), sasl("plain"), "refuses the credentials: check `sasl`").await,
        Fault::Denied
    );
    assert_eq!(refused(&secured.at("SCRAM"), sasl("plain"), "change `sasl.mechanism`").await, Fault::Denied);
    log::has_none_of(&["wonder-bread"]);
}

#[tokio::test]
async fn a_certificate_that_cannot_be_trusted_is_called_by_its_fault() {
    let Some(secured) = Secured::shared().await else { return };
    let ours = json!({"tls": {"ca": {"file": secured.certificates.authority()}}});
    refused(&secured.at("EXPIRED"), ours.clone(), "certificate has expired").await;
    refused(&secured.at("ELSEWHERE"), ours, "broker.elsewhere.test").await;
    let strangers = Certificates::new();
    let theirs = json!({"tls": {"ca": {"file": strangers.authority()}}});
    refused(&secured.at("TLS"), theirs, "from an unknown authority: set `tls.ca`").await;
}

#[tokio::test]
async fn a_certificate_that_the_broker_misses_or_does_not_know_is_said() {
    let Some(secured) = Secured::shared().await else { return };
    let ca = secured.certificates.authority();
    refused(&secured.at("MTLS"), json!({"tls": {"ca": {"file": ca}}}), "or asks for one: BadCertificate")
        .await;
}

#[tokio::test]
async fn the_wrong_kind_of_port_is_said() {
    let Some(secured) = Secured::shared().await else { return };
    let tls = json!({"tls": {"ca": {"file": secured.certificates.authority()}}});
    refused(secured.kafka.address(), tls, "does not speak TLS at this port").await;
    refused(&secured.at("SASLTLS"), json!({}), "only TLS at this port").await;
    let sasl = json!({"sasl": {"mechanism": "plain", "username": "alice", "password": "wonderland"}});
    refused(secured.kafka.address(), sasl, "takes no credentials at this port").await;
}

#[tokio::test]
async fn a_port_that_asks_for_credentials_is_said() {
    let Some(secured) = Secured::shared().await else { return };
    refused(&secured.at("SASL"), json!({}), "set `sasl`").await;
}

#[tokio::test]
async fn a_secret_that_is_not_there_or_cannot_be_used_is_said_at_once() {
    log::keep();
    let refusal = |keys: Value| {
        let error = KafkaDriver.open(&Settings::new("s", keys)).err().expect("a refusal");
        format!("{error} {:?}", std::error::Error::source(&error))
    };
    let brokers = json!(["127.0.0.1:1"]);
    let sasl = |password: Value| json!({"mechanism": "plain", "username": "a", "password": password});
    let missing = sasl(json!({"file": "/nowhere/password"}));
    assert!(refusal(json!({"brokers": brokers, "sasl": missing})).contains("/nowhere/password"));
    let said = refusal(json!({"brokers": brokers, "sasl": sasl(json!("hunter\0two"))}));
    assert!(!said.contains("hunter") && !said.contains("104, 117"), "{said}");
    for tls in [json!({"ca": "hunter"}), json!({"certificate": "hunter", "key": "hunter"})] {
        let said = refusal(json!({"brokers": brokers, "tls": tls}));
        assert!(said.contains("certificates in PEM") && !said.contains("hunter"), "{said}");
    }
    log::has_none_of(&["hunter"]);
}
