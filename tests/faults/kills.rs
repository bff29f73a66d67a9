//! The sidecar, the broker, or both are killed with -9 at random instants, and started again.
//!
//! # Repeats
//!
//! When a sidecar is killed, what it held may be accepted and not settled yet, and what was settled in
//! the last 100 ms need not be committed: so many messages at most are accepted again for each kill.
//! What a killed broker forgets is its own affair, and only counted.

use std::time::Duration;

use sidespan_test_support::history::Figures;
use sidespan_test_support::{Ground, HELD, Own, Scene, on};
use tokio::time::sleep;

use crate::run::Run;
use crate::{NEVER, scale};

on!(the_sidecar on every broker);
on!(the_sidecar_while_messages_are_given_up: embedded = Embedded, rabbitmq = Rabbitmq);
on!(the_broker on every server);
on!(both on every server);

async fn the_sidecar(ground: Ground) {
    let name = format!("{}, sidecar killed", ground.name());
    kill_the_sidecar(&name, &ground.shared().await, NEVER).await;
}

async fn the_sidecar_while_messages_are_given_up(ground: Ground) {
    let name = format!("{}, sidecar killed, two attempts", ground.name());
    let figures = kill_the_sidecar(&name, &ground.shared().await, 2).await;
    assert!(figures.dead > 0, "two failures in a row are not that rare");
}

async fn kill_the_sidecar(name: &str, scene: &Scene, attempts: u32) -> Figures {
    let mut run = Run::prepare(name, scene, attempts).await;
    run.publish(scale::messages());
    for progress in run.instants(scale::sidecar_kills()) {
        run.load.until_delivered(progress).await;
        run.kill_sidecar();
        run.sidecar.start_again().await;
    }
    let figures = run.finish().await;
    let (repeats, excused) = (figures.repeats, figures.excused(HELD));
    println!(
        "{name}: {repeats} repeats of at most {excused}: {} kills with {HELD} held, and {} settled in the last 100 ms",
        figures.kills, figures.uncommitted
    );
    assert!(repeats <= excused, "{name}: {repeats} repeats, and no more than {excused} are excused");
    figures
}

async fn the_broker(ground: Ground) {
    let Some((mut own, scene)) = ground.own().await else { return };
    let mut run = Run::begin(&format!("{}, broker killed", ground.name()), &scene).await;
    own.flush().await;
    for progress in run.instants(scale::broker_kills()) {
        run.load.until_delivered(progress).await;
        run.kill_broker(&mut own);
        run.pause().await;
        own.broker_mut().start_again().await;
    }
    run.finish().await;
}

async fn both(ground: Ground) {
    let Some((mut own, scene)) = ground.own().await else { return };
    let mut run = Run::begin(&format!("{}, both killed", ground.name()), &scene).await;
    own.flush().await;
    for progress in run.instants(scale::broker_kills()) {
        run.load.until_delivered(progress).await;
        // The sidecar dies first or last, and comes back before its broker or after it.
        let (dies_first, comes_first) = (run.random.chance(50), run.random.chance(50));
        if dies_first {
            run.kill_sidecar();
        }
        run.kill_broker(&mut own);
        run.pause().await;
        if !dies_first {
            run.kill_sidecar();
        }
        if comes_first {
            run.sidecar.start_again().await;
        }
        own.broker_mut().start_again().await;
        if !comes_first {
            run.sidecar.start_again().await;
        }
    }
    run.finish().await;
}

impl Run {
    pub(crate) fn kill_sidecar(&mut self) {
        self.sidecar.kill();
        self.load.killed();
        self.fault();
    }

    fn kill_broker(&mut self, own: &mut Own) {
        own.broker_mut().kill();
        self.fault();
    }

    async fn pause(&mut self) {
        sleep(self.random.duration(Duration::ZERO, Duration::from_secs(2))).await;
    }
}
