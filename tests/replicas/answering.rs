//! Requests are answered by any replica, whichever leased them.

use serde_json::json;
use sidespan::proto::{Reply, ReplyRequest};
use sidespan_test_support::{Kafka, Nats, Rabbit, Scene};
use tonic::Code;

use crate::cluster::{Cluster, is_problem};
use crate::grpc::subscriber;
use crate::sockets::Socket;

#[tokio::test(flavor = "multi_thread")]
async fn kafka_requests_are_answered_by_any_replica() {
    let kafka = Kafka::shared().await;
    let scene = Scene::kafka(kafka).await;
    // Each replica reads one partition of it, and answers may come to those of others.
    kafka.create_topic(&format!("{}.replies", scene.service()), 3).await;
    any_replica(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_requests_are_answered_by_any_replica() {
    any_replica(&Scene::core(Nats::shared().await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rabbitmq_requests_are_answered_by_any_replica() {
    any_replica(&Scene::rabbit(Rabbit::shared().await)).await;
}

async fn any_replica(scene: &Scene) {
    let cluster = Cluster::start(scene).await;
    for by in 0..3 {
        let asking = cluster.request((by + 1) % 3, "how many?");
        let answering = async {
            let asked = cluster.pull_all(by, 1).await.remove(0);
            let message = json!({ "text": format!("{by}"), "headers": [["zone", "é"]] });
            let given = json!({ "ack_id": asked["ack_id"], "status": 201, "message": message });
            let answer = cluster.ask((by + 2) % 3, "reply", given.clone()).await;
            assert_eq!((answer.status.as_u16(), answer.text()), (204, ""));
            for to in 0..3 {
                is_problem(&cluster.ask(to, "reply", given.clone()).await, 409, "LEASE_ENDED");
            }
        };
        let (answer, ()) = tokio::join!(asking, answering);
        assert_eq!((answer.status.as_u16(), answer.text()), (201, &*by.to_string()));
        assert_eq!(answer.header("sidespan-header-zone"), "%C3%A9");
    }
    by_other_doors(&cluster).await;
    large(&cluster).await;
    cluster.publish(0, 1).await;
    let messages = cluster.pull_all(1, 1).await;
    for to in 0..3 {
        let given = json!({ "ack_id": messages[0]["ack_id"] });
        is_problem(&cluster.ask(to, "reply", given).await, 409, "NO_REPLY_AWAITED");
    }
    cluster.settle(2, "ack", &messages).await;
}

/// By gRPC and over a socket, of another replica than the one that leased the request.
async fn by_other_doors(cluster: &Cluster) {
    for by in 0..3 {
        let answering = async {
            let asked = cluster.pull_all(by, 1).await.remove(0);
            let ack_id = asked["ack_id"].as_str().unwrap().to_owned();
            let reply = Some(Reply { status: 201, payload: "by gRPC".into(), ..Reply::default() });
            let given = ReplyRequest { subscription: "billing".into(), ack_id, reply };
            for to in 0..3 {
                let answer = subscriber(cluster, to).await.reply(given.clone()).await;
                assert_eq!(answer.err().map(|status| status.code()), (to > 0).then_some(Code::Aborted));
            }
        };
        let (answer, ()) = tokio::join!(cluster.request((by + 1) % 3, "how many?"), answering);
        assert_eq!((answer.status.as_u16(), answer.text()), (201, "by gRPC"));

        let answering = async {
            let asked = cluster.pull_all(by, 1).await.remove(0);
            let message = json!({ "text": "over a socket" });
            let given = json!({ "type": "reply", "ack_id": asked["ack_id"], "message": message, "seq": 1 });
            for to in 0..3 {
                let mut socket = Socket::open(&cluster.replicas[to]).await;
                socket.say(given.clone()).await;
                let settled = socket.next("settled").await;
                assert_eq!(settled["outcomes"][0]["status"], if to == 0 { 200 } else { 409 }, "{settled}");
            }
        };
        let (answer, ()) = tokio::join!(cluster.request((by + 1) % 3, "how many?"), answering);
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "over a socket"));
    }
}

/// A reply of nearly the largest message goes on to another replica, too.
async fn large(cluster: &Cluster) {
    let text = "x".repeat(1_000_000);
    for to in 0..3 {
        let answering = async {
            let asked = cluster.pull_all(0, 1).await.remove(0);
            let given = json!({ "ack_id": asked["ack_id"], "message": { "text": text } });
            let answer = cluster.ask(to, "reply", given).await;
            assert_eq!(answer.status, 204, "{}", answer.text());
        };
        let (answer, ()) = tokio::join!(cluster.request(0, "how much?"), answering);
        assert_eq!((answer.status.as_u16(), answer.text().len()), (200, text.len()));
    }
}
