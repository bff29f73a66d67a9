//! Pages in browsers: what a listed one may do.

use bytes::Bytes;
use http::Method;

use crate::server::{Call, Server};

const SHOP: &str = "https://shop.example";

async fn server() -> Server {
    Server::with(&format!("allowed_origins: [\"{SHOP}\"]\n")).await
}

impl Call {
    fn of_page(self, origin: &str) -> Self {
        self.header("Origin", origin)
    }
}

#[tokio::test]
async fn a_listed_page_may_use_every_method_and_header() {
    let server = server().await;
    let asked = "authorization,idempotency-key,last-event-id,sidespan-header-note,sidespan-key";
    for (method, path) in [
        (Method::POST, "/v1/topics/orders/messages"),
        (Method::GET, "/v1/topics/orders/stream"),
        (Method::PUT, "/v1/subscriptions/billing"),
        (Method::PATCH, "/v1/subscriptions/billing"),
        (Method::DELETE, "/v1/subscriptions/billing"),
    ] {
        let ask = |origin: &str| {
            let call = server.call(Method::OPTIONS, path, Bytes::new()).of_page(origin);
            call.header("Access-Control-Request-Method", method.as_str())
                .header("Access-Control-Request-Headers", asked)
                .header("Access-Control-Request-Private-Network", "true")
        };
        let answer = ask(SHOP).send().await;
        assert_eq!((answer.status.as_u16(), answer.text()), (204, ""));
        assert_eq!(answer.header("access-control-allow-origin"), SHOP);
        assert_eq!(answer.header("access-control-allow-headers"), asked);
        assert_eq!(answer.header("access-control-allow-private-network"), "true");
        assert_eq!(answer.header("access-control-max-age"), "600");
        assert!(answer.header("vary").contains("origin"), "{}", answer.header("vary"));
        let methods = answer.header("access-control-allow-methods");
        assert!(methods.split(',').any(|one| one == method.as_str()), "{methods}");
        let refused = ask("https://evil.example").send().await;
        assert_eq!(refused.status, 403);
        assert!(!refused.headers.keys().any(|name| name.as_str().starts_with("access-control")));
    }
}

#[tokio::test]
async fn a_listed_page_reads_answers_and_problems() {
    let server = server().await;
    let publish = |body: &'static str| server.post("/v1/topics/orders/messages", body).of_page(SHOP);
    let stored = publish("x").send().await;
    let refused = publish("x").header("Sidespan-Partition", "x").send().await;
    for (answer, status) in [(stored, 200), (refused, 400)] {
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("access-control-allow-origin"), SHOP);
        assert_eq!(answer.header("access-control-expose-headers"), "*");
        assert!(answer.header("vary").contains("origin"));
    }
    let program = server.get("/v1/topics").send().await;
    assert!(
        !program.headers.contains_key("vary") && !program.headers.contains_key("access-control-allow-origin")
    );
}

/// As a browser does it: no preflight, `Origin` at each connection, `Last-Event-ID` after a break.
#[tokio::test]
async fn an_event_source_of_a_listed_page_goes_on_after_a_break() {
    let server = server().await;
    server.publish("orders", "one").await;
    let path = "/v1/topics/orders/stream?start=begin";
    let browser =
        [("Accept", "text/event-stream"), ("Cache-Control", "no-cache"), ("Sec-Fetch-Site", "cross-site")];
    let headers = |more: &[(&'static str, &'static str)]| [&browser[..], more].concat();
    let mut events = server.follow(path, &headers(&[("Origin", SHOP)])).await;
    assert_eq!(events.header("access-control-allow-origin"), Some(SHOP));
    let (id, message) = events.message().await;
    assert_eq!(message["text"], "one");
    drop(events);

    server.publish("orders", "two").await;
    let id = id.unwrap();
    let mut again = headers(&[("Origin", SHOP)]);
    again.push(("Last-Event-ID", &id));
    let mut events = server.follow(path, &again).await;
    assert_eq!(events.message().await.1["text"], "two");

    let evil = server.try_follow(path, &headers(&[("Origin", "https://evil.example")])).await;
    assert_eq!(evil.err().unwrap(), 403);
}
