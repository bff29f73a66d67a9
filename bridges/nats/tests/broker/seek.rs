//! Groups that are moved on streams that do not keep everything.

use serde_json::{Value, json};
use sidespan_bridge::{Fault, Start, Subscribe};
use sidespan_test_support::{Nats, unique_name};

use super::{Operator, accept, all_of, close, next, open, publish, soon, text, until};

#[tokio::test]
async fn a_move_on_an_interest_stream_is_refused_and_loses_nothing() {
    let nats = Nats::shared().await;
    let (operator, topic) = (Operator::of(nats).await, unique_name("interest"));
    operator.make(&topic, json!({"retention": "interest"})).await;
    let (bridge, to) = (open(nats), all_of(&topic));
    close(bridge.subscribe(to.clone()).await.unwrap()).await;
    publish(&*bridge, &topic, vec![text("kept"), text("last")]).await;
    let error = bridge.seek(&to, soon()).await.unwrap_err();
    assert_eq!(error.fault, Fault::Unsupported, "{error}");
    let mut inbox = bridge.subscribe(to).await.unwrap();
    assert_eq!(until(&mut inbox, "last").await, ["kept"]);
}

#[tokio::test]
async fn a_group_of_a_work_queue_goes_to_the_beginning_of_what_is_left() {
    let nats = Nats::shared().await;
    let (operator, topic) = (Operator::of(nats).await, unique_name("queue"));
    operator.make(&topic, json!({"retention": "workqueue"})).await;
    let bridge = open(nats);
    let to = Subscribe { start: Start::Begin, ..all_of(&topic) };
    let mut inbox = bridge.subscribe(to.clone()).await.unwrap();
    publish(&*bridge, &topic, vec![text("settled"), text("left")]).await;
    accept(next(&mut inbox).await).await;
    close(inbox).await;
    let error = bridge.seek(&Subscribe { start: Start::End, ..to.clone() }, soon()).await.unwrap_err();
    assert_eq!(error.fault, Fault::Unsupported, "{error}");
    bridge.seek(&to, soon()).await.unwrap();
    publish(&*bridge, &topic, vec![text("last")]).await;
    let mut inbox = bridge.subscribe(to).await.unwrap();
    assert_eq!(until(&mut inbox, "last").await, ["left"]);
}

#[tokio::test]
async fn a_moved_consumer_keeps_what_an_operator_gave_it() {
    let nats = Nats::shared().await;
    let (operator, topic) = (Operator::of(nats).await, unique_name("kept"));
    operator.make(&topic, json!({})).await;
    let (bridge, to) = (open(nats), all_of(&topic));
    close(bridge.subscribe(to.clone()).await.unwrap()).await;
    let info = format!("CONSUMER.INFO.{topic}.{topic}");
    let mut config = operator.ask(&info, Value::Null).await["config"].take();
    config["metadata"]["team"] = json!("orders");
    config["description"] = json!("of the orders team");
    let update = json!({"stream_name": topic, "config": config, "action": "update"});
    operator.ask(&format!("CONSUMER.CREATE.{topic}.{topic}"), update).await;
    bridge.seek(&Subscribe { start: Start::Begin, ..to }, soon()).await.unwrap();
    let after = operator.ask(&info, Value::Null).await["config"].take();
    assert_eq!(after["deliver_policy"], json!("all"));
    assert_eq!(after["metadata"]["team"], json!("orders"));
    assert_eq!(after["metadata"]["sidespan.version"], json!("1"));
    assert_eq!(after["description"], config["description"]);
}
