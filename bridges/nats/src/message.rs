//! A message as a NATS message, and back.
//!
//! What NATS has no field for goes into headers of natural names: `Content-Type`, `Correlation-Id`,
//! `Reply-To`, `Sidespan-Key`, `Sidespan-Id`. Foreign clients read and write these as they are.
//! CloudEvents attributes are `ce-<attribute>`, percent-encoded, and the content type is
//! `ce-datacontenttype` too, as the CloudEvents binding for NATS says (its binary mode, 3.1.3). An event in
//! structured mode may come without any header ([`bare`]).
//!
//! # What NATS cannot carry
//!
//! Headers are lines of text, and the client keeps them in a map: the order of different names is lost,
//! blanks at the edges are, and bytes that are not text end the connection of whoever reads them. So
//! where it matters, one more header, `sidespan-headers`, lists all in order ([`Carried`]): by name what
//! stands among the others, with its bytes what cannot.

mod bare;
mod carried;

use std::borrow::Cow;

use async_nats::HeaderMap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode, percent_encode};
use sidespan_bridge::{CE_PREFIX, Error, Fault, Header, Message, decode_attribute};

use carried::Carried;

/// Returns the headers that carry a message's headers and fields.
pub(crate) fn headers(message: &Message) -> Result<HeaderMap, Error> {
    refuse(message)?;
    let mut list: Vec<(&str, &[u8])> = Vec::with_capacity(message.headers.len() + 5);
    let fields: [(&str, &Option<Box<str>>); 4] = [
        (CONTENT_TYPE, &message.content_type),
        (ID, &message.id),
        (REPLY_TO, &message.reply_to),
        (CORRELATION, &message.correlation),
    ];
    for (name, value) in fields {
        if let Some(value) = value {
            list.push((name, value.as_bytes()));
        }
    }
    if let Some(key) = &message.key {
        list.push((KEY, key));
    }
    let values: Vec<Cow<'_, [u8]>> = message.headers.iter().map(on_the_wire).collect();
    list.extend(message.headers.iter().zip(&values).map(|(header, value)| (&*header.name, &value[..])));
    let mut map = HeaderMap::new();
    for (name, text) in list.iter().filter_map(carried::plain) {
        map.append(name, text);
    }
    if let Some(text) = Carried::of(&list) {
        map.insert(CARRIED, text);
    }
    // As it is: what it may have needs no encoding, and the SDK for Go decodes nothing.
    if message.is_cloud_event()
        && let Some(content_type) = map.get(CONTENT_TYPE).cloned()
    {
        map.insert(DATA_CONTENT_TYPE, content_type);
    }
    Ok(map)
}

/// Reads headers as the client gives them.
pub(crate) fn of_map(map: Option<&HeaderMap>, payload: Bytes) -> Message {
    let mut list: Vec<Header> = Vec::new();
    for (name, values) in map.into_iter().flat_map(HeaderMap::iter) {
        let name: &str = name.as_ref();
        list.extend(values.iter().map(|value| Header::new(name, Bytes::copy_from_slice(value.as_ref()))));
    }
    // The map has none; the order of names is one that does not change from read to read.
    list.sort_by(|one, other| one.name.cmp(&other.name));
    of_list(list, payload)
}

/// Reads headers from the bytes of a header block, which may be anything.
pub(crate) fn of_block(block: &[u8], payload: Bytes) -> Message {
    let lines = block.split(|byte| *byte == b'\n').skip(1);
    let header = |line: &[u8]| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = line.split_at_checked(colon)?;
        let value = value.get(1..).unwrap_or_default();
        let name = String::from_utf8_lossy(name);
        Some(Header::new(name.into_owned(), Bytes::copy_from_slice(value.trim_ascii())))
    };
    of_list(lines.filter_map(header).collect(), payload)
}

/// Puts headers where they belong.
fn of_list(mut list: Vec<Header>, payload: Bytes) -> Message {
    let mut message = Message { payload: Some(payload), ..Message::default() };
    let carried = list.iter().position(|header| header.name.eq_ignore_ascii_case(CARRIED));
    if let Some(carried) = carried.map(|index| list.remove(index))
        && let Some(carried) = Carried::read(&carried.value)
    {
        list = carried.restore(list);
    }
    let of_data = list.iter().position(|header| header.name.eq_ignore_ascii_case(DATA_CONTENT_TYPE));
    let of_data = of_data.map(|index| list.remove(index).value);
    message.headers.reserve(list.len());
    for header in list {
        put(&mut message, header);
    }
    // Others encode it, as every attribute.
    let of_data = of_data.filter(|value| message.content_type.as_deref().map(str::as_bytes) != Some(value));
    if let Some(Ok(text)) = of_data.as_deref().map(|value| percent_decode(value).decode_utf8()) {
        message.content_type = Some(text.into());
    }
    // What Sidespan has published has an id, and is what its headers say.
    if message.content_type.is_none() && message.id.is_none() && !message.is_cloud_event() {
        let is_event = message.payload.as_deref().is_some_and(bare::is_event);
        message.content_type = is_event.then(|| STRUCTURED_EVENT.into());
    }
    message
}

/// Returns a header's value as NATS carries it.
fn on_the_wire(header: &Header) -> Cow<'_, [u8]> {
    if attribute(&header.name).is_some() {
        Cow::from(percent_encode(&header.value, ENCODED)).into_owned().into_bytes().into()
    } else {
        Cow::Borrowed(&header.value)
    }
}

fn attribute(name: &str) -> Option<&str> {
    let (prefix, attribute) = name.split_at_checked(CE_PREFIX.len())?;
    prefix.eq_ignore_ascii_case(CE_PREFIX).then_some(attribute)
}

fn put(message: &mut Message, mut header: Header) {
    if let Some(name) = attribute(&header.name) {
        header.value = decode_attribute(name, &header.value).into_owned().into();
    }
    let is = |name: &str| header.name.eq_ignore_ascii_case(name);
    // What steers the broker is not the publisher's word.
    if header.name.get(..5).is_some_and(|prefix| prefix.eq_ignore_ascii_case("Nats-")) || is(CARRIED) {
        return;
    }
    if is(KEY) && message.key.is_none() {
        message.key = Some(header.value);
        return;
    }
    let field = if is(CONTENT_TYPE) {
        Some(&mut message.content_type)
    } else if is(ID) {
        Some(&mut message.id)
    } else if is(REPLY_TO) {
        Some(&mut message.reply_to)
    } else if is(CORRELATION) {
        Some(&mut message.correlation)
    } else {
        None
    };
    if let (Some(field @ None), Ok(text)) = (field, std::str::from_utf8(&header.value)) {
        *field = Some(text.into());
        return;
    }
    message.headers.push(header);
}

/// Refuses what NATS has no place for, and what would steer it.
fn refuse(message: &Message) -> Result<(), Error> {
    if message.payload.is_none() {
        let detail = "NATS has no tombstones: publish an empty message, or delete from the stream";
        return Err(Error::new(Fault::Unsupported).detail(detail));
    }
    if message.partition.is_some_and(|partition| partition != 0) {
        return Err(Error::new(Fault::Unsupported).detail("NATS has no partitions: leave the partition out"));
    }
    let steers = |header: &&Header| {
        header.name.get(..5).is_some_and(|prefix| prefix.eq_ignore_ascii_case("Nats-"))
            || header.name.eq_ignore_ascii_case(CARRIED)
    };
    if let Some(header) = message.headers.iter().find(steers) {
        let detail = format!("the header {:?} steers the broker and is not for publishers", header.name);
        return Err(Error::new(Fault::Invalid).detail(detail));
    }
    Ok(())
}

fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

fn decode(text: &str) -> Option<Bytes> {
    STANDARD.decode(text).ok().map(Bytes::from)
}

/// CloudEvents binding for HTTP, 3.1.3.2, which the one for NATS refers to.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');
const CARRIED: &str = "sidespan-headers";
const CONTENT_TYPE: &str = "Content-Type";
const CORRELATION: &str = "Correlation-Id";
const DATA_CONTENT_TYPE: &str = "ce-datacontenttype";
const ID: &str = "Sidespan-Id";
const KEY: &str = "Sidespan-Key";
const REPLY_TO: &str = "Reply-To";
const STRUCTURED_EVENT: &str = "application/cloudevents+json";

#[cfg(test)]
mod tests {
    use super::*;

    fn roundtrip(message: &Message) -> Message {
        let map = headers(message).unwrap();
        of_map(Some(&map), message.payload.clone().unwrap())
    }

    fn with(headers: Vec<Header>) -> Message {
        Message { payload: Some(Bytes::new()), headers, ..Message::default() }
    }

    #[test]
    fn headers_keep_their_order_repeats_and_bytes() {
        let message = Message {
            content_type: Some("text/plain".into()),
            id: Some("7\r\n8".into()),
            reply_to: Some(" ".into()),
            correlation: Some("".into()),
            key: Some(Bytes::from_static(b"\x00\xff")),
            ..with(vec![
                Header::new("b", &b"\x00\xff"[..]),
                Header::new("a", ""),
                Header::new("B", "plain"),
                Header::new("b", " blank "),
                Header::new("ümlaut: or not", "x"),
                Header::new("b", "last"),
                Header::new("Content-Type", "second"),
            ])
        };
        assert_eq!(roundtrip(&message), message);
    }

    #[test]
    fn plain_headers_in_order_need_no_list() {
        let message = Message { key: Some("k".into()), ..with(vec![Header::new("type", "Käse")]) };
        let map = headers(&message).unwrap();
        assert_eq!(map.get("type").unwrap().as_str(), "Käse");
        assert_eq!(map.get("Sidespan-Key").unwrap().as_str(), "k");
        assert!(map.get(CARRIED).is_none());
        assert_eq!(roundtrip(&message), message);
    }

    #[test]
    fn a_cloud_event_is_written_and_read_as_its_binding_for_nats_says() {
        let attributes =
            [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/a"), ("ce-type", "a \"é\" %")];
        let event = Message {
            content_type: Some("application/json; v=\"100%25\"".into()),
            ..with(attributes.map(|(name, value)| Header::new(name, value)).into())
        };
        let map = headers(&event).unwrap();
        assert_eq!(map.get("ce-type").unwrap().as_str(), "a%20%22%C3%A9%22%20%25");
        assert_eq!(map.get("ce-datacontenttype").unwrap().as_str(), "application/json; v=\"100%25\"");
        assert_eq!(roundtrip(&event), event);
        let mut foreign = HeaderMap::new();
        foreign.insert("ce-subject", "Zo%C3%AB");
        foreign.insert("ce-source", "/Zo%C3%AB");
        foreign.insert("ce-datacontenttype", "text/plain;%20charset=utf-8");
        let message = of_map(Some(&foreign), Bytes::new());
        let unencoded = Header::new("ce-source", "/Zo%C3%AB");
        assert_eq!(message.headers, [unencoded, Header::new("ce-subject", "Zoë")]);
        assert_eq!(message.content_type.as_deref(), Some("text/plain; charset=utf-8"));
    }

    #[test]
    fn an_event_in_one_body_needs_no_header_unless_sidespan_has_published_it() {
        let event = Bytes::from_static(br#"{"specversion":"1.0","id":"1","source":"/s","type":"t"}"#);
        assert_eq!(of_map(None, event.clone()).content_type.as_deref(), Some(STRUCTURED_EVENT));
        let typed = Message { content_type: Some("text/plain".into()), ..with(Vec::new()) };
        let named = Message { id: Some("7".into()), ..with(Vec::new()) };
        for message in [typed, named] {
            let message = Message { payload: Some(event.clone()), ..message };
            assert_eq!(roundtrip(&message), message);
        }
    }

    #[test]
    fn what_steers_the_broker_goes_neither_in_nor_out() {
        assert_eq!(
            headers(&with(vec![Header::new("nats-rollup", "all")])).unwrap_err().fault,
            Fault::Invalid
        );
        let mut map = HeaderMap::new();
        map.insert("Nats-Msg-Id", "7");
        map.insert("plain", "kept");
        assert_eq!(of_map(Some(&map), Bytes::new()).headers, [Header::new("plain", "kept")]);
    }

    #[test]
    fn a_list_that_lies_loses_nothing() {
        let mut map = HeaderMap::new();
        map.insert("zone", "1");
        map.insert(CARRIED, r#"["absent", ["odd", "AA=="], ["bad", "%"]]"#);
        let message = of_map(Some(&map), Bytes::new());
        assert_eq!(message.headers, [Header::new("odd", &b"\0"[..]), Header::new("zone", "1")]);
        map.insert(CARRIED, "{}");
        assert_eq!(of_map(Some(&map), Bytes::new()).headers, [Header::new("zone", "1")]);
    }

    #[test]
    fn a_block_of_any_bytes_is_read() {
        let message = of_block(b"NATS/1.0\r\nplain: 1\r\nodd:\xff\xfe \r\nnonsense\r\n\r\n", Bytes::new());
        assert_eq!(message.headers, [Header::new("plain", "1"), Header::new("odd", &b"\xff\xfe"[..])]);
    }
}
