//! What every resource of the door has in common, and the topics.

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::server::{Server, head};

#[tokio::test]
async fn what_is_not_there_is_a_problem_too() {
    let server = Server::start().await;
    for path in ["/", "/v1", "/v1/topics/", "/v1/topics/a/b/messages", "/v2/topics"] {
        server.get(path).problem(404, "NOT_FOUND").await;
    }
    let answer = server.call(Method::DELETE, "/v1/topics/orders/messages", Bytes::new()).send().await;
    assert_eq!((answer.status.as_u16(), answer.header("allow")), (405, "POST"));
    assert_eq!(answer.json()["code"], "METHOD_NOT_ALLOWED");
    server.get("/v1/topics/orders/batches").problem(405, "METHOD_NOT_ALLOWED").await;
    server.post("/v1/topics/orders/stream", "").problem(405, "METHOD_NOT_ALLOWED").await;
}

#[tokio::test]
async fn strangers_hosts_and_pages_are_refused() {
    let server =
        Server::with("allowed_hosts: [shop.example]\nallowed_origins: [\"https://shop.example\"]").await;
    let port = server.address().port();
    for (host, status) in [
        (format!("localhost:{port}"), "200"),
        (format!("127.0.0.1:{port}"), "200"),
        (format!("[::1]:{port}"), "200"),
        ("shop.example".into(), "200"),
        ("rebound.example".into(), "403"),
        (format!("rebound.example:{port}"), "403"),
        ("localhost:1".into(), "403"),
    ] {
        let request = format!("GET /openapi.json HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let head = head(&mut server.raw(request.as_bytes()).await).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{host}: {head}");
    }
    let head = head(&mut server.raw(b"GET /openapi.json HTTP/1.0\r\n\r\n").await).await;
    assert!(head.contains(" 400 "), "{head}");

    for origin in ["https://evil.example", "null", "http://shop.example", "https://shop.example.evil.example"]
    {
        server
            .post("/v1/topics/orders/messages", "x")
            .header("Origin", origin)
            .problem(403, "FORBIDDEN")
            .await;
    }
    let of = |site: &str| server.get("/v1/topics").header("Sec-Fetch-Site", site);
    of("cross-site").problem(403, "FORBIDDEN").await;
    of("none").expect(200).await;
    let answer = of("cross-site").header("Origin", "https://shop.example").send().await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), "https://shop.example");
    let preflight = server
        .call(Method::OPTIONS, "/v1/topics/orders/messages", Bytes::new())
        .header("Origin", "https://shop.example")
        .header("Access-Control-Request-Method", "POST")
        .header("Access-Control-Request-Headers", "sidespan-key")
        .send()
        .await;
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-headers"), "sidespan-key");
    assert_eq!(server.get("/v1/topics/orders").send().await.status, 404, "nothing was stored");
}

#[tokio::test]
async fn topics_are_those_of_the_configuration_and_of_the_open_bridge() {
    let server = Server::start().await;
    for topic in ["orders.eu", "orders.us", "payments", "declared"] {
        server.publish(topic, "x").await;
    }
    let names = |page: &Value| -> Vec<String> {
        page["topics"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let page = server.get("/v1/topics").expect(200).await;
    assert_eq!(names(&page), ["declared", "missing", "orders.eu", "orders.us", "payments"]);
    let bytes = page["topics"][0]["bytes"].as_u64().unwrap();
    assert!(bytes > 0, "{page}");
    assert_eq!(
        page["topics"][0],
        json!({"name": "declared", "address": "address.of.declared", "bridge": "local", "declared": true,
               "exists": true, "partitions": 1, "messages": 1, "bytes": bytes})
    );
    assert_eq!(page["topics"][1]["exists"], false);
    assert_eq!(page["topics"][2]["declared"], false);

    let page = server.get("/v1/topics?pattern=orders.*").expect(200).await;
    assert_eq!(names(&page), ["orders.eu", "orders.us"]);
    let mut seen = Vec::new();
    let mut path = "/v1/topics?page_size=2".to_owned();
    loop {
        let page = server.get(&path).expect(200).await;
        seen.extend(names(&page));
        let Some(token) = page["next_page_token"].as_str() else { break };
        path = format!("/v1/topics?page_size=2&page_token={token}");
    }
    assert_eq!(seen, ["declared", "missing", "orders.eu", "orders.us", "payments"]);
    for bad in ["pattern=orders*", "page_size=0", "page_size=x", "page_token=%FF", "sort=name"] {
        server.get(&format!("/v1/topics?{bad}")).problem(400, "INVALID_REQUEST").await;
    }
}

#[tokio::test]
async fn one_topic_is_described() {
    let server = Server::start().await;
    server.publish("orders", "x").await;
    let topic = server.get("/v1/topics/orders").expect(200).await;
    assert_eq!((&topic["messages"], &topic["declared"]), (&json!(1), &json!(false)));
    assert_eq!(server.get("/v1/topics/missing").expect(200).await["exists"], false);
    server.get("/v1/topics/nowhere").problem(404, "UNKNOWN_TOPIC").await;
    server.publish("orders.eu", "x").await;
    server.get("/v1/topics/orders.*").problem(404, "UNKNOWN_TOPIC").await;
    server.get("/v1/topics/a%00").problem(400, "INVALID_REQUEST").await;
    server.get("/v1/topics/orders").header("Accept", "text/html").problem(406, "NOT_ACCEPTABLE").await;
    server.get("/v1/topics/orders").header("Accept", "text/html, application/*;q=0.1").expect(200).await;
}

#[tokio::test]
async fn broken_requests_leave_the_server_up() {
    let server = Server::start().await;
    let long = format!("GET / HTTP/1.1\r\nHost: {}\r\nX: {}\r\n\r\n", server.address(), "x".repeat(1 << 20));
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\n\r\n",
        b"POST /v1/topics/orders/messages HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnonsense",
        long.as_bytes(),
    ] {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        // The server may close before it has all of it.
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
    }
    server.publish("orders", "x").await;
}
