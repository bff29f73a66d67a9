//! Durations and sizes as people write them.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};

/// A duration with a unit, such as `2m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(
    /// The duration.
    pub Duration,
);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(SpanText)
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A duration with a unit.",
            "examples": ["250ms", "5s", "1m 30s"],
        })
    }
}

struct SpanText;

impl Visitor<'_> for SpanText {
    type Value = Span;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration with a unit, such as \"90s\" or \"2m\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
        let parsed = humantime::parse_duration(text).map(Span);
        parsed.map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

/// A size in bytes: a number, or a text with a unit, such as `1GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(
    /// Bytes.
    pub u64,
);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SizeText)
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["integer", "string"],
            "minimum": 0,
            "description": "A size in bytes: a number, or with one of B, kB, MB, GB, KiB, MiB, GiB.",
            "examples": [65536, "64KiB"],
        })
    }
}

struct SizeText;

impl Visitor<'_> for SizeText {
    type Value = Size;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size in bytes, such as 65536 or \"64KiB\"")
    }

    fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<Size, E> {
        Ok(Size(bytes))
    }

    fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<Size, E> {
        u64::try_from(bytes).map(Size).map_err(|_| E::invalid_value(de::Unexpected::Signed(bytes), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
        parse(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

fn parse(text: &str) -> Option<Size> {
    let (digits, unit) = UNITS
        .iter()
        .find_map(|(name, unit)| text.strip_suffix(name).map(|digits| (digits, *unit)))
        .unwrap_or((text, 1));
    let number: u64 = digits.trim_end().parse().ok()?;
    number.checked_mul(unit).map(Size)
}

/// `B` comes last, as the others end in it.
const UNITS: [(&str, u64); 7] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_decimal_or_binary_as_their_unit_says() {
        assert_eq!(parse("64KiB"), Some(Size(65_536)));
        assert_eq!(parse("1 MB"), Some(Size(1_000_000)));
        assert_eq!(parse("7B"), Some(Size(7)));
        assert_eq!(parse("7"), Some(Size(7)));
        assert_eq!(parse("1 parsec"), None);
        assert_eq!(parse("99999999999GiB"), None);
    }
}
