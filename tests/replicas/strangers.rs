//! Who does not know the secret learns nothing, and makes no replica call anybody.

use std::time::Duration;

use serde_json::json;
use sidespan::pull::AckIds;
use sidespan::security::seal::Seal;
use sidespan_test_support::{Client, Launch, Nats, Scene, Sidecar, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};

use crate::cluster::{Cluster, LEASE, SECRET, ids, is_problem, section};
use crate::grpc;
use crate::sockets::Socket;

#[tokio::test(flavor = "multi_thread")]
async fn without_replicas_one_who_stands_by_says_so() {
    let scene = Scene::nats(Nats::shared().await);
    let cluster = Cluster::with(&scene, |_, _| String::new()).await;
    cluster.publish(0, 1).await;
    let active = cluster.until_settled(&scene).await.pop_first().unwrap();
    let by = (active + 1) % 3;
    let refused = cluster.ask(by, "pull", json!({ "wait": "20s" })).await;
    is_problem(&refused, 421, "MISDIRECTED");
    assert!(refused.text().contains("`replicas`"), "{}", refused.text());
    let mut socket = Socket::open(&cluster.replicas[by]).await;
    socket.say(json!({ "type": "credit", "messages": 1 })).await;
    let told = socket.next("error").await;
    assert_eq!(told["code"], "MISDIRECTED", "{told}");
    grpc::stands_by(&cluster, by).await;
    let messages = cluster.pull(active, 1, "20s").await;
    // Nobody can tell a key of another process.
    is_problem(&cluster.ask(by, "ack", json!({ "ack_ids": ids(&messages) })).await, 409, "LEASE_ENDED");
    let path = cluster.replicas[active].url("/replicas/v1");
    assert_eq!(Client::new().post(&path, "{}").send().await.unwrap().status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_with_another_secret_is_refused() {
    let scene = Scene::nats(Nats::shared().await);
    let other = "another secret, and as long as it has to be";
    let cluster =
        Cluster::with(&scene, |peers, number| section(peers, if number == 2 { other } else { SECRET })).await;
    cluster.publish(0, 1).await;
    let active = cluster.until_settled(&scene).await.pop_first().unwrap();
    // Whose peers all have another secret than its own, if it does not get the messages itself.
    let (stranger, of_one) = if active == 2 { (0, [2, 0]) } else { (2, [active, 2]) };
    let messages = cluster.pull(of_one[0], 1, "20s").await;
    assert_eq!(messages.len(), 1);
    is_problem(&cluster.ask(stranger, "pull", json!({ "wait": "500ms" })).await, 421, "MISDIRECTED");
    is_problem(
        &cluster.ask(stranger, "ack", json!({ "ack_ids": ids(&messages) })).await,
        400,
        "INVALID_REQUEST",
    );
    let told = "it takes no calls with our secret";
    eventually(Duration::from_secs(30), told, async || cluster.replicas[stranger].stderr().contains(told))
        .await;
    let log = cluster.replicas[stranger].stderr();
    assert!(!log.contains(SECRET) && !log.contains(other), "{log}");
}

#[tokio::test]
async fn only_replicas_call_the_path_of_replicas() {
    let replica = alone("127.0.0.1:9").await;
    let client = Client::new();
    let url = replica.url("/replicas/v1");
    let body =
        json!({ "subscription": "billing", "what": { "look": { "wait": { "secs": 0, "nanos": 0 } } } });
    for code in [None, Some(""), Some("0.AAAA"), Some("1795268124.AAAAAAAAAAAAAAAAAAAAAA")] {
        let mut call = client.post(&url, body.to_string());
        if let Some(code) = code {
            call = call.header("sidespan-replica", code);
        }
        is_problem(&call.send().await.unwrap(), 403, "FORBIDDEN");
    }
    assert_eq!(client.get(&url).send().await.unwrap().status, 405);
    // Of a large body not all is read, and the connection is closed: some see only that.
    let large = client.post(&url, vec![b' '; 1 << 20]).header("sidespan-replica", "0.AAAA");
    if let Ok(refused) = large.send().await {
        is_problem(&refused, 403, "FORBIDDEN");
    }
}

#[tokio::test]
async fn a_forged_ack_id_makes_nobody_call() {
    let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = target.local_addr().unwrap();
    let (replica, service) = started(&["127.0.0.1:9".to_owned()]).await;
    let client = Client::new();
    let ack = async |secret: &str| {
        let seal = Seal::of(&[secret.to_owned()], &format!("ack ids of {service}"));
        let id = AckIds::shared(seal, address).unwrap().write("billing", 1, None);
        let body = json!({ "ack_ids": [id] }).to_string();
        let ack = client.post(&replica.url("/v1/subscriptions/billing/ack"), body);
        ack.header("sidespan-timeout", "1s").send().await.unwrap()
    };
    is_problem(&ack("a guess, which is as long as the real one").await, 400, "INVALID_REQUEST");
    assert!(timeout(Duration::ZERO, target.accept()).await.is_err(), "nobody called");
    // What a replica has written is called, and what answers there is no replica.
    let answered = async {
        let (mut caller, _) = target.accept().await.unwrap();
        let mut head = [0; 1024];
        let read = caller.read(&mut head).await.unwrap();
        let told = "{\"settled\":[\"done\"]}";
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{told}", told.len());
        caller.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8_lossy(&head[..read]).into_owned()
    };
    let (refused, call) = tokio::join!(ack(SECRET), answered);
    is_problem(&refused, 503, "REPLICA_UNREACHABLE");
    assert!(call.starts_with("POST /replicas/v1 ") && !call.contains(SECRET), "{call}");
}

#[tokio::test]
async fn a_peer_that_never_answers_holds_nobody_beyond_the_wait() {
    // The kernel takes the connections, and nobody reads.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let replica = alone(&silent.local_addr().unwrap().to_string()).await;
    let client = Client::new();
    let pull = async |wait: &str| {
        let body = json!({ "wait": wait }).to_string();
        let pull = client.post(&replica.url("/v1/subscriptions/billing/pull"), body);
        (Instant::now(), pull.send().await.unwrap())
    };
    for (wait, most) in [("0s", 3), ("1s", 4)] {
        let (began, answer) = pull(wait).await;
        assert_eq!(answer.json()["messages"], json!([]));
        assert!(began.elapsed() < Duration::from_secs(most), "{wait}: {:?}", began.elapsed());
    }
    // What is here comes at once.
    let publish =
        async { client.post(&replica.url("/v1/topics/orders/messages"), "one").send().await.unwrap() };
    let ((began, answer), published) = tokio::join!(pull("20s"), publish);
    assert_eq!(published.status, 200);
    assert_eq!(answer.json()["messages"][0]["text"], "one", "{}", answer.text());
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

/// A replica whose only peer is there.
async fn alone(peer: &str) -> Sidecar {
    started(&[peer.to_owned()]).await.0
}

async fn started(peers: &[String]) -> (Sidecar, String) {
    let scene = Scene::embedded();
    let config = scene.replica(LEASE, &section(peers, SECRET));
    let replica = Launch::new(env!("CARGO_BIN_EXE_sidespan")).config(&config).start().await;
    replica.until_ready().await;
    (replica, scene.service().to_owned())
}
