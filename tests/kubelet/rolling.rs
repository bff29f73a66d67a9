//! Three gateway replicas are restarted one after the other, under load.

use std::time::Duration;

use sidespan_test_support::{Ground, Launch, Load, Random, Sidecar, Signal, on};

use crate::pod::{ORDERS, drain};
use crate::{NEVER, SIDESPAN, stopped, until};

on!(three_gateways on every server);

async fn three_gateways(ground: Ground) {
    let scene = ground.shared().await;
    let name = format!("{}, three gateways rolling", ground.name());
    let mut load = Load::start(&name, &mut Random::from_env()).await;
    let start = async |member| {
        let (webhook, dead) = load.webhooks(member);
        let gateway = Launch::new(SIDESPAN).config(&scene.config(&webhook, &dead, NEVER)).start().await;
        gateway.until_ready().await;
        gateway
    };
    let mut gateways = [start(0).await, start(1).await, start(2).await];
    load.publish_on(&gateways.each_ref().map(|gateway| gateway.url(ORDERS)));
    for gateway in &mut gateways {
        load.until_delivered_more(STRETCH).await;
        end(gateway).await;
        gateway.start_again().await;
        // What a gateway's readiness is: the rollout goes on with it.
        until(gateway, "/readyz/publish", 200).await;
    }
    load.until_delivered_more(STRETCH).await;
    load.enough();
    let figures = load.finish(gateways.len()).await;
    assert_eq!(figures.dead, 0, "{name}: a rollout made dead letters");
    assert_eq!(figures.refusals.other, 0, "{name}: {figures}");
    for gateway in &mut gateways {
        end(gateway).await;
    }
}

/// The hook, and then SIGTERM: each replica ends by itself and leaves no attempt behind.
async fn end(gateway: &mut Sidecar) {
    let hook = drain(gateway, &[]).run_to_end().await;
    assert_eq!(hook.status.code(), Some(0), "{}{}", hook.stdout, hook.stderr);
    gateway.signal(Signal::Terminate);
    let ended = gateway.ended_within(GRACE).await.expect("a gateway that ends by itself");
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    assert_eq!(stopped(&ended)["attempts_left"], 0, "{}", ended.stderr);
}

/// How many messages are delivered between two restarts.
const STRETCH: usize = 300;
const GRACE: Duration = Duration::from_secs(30);
