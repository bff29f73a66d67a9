//! The description, and whether it is true.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::Method;
use serde_json::Value;
use sidespan::error::{Class, Error};
use sidespan_bridge::Fault;

use crate::document::Document;
use crate::server::Server;
use crate::trouble::FAULTS;

#[tokio::test]
async fn the_server_serves_its_description() {
    let server = Server::start().await;
    let json = server.get("/openapi.json").expect(200).await;
    assert_eq!(json, Document::get().0);
    let yaml = server.get("/openapi.yaml").send().await;
    assert_eq!(yaml.text(), include_str!("../../openapi/sidespan.yaml"));
}

/// Every operation that is described is there, and each path has no other methods.
#[tokio::test]
async fn what_is_described_is_there_and_nothing_else() {
    let server = Server::start().await;
    let described: BTreeSet<(String, String)> =
        Document::get().operations().into_iter().map(|(method, path)| (method.to_string(), path)).collect();
    let paths: BTreeSet<&String> = described.iter().map(|(_, path)| path).collect();
    for path in paths {
        // A name that nothing can have: an operation that is there says so with 400.
        let concrete = path.replace("{topic}", "%FF").replace("{subscription}", "%FF");
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            let answer = server.call(method.clone(), &concrete, Bytes::new()).send().await;
            let there = ![404, 405].contains(&answer.status.as_u16());
            let expected = described.contains(&(method.to_string(), path.clone()));
            assert_eq!(there, expected, "{method} {path}: {}", answer.status);
            if !there {
                let allowed: BTreeSet<&str> = answer
                    .header("allow")
                    .split(',')
                    .map(str::trim)
                    .filter(|method| *method != "HEAD")
                    .collect();
                let known: BTreeSet<&str> = described
                    .iter()
                    .filter(|(_, other)| other == path)
                    .map(|(method, _)| method.as_str())
                    .collect();
                assert_eq!(allowed, known, "{path}");
            }
        }
    }
    // The router's own list, in the source, so that a route without a description is seen too.
    let routes: BTreeSet<String> = include_str!("../../src/rest.rs")
        .lines()
        .filter_map(|line| line.trim().strip_prefix(".route(\"")?.split('"').next().map(str::to_owned))
        .collect();
    assert!(!routes.is_empty());
    let paths: BTreeSet<String> = described.into_iter().map(|(_, path)| path).collect();
    assert_eq!(routes, paths);
}

#[test]
fn every_reference_leads_somewhere() {
    fn walk(document: &Value, value: &Value) {
        match value {
            Value::Object(members) => {
                if let Some(reference) = members.get("$ref").and_then(Value::as_str) {
                    assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
                }
                members.values().for_each(|member| walk(document, member));
            }
            Value::Array(items) => items.iter().for_each(|item| walk(document, item)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    walk(&Document::get().0, &Document::get().0);
}

#[test]
fn the_codes_are_those_of_the_server() {
    let known: BTreeSet<String> = classes().iter().map(Class::code).collect();
    let described = Document::get().0.pointer("/components/schemas/Code/enum").unwrap().as_array().unwrap();
    let described: BTreeSet<String> =
        described.iter().map(|code| code.as_str().unwrap().to_owned()).collect();
    assert_eq!(described, known);
}

#[test]
fn the_list_of_problems_is_that_of_the_server() {
    let rows: Vec<Vec<&str>> = include_str!("../../openapi/problems.md")
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let mut written: Vec<[String; 6]> =
        rows.iter().map(|row| [0, 1, 2, 3, 4, 5].map(|column| row[column].to_owned())).collect();
    let mut known: Vec<[String; 6]> = classes()
        .iter()
        .map(|class| {
            [
                format!("`{}`", class.slug),
                class.title.to_owned(),
                class.status.as_u16().to_string(),
                in_capitals(&format!("{:?}", class.grpc)),
                if class.retryable { "yes" } else { "no" }.to_owned(),
                if class.unknown { "unknown" } else { "not_stored" }.to_owned(),
            ]
        })
        .collect();
    known.sort();
    known.dedup();
    written.sort();
    assert_eq!(written, known);
    assert!(rows.iter().all(|row| row.len() == 8 && row.iter().all(|cell| !cell.is_empty())));
}

/// `NotFound` is `NOT_FOUND` where gRPC is written about.
fn in_capitals(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(letter.to_ascii_uppercase());
    }
    text
}

/// The class of everything that can fail. A variant that is not listed does not compile.
fn classes() -> Vec<Class> {
    let listed = |error: &Error| match error {
        Error::Broker(_)
        | Error::Changed(_)
        | Error::Configured(_)
        | Error::Denied(_)
        | Error::Draining
        | Error::Internal
        | Error::Invalid(_)
        | Error::Forbidden(_)
        | Error::InvalidSubscription(_)
        | Error::LeaseEnded
        | Error::Misdirected { .. }
        | Error::MethodNotAllowed
        | Error::NotAcceptable(_)
        | Error::NoRegistry
        | Error::NoReplyAwaited
        | Error::NotFound
        | Error::NotPulled(_)
        | Error::Paused(_)
        | Error::Limited { .. }
        | Error::Saturated { .. }
        | Error::Seeking(_)
        | Error::Stale(_)
        | Error::Strange(_)
        | Error::TargetDenied(_)
        | Error::TooLarge { .. }
        | Error::TooMany { .. }
        | Error::ReplyTooLarge { .. }
        | Error::RequestTimeout
        | Error::Unauthenticated(_)
        | Error::Unreached
        | Error::UnknownSubscription(_)
        | Error::UnknownTopic(_)
        | Error::UnsupportedEncoding
        | Error::UnsupportedMediaType(_)
        | Error::UpgradeRequired(_) => error.class(),
    };
    let text = String::new;
    let errors = [
        Error::Changed(text()),
        Error::Configured(text()),
        Error::Denied(text()),
        Error::Draining,
        Error::Internal,
        Error::Invalid(text()),
        Error::Forbidden(text()),
        Error::InvalidSubscription(text()),
        Error::LeaseEnded,
        Error::Misdirected { subscription: text(), alone: true },
        Error::MethodNotAllowed,
        Error::NotAcceptable(text()),
        Error::NoRegistry,
        Error::NoReplyAwaited,
        Error::NotFound,
        Error::NotPulled(text()),
        Error::Limited { limit: "", reason: text() },
        Error::Paused(text()),
        Error::Saturated { limit: "" },
        Error::Seeking(text()),
        Error::Stale(text()),
        Error::Strange(text()),
        Error::TargetDenied(text()),
        Error::TooLarge { limit: "", most: 0 },
        Error::TooMany { limit: "", most: 0 },
        Error::ReplyTooLarge { most: 0 },
        Error::RequestTimeout,
        Error::Unauthenticated(""),
        Error::Unreached,
        Error::UnknownSubscription(text()),
        Error::UnknownTopic(text()),
        Error::UnsupportedEncoding,
        Error::UnsupportedMediaType(text()),
        Error::UpgradeRequired(text()),
    ];
    let faults = FAULTS.iter().map(|(_, fault)| match fault {
        Fault::Conflict
        | Fault::Denied
        | Fault::Invalid
        | Fault::Limited
        | Fault::Overloaded
        | Fault::Rejected
        | Fault::StorageFull
        | Fault::Timeout
        | Fault::TooLarge
        | Fault::Unavailable
        | Fault::UnknownTopic
        | Fault::Unroutable
        | Fault::Unsupported => Class::of(*fault),
    });
    errors.iter().map(listed).chain(faults).collect()
}
