//! Two sidecars of one service.

use std::time::Duration;

use sidespan_test_support::{Client, Launch, Load, Scene, Sidecar, Signal, eventually};
use tokio::time::Instant;

use crate::Fault;

/// Two members of a subscription.
pub(crate) struct Pair {
    members: [Sidecar; 2],
    /// How many of them get messages while both are well.
    active: usize,
}

impl Pair {
    pub(crate) async fn start(scene: &Scene, load: &Load) -> Self {
        let start = async |member| {
            let (webhook, dead) = load.webhooks(member);
            let config = scene.config(&webhook, &dead, NEVER);
            let sidecar = Launch::new(env!("CARGO_BIN_EXE_sidespan")).config(&config).start().await;
            sidecar.until_ready().await;
            sidecar
        };
        Self { members: [start(0).await, start(1).await], active: scene.active_of_two() }
    }

    /// Returns where to publish.
    pub(crate) fn doors(&self) -> [String; 2] {
        self.members.each_ref().map(|member| member.url("/v1/topics/orders/messages"))
    }

    /// Waits until the members agree on who is active, and returns one that is: where both are, by
    /// turns.
    pub(crate) async fn active(&self, turn: usize) -> usize {
        let mut active = Vec::new();
        eventually(PATIENCE, "the members agree on who is active", async || {
            let mut standing_by = 0;
            active.clear();
            for (number, member) in self.members.iter().enumerate() {
                match role(member).await.as_str() {
                    "active" => active.push(number),
                    "standby" => standing_by += 1,
                    _ => {}
                }
            }
            active.len() == self.active && active.len() + standing_by == self.members.len()
        })
        .await;
        active[turn % active.len()]
    }

    /// Takes a member away, and returns how long the last of its keys waited for the other.
    pub(crate) async fn lose(&mut self, victim: usize, fault: Fault, load: &Load) -> Duration {
        let served = load.until_serves(victim).await;
        let since = Instant::now();
        match fault {
            Fault::Killed => self.members[victim].kill(),
            Fault::Stopped => {
                let ended = self.members[victim].stop().await;
                assert!(ended.status.success(), "{}\n{}", ended.status, ended.stderr);
            }
            Fault::Frozen => self.members[victim].signal(Signal::Stop),
        }
        let took = load.until_taken_over(&served).await - since;
        let other = &self.members[1 - victim];
        eventually(PATIENCE, "the other says that it is active", async || role(other).await == "active")
            .await;
        took
    }

    /// Brings a member back, and waits until it is ready: as one who stands by, or to share the work.
    pub(crate) async fn restore(&mut self, victim: usize, fault: Fault) {
        let member = &mut self.members[victim];
        match fault {
            Fault::Killed | Fault::Stopped => member.start_again().await,
            Fault::Frozen => member.signal(Signal::Continue),
        }
        member.until_ready().await;
    }

    /// Stops both politely.
    pub(crate) async fn stop(mut self) {
        for member in &mut self.members {
            let ended = member.stop().await;
            assert!(ended.status.success(), "{}\n{}", ended.status, ended.stderr);
        }
    }
}

/// Returns what a member says that it is, at the services' door and at the operators'.
async fn role(member: &Sidecar) -> String {
    let client = Client::new();
    let get = async |url: String| client.get(&url).send().await.expect("an answer").json();
    let shown = get(member.url("/v1/subscriptions/billing")).await;
    let readiness = get(member.admin_url("/readyz?verbose")).await;
    let reported = readiness["subscriptions"].as_array().expect("a list of subscriptions");
    let reported = reported.iter().find(|reported| reported["name"] == "billing");
    let reported = reported.expect("readiness tells of every subscription");
    let (shown, reported) = (shown["role"].as_str(), reported["role"].as_str());
    // They are asked one after the other.
    if shown == reported { shown.unwrap_or_default().to_owned() } else { String::new() }
}

/// Nothing is given up.
const NEVER: u32 = 1_000;
const PATIENCE: Duration = Duration::from_secs(30);
