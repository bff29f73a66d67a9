//! Durations and sizes as people write them: always with a unit.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

/// A duration with a unit: `250ms`, `5s`, `1m 30s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(
    /// The duration.
    pub Duration,
);

impl Span {
    /// Reads a duration.
    ///
    /// # Errors
    ///
    /// No unit, no number, or more than a hundred years, which no clock can be sure to add.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        let error = || UnitError::Span(text.chars().take(80).collect());
        let span = humantime::parse_duration(text).map_err(|_| error())?;
        if span <= LONGEST { Ok(Self(span)) } else { Err(error()) }
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Span;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration with a unit, such as \"250ms\" or \"5s\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                Span::parse(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// As it is read.
impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(self.0))
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

/// A size in bytes, as a number or with a unit: `65536`, `64KiB`, `1MB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(
    /// Bytes.
    pub u64,
);

impl Size {
    /// Reads a size.
    ///
    /// # Errors
    ///
    /// An unknown unit, no number, or more than 64 bits hold.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        let error = || UnitError::Size(text.chars().take(80).collect());
        let (digits, unit) = UNITS
            .iter()
            .find_map(|(name, unit)| text.strip_suffix(name).map(|digits| (digits, *unit)))
            .unwrap_or((text, 1));
        let number: u64 = digits.trim_end().parse().map_err(|_| error())?;
        number.checked_mul(unit).map(Self).ok_or_else(error)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size in bytes, such as 65536 or \"64KiB\"")
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<Size, E> {
                Ok(Size(bytes))
            }

            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<Size, E> {
                let negative = |_| E::invalid_value(de::Unexpected::Signed(bytes), &self);
                u64::try_from(bytes).map(Size).map_err(negative)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
                Size::parse(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// As it is read: with the unit that leaves the smallest whole number.
impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let whole = UNITS.iter().filter(|(_, unit)| self.0 > 0 && self.0.is_multiple_of(*unit));
        match whole.max_by_key(|(_, unit)| *unit) {
            Some((name, unit)) => serializer.collect_str(&format_args!("{}{name}", self.0 / unit)),
            None => serializer.serialize_u64(self.0),
        }
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

/// A text that is no duration or size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not a size.
    #[error("{0:?} is no size: use a number of bytes, or one with a unit, such as 64KiB or 1MB")]
    Size(Box<str>),
    /// Not a duration.
    #[error("{0:?} is no duration: use a number with a unit, such as 250ms, 5s or 2m, and at most 100 years")]
    Span(Box<str>),
}

const LONGEST: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

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
    use serde_json::json;

    use super::*;

    #[test]
    fn a_number_without_a_unit_is_no_duration() {
        assert!(Span::parse("5").is_err());
        assert_eq!(Span::parse("5s"), Ok(Span(Duration::from_secs(5))));
        assert!(Span::parse("99years").is_ok());
        assert!(Span::parse("101years").is_err());
    }

    #[test]
    fn what_is_written_is_read_as_the_same() {
        for text in ["250ms", "5s", "1m 30s", "7days"] {
            let span = Span::parse(text).unwrap();
            let written = serde_json::to_value(span).unwrap();
            assert_eq!(Span::parse(written.as_str().unwrap()), Ok(span));
        }
        for (bytes, written) in
            [(1 << 20, json!("1MiB")), (1_000_000, json!("1MB")), (1001, json!("1001B")), (0, json!(0))]
        {
            assert_eq!(serde_json::to_value(Size(bytes)).unwrap(), written);
        }
    }

    #[test]
    fn sizes_are_decimal_or_binary_as_their_unit_says() {
        assert_eq!(Size::parse("64KiB"), Ok(Size(65_536)));
        assert_eq!(Size::parse("1MB"), Ok(Size(1_000_000)));
        assert_eq!(Size::parse("7"), Ok(Size(7)));
        assert!(Size::parse("1 parsec").is_err());
        assert!(Size::parse("99999999999GiB").is_err());
    }
}
