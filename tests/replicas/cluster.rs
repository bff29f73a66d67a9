//! Three sidecars of one service, which know each other.

use std::collections::BTreeSet;
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use sidespan_test_support::{Client, Launch, Request, Response, Scene, Sidecar, eventually};

/// What the replicas share.
pub(crate) const SECRET: &str = "a secret that is only good for tests";
/// How long a message is a consumer's: longer than any test.
pub(crate) const LEASE: Duration = Duration::from_secs(300);
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The replicas.
pub(crate) struct Cluster {
    pub(crate) replicas: Vec<Sidecar>,
    client: Client,
}

impl Cluster {
    /// Starts three, and waits until they agree on who gets messages.
    pub(crate) async fn start(scene: &Scene) -> Self {
        let cluster = Self::with(scene, |peers, _| section(peers, SECRET)).await;
        // JetStream chooses one when there is something to give.
        cluster.publish(0, 1).await;
        cluster.until_settled(scene).await;
        let first = cluster.pull_all(0, 1).await;
        cluster.settle(1, "ack", &first).await;
        cluster
    }

    /// Starts three with what `sections` makes of all addresses and the number of one.
    pub(crate) async fn with(scene: &Scene, sections: impl Fn(&[String], usize) -> String) -> Self {
        let launches = [(); 3].map(|()| Launch::new(env!("CARGO_BIN_EXE_sidespan")));
        let peers = launches.each_ref().map(Launch::address);
        let mut replicas = Vec::new();
        for (number, launch) in launches.into_iter().enumerate() {
            let config = scene.replica(LEASE, &sections(&peers, number));
            let replica = launch.config(&config).start().await;
            replica.until_ready().await;
            replicas.push(replica);
        }
        Self { replicas, client: Client::new() }
    }

    /// Waits until everybody knows whether it is active; returns those who are.
    pub(crate) async fn until_settled(&self, scene: &Scene) -> BTreeSet<usize> {
        let all: Vec<usize> = (0..self.replicas.len()).collect();
        self.until_active(&all, if scene.active_of_two() == 1 { 1 } else { all.len() }).await
    }

    /// Waits until of these replicas so many are active and the others stand by.
    pub(crate) async fn until_active(&self, of: &[usize], count: usize) -> BTreeSet<usize> {
        let mut active = BTreeSet::new();
        eventually(PATIENCE, "the replicas agree on who is active", async || {
            active.clear();
            let mut standing_by = 0;
            for number in of {
                match self.role(*number).await.as_str() {
                    "active" => drop(active.insert(*number)),
                    "standby" => standing_by += 1,
                    _ => {}
                }
            }
            active.len() == count && active.len() + standing_by == of.len()
        })
        .await;
        active
    }

    async fn role(&self, number: usize) -> String {
        let url = self.replicas[number].url("/v1/subscriptions/billing");
        let shown = self.client.get(&url).send().await.expect("an answer").json();
        shown["role"].as_str().unwrap_or_default().to_owned()
    }

    /// Publishes messages `0`, `1` ... by one replica, each with a key of its own.
    pub(crate) async fn publish(&self, by: usize, count: usize) {
        let url = self.replicas[by].url("/v1/topics/orders/batches");
        let batch: Vec<Value> =
            (0..count).map(|n| json!({ "key": format!("k{n}"), "text": n.to_string() })).collect();
        let batch = self.client.post(&url, json!(batch).to_string());
        let answer = batch.header("content-type", "application/json").send().await.expect("an answer");
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    }

    /// Asks by one replica, and returns the reply.
    pub(crate) async fn request(&self, by: usize, question: &'static str) -> Response {
        let url = self.replicas[by].url("/v1/topics/orders/requests");
        let request = self.client.post(&url, question).header("sidespan-timeout", "30s");
        request.send().await.expect("an answer")
    }

    pub(crate) fn post(&self, to: usize, verb: &str, body: &Value) -> Request {
        let url = self.replicas[to].url(&format!("/v1/subscriptions/billing/{verb}"));
        self.client.post(&url, body.to_string()).header("content-type", "application/json")
    }

    pub(crate) async fn ask(&self, to: usize, verb: &str, body: Value) -> Response {
        self.post(to, verb, &body).send().await.expect("an answer")
    }

    /// Fetches by one replica.
    pub(crate) async fn pull(&self, by: usize, most: usize, wait: &str) -> Vec<Value> {
        let answer = self.ask(by, "pull", json!({ "max_messages": most, "wait": wait })).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        answer.json()["messages"].as_array().unwrap().clone()
    }

    /// Fetches by one replica until it has so many.
    pub(crate) async fn pull_all(&self, by: usize, count: usize) -> Vec<Value> {
        let mut messages = Vec::new();
        eventually(PATIENCE, "every message is fetched", async || {
            messages.extend(self.pull(by, 7, "5s").await);
            messages.len() >= count
        })
        .await;
        messages
    }

    /// Expects that verdicts are taken.
    pub(crate) async fn settle(&self, by: usize, verb: &str, messages: &[Value]) {
        let answer = self.ask(by, verb, json!({ "ack_ids": ids(messages) })).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    }
}

/// What tells the replicas of each other.
pub(crate) fn section(peers: &[String], secret: &str) -> String {
    format!("replicas: {{ peers: ['{}'], secrets: ['{secret}'] }}", peers.join("', '"))
}

pub(crate) fn ids(messages: &[Value]) -> Vec<&str> {
    messages.iter().map(|message| message["ack_id"].as_str().unwrap()).collect()
}

/// Returns the payloads in the order of their numbers.
pub(crate) fn numbers(messages: &[Value]) -> Vec<usize> {
    let mut numbers: Vec<usize> =
        messages.iter().map(|message| message["text"].as_str().unwrap().parse().unwrap()).collect();
    numbers.sort_unstable();
    numbers
}

/// Expects a problem, or verdicts of which one has it.
#[track_caller]
pub(crate) fn is_problem(answer: &Response, status: u16, code: &str) {
    let json = answer.json();
    assert_eq!((answer.status.as_u16(), json["code"].as_str()), (status, Some(code)), "{json}");
}
