//! What is counted of brokers that go away, and of groups whose members come and go.

use std::time::Duration;

use sidespan_test_support::{Ground, Kafka, Launch, Scene, Sidecar, eventually};

use crate::{PATIENCE, SIDESPAN, metrics, until};

/// Starts a sidecar whose consumers fetch the orders of a scene.
async fn member(scene: &Scene) -> Sidecar {
    let config = scene.replica(Duration::from_secs(30), "");
    let sidecar = Launch::new(SIDESPAN).config(&config).start().await;
    sidecar.until_ready().await;
    until(&sidecar, "sidespan_subscription_state{sidespan_subscription=\"billing\",state=\"running\"}", 1.0)
        .await;
    sidecar
}

const REBALANCES: &str = "sidespan_subscription_rebalances_total{sidespan_subscription=\"billing\"}";

async fn a_broker_that_is_back_is_a_reconnect(ground: Ground) {
    let Some((mut broker, scene)) = ground.own().await else { return };
    let sidecar = member(&scene).await;
    let reconnects = "sidespan_bridge_reconnects_total{sidespan_bridge=\"main\"}";
    let up = async || metrics(&sidecar).await.one("sidespan_bridge_up", &["sidespan_bridge=\"main\""]);
    assert_eq!((up().await, metrics(&sidecar).await.get(reconnects)), (1.0, Some(0.0)));
    broker.flush().await;
    for times in [1.0, 2.0] {
        broker.broker_mut().kill();
        eventually(PATIENCE, "the broker is away", async || up().await == 0.0).await;
        broker.broker_mut().start_again().await;
        until(&sidecar, reconnects, times).await;
        eventually(PATIENCE, "the broker is back", async || up().await == 1.0).await;
    }
}

sidespan_test_support::on!(a_broker_that_is_back_is_a_reconnect on every server);

#[tokio::test]
async fn what_another_member_takes_over_is_a_rebalance() {
    let scene = Scene::kafka(Kafka::shared().await).await;
    let first = member(&scene).await;
    assert_eq!(metrics(&first).await.get(REBALANCES), Some(0.0));
    let second = member(&scene).await;
    eventually(PATIENCE, "the first has lost some partitions", async || {
        metrics(&first).await.get(REBALANCES) >= Some(1.0)
    })
    .await;
    assert_eq!(metrics(&second).await.get(REBALANCES), Some(0.0), "it only gained some");
}
