//! Secrets that change while a bridge is open.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use sidespan_bridge::{Settlement, Verdict};
use sidespan_test_support::{eventually, unique_name};
use tempfile::tempdir;
use tokio::time::Instant;

use super::{PATIENCE, Secured, log, next, open, publish, publish_at_last, subscribe};

/// The password is changed in the file and at the broker while messages are published and read: none
/// of them fails or is out of order, and nobody notices.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_is_used_without_a_restart() {
    let Some(secured) = Secured::shared().await else { return };
    let (topic, user) = (unique_name("rotated"), unique_name("rotating"));
    secured.kafka.create_topic(&topic, 1).await;
    secured.set_password(&user, "SCRAM-SHA-512", "first-password").await;
    let directory = tempdir().unwrap();
    let file = directory.path().join("password");
    fs::write(&file, "first-password\n").unwrap();
    let sasl = json!({"mechanism": "scram-sha-512", "username": user, "password": {"file": file}});
    let bridge = open(&[&secured.at("SASL")], json!({"sasl": sasl}));
    publish_at_last(&*bridge, &topic, "0").await;

    let over = AtomicBool::new(false);
    let load = async {
        let mut number = 1;
        while !over.load(Ordering::Relaxed) {
            publish(&*bridge, &topic, &number.to_string()).await.unwrap();
            number += 1;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        number
    };
    let rotation = async {
        secured.set_password(&user, "SCRAM-SHA-512", "second-password").await;
        fs::write(&file, "second-password\n").unwrap();
        eventually(PATIENCE, "a new client takes over", async || {
            log::lines().iter().any(|line| line.contains("the secrets for kafka have changed"))
        })
        .await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        over.store(true, Ordering::Relaxed);
    };
    let (published, ()) = tokio::join!(load, rotation);

    let mut inbox = subscribe(&*bridge, &topic).await;
    for number in 0..published {
        let delivery = next(&mut inbox).await.unwrap();
        assert_eq!(delivery.message.payload.as_deref(), Some(number.to_string().as_bytes()));
        drop(delivery.ack.settle(Verdict::Accept));
    }
    log::has_none_of(&["first-password", "second-password"]);
}

/// The certificate in the file is not known to the broker until it is replaced by a good one.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_used_without_a_restart() {
    let Some(secured) = Secured::shared().await else { return };
    let topic = unique_name("renewed");
    secured.kafka.create_topic(&topic, 1).await;
    let strangers = sidespan_test_support::Certificates::new();
    let (bad, good) = (strangers.client("renewed"), secured.certificates.client("renewed"));
    let directory = tempdir().unwrap();
    let (certificate, key) = (directory.path().join("certificate"), directory.path().join("key"));
    fs::copy(&bad.certificate, &certificate).unwrap();
    fs::copy(&bad.key, &key).unwrap();
    let ca = secured.certificates.authority();
    let tls = json!({"ca": {"file": ca}, "certificate": {"file": certificate}, "key": {"file": key}});
    let bridge = open(&[&secured.at("MTLS")], json!({"tls": tls}));
    eventually(PATIENCE, "the broker refuses the certificate", async || {
        let error = bridge.probe(Instant::now() + Duration::from_secs(3)).await.unwrap_err();
        eprintln!("{error}");
        error.to_string().contains("refuses `tls.certificate`")
    })
    .await;
    fs::copy(&good.certificate, &certificate).unwrap();
    fs::copy(&good.key, &key).unwrap();
    publish_at_last(&*bridge, &topic, "hello").await;
    super::receive(&*bridge, &topic, "hello").await;
}

/// A reader goes on with the connections that it has; when they end and its password is no longer
/// good, it ends, and begins anew with the new one.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_begins_anew_with_the_new_password_once_it_must_connect_again() {
    let Some(mut own) = Secured::start().await else { return };
    let topic = unique_name("reader");
    own.kafka.create_topic(&topic, 1).await;
    own.set_password("reader-user", "SCRAM-SHA-512", "third-password").await;
    let directory = tempdir().unwrap();
    let file = directory.path().join("password");
    fs::write(&file, "third-password").unwrap();
    let sasl = json!({"mechanism": "scram-sha-512", "username": "reader-user", "password": {"file": file}});
    let bridge = open(&[&own.at("SCRAM")], json!({"sasl": sasl}));
    publish_at_last(&*bridge, &topic, "before").await;
    let mut inbox = subscribe(&*bridge, &topic).await;
    let delivery = next(&mut inbox).await.unwrap();
    assert_eq!(delivery.ack.settle(Verdict::Accept).await, Settlement::Confirmed);

    own.set_password("reader-user", "SCRAM-SHA-512", "fourth-password").await;
    own.kafka.kill();
    fs::write(&file, "fourth-password").unwrap();
    own.kafka.start_again().await;
    publish_at_last(&*bridge, &topic, "behind").await;
    assert!(next(&mut inbox).await.is_none(), "the reader's password is no longer good");
    drop(inbox);
    let mut inbox = subscribe(&*bridge, &topic).await;
    let delivery = next(&mut inbox).await.unwrap();
    assert_eq!(delivery.message.payload.as_deref(), Some(&b"behind"[..]));
    log::has_none_of(&["third-password", "fourth-password"]);
}
