//! What was taken from a peer for somebody who went away meanwhile.

use std::sync::Arc;

use serde_json::{Value, json};
use sidespan::bridges::DRIVERS;
use sidespan::config::{BridgeConfig, Config, Name};
use sidespan::delivery::{Amount, Roster, Wish};
use sidespan::pull::peers::{CODE, Peers};
use sidespan::pull::{AckIds, Fetching, Pulling, Settle};
use sidespan::security::caller::Caller;
use sidespan::security::seal::Seal;
use sidespan_test_support::{Client, Launch, Scene};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use crate::cluster::{LEASE, PATIENCE, SECRET, section};

const ALL: Amount = Amount { messages: 10, bytes: 1 << 20 };

#[tokio::test]
async fn the_leases_of_a_consumer_that_leaves_end_at_the_peer() {
    let launch = Launch::new(env!("CARGO_BIN_EXE_sidespan"));
    let (scene, address) = (Scene::embedded(), launch.address());
    // Who calls was asked by the replica that the consumer is connected to.
    let token = "only-whoever-publishes-has-this-token";
    let auth = format!("auth: {{ tokens: [{{ name: till, secret: {token}, publish: [orders] }}] }}");
    let sections = format!("{}\n{auth}", section(std::slice::from_ref(&address), SECRET));
    let owner = launch.config(&scene.replica(LEASE, &sections)).start().await;
    owner.until_ready().await;
    let client = Client::new();
    let publish = || client.post(&owner.url("/v1/topics/orders/messages"), "one");
    assert_eq!(publish().send().await.unwrap().status, 401);
    let bearer = format!("Bearer {token}");
    assert_eq!(publish().header("authorization", bearer).send().await.unwrap().status, 200);

    let replica = Replica::start(&scene, &address).await;
    let fetching = replica.fetching();
    let (staying, leaving) = (fetching.consumer(), fetching.consumer());
    let first = leaving.fetch(ALL, Instant::now() + PATIENCE).await.unwrap();
    assert_eq!((first.len(), first[0].attempt), (1, 1));
    assert_eq!(first[0].letter.message().payload.as_deref(), Some(&b"one"[..]));
    drop(leaving);
    let second = staying.fetch(ALL, Instant::now() + PATIENCE).await.unwrap();
    assert_eq!((second.len(), second[0].attempt), (1, 2), "the attempt that ended counts");
    let (ids, deadline) = ([&first[0].ack_id, &second[0].ack_id], Instant::now() + PATIENCE);
    let outcomes = fetching.settle(&ids, Settle::Ack, deadline).await;
    assert!(outcomes[0].is_err() && outcomes[1].is_ok(), "{outcomes:?}");
}

#[tokio::test]
async fn what_arrives_too_late_for_its_consumer_is_put_back() {
    let scene = Scene::embedded();
    let mut peer = Peer::start(&scene).await;
    let replica = Replica::start(&scene, &peer.address).await;
    let fetching = replica.fetching();
    let waiting = tokio::spawn(async move { fetching.fetch(ALL, Instant::now() + PATIENCE).await });
    let (what, answer) = peer.asked("look").await;
    assert_eq!(what["subscription"], "billing");
    answer.send(json!({ "seen": { "waits": true, "owns": true } })).unwrap();
    let (_, answer) = peer.asked("take").await;
    // The message is on its way, and nobody is there any more.
    waiting.abort();
    assert!(waiting.await.unwrap_err().is_cancelled());
    answer.send(json!({ "taken": [taken("an-id")] })).unwrap();
    let (what, answer) = peer.asked("put_back").await;
    assert_eq!(what["what"]["put_back"]["ack_ids"], json!(["an-id"]));
    answer.send(json!("done")).unwrap();
}

fn taken(ack_id: &str) -> Value {
    json!({
        "ack_id": ack_id, "attempt": 1, "lease": { "secs": 30, "nanos": 0 }, "id": "m", "topic": "orders",
        "payload": "b25l", "headers": [],
    })
}

/// A replica in this process, with a log of its own, in which there is nothing.
struct Replica {
    pulling: Pulling,
    _directory: TempDir,
}

impl Replica {
    async fn start(scene: &Scene, peer: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sidespan.yaml");
        let log = directory.path().join("data").display().to_string();
        let yaml = scene.replica(LEASE, &section(&[peer.to_owned()], SECRET)).replace("./data", &log);
        std::fs::write(&path, yaml).unwrap();
        let config = Config::load(&path, DRIVERS).unwrap();
        let open = |(name, bridge): (&Name, &BridgeConfig)| {
            (name.clone(), bridge.driver.open(&bridge.settings).unwrap())
        };
        let roster = Arc::new(Roster::new(config.bridges.iter().map(open).collect()));
        for one in &config.subscriptions {
            roster.wish(&one.name, Some(Wish::of(Arc::new(one.clone()))));
        }
        let own = "127.0.0.1:1".parse().unwrap();
        let ids = AckIds::shared(seal(scene, "ack ids"), own).unwrap();
        let peers = Peers::new(vec![peer.to_owned()], own, seal(scene, "replicas"));
        Self { pulling: Pulling::new(roster, ids, Some(Arc::new(peers))), _directory: directory }
    }

    fn fetching(&self) -> Fetching {
        self.pulling.find(&Caller::anyone(), "billing").unwrap()
    }
}

fn seal(scene: &Scene, purpose: &str) -> Seal {
    Seal::of(&[SECRET.to_owned()], &format!("{purpose} of {}", scene.service()))
}

/// A replica whose answers the test gives.
struct Peer {
    address: String,
    calls: mpsc::Receiver<(Value, oneshot::Sender<Value>)>,
}

impl Peer {
    async fn start(scene: &Scene) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let signer = Arc::new(Peers::new(Vec::new(), address, seal(scene, "replicas")));
        let (tell, calls) = mpsc::channel(16);
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(converse(connection, signer.clone(), tell.clone()));
            }
        });
        Self { address: address.to_string(), calls }
    }

    /// Waits for a call of this kind; others are answered with nothing.
    async fn asked(&mut self, kind: &str) -> (Value, oneshot::Sender<Value>) {
        let call = async {
            loop {
                let (call, answer) = self.calls.recv().await.unwrap();
                if call["what"].get(kind).is_some() {
                    return (call, answer);
                }
                let _ = answer.send(json!("nothing"));
            }
        };
        timeout(PATIENCE, call).await.unwrap_or_else(|_| panic!("nobody asks for {kind}"))
    }
}

async fn converse(
    connection: TcpStream,
    signer: Arc<Peers>,
    tell: mpsc::Sender<(Value, oneshot::Sender<Value>)>,
) {
    let mut connection = BufReader::new(connection);
    loop {
        let (mut length, mut code) = (0, String::new());
        loop {
            let mut line = String::new();
            if connection.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
            match line.trim_end().split_once(": ") {
                Some(("content-length", value)) => length = value.parse().unwrap(),
                Some((name, value)) if name == CODE => value.clone_into(&mut code),
                _ if line.trim_end().is_empty() => break,
                _ => {}
            }
        }
        let mut body = vec![0; length];
        connection.read_exact(&mut body).await.unwrap();
        assert!(signer.is_signed(&code, &body), "an unsigned call");
        let (answer, answered) = oneshot::channel();
        if tell.send((serde_json::from_slice(&body).unwrap(), answer)).await.is_err() {
            return;
        }
        let Ok(told) = answered.await else { return };
        let told = told.to_string();
        let code = signer.sign_answer(&code, told.as_bytes());
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n{CODE}: {code}\r\n\r\n", told.len());
        if connection.write_all(format!("{head}{told}").as_bytes()).await.is_err() {
            return;
        }
    }
}
