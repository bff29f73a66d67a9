//! What an event may have; and whatever it has comes back from each of its forms.

use bytes::Bytes;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use sidespan_bridge::{Header, Message};

use super::*;
use crate::config::CloudEventsMode;

/// Characters that an attribute may have, with those in front that forms encode.
fn value() -> impl Strategy<Value = String> {
    let letter = prop_oneof![
        prop::sample::select(vec![' ', '"', '%', '\\', '/', ':', '€', '😀', '\u{fffd}']),
        any::<char>().prop_filter("forbidden", |letter| !letter.is_control() && !is_noncharacter(*letter)),
    ];
    vec(letter, 1..20).prop_map(String::from_iter)
}

fn data() -> impl Strategy<Value = (Option<&'static str>, Bytes)> {
    let json = prop::sample::select(vec!["{\"a\": [1.10, \"é\"]}", "null", "\"x\"", "{broken", "[\n]"]);
    prop_oneof![
        (
            prop::sample::select(vec![
                None,
                Some("application/json"),
                Some("application/x+json; v=1"),
                Some("text/plain; charset=utf-8"),
                Some("application/protobuf"),
                Some("image/png"),
            ]),
            vec(any::<u8>(), 0..40).prop_map(Bytes::from),
        ),
        (Just(Some("application/json")), json.prop_map(Bytes::from)),
        (Just(Some("text/plain")), value().prop_map(Bytes::from)),
    ]
}

prop_compose! {
    /// An event with attributes of every kind, as it is within Sidespan.
    fn event()(
        id in value(),
        r#type in value(),
        source in "(/[a-z]{1,5}|urn:[a-z]{2,5}:x)(%C3%BC)?",
        subject in option::of(value()),
        dataschema in option::of("https://example\\.com/[a-z]{0,5}"),
        time in option::of(prop::sample::select(vec![
            "2026-11-20T13:42:50Z", "1969-12-31T23:59:59.123456789Z", "0001-01-01T00:00:00Z",
        ])),
        partition in option::of(value()),
        extensions in btree_map("x[a-z0-9]{0,18}", value(), 0..5),
        (content_type, payload) in data(),
    ) -> Message {
        let mut attributes = Attributes::default();
        let optional = [("subject", subject), ("dataschema", dataschema), ("partitionkey", partition.clone())];
        let mut set = |name: &str, value: String| attributes.set(name, value).unwrap();
        for (name, value) in [("specversion", "1.0".into()), ("id", id), ("source", source), ("type", r#type)] {
            set(name, value);
        }
        for (name, value) in optional {
            value.into_iter().for_each(|value| set(name, value));
        }
        time.into_iter().for_each(|time| set("time", time.to_owned()));
        extensions.into_iter().for_each(|(name, value)| set(&name, value));
        Message {
            payload: Some(payload),
            headers: attributes.finish().unwrap(),
            key: partition.map(Bytes::from),
            content_type: content_type.map(Into::into),
            ..Message::default()
        }
    }
}

/// Attributes have no order.
fn sorted(mut message: Message) -> Message {
    message.headers.sort_by(|one, other| one.name.cmp(&other.name));
    message
}

proptest! {
    #[test]
    fn an_event_comes_back_from_its_headers(event in event()) {
        for Header { name, value } in &event.headers {
            let text = std::str::from_utf8(value).unwrap();
            let read = header_text(name.strip_prefix(CE_PREFIX).unwrap(), &header_value(text));
            prop_assert_eq!(read.as_deref(), Some(text), "{}", name);
        }
    }

    #[test]
    fn an_event_comes_back_from_one_body(event in event()) {
        for mode in [CloudEventsMode::Structured, CloudEventsMode::Protobuf] {
            let body = written(&event, mode);
            prop_assert!(Format::of(body.content_type.as_deref().unwrap()).is_some());
            prop_assert_eq!(opened(&body).map(sorted), Some(sorted(event.clone())), "{:?}", mode);
        }
    }

    #[test]
    fn bytes_that_are_no_event_do_no_harm(bytes in vec(any::<u8>(), 0..200)) {
        for format in [Format::Json, Format::Protobuf] {
            prop_assert!(format.read(&Bytes::from(bytes.clone())).is_err());
        }
    }
}

fn set(name: &str, value: &str) -> Result<(), EventError> {
    Attributes::default().set(name, value.into())
}

#[test]
fn times_are_those_of_rfc_3339() {
    for good in [
        "2026-11-20T13:42:50Z",
        "2026-11-20t13:42:50.123456789z",
        "1996-12-19T16:39:57-08:00",
        "2026-11-20T13:42:50.5+00:00",
    ] {
        assert_eq!(set("time", good), Ok(()), "{good}");
    }
    for bad in [
        "",
        "now",
        "2026-11-20",
        "2026-11-20 13:42:50Z",
        "2026-11-20T13:42:50",
        "2026-13-20T13:42:50Z",
        "20261120T134250Z",
        "2026-11-20T13:42:50Z[UTC]",
        "2026-11-20T25:42:50Z",
        "2026-11-20T13:42:50+0100",
        "2026-11-2éT13:42:50Z",
    ] {
        assert!(set("time", bad).is_err(), "{bad}");
    }
}

#[test]
fn what_the_specification_forbids_is_refused() {
    for (name, value) in [
        ("specversion", "0.3"),
        ("id", ""),
        ("source", ""),
        ("source", "not a uri"),
        ("source", "/Zoë"),
        ("source", "/%zz"),
        ("source", "1:2"),
        ("source", "/a#b#c"),
        ("type", ""),
        ("subject", ""),
        ("dataschema", "relative/path"),
        ("dataschema", ""),
        ("dataschema", "https://example.com/ü"),
        ("datacontenttype", "text/plain"),
        ("data", "x"),
        ("Upper", "x"),
        ("with_underscore", "x"),
        ("", "x"),
        ("comexample", "line\nbreak"),
        ("comexample", "\u{7f}"),
        ("comexample", "\u{85}"),
        ("comexample", "\u{fffe}"),
        ("comexample", "\u{1ffff}"),
        ("comexample", "\u{fdd0}"),
    ] {
        assert!(set(name, value).is_err(), "{name} {value:?}");
    }
    assert_eq!(set(&"a".repeat(252), "x"), Ok(()));
    assert!(set(&"a".repeat(253), "x").is_err());
    for (name, value) in [
        ("source", "/orders"),
        ("source", "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66"),
        ("source", "mailto:zo%C3%AB@example.com"),
        ("source", "//[::1]:80/a?b=c#d"),
        ("dataschema", "urn:x:y"),
        ("comexample1", ""),
        ("a", "ü € 😀 \u{fffd}"),
    ] {
        assert_eq!(set(name, value), Ok(()), "{name} {value:?}");
    }
}

#[test]
fn attributes_have_room_for_so_much() {
    let mut attributes = Attributes::default();
    assert_eq!(attributes.set("subject", "x".repeat(60_000)), Ok(()));
    assert_eq!(attributes.set("more", "x".repeat(6_000)), Err(EventError::TooLarge));
}

#[test]
fn required_attributes_are_required_and_none_is_there_twice() {
    let mut attributes = Attributes::default();
    attributes.set("id", "1".into()).unwrap();
    assert_eq!(attributes.set("id", "2".into()), Err(EventError::Twice("id".into())));
    assert_eq!(attributes.finish(), Err(EventError::Missing("specversion")));
}
