//! Headers as an AMQP table, and back.
//!
//! A table has no order and no repeats. Text is written as text and bytes as bytes, so that a foreign
//! client reads what it knows; where that is not all, the header `sidespan-headers` lists
//! every name in order, each followed by its value, or by nothing where the table has it. What the
//! broker itself acts on (`CC`) goes into that list alone.

use bytes::Bytes;
use jiff::Timestamp;
use lapin::types::{AMQPValue, FieldArray, FieldTable, ShortString};
use serde_json::Value;
use sidespan_bridge::Header;

/// Returns the table that carries these headers.
pub(crate) fn write(headers: &[Header]) -> FieldTable {
    let mut table = FieldTable::default();
    for header in headers {
        if let Some(name) = name(header).filter(|name| !table.contains_key(name.as_str())) {
            table.insert(name, value(&header.value));
        }
    }
    let sorted = headers.is_sorted_by(|one, next| one.name < next.name);
    if !sorted || table.inner().len() < headers.len() {
        table.insert(LIST.into(), AMQPValue::FieldArray(list(headers, &table)));
    }
    table
}

/// Reads a table: what its list names, in order, and then what somebody else has added.
pub(crate) fn read(table: &FieldTable) -> Vec<(Box<str>, AMQPValue)> {
    let mut headers = Vec::with_capacity(table.inner().len());
    let mut listed: Vec<&str> = Vec::new();
    let list = match table.inner().get(LIST) {
        Some(AMQPValue::FieldArray(list)) => list.as_slice(),
        Some(_) | None => &[],
    };
    for pair in list.chunks_exact(2) {
        let [AMQPValue::LongString(name), value] = pair else { continue };
        let Ok(name) = std::str::from_utf8(name.as_bytes()) else { continue };
        match (value, table.inner().get(name)) {
            (AMQPValue::Void, Some(value)) => headers.push((name.into(), value.clone())),
            // Somebody took it away on the way.
            (AMQPValue::Void, None) => {}
            (value, _) => headers.push((name.into(), value.clone())),
        }
        listed.push(name);
    }
    for (name, value) in table {
        if name.as_str() != LIST && !listed.contains(&name.as_str()) {
            headers.push((name.as_str().into(), value.clone()));
        }
    }
    headers
}

/// Writes a value: text as text, all else as bytes.
pub(crate) fn value(bytes: &Bytes) -> AMQPValue {
    match std::str::from_utf8(bytes) {
        Ok(text) => AMQPValue::LongString(text.into()),
        Err(_) => AMQPValue::ByteArray(bytes.to_vec().into()),
    }
}

/// Returns at least as many bytes as a table takes on the wire.
pub(crate) fn size(table: &FieldTable) -> usize {
    table.into_iter().map(|(name, value)| name.as_str().len() + VALUE + size_of(value)).sum()
}

fn size_of(value: &AMQPValue) -> usize {
    match value {
        AMQPValue::LongString(text) => text.len(),
        AMQPValue::ByteArray(bytes) => bytes.len(),
        AMQPValue::FieldArray(array) => array.as_slice().iter().map(|value| VALUE + size_of(value)).sum(),
        AMQPValue::FieldTable(table) => size(table),
        _ => 0,
    }
}

/// Reads a value. What is neither text nor bytes becomes readable text.
pub(crate) fn bytes_of(value: &AMQPValue) -> Bytes {
    match value {
        AMQPValue::LongString(text) => Bytes::copy_from_slice(text.as_bytes()),
        AMQPValue::ByteArray(bytes) => Bytes::copy_from_slice(bytes.as_slice()),
        AMQPValue::Void => Bytes::new(),
        other => match json(other) {
            Value::String(text) => text.into(),
            other => other.to_string().into(),
        },
    }
}

fn json(value: &AMQPValue) -> Value {
    match value {
        AMQPValue::Boolean(value) => (*value).into(),
        AMQPValue::ShortShortInt(value) => (*value).into(),
        AMQPValue::ShortShortUInt(value) => (*value).into(),
        AMQPValue::ShortInt(value) => (*value).into(),
        AMQPValue::ShortUInt(value) => (*value).into(),
        AMQPValue::LongInt(value) => (*value).into(),
        AMQPValue::LongUInt(value) => (*value).into(),
        AMQPValue::LongLongInt(value) => (*value).into(),
        AMQPValue::Float(value) => value.to_string().into(),
        AMQPValue::Double(value) => value.to_string().into(),
        AMQPValue::DecimalValue(value) => decimal(value.value, value.scale).into(),
        AMQPValue::ShortString(text) => text.as_str().into(),
        AMQPValue::LongString(text) => text.to_string().into(),
        AMQPValue::FieldArray(array) => array.as_slice().iter().map(json).collect(),
        AMQPValue::Timestamp(seconds) => timestamp(*seconds).into(),
        AMQPValue::FieldTable(table) => {
            table.into_iter().map(|(name, value)| (name.to_string(), json(value))).collect()
        }
        AMQPValue::ByteArray(bytes) => String::from_utf8_lossy(bytes.as_slice()).into(),
        AMQPValue::Void => Value::Null,
    }
}

/// Names a header in the table, if it may be there.
fn name(header: &Header) -> Option<ShortString> {
    let steers = STEERING.iter().any(|name| header.name.eq_ignore_ascii_case(name));
    ShortString::try_new(&*header.name).ok().filter(|_| !steers)
}

fn list(headers: &[Header], table: &FieldTable) -> FieldArray {
    let mut list = FieldArray::default();
    for header in headers {
        let written = value(&header.value);
        let in_table = table.inner().get(&*header.name) == Some(&written);
        list.push(AMQPValue::LongString((*header.name).into()));
        list.push(if in_table { AMQPValue::Void } else { written });
    }
    list
}

fn decimal(value: u32, scale: u8) -> String {
    let digits = format!("{value:0>width$}", width = usize::from(scale) + 1);
    match digits.split_at_checked(digits.len() - usize::from(scale)) {
        Some((whole, fraction)) if !fraction.is_empty() => format!("{whole}.{fraction}"),
        Some(_) | None => digits,
    }
}

fn timestamp(seconds: u64) -> String {
    let known = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    known.map_or_else(|| seconds.to_string(), |time| time.to_string())
}

/// What a name's or a value's length and type, or a value of fixed size, take at most.
const VALUE: usize = 10;
/// Header that keeps what a table cannot.
const LIST: &str = "sidespan-headers";
/// What RabbitMQ acts on, and fails a channel over where it is not of the type it expects.
const STEERING: [&str; 6] =
    ["BCC", "CC", "x-acquired-count", "x-death", "x-delivery-count", "x-stream-offset"];

#[cfg(test)]
mod tests {
    use lapin::types::DecimalValue;

    use super::*;

    fn roundtrip(headers: &[Header]) -> Vec<Header> {
        let read = read(&write(headers));
        read.into_iter().map(|(name, value)| Header::new(name, bytes_of(&value))).collect()
    }

    #[test]
    fn order_repeats_and_bytes_survive() {
        let long = "n".repeat(300);
        let cases: [&[(&str, &[u8])]; 5] = [
            &[("a", b"1"), ("b", b"\x00\xff")],
            &[("b", b"1"), ("a", b"2")],
            &[("a", b"1"), ("a", b"1"), ("a", b"2")],
            &[("CC", b"everybody"), ("a", b"")],
            &[(&long, b"1"), ("A", b"2"), ("a", b"3")],
        ];
        for case in cases {
            let headers: Vec<Header> =
                case.iter().map(|(name, value)| Header::new(*name, Bytes::copy_from_slice(value))).collect();
            assert_eq!(roundtrip(&headers), headers);
        }
    }

    #[test]
    fn what_a_table_can_carry_needs_no_list() {
        let table = write(&[Header::new("a", "1"), Header::new("b", "2")]);
        assert!(!table.contains_key(LIST));
        assert_eq!(table.inner().get("b"), Some(&AMQPValue::LongString("2".into())));
    }

    #[test]
    fn what_the_broker_acts_on_is_kept_from_it() {
        assert!(!write(&[Header::new("cc", "everybody")]).contains_key("cc"));
    }

    #[test]
    fn what_others_add_or_change_is_seen() {
        let mut table = write(&[Header::new("b", "1"), Header::new("a", "2")]);
        table.insert("a".into(), AMQPValue::LongString("changed".into()));
        table.insert("c".into(), AMQPValue::Boolean(true));
        let names: Vec<(Box<str>, Bytes)> =
            read(&table).iter().map(|(n, v)| (n.clone(), bytes_of(v))).collect();
        let expected = [("b", "1"), ("a", "changed"), ("c", "true")];
        assert_eq!(names, expected.map(|(name, value)| (name.into(), value.into())));
    }

    #[test]
    fn values_of_other_types_become_readable_text() {
        let mut table = FieldTable::default();
        table.insert("n".into(), AMQPValue::LongInt(-5));
        let array = FieldArray::from(vec![AMQPValue::Boolean(true), AMQPValue::Void]);
        let cases = [
            (AMQPValue::Boolean(false), "false"),
            (AMQPValue::LongLongInt(-7), "-7"),
            (AMQPValue::Double(1.5), "1.5"),
            (AMQPValue::DecimalValue(DecimalValue { scale: 2, value: 5 }), "0.05"),
            (AMQPValue::Timestamp(0), "1970-01-01T00:00:00Z"),
            (AMQPValue::Timestamp(u64::MAX), "18446744073709551615"),
            (AMQPValue::FieldTable(table), r#"{"n":-5}"#),
            (AMQPValue::FieldArray(array), "[true,null]"),
            (AMQPValue::Void, ""),
        ];
        for (value, text) in cases {
            assert_eq!(bytes_of(&value), text, "{value:?}");
        }
    }
}
