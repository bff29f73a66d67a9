//! A sidecar under load.

use sidespan_test_support::history::Figures;
use sidespan_test_support::{Launch, Load, Random, Scene, Sidecar};

use crate::{NEVER, SIDESPAN, scale};

/// A sidecar, its load, and chance.
pub(crate) struct Run {
    pub(crate) load: Load,
    pub(crate) sidecar: Sidecar,
    pub(crate) random: Random,
    faults: usize,
}

impl Run {
    /// Starts a sidecar, and publishes as many messages to it as a run has. None is given up.
    pub(crate) async fn begin(name: &str, scene: &Scene) -> Self {
        let mut run = Self::prepare(name, scene, NEVER).await;
        run.publish(scale::messages());
        run
    }

    /// Starts a sidecar that makes so many attempts with a message.
    pub(crate) async fn prepare(name: &str, scene: &Scene, attempts: u32) -> Self {
        let mut random = Random::from_env();
        let load = Load::start(name, &mut random).await;
        let (webhook, dead) = load.webhooks(0);
        let sidecar = Launch::new(SIDESPAN).config(&scene.config(&webhook, &dead, attempts)).start().await;
        sidecar.until_ready().await;
        Self { load, sidecar, random, faults: 0 }
    }

    pub(crate) fn publish(&mut self, messages: usize) {
        self.load.publish(&[self.sidecar.url(ORDERS)], messages);
    }

    /// Publishes until it is enough.
    pub(crate) fn publish_on(&mut self) {
        self.load.publish_on(&[self.sidecar.url(ORDERS)]);
    }

    /// Counts a fault.
    pub(crate) fn fault(&mut self) {
        self.faults += 1;
    }

    /// Returns at how many delivered messages something happens so many times: ascending, spread at
    /// random over the run.
    pub(crate) fn instants(&mut self, count: usize) -> Vec<usize> {
        let part = scale::messages() / (count + 1);
        (0..count).map(|place| part / 2 + place * part + self.random.below(part as u64) as usize).collect()
    }

    /// Waits for the end, has the history checked, and stops the sidecar politely, which was ready
    /// by itself before.
    pub(crate) async fn finish(mut self) -> Figures {
        let figures = self.load.finish(self.faults).await;
        self.sidecar.until_ready().await;
        let ended = self.sidecar.stop().await;
        assert!(ended.status.success(), "{}\n{}", ended.status, ended.stderr);
        figures
    }
}

/// Where a sidecar takes messages.
pub(crate) const ORDERS: &str = "/v1/topics/orders/messages";
