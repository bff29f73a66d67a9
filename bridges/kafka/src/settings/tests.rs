use serde_json::{Value, json};

use super::*;

fn read(keys: Value) -> Result<KafkaSettings, SettingsError> {
    KafkaSettings::read(&Settings::new("orders-api", keys))
}

#[test]
fn brokers_are_all_that_is_needed() {
    let settings = read(json!({"brokers": ["127.0.0.1:9092"]})).unwrap();
    settings.producer("s").create_native_config().unwrap();
    settings.consumer("s", "g").create_native_config().unwrap();
    settings.asker("s").create_native_config().unwrap();
}

#[test]
fn what_a_promise_rests_on_is_refused_with_a_reason() {
    for name in ["acks", "enable.auto.commit", "partitioner", "group.id", "plugin.library.paths"] {
        let error = read(json!({"brokers": ["k:1"], "properties": {name: "x"}})).unwrap_err();
        assert_eq!(error.key, format!("properties.{name}"));
        assert!(error.reason.len() > 20, "{}", error.reason);
    }
}

#[test]
fn a_property_that_librdkafka_does_not_know_is_named() {
    let error = read(json!({"brokers": ["k:1"], "properties": {"no.such": 1}})).unwrap_err();
    assert_eq!(error.key, "properties.no.such");
    let error = read(json!({"brokers": ["k:1"], "properties": {"session.timeout.ms": "soon"}})).unwrap_err();
    assert_eq!(error.key, "properties.session.timeout.ms");
}

#[test]
fn wrong_values_are_named_by_key() {
    let cases = [
        (json!({}), "brokers"),
        (json!({"brokers": []}), "brokers"),
        (json!({"brokers": ["kafka"]}), "brokers[0]"),
        (json!({"brokers": ["k:1"], "linger": "5"}), "linger"),
        (json!({"brokers": ["k:1"], "linger": "1h"}), "linger"),
        (json!({"brokers": ["k:1"], "max_deadline": "0s"}), "max_deadline"),
        (json!({"brokers": ["k:1"], "max_message": "1 parsec"}), "max_message"),
        (json!({"brokers": ["k:1"], "max_message": 999}), "max_message"),
        (json!({"brokers": ["k:1"], "compression": "rar"}), "compression"),
        (
            json!({"brokers": ["k:1"], "create_topics": {"partitions": 0, "replication_factor": 1}}),
            "create_topics.partitions",
        ),
    ];
    for (keys, key) in cases {
        let error = read(keys.clone()).unwrap_err();
        assert!(error.to_string().contains(key), "{keys}: {error}");
    }
}

#[test]
fn what_is_needed_to_get_in_is_all_there_and_nothing_else() {
    let user = |more: Value| {
        let mut sasl = json!({"mechanism": "scram-sha-256", "username": "u", "password": "hunter2"});
        sasl.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"brokers": ["k:1"], "sasl": sasl})
    };
    let client = |more: Value| {
        let mut sasl = json!({
            "mechanism": "oauthbearer", "token_endpoint": "https://i/t", "client_id": "c", "client_secret": "hunter2",
        });
        sasl.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"brokers": ["k:1"], "sasl": sasl})
    };
    read(user(json!({}))).unwrap();
    read(client(json!({"scope": "s"}))).unwrap();
    let mut creating = client(json!({}));
    creating["create_topics"] = json!({"partitions": 1, "replication_factor": 1});
    let cases = [
        (json!({"brokers": ["k:1"], "tls": {"certificate": {"file": "/c"}}}), "tls.key"),
        (user(json!({"password": null})), "sasl.password"),
        (user(json!({"scope": "s"})), "sasl.scope"),
        (user(json!({"mechanism": "gssapi"})), "sasl.mechanism"),
        (client(json!({"username": "u"})), "sasl.username"),
        (client(json!({"client_secret": null})), "sasl.client_secret"),
        (client(json!({"token_endpoint": "ftp://i/t"})), "sasl.token_endpoint"),
        (creating, "create_topics"),
    ];
    for (keys, key) in cases {
        let error = read(keys.clone()).unwrap_err();
        assert_eq!(error.key, key, "{keys}: {error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
    for (name, instead) in
        [("security.protocol", "`tls`"), ("ssl.ca.location", "`tls`"), ("sasl.password", "`sasl`")]
    {
        let error = read(json!({"brokers": ["k:1"], "properties": {name: "x"}})).unwrap_err();
        assert!(error.reason.contains(instead), "{error}");
    }
}

#[test]
fn properties_tune_what_is_not_promised() {
    let settings = read(json!({
        "brokers": ["k:1"], "linger": "5ms", "compression": "zstd", "max_message": "2MiB",
        "properties": {"session.timeout.ms": 6000, "socket.keepalive.enable": false},
    }));
    let settings = settings.unwrap();
    assert_eq!(settings.producer("s").get("message.max.bytes"), Some("2097152"));
    let config = settings.consumer("s", "g");
    assert_eq!(config.get("session.timeout.ms"), Some("6000"));
    assert_eq!(config.get("socket.keepalive.enable"), Some("false"));
}
