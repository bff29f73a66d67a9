//! What the broker does not allow is `Denied`, which callers hear as 403.

use serde_json::json;
use sidespan_bridge::Fault;
use sidespan_test_support::unique_name;

use super::{Secured, all_of, open, publish, publish_at_last};

#[tokio::test]
async fn a_topic_or_group_of_others_is_denied() {
    let Some(secured) = Secured::shared().await else { return };
    let (own, hidden, read_only) = (unique_name("own"), unique_name("hidden"), unique_name("read-only"));
    for topic in [&own, &hidden, &read_only] {
        secured.kafka.create_topic(topic, 1).await;
    }
    secured.allow("somebody", "All", "--topic", &hidden).await;
    secured.allow("reader", "Read", "--topic", &read_only).await;
    secured.allow("somebody", "All", "--group", &own).await;
    let sasl = json!({"mechanism": "plain", "username": "reader", "password": "reads-only"});
    let bridge = open(&[&secured.at("SASL")], json!({"sasl": sasl}));
    publish_at_last(&*bridge, &own, "x").await;

    for topic in [&hidden, &read_only] {
        let error = publish(&*bridge, topic, "x").await.unwrap_err();
        assert_eq!(error.fault, Fault::Denied, "{topic}: {error:?}");
    }
    for topic in [&hidden, &own] {
        let error = bridge.subscribe(all_of(topic)).await.err().expect("a refusal");
        assert_eq!(error.fault, Fault::Denied, "{topic}: {error:?}");
    }
    // None of that disturbs what is allowed.
    publish(&*bridge, &own, "y").await.unwrap();
}
