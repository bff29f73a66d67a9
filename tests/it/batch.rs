//! Publishing many messages.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use sidespan_test_support::eventually;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::limits::{LARGE, gzip};
use crate::server::{Call, Server, head};

const ORDERS: &str = "/v1/topics/orders/batches";

fn array(server: &Server, body: impl Into<bytes::Bytes>) -> Call {
    server.post(ORDERS, body).header("Content-Type", "application/json")
}

fn lines(server: &Server, body: impl Into<bytes::Bytes>) -> Call {
    server.post(ORDERS, body).header("Content-Type", "application/x-ndjson")
}

#[tokio::test]
async fn arrays_and_lines_are_stored_in_order() {
    let server = Server::start().await;
    let result =
        array(&server, r#"[{"id":"o-1","key":"k","data":{"n": 1}}, {"text":"two"}, {"tombstone":true}]"#)
            .expect(200)
            .await;
    assert_eq!((&result["stored"], &result["failed"]), (&json!(3), &json!(0)));
    assert_eq!(result["outcomes"][0]["id"], "o-1");
    let result = lines(&server, "{\"data_base64\":\"/w==\"}\n\n{\"key_base64\":\"/w==\",\"text\":\"five\"}")
        .expect(200)
        .await;
    assert_eq!(result["stored"], 2);
    let messages = server.messages("orders", 5).await;
    assert_eq!(messages[0]["data"], json!({"n": 1}));
    assert_eq!(messages[0]["key"], "k");
    assert_eq!(messages[1]["text"], "two");
    assert_eq!(messages[1]["content_type"], "text/plain; charset=utf-8");
    assert_eq!(messages[2]["tombstone"], true);
    assert_eq!(messages[3]["data_base64"], "/w==");
    assert_eq!(messages[4]["key_base64"], "/w==");
}

#[tokio::test]
async fn events_come_in_batches_and_are_known_again_by_source_and_id() {
    let server = Server::start().await;
    let batch = r#"[{"specversion":"1.0","id":"1","source":"/a","type":"t","partitionkey":"p","data":1},
                    {"specversion":"1.0","id":"1","source":"/b","type":"t","data":2},
                    {"specversion":"1.0","id":"2","source":"/a"}]"#;
    let send = || server.post(ORDERS, batch).header("Content-Type", "application/cloudevents-batch+json");
    let problem = send().problem(400, "INVALID_REQUEST").await;
    assert_eq!((&problem["stored"], &problem["failed"]), (&json!(2), &json!(1)));
    assert!(problem["outcomes"][2]["detail"].as_str().unwrap().contains("`type`"), "{problem}");
    let again = send().problem(400, "INVALID_REQUEST").await;
    assert_eq!(again["outcomes"][0]["duplicate"], true);
    let messages = server.messages("orders", 2).await;
    assert_eq!(messages[0]["key"], "p");
    assert_eq!((&messages[0]["data"], &messages[1]["data"]), (&json!(1), &json!(2)));
}

#[tokio::test]
async fn nothing_is_a_batch_too() {
    let server = Server::start().await;
    assert_eq!(array(&server, " [ ] ").expect(200).await["stored"], 0);
    assert_eq!(lines(&server, "\n\n").expect(200).await["stored"], 0);
    assert_eq!(lines(&server, "").expect(200).await["stored"], 0);
    array(&server, "").problem(400, "INVALID_REQUEST").await;
}

#[tokio::test]
async fn a_bad_item_fails_alone() {
    let server = Server::start().await;
    let items = [
        r#"{"text":"a"}"#,
        r#"{"text":"b","date":1}"#,
        r#"{"data":tru}"#,
        "7",
        r#"{"text":"x","text":"y"}"#,
        r#"{"data_base64":"?"}"#,
        r#"{"headers":[["Nats-Msg-Id","1"]],"text":"x"}"#,
        r#"{"text":"z"}"#,
    ];
    for call in [array(&server, format!("[{}]", items.join(","))), lines(&server, items.join("\n"))] {
        let problem = call.problem(400, "INVALID_REQUEST").await;
        assert_eq!((&problem["stored"], &problem["failed"]), (&json!(2), &json!(6)), "{problem}");
        assert_eq!((&problem["outcome"], &problem["retryable"]), (&json!("partial"), &json!(false)));
        assert_eq!(problem.get("rest"), None);
        let statuses: Vec<u64> = problem["outcomes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["status"].as_u64().unwrap())
            .collect();
        assert_eq!(statuses, [200, 400, 400, 400, 400, 400, 400, 200]);
        assert!(problem["outcomes"][1]["detail"].as_str().unwrap().contains("unknown field `date`"));
    }
    assert_eq!(server.messages("orders", 4).await[3]["text"], "z");
}

#[tokio::test]
async fn behind_broken_json_nothing_is_stored_and_it_is_said() {
    let server = Server::start().await;
    for (body, stored) in [
        (r#"[{"text":"a"},{"text":"b"}},{"text":"c"}]"#, 2),
        (r#"[{"text":"a"} {"text":"b"}]"#, 1),
        (r#"[{"text":"a"},"#, 1),
        (r#"[{"text":"a"}]["#, 1),
        (r#"{"text":"a"}"#, 0),
        (r#"hello"#, 0),
        ("\u{feff}[]", 0),
    ] {
        let problem = array(&server, body).problem(400, "INVALID_REQUEST").await;
        assert_eq!(problem["stored"], stored, "{body}: {problem}");
        assert_eq!((&problem["failed"], &problem["rest"]), (&json!(1), &json!("not_stored")));
        assert_eq!(problem["outcome"], if stored > 0 { "partial" } else { "not_stored" });
    }
    array(&server, [&b"[{\"text\":\""[..], b"\xff", b"\"}]"].concat()).problem(400, "INVALID_REQUEST").await;
}

#[tokio::test]
async fn a_client_that_writes_before_it_reads_gets_to_know_what_is_stored() {
    let server = Server::start().await;
    let body = format!(r#"[{{"text":"a"}}}}{}"#, " ".repeat(LARGE));
    let request = format!(
        "POST {ORDERS} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        server.address(),
        body.len()
    );
    let mut stream = server.raw(request.as_bytes()).await;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains(r#""stored":1,"#), "{answer}");
}

#[tokio::test]
async fn a_truncated_body_stores_no_half_item() {
    let server = Server::start().await;
    let request = format!(
        "POST {ORDERS} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-ndjson\r\nContent-Length: 100\r\n\r\n\
         {{\"text\":\"whole\"}}\n{{\"text\":\"half",
        server.address()
    );
    let mut stream = server.raw(request.as_bytes()).await;
    stream.shutdown().await.unwrap();
    let compressed = gzip(b"{\"text\":\"gz\"}\n{\"text\":\"lost\"}").await;
    let cut = compressed[..compressed.len() - 8].to_vec();
    let problem =
        lines(&server, cut).header("Content-Encoding", "gzip").problem(400, "INVALID_REQUEST").await;
    assert_eq!(problem["rest"], "not_stored", "{problem}");
    server.publish("orders", "last").await;
    let texts: Vec<String> = {
        let mut events = server.follow("/v1/topics/orders/stream?start=begin", &[]).await;
        let mut texts = Vec::new();
        while texts.last().is_none_or(|text| text != "last") {
            texts.push(events.message().await.1["text"].as_str().unwrap().to_owned());
        }
        texts
    };
    assert!(!texts.iter().any(|text| text == "half"), "{texts:?}");
}

#[tokio::test]
async fn a_brokers_failure_is_told_for_each_message() {
    let server = Server::start().await;
    let body = json!([
        {"text": "a"},
        {"text": "b", "headers": [["trouble", "rejected"]]},
        {"text": "c"},
        {"text": "d", "headers": [["trouble", "too-large"]]},
        {"text": "e", "headers": [["trouble", "timeout"]]},
    ]);
    let problem = array(&server, body.to_string()).problem(504, "TIMEOUT").await;
    assert_eq!((&problem["stored"], &problem["failed"]), (&json!(2), &json!(3)));
    assert_eq!(problem["outcome"], "partial");
    let told: Vec<(u64, &str)> = problem["outcomes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["status"].as_u64().unwrap(), one["outcome"].as_str().unwrap_or("")))
        .collect();
    assert_eq!(told, [(200, ""), (502, "not_stored"), (200, ""), (413, "not_stored"), (504, "unknown")]);

    let lenient = array(&server, body.to_string()).header("Prefer", "handling=lenient").send().await;
    assert_eq!(lenient.status, 207);
    assert_eq!(lenient.header("preference-applied"), "handling=lenient");
    assert_eq!(lenient.json()["failed"], 3);
    let whole = array(&server, r#"[{"text":"a"}]"#).header("Prefer", "handling=lenient").send().await;
    assert_eq!(whole.status, 200, "207 is for what is not whole");

    let down = json!([{"text": "a", "headers": [["trouble", "unavailable"]]}]);
    let problem = array(&server, down.to_string()).problem(503, "UNAVAILABLE").await;
    assert_eq!((&problem["outcome"], &problem["retryable"]), (&json!("not_stored"), &json!(true)));
}

#[tokio::test]
async fn what_was_stored_is_known_again_by_its_id() {
    let server = Server::start().await;
    let body = r#"[{"id":"1","text":"a"},{"id":"2","text":"b"},{"text":"no id"}]"#;
    array(&server, body).expect(200).await;
    let again = array(&server, body).expect(200).await;
    let duplicates: Vec<&Value> =
        again["outcomes"].as_array().unwrap().iter().map(|one| &one["duplicate"]).collect();
    assert_eq!(duplicates, [true, true, false]);
    assert_eq!(again["outcomes"][0]["id"], "1");
}

#[tokio::test]
async fn headers_of_one_message_are_no_headers_of_a_batch() {
    let server = Server::start().await;
    for (name, value) in [
        ("Idempotency-Key", "1"),
        ("Sidespan-Key", "k"),
        ("Sidespan-Header-A", "1"),
        ("Sidespan-Tombstone", "true"),
        ("ce-id", "1"),
    ] {
        array(&server, "[]").header(name, value).problem(400, "INVALID_REQUEST").await;
    }
    for content_type in ["text/plain", "application/cloudevents+json", "application/json; charset=utf-16"] {
        let sent = server.post(ORDERS, "[]").header("Content-Type", content_type);
        sent.problem(415, "UNSUPPORTED_MEDIA_TYPE").await;
    }
    server.post(ORDERS, "[]").problem(415, "UNSUPPORTED_MEDIA_TYPE").await;
    let context = |span: &str| format!("00-0af7651916cd43dd8448eb211c80319c-{span}-01");
    let (own, request) = (context("1111111111111111"), context("2222222222222222"));
    let traced = json!([{"text": "a"}, {"text": "b", "headers": [["traceparent", own]]}]);
    array(&server, traced.to_string()).header("traceparent", &request).expect(200).await;
    let messages = server.messages("orders", 2).await;
    assert_eq!(messages[0]["headers"], json!([["traceparent", request]]));
    assert_eq!(messages[1]["headers"], json!([["traceparent", own]]));
}

#[tokio::test]
async fn limits_hold_for_items_messages_and_bodies() {
    let server =
        Server::with("limits: { max_message: 1KiB, max_batch: 256KiB, max_batch_messages: 3 }").await;
    let big = "x".repeat(1025);
    let huge = "x".repeat(100_000);
    let body = format!("{{\"text\":\"a\"}}\n{{\"text\":\"{big}\"}}\n{{\"text\":\"{huge}\"}}");
    let problem = lines(&server, body).problem(413, "TOO_LARGE").await;
    assert_eq!((&problem["stored"], &problem["failed"]), (&json!(1), &json!(2)));
    assert!(problem["outcomes"][1]["detail"].as_str().unwrap().contains("limits.max_message"));
    assert_eq!(problem["outcomes"][2]["code"], "TOO_LARGE");

    let many = "{\"text\":\"a\"}\n".repeat(5);
    let problem = lines(&server, many).problem(413, "TOO_LARGE").await;
    assert_eq!(
        (&problem["stored"], &problem["failed"], &problem["rest"]),
        (&json!(3), &json!(1), &json!("not_stored"))
    );
    assert!(problem["detail"].as_str().unwrap().contains("limits.max_batch_messages"));

    let problem = lines(&server, vec![b'\n'; (256 << 10) + 1]).problem(413, "TOO_LARGE").await;
    assert_eq!(problem.get("outcomes"), None, "its length said so, before it was read");
    let bomb = gzip(&vec![b'\n'; 1 << 20]).await;
    let problem = lines(&server, bomb).header("Content-Encoding", "gzip").problem(413, "TOO_LARGE").await;
    assert!(problem["detail"].as_str().unwrap().contains("limits.max_batch "), "{problem}");
}

#[tokio::test]
async fn a_batch_may_be_larger_than_what_may_be_in_flight() {
    let server =
        Server::with("limits: { max_in_flight: 700, max_in_flight_bytes: 256KiB, max_message: 64KiB }").await;
    let body: String = (0..5000)
        .map(|n| format!("{{\"key\":\"k{}\",\"text\":\"{n} {}\"}}\n", n % 7, "x".repeat(200)))
        .collect();
    let result = lines(&server, body).expect(200).await;
    assert_eq!(result["stored"], 5000);
    let mut last: BTreeMap<String, i64> = BTreeMap::new();
    for message in server.messages("orders", 5000).await {
        let number: i64 = message["text"].as_str().unwrap().split(' ').next().unwrap().parse().unwrap();
        let before = last.insert(message["key"].as_str().unwrap().to_owned(), number);
        assert!(before.is_none_or(|before| before < number), "{message}");
    }
}

#[tokio::test]
async fn messages_are_stored_while_the_batch_still_arrives() {
    let server = Server::start().await;
    let request = format!(
        "POST {ORDERS} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n",
        server.address()
    );
    let mut stream = server.raw(request.as_bytes()).await;
    let items = "{\"text\":\"early\"}\n".repeat(600);
    stream.write_all(format!("{:x}\r\n{items}\r\n", items.len()).as_bytes()).await.unwrap();
    eventually(Duration::from_secs(5), "the first messages", async || {
        server.get("/v1/topics/orders").send().await.json()["messages"]
            .as_u64()
            .is_some_and(|stored| stored >= 500)
    })
    .await;
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    assert!(head(&mut stream).await.starts_with("HTTP/1.1 200"));
    assert_eq!(server.messages("orders", 600).await.len(), 600);
}

#[tokio::test]
async fn a_batch_that_stops_is_408_with_what_was_stored() {
    let server = Server::with("limits: { read_timeout: 200ms }").await;
    let request = format!(
        "POST {ORDERS} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-ndjson\r\nContent-Length: 100\r\n\r\n\
         {{\"text\":\"a\"}}\n",
        server.address()
    );
    let mut stream = server.raw(request.as_bytes()).await;
    assert!(head(&mut stream).await.starts_with("HTTP/1.1 408"));
    assert_eq!(server.messages("orders", 1).await[0]["text"], "a");
}

#[tokio::test]
async fn without_room_for_one_message_a_batch_is_refused_whole() {
    let server = Server::with("limits: { max_in_flight: 1 }").await;
    let hanging = server.occupy(b"x".to_vec()).await;
    let problem = lines(&server, "{\"text\":\"a\"}").problem(503, "OVERLOADED").await;
    assert_eq!(problem.get("outcomes"), None, "nothing of it was read");
    assert_eq!(hanging.await.unwrap().status, 504);
    assert_eq!(lines(&server, "{\"text\":\"a\"}\n".repeat(20)).expect(200).await["stored"], 20);
}

#[tokio::test]
async fn where_room_runs_out_the_rest_of_a_batch_is_not_stored() {
    let server = Server::with("limits: { max_in_flight_bytes: 100KiB, max_message: 64KiB }").await;
    let hanging = server.occupy(vec![b'x'; 60 << 10]).await;
    let big = "x".repeat(60 << 10);
    let body = format!("{{\"text\":\"fits\"}}\n{{\"text\":\"{big}\"}}\n{{\"text\":\"would overtake\"}}");
    let problem = lines(&server, body).problem(503, "OVERLOADED").await;
    assert_eq!(
        (&problem["stored"], &problem["failed"], &problem["rest"]),
        (&json!(1), &json!(1), &json!("not_stored"))
    );
    assert_eq!((&problem["outcome"], &problem["retryable"]), (&json!("partial"), &json!(true)));
    assert_eq!(hanging.await.unwrap().status, 504);
}

#[tokio::test]
async fn what_is_kept_of_a_body_that_has_not_ended_takes_room_too() {
    let item = format!("{{\"text\":\"{}", "x".repeat(60 << 10)).into_bytes();
    // A decoder keeps what came out of it, to refer back to it.
    let compressed = gzip(&[b'\n'; 80 << 10]).await;
    for (encoding, part) in
        [("identity", item.clone()), ("gzip", compressed[..compressed.len() - 8].to_vec())]
    {
        let server = Server::with("limits: { max_in_flight_bytes: 100KiB, max_message: 64KiB }").await;
        let request = |encoding: &str, part: &[u8]| {
            let head = format!(
                "POST {ORDERS} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-ndjson\r\n\
                 Content-Encoding: {encoding}\r\nContent-Length: 70000\r\n\r\n",
                server.address()
            );
            [head.as_bytes(), part].concat()
        };
        let first = server.raw(&request(encoding, &part)).await;
        eventually(Duration::from_secs(5), "the first takes room", async || {
            server.post("/v1/topics/orders/messages", vec![b'x'; 60 << 10]).send().await.status == 503
        })
        .await;
        let mut second = server.raw(&request("identity", &item)).await;
        assert!(head(&mut second).await.starts_with("HTTP/1.1 503"));
        let mut problem = vec![0; 400];
        let read = second.read(&mut problem).await.unwrap();
        let problem = String::from_utf8_lossy(&problem[..read]).into_owned();
        assert!(problem.contains("limits.max_in_flight_bytes"), "{problem}");

        drop(first);
        eventually(Duration::from_secs(5), "the room is given back", async || {
            server.post("/v1/topics/orders/messages", vec![b'x'; 60 << 10]).send().await.status == 200
        })
        .await;
    }
}

#[tokio::test]
async fn a_callers_own_words_come_back_shortened() {
    let server = Server::start().await;
    let long = "x".repeat(10_000);
    for item in [
        format!(r#"{{"{long}":1}}"#),
        format!(r#"{{"id":{{"{long}":1}}}}"#),
        format!(r#"{{"text":"a","headers":[["ce-{long}","1"]]}}"#),
        format!(r#"{{"text":"a","headers":[["ce-{long}",{{"base64":"MQ=="}}]]}}"#),
    ] {
        let problem = lines(&server, item).problem(400, "INVALID_REQUEST").await;
        let detail = problem["outcomes"][0]["detail"].as_str().unwrap();
        assert!(detail.len() < 400, "{detail}");
    }
}
