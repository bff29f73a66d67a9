//! CloudEvents that are none, in every form that they may come in at the REST door.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::server::Server;

const MESSAGES: &str = "/v1/topics/orders/messages";
const BATCHES: &str = "/v1/topics/orders/batches";
const EVENT: [(&str, &str); 4] = [("specversion", "1.0"), ("id", "1"), ("source", "/s"), ("type", "t")];

/// What no event may have, and what is said of it.
const ILLEGAL: [(&str, &str, &str); 21] = [
    ("specversion", "0.3", "`specversion` must be \"1.0\""),
    ("specversion", "", "`specversion` must be \"1.0\""),
    ("id", "", "`id` must not be empty"),
    ("type", "", "`type` must not be empty"),
    ("subject", "", "`subject` must not be empty"),
    ("partitionkey", "", "`partitionkey` must not be empty"),
    ("source", "", "`source` must be a URI reference"),
    ("source", "no uri", "`source` must be a URI reference"),
    ("source", "/Zoë", "`source` must be a URI reference"),
    ("source", "/%4", "`source` must be a URI reference"),
    ("source", "http://[::1", "`source` must be a URI reference"),
    ("dataschema", "order.json", "`dataschema` must be an absolute URI"),
    ("time", "noon", "`time` must be a time"),
    ("time", "2026-02-30T00:00:00Z", "`time` must be a time"),
    ("subject", "a\nb", "`subject` must not have control characters"),
    ("subject", "a\u{9f}b", "`subject` must not have control characters"),
    ("subject", "a\u{ffff}b", "`subject` must not have what Unicode says is no character"),
    ("with_underscore", "x", "no attribute name"),
    ("with-dash", "x", "no attribute name"),
    ("with.dot", "x", "no attribute name"),
    ("type", "x", "`type` twice"),
];

#[tokio::test]
async fn every_illegal_attribute_is_refused_by_name_and_nothing_else_is_lost() {
    let server = Server::start().await;
    let whole = |id: &str| format!(r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"t"}}"#);
    let mut batch = vec![whole("first")];
    for (name, value, reason) in ILLEGAL {
        let again = reason.contains("twice");
        let others = || EVENT.into_iter().filter(|(other, _)| again || *other != name);
        // In a header the encoding that a URI needs cannot be told from the header's, and so it has it.
        if name != "source" || value.bytes().all(|byte| byte.is_ascii_graphic()) {
            let encoded = utf8_percent_encode(value, NON_ALPHANUMERIC).to_string();
            let binary = others().fold(server.post(MESSAGES, "x"), |request, (name, value)| {
                request.header(&format!("ce-{name}"), value)
            });
            let refused = binary.header(&format!("ce-{name}"), encoded).problem(400, "INVALID_REQUEST").await;
            assert!(refused["detail"].as_str().unwrap().contains(reason), "{name} {value:?}: {refused}");
        }

        let members =
            others().chain([(name, value)]).map(|(name, value)| format!("{name:?}:{}", json!(value)));
        let event = format!("{{{}}}", members.collect::<Vec<_>>().join(","));
        let structured =
            server.post(MESSAGES, event.clone()).header("Content-Type", "application/cloudevents+json");
        let refused = structured.problem(400, "INVALID_REQUEST").await;
        assert!(refused["detail"].as_str().unwrap().contains(reason), "{name} {value:?}: {refused}");
        batch.push(event);
    }
    batch.push(whole("last"));

    let request = server.post(BATCHES, format!("[{}]", batch.join(",")));
    let request = request.header("Content-Type", "application/cloudevents-batch+json");
    let answer = request.header("Prefer", "handling=lenient").expect(207).await;
    assert_eq!((&answer["stored"], &answer["failed"]), (&json!(2), &json!(ILLEGAL.len())));
    let outcomes = answer["outcomes"].as_array().unwrap();
    for ((_, _, reason), outcome) in ILLEGAL.iter().zip(&outcomes[1..]) {
        assert_eq!(outcome["code"], "INVALID_REQUEST", "{outcome}");
        assert!(outcome["detail"].as_str().unwrap().contains(reason), "{outcome}");
    }
    let stored = server.messages("orders", 2).await;
    let ids: Vec<&Value> = stored.iter().map(|message| &message["headers"][1][1]).collect();
    assert_eq!(ids, ["first", "last"]);
}

/// What only JSON can get wrong.
#[tokio::test]
async fn values_of_other_types_and_broken_data_are_refused_by_name() {
    let server = Server::start().await;
    for (members, reason) in [
        (r#""x":[1]"#, "`x` must be a string"),
        (r#""x":{"a":1}"#, "`x` must be a string"),
        (r#""x":1.5"#, "32-bit integer"),
        (r#""x":2147483648"#, "32-bit integer"),
        (r#""subject":1"#, "`subject` must be a string"),
        (r#""time":1763714430"#, "`time` must be a string"),
        (r#""Subject":"x""#, "no attribute name"),
        (r#""subject":"\ud83d""#, "`subject` must not have half of a surrogate pair"),
        (r#""subject":"\ude00\ud83d""#, "`subject` must not have half of a surrogate pair"),
        (r#""data":1,"data_base64":"MQ==""#, "not both"),
        (r#""data_base64":"M""#, "base64"),
        (r#""data_base64":1"#, "`data_base64` must be a string"),
        (r#""datacontenttype":"text/plain","data":[1]"#, "must be a string when"),
        (r#""datacontenttype":"text""#, "must be a media type"),
        (r#""datacontenttype":7"#, "`datacontenttype` must be a string"),
    ] {
        let event = format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t",{members}}}"#);
        let request = server.post(MESSAGES, event).header("Content-Type", "application/cloudevents+json");
        let refused = request.problem(400, "INVALID_REQUEST").await;
        assert!(refused["detail"].as_str().unwrap().contains(reason), "{members}: {refused}");
    }
    let long = "x".repeat(70_000);
    let event = format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t","subject":"{long}"}}"#);
    let request = server.post(MESSAGES, event).header("Content-Type", "application/cloudevents+json");
    let refused = request.problem(400, "INVALID_REQUEST").await;
    assert!(refused["detail"].as_str().unwrap().contains("65536 bytes"), "{refused}");
}
