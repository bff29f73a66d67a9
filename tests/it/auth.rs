//! Callers: who is asked, who is let in, and what they may do.

use std::fs;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::Method;
use serde_json::Value;
use sidespan_test_support::{Answer, Client, Webhook, eventually};
use tokio::io::AsyncWriteExt;

use crate::document::Document;
use crate::server::{Call, Server, head};
use crate::socket::client::Socket;

const ALL: &str = "all-all-all-all-all-all-all";
const TILL: &str = "till-till-till-till-till-till";
const READER: &str = "reader-reader-reader-reader";

/// One that may do everything, one that publishes orders and reads nothing, one that reads them.
fn auth() -> String {
    format!(
        "auth:\n  tokens:\n\
         \x20 - {{ name: all, secret: {ALL}, publish: ['>'], subscribe: ['>'], manage: true }}\n\
         \x20 - {{ name: till, secret: {TILL}, publish: ['orders.*', declared] }}\n\
         \x20 - {{ name: reader, secret: {READER}, subscribe: ['orders.*', billing] }}\n"
    )
}

impl Call {
    fn by(self, token: &str) -> Self {
        self.header("Authorization", format!("Bearer {token}"))
    }
}

#[tokio::test]
async fn every_operation_asks_who_calls() {
    let server = Server::with(&auth()).await;
    let operations = Document::get().operations();
    assert!(operations.len() > 8);
    for (method, path) in operations {
        let path = path.replace("{topic}", "orders.eu").replace("{subscription}", "billing");
        let call = || server.call(method.clone(), &path, Bytes::new());
        call().problem(401, "UNAUTHENTICATED").await;
        call().by("till-till-till-till-till-tilt").problem(401, "UNAUTHENTICATED").await;
        call().header("Authorization", format!("Basic {ALL}")).problem(401, "UNAUTHENTICATED").await;
        if !path.ends_with("/stream") {
            assert_ne!(call().by(ALL).send().await.status, 401, "{method} {path}");
        }
    }
    for path in ["/", "/v1/nothing", "/v1/topics/orders/nothing", "/drain", "/livez"] {
        server.get(path).problem(401, "UNAUTHENTICATED").await;
        server.get(path).by(ALL).problem(404, "NOT_FOUND").await;
    }
}

#[tokio::test]
async fn a_token_is_taken_over_http2_too() {
    let server = Server::with(&auth()).await;
    let client = Client::http2();
    let path = "/v1/topics/orders.eu/messages";
    let call = || server.call_by(&client, Method::POST, path, Bytes::from_static(b"x"));
    call().problem(401, "UNAUTHENTICATED").await;
    call().by(TILL).expect(200).await;
}

#[tokio::test]
async fn a_stranger_is_refused_before_the_body_is_read() {
    let server = Server::with(&auth()).await;
    let start = |token: &str| {
        format!(
            "POST /v1/topics/orders.eu/messages HTTP/1.1\r\nHost: {}\r\nContent-Length: 1000000\r\n{token}\r\n",
            server.address()
        )
    };
    for token in ["", "Authorization: Bearer nobody\r\n"] {
        let head = head(&mut server.raw(start(token).as_bytes()).await).await;
        assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
        assert!(head.contains("www-authenticate: Bearer\r\n"), "{head}");
    }
    let token = format!("Authorization: Bearer {READER}\r\n");
    let head = head(&mut server.raw(start(&token).as_bytes()).await).await;
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
}

#[tokio::test]
async fn a_stranger_that_writes_all_before_it_reads_is_told() {
    let server = Server::with(&auth()).await;
    let body = vec![b'x'; 8 << 20];
    let head = format!(
        "POST /v1/topics/orders.eu/messages HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n",
        server.address(),
        body.len()
    );
    let mut stream = server.raw(head.as_bytes()).await;
    stream.write_all(&body).await.unwrap();
    let head = crate::server::head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
}

#[tokio::test]
async fn a_token_may_come_slowly_and_counts_once_it_is_whole() {
    let server = Server::with(&auth()).await;
    let ask = |token: &str| {
        let host = server.address();
        format!("GET /openapi.json HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n")
    };
    for (token, status) in [(TILL, "200"), (&TILL[..TILL.len() - 1], "401")] {
        let mut stream = server.raw(b"").await;
        stream.set_nodelay(true).unwrap();
        for byte in ask(token).bytes() {
            stream.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        let head = head(&mut stream).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
    }
    let long = "x".repeat(60 << 10);
    let head = head(&mut server.raw(ask(&long).as_bytes()).await).await;
    assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
}

#[tokio::test]
async fn a_caller_publishes_to_its_own_topics_only() {
    let server = Server::with(&auth()).await;
    server.post("/v1/topics/orders.eu/messages", "x").by(TILL).expect(200).await;
    server.post("/v1/topics/declared/messages", "x").by(TILL).expect(200).await;
    let batch = || server.post("/v1/topics/payments/batches", "[{\"text\": \"x\"}]");
    let batch = || batch().header("Content-Type", "application/json");
    for refused in [
        server.post("/v1/topics/payments/messages", "x").by(TILL),
        server.post("/v1/topics/orders.eu.paid/messages", "x").by(TILL),
        server.post("/v1/topics/missing/messages", "x").by(TILL),
        server.post("/v1/topics/orders.eu/messages", "x").by(READER),
        batch().by(TILL),
    ] {
        let problem = refused.problem(403, "PERMISSION_DENIED").await;
        assert!(problem["detail"].as_str().unwrap().contains("`publish`"), "{problem}");
        assert_eq!(problem["outcome"], "not_stored");
    }
    server.get("/v1/topics/payments").by(ALL).problem(404, "UNKNOWN_TOPIC").await;
    batch().by(ALL).expect(200).await;
}

#[tokio::test]
async fn a_caller_streams_its_own_topics_only() {
    let server = Server::with(&auth()).await;
    server.post("/v1/topics/orders.eu/messages", "hello").by(TILL).expect(200).await;
    let reader = format!("Bearer {READER}");
    let follow = async |topic: &str, token: &str| {
        let path = format!("/v1/topics/{topic}/stream?start=begin");
        server.try_follow(&path, &[("Authorization", token)]).await
    };
    for topic in ["orders.eu", "orders.*"] {
        let mut events = follow(topic, &reader).await.unwrap_or_else(|status| panic!("{topic}: {status}"));
        assert_eq!(events.message().await.1["topic"], "orders.eu");
    }
    // What is asked for stands for more than what may be read.
    for topic in ["orders.%3E", "%3E", "*.*", "payments", "declared"] {
        assert_eq!(follow(topic, &reader).await.err().unwrap(), 403, "{topic}");
    }
    assert_eq!(follow("orders.eu", &format!("Bearer {TILL}")).await.err().unwrap(), 403);
}

#[tokio::test]
async fn a_right_to_addresses_is_none_to_what_is_declared_there_by_another_name() {
    let guest = "guest-guest-guest-guest-guest";
    let friend = "friend-friend-friend-friend";
    let server = Server::with(&format!(
        "{}\x20 - {{ name: guest, secret: {guest}, subscribe: ['address.>'] }}\n\
         \x20 - {{ name: friend, secret: {friend}, subscribe: ['address.>', declared] }}\n",
        auth()
    ))
    .await;
    server.post("/v1/topics/declared/messages", "hello").by(TILL).expect(200).await;
    let follow = async |topic: &str, token: &str| {
        let (path, bearer) = (format!("/v1/topics/{topic}/stream?start=begin"), format!("Bearer {token}"));
        server.try_follow(&path, &[("Authorization", &bearer)]).await
    };
    for topic in ["address.%3E", "address.of.*"] {
        assert_eq!(follow(topic, guest).await.err().unwrap(), 403, "{topic}");
        for token in [friend, ALL] {
            let mut events = follow(topic, token).await.unwrap_or_else(|status| panic!("{topic}: {status}"));
            assert_eq!(events.message().await.1["text"], "hello");
        }
    }
    server.post("/v1/topics/address.to.others/messages", "x").by(ALL).expect(200).await;
    assert!(follow("address.to.*", guest).await.is_ok());
}

#[tokio::test]
async fn a_caller_sees_what_it_may_use() {
    let webhook = Webhook::start(|_| Answer::ok()).await;
    let subscription =
        |name: &str| format!("  {name}: {{ topic: declared, push: {{ url: \"{}\" }} }}\n", webhook.url("/"));
    let sections = format!("{}subscriptions:\n{}{}", auth(), subscription("billing"), subscription("stock"));
    let server = Server::with(&sections).await;
    for topic in ["orders.eu", "payments"] {
        server.post(&format!("/v1/topics/{topic}/messages"), "x").by(ALL).expect(200).await;
    }
    let names = async |path: &str, token: &str| -> Vec<String> {
        let page = server.get(path).by(token).expect(200).await;
        let list = ["topics", "subscriptions"].iter().find_map(|name| page[*name].as_array());
        list.unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("/v1/topics?pattern=orders.*", ALL).await, ["orders.eu"]);
    assert!(names("/v1/topics", ALL).await.contains(&"payments".to_owned()));
    assert_eq!(names("/v1/topics", TILL).await, ["declared", "orders.eu"]);
    assert_eq!(names("/v1/topics", READER).await, ["orders.eu"]);
    assert_eq!(names("/v1/topics?page_size=1", READER).await, ["orders.eu"], "what is hidden takes no room");
    assert_eq!(names("/v1/subscriptions", ALL).await, ["billing", "stock"]);
    assert_eq!(names("/v1/subscriptions", READER).await, ["billing"]);
    assert!(names("/v1/subscriptions", TILL).await.is_empty());

    server.get("/v1/subscriptions/billing").by(READER).expect(200).await;
    server.get("/v1/topics/orders.eu").by(READER).expect(200).await;
    server.get("/v1/topics/orders.eu").by(TILL).expect(200).await;
    for hidden in ["/v1/subscriptions/stock", "/v1/subscriptions/nothing", "/v1/topics/payments"] {
        server.get(hidden).by(READER).problem(403, "PERMISSION_DENIED").await;
    }
}

#[tokio::test]
async fn a_caller_fetches_from_its_own_subscriptions_only() {
    let subscription = |name: &str| format!("  {name}: {{ topic: orders.eu, start: begin, pull: {{}} }}\n");
    let sections = format!("{}subscriptions:\n{}{}", auth(), subscription("billing"), subscription("stock"));
    let server = Server::with(&sections).await;
    server.post("/v1/topics/orders.eu/messages", "x").by(TILL).expect(200).await;
    let post = |name: &str, verb: &str, body: String| {
        server.post(&format!("/v1/subscriptions/{name}/{verb}"), body).by(READER)
    };
    let pulled = post("billing", "pull", "{}".into()).expect(200).await;
    let ack = format!("{{\"ack_ids\": [{}]}}", pulled["messages"][0]["ack_id"]);
    for verb in ["pull", "ack", "nack", "extend"] {
        post("stock", verb, ack.clone()).problem(403, "PERMISSION_DENIED").await;
    }
    post("billing", "ack", ack).expect(200).await;
}

#[tokio::test]
async fn an_idempotency_key_is_its_callers_own() {
    let server = Server::with(&auth()).await;
    let publish = async |token: &str| -> Value {
        let call = server.post("/v1/topics/orders.eu/messages", "x").header("Idempotency-Key", "\"4711\"");
        call.by(token).expect(200).await
    };
    assert_eq!(publish(TILL).await["duplicate"], false);
    assert_eq!(publish(TILL).await["duplicate"], true);
    assert_eq!(publish(ALL).await["duplicate"], false, "another caller's key drops nothing");
}

#[tokio::test]
async fn a_token_in_a_file_changes_under_a_running_server() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    fs::write(&path, format!("{TILL}\n")).unwrap();
    let server = Server::with(&format!(
        "auth: {{ tokens: [{{ name: till, secret: {{ file: {} }}, publish: ['>'] }}] }}\n",
        path.display()
    ))
    .await;
    let status = async |token: &str| {
        server.post("/v1/topics/orders/messages", "x").by(token).send().await.status.as_u16()
    };
    assert_eq!((status(TILL).await, status(READER).await), (200, 401));
    // As Kubernetes does: a whole new file in the place of the old one.
    let next = directory.path().join("next");
    fs::write(&next, READER).unwrap();
    fs::rename(&next, &path).unwrap();
    eventually(PATIENCE, "the new token", async || status(READER).await == 200).await;
    assert_eq!(status(TILL).await, 401);
    fs::remove_file(&path).unwrap();
    eventually(PATIENCE, "a token taken away", async || status(READER).await == 401).await;
}

/// Also where nobody calls meanwhile.
#[tokio::test]
async fn streams_end_with_the_token_that_opened_them() {
    for taken_away in [true, false] {
        let file = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        fs::write(&file, TILL).unwrap();
        let server = Server::with(&format!(
            "{}\x20 - {{ name: guest, secret: {{ file: {} }}, subscribe: [declared, jobs] }}\n\
             subscriptions: {{ jobs: {{ topic: declared, pull: {{}} }} }}\n",
            auth().replace(TILL, "another-another-another-another"),
            file.display()
        ))
        .await;
        let bearer = |token: &str| format!("Bearer {token}");
        let follow = async |token: &str| {
            let path = "/v1/topics/declared/stream";
            server.try_follow(path, &[("Authorization", &bearer(token))]).await.unwrap()
        };
        let socket =
            async |path: &str| Socket::open_with(&server, path, &[("Authorization", &bearer(TILL))]).await;
        let (mut events, mut others) = (follow(TILL).await, follow(ALL).await);
        let mut sockets =
            [socket("/v1/topics/declared/stream").await, socket("/v1/subscriptions/jobs/stream").await];
        if taken_away {
            fs::remove_file(&file).unwrap();
        } else {
            fs::write(&file, READER.replace("reader", "reading")).unwrap();
        }
        assert!(events.last().await.contains("UNAUTHENTICATED"));
        for socket in &mut sockets {
            let (code, reason) = socket.closed().await;
            assert!(code == 1008 && reason.contains("token"), "{code} {reason}");
        }
        server.post("/v1/topics/declared/messages", "hello").by(ALL).expect(200).await;
        assert_eq!(others.message().await.1["text"], "hello", "those of others go on");
    }
}

#[tokio::test]
async fn operators_are_asked_too_but_not_the_kubelet() {
    let server = Server::with(&auth()).await;
    let client = Client::new();
    let ask = async |method: Method, path: &str, token: &str| {
        let mut request = client.request(method, &format!("http://{}{path}", server.admin()));
        if !token.is_empty() {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        request.send().await.unwrap()
    };
    for path in ["/livez", "/readyz", "/readyz/listeners", "/readyz/publish?verbose", "/startupz"] {
        assert_ne!(ask(Method::GET, path, "").await.status, 401, "{path}");
    }
    assert_eq!(ask(Method::GET, "/nothing", "").await.status, 401);
    let unknown = ask(Method::POST, "/drain", "").await;
    assert_eq!((unknown.status.as_u16(), unknown.header("www-authenticate")), (401, "Bearer"));
    let denied = ask(Method::POST, "/drain", TILL).await;
    assert_eq!(denied.status, 403);
    assert!(denied.json()["detail"].as_str().unwrap().contains("`manage: true`"), "{}", denied.text());
    assert_eq!(ask(Method::POST, "/drain", ALL).await.status, 200);
}

#[tokio::test]
async fn without_callers_whoever_reaches_the_operators_door_is_one() {
    let server = Server::start().await;
    let drained = Client::new().post(&format!("http://{}/drain", server.admin()), "").send().await.unwrap();
    assert_eq!(drained.status, 200);
}

#[tokio::test]
async fn a_page_shows_its_token_as_others_do() {
    let server = Server::with(&format!("{}allowed_origins: [\"https://shop.example\"]\n", auth())).await;
    let of_page = |call: Call| call.header("Origin", "https://shop.example");
    let path = "/v1/topics/orders.eu/messages";
    // A browser asks without credentials, which may not be sent before it has the answer.
    let preflight = of_page(server.call(Method::OPTIONS, path, Bytes::new()))
        .header("Access-Control-Request-Method", "POST")
        .header("Access-Control-Request-Headers", "authorization, sidespan-key")
        .send()
        .await;
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-headers"), "authorization, sidespan-key");
    let refused = of_page(server.post(path, "x")).send().await;
    assert_eq!(refused.status, 401);
    assert_eq!(refused.header("access-control-allow-origin"), "https://shop.example", "it may read why");
    of_page(server.post(path, "x")).by(TILL).expect(200).await;
    let stranger = server.call(Method::OPTIONS, path, Bytes::new()).header("Origin", "https://evil.example");
    stranger.header("Access-Control-Request-Method", "POST").problem(403, "FORBIDDEN").await;
}

#[tokio::test]
async fn a_subprotocol_may_hold_the_token() {
    let server = Server::with(&auth()).await;
    let offer = |token: &str| {
        let token = URL_SAFE_NO_PAD.encode(token);
        server
            .get("/openapi.json")
            .header("Sec-WebSocket-Protocol", format!("sidespan.v1.json, sidespan.token.{token}"))
    };
    offer(READER).expect(200).await;
    offer("reader-reader-reader-readeR").problem(401, "UNAUTHENTICATED").await;
}

const PATIENCE: Duration = Duration::from_secs(10);
