//! Sidecars are stopped politely under load, alone or rolling one after the other.

use sidespan_test_support::{Ground, Launch, Load, Random, Sidecar, on};

use crate::run::{ORDERS, Run};
use crate::{NEVER, SIDESPAN, scale};

on!(the_sidecar on every broker);
on!(two_sidecars_in_turn on every server);

async fn the_sidecar(ground: Ground) {
    let name = format!("{}, sidecar stopped", ground.name());
    let mut run = Run::begin(&name, &ground.shared().await).await;
    for progress in run.instants(scale::sidecar_kills()) {
        run.load.until_delivered(progress).await;
        stop(&mut run.sidecar).await;
        run.fault();
        run.sidecar.start_again().await;
    }
    run.finish().await;
}

/// Each is stopped while the other serves, and is ready again before the other is stopped.
async fn two_sidecars_in_turn(ground: Ground) {
    let scene = ground.shared().await;
    let name = format!("{}, two sidecars rolling", ground.name());
    let mut load = Load::start(&name, &mut Random::from_env()).await;
    let start = async |member| {
        let (webhook, dead) = load.webhooks(member);
        let sidecar = Launch::new(SIDESPAN).config(&scene.config(&webhook, &dead, NEVER)).start().await;
        sidecar.until_ready().await;
        sidecar
    };
    let mut pair = [start(0).await, start(1).await];
    load.publish_on(&pair.each_ref().map(|sidecar| sidecar.url(ORDERS)));
    let stretch = scale::messages() / (2 * ROUNDS);
    for _ in 0..ROUNDS {
        for sidecar in &mut pair {
            load.until_delivered_more(stretch).await;
            stop(sidecar).await;
            sidecar.start_again().await;
            sidecar.until_ready().await;
        }
    }
    load.enough();
    load.finish(2 * ROUNDS).await;
    for sidecar in &mut pair {
        stop(sidecar).await;
    }
}

async fn stop(sidecar: &mut Sidecar) {
    let ended = sidecar.stop().await;
    assert!(ended.status.success(), "{}\n{}", ended.status, ended.stderr);
}

const ROUNDS: usize = 2;
