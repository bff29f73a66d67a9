//! Each way in, by publishing, reading and settling.

use serde_json::{Value, json};
use sidespan_test_support::{free_port, unique_name};

use super::{Secured, log, open, publish_at_last, receive};

async fn gets_in(secured: &Secured, brokers: &[&str], keys: Value) {
    let topic = unique_name("way");
    secured.kafka.create_topic(&topic, 1).await;
    let bridge = open(brokers, keys);
    publish_at_last(&*bridge, &topic, "hello").await;
    receive(&*bridge, &topic, "hello").await;
}

#[tokio::test]
async fn tls_with_an_authority_of_ones_own() {
    let Some(secured) = Secured::shared().await else { return };
    let ca = secured.certificates.authority();
    gets_in(secured, &[&secured.at("TLS")], json!({"tls": {"ca": {"file": ca}}})).await;
}

#[tokio::test]
async fn tls_with_a_certificate_for_the_client() {
    let Some(secured) = Secured::shared().await else { return };
    let (ca, orders) = (secured.certificates.authority(), secured.certificates.client("orders"));
    let tls =
        json!({"ca": {"file": ca}, "certificate": {"file": orders.certificate}, "key": {"file": orders.key}});
    gets_in(secured, &[&secured.at("MTLS")], json!({"tls": tls})).await;
    let key = std::fs::read_to_string(orders.key).unwrap();
    log::has_none_of(&[key.lines().nth(1).unwrap()]);
}

#[tokio::test]
async fn name_and_password_with_and_without_tls() {
    let Some(secured) = Secured::shared().await else { return };
    let sasl = json!({"mechanism": "plain", "username": "alice", "password": "wonderland"});
    gets_in(secured, &[&secured.at("SASL")], json!({"sasl": sasl})).await;
    let tls = json!({"ca": {"file": secured.certificates.authority()}});
    gets_in(secured, &[&secured.at("SASLTLS")], json!({"sasl": sasl, "tls": tls})).await;
    log::has_none_of(&["wonderland"]);
}

#[tokio::test]
async fn a_proof_of_the_password() {
    let Some(secured) = Secured::shared().await else { return };
    for mechanism in ["scram-sha-256", "scram-sha-512"] {
        secured.set_password("scrammer", &mechanism.to_uppercase(), "green-eggs").await;
        let sasl = json!({"mechanism": mechanism, "username": "scrammer", "password": "green-eggs"});
        gets_in(secured, &[&secured.at("SASL")], json!({"sasl": sasl})).await;
    }
    log::has_none_of(&["green-eggs"]);
}

#[tokio::test]
async fn the_second_address_where_nobody_is_at_the_first() {
    let Some(secured) = Secured::shared().await else { return };
    let nobody = format!("127.0.0.1:{}", free_port());
    let tls = json!({"ca": {"file": secured.certificates.authority()}});
    gets_in(secured, &[&nobody, &secured.at("TLS")], json!({"tls": tls})).await;
}
