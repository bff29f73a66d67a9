//! What the registry keeps of a subscription.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One record. Its key is the subscription's name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The version of this format: an older Sidespan leaves alone what it cannot understand.
    pub(super) version: u32,
    /// The section that the file would have; none where the file has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<Arc<Value>>,
    /// Somebody paused it.
    #[serde(default)]
    pub paused: bool,
    /// How often it was begun anew by somebody's wish.
    #[serde(default)]
    pub restarts: u64,
    /// All replicas are to be out of the group for so many milliseconds from when they see this, for it to be
    /// moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) moving_ms: Option<u64>,
}

impl Default for Record {
    fn default() -> Self {
        Self { version: VERSION, spec: None, paused: false, restarts: 0, moving_ms: None }
    }
}

impl Record {
    /// Reads a record.
    ///
    /// # Errors
    ///
    /// It is of a later version, or nothing of ours.
    pub fn read(value: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let Version { version } =
            serde_json::from_slice(value).map_err(|_| "it is no record of a subscription".to_owned())?;
        if version != VERSION {
            return Err(format!("it is of version {version}, and this Sidespan reads version {VERSION}"));
        }
        serde_json::from_slice(value).map_err(|_| "it is no record of a subscription".to_owned())
    }

    /// Writes the record.
    pub fn write(&self) -> Bytes {
        // A map with string keys, and nothing in it that JSON cannot have.
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    /// Returns for how long all replicas are to be out of the group.
    pub fn moving(&self) -> Option<Duration> {
        self.moving_ms.map(Duration::from_millis)
    }

    /// Has all replicas leave the group for a time.
    pub fn moving_for(self, time: Duration) -> Self {
        Self { moving_ms: Some(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)), ..self }
    }

    /// Lets all replicas come back.
    pub fn moved(self) -> Self {
        Self { moving_ms: None, restarts: self.restarts.wrapping_add(1), ..self }
    }
}

const VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let spec = Some(Arc::new(json!({"topic": "orders", "pull": {}})));
        let record = Record { spec, paused: true, restarts: 3, ..Record::default() };
        let record = record.moving_for(Duration::from_secs(2));
        assert_eq!(Record::read(&record.write()), Ok(record.clone()));
        assert_eq!(record.moving(), Some(Duration::from_secs(2)));
        assert_eq!(record.moved().restarts, 4);
    }

    #[test]
    fn what_is_not_ours_or_of_a_later_version_is_not_read() {
        for value in ["", "null", "{}", "[]", r#"{"version": 1, "colour": "red"}"#, r#"{"version": "1"}"#] {
            assert!(Record::read(value.as_bytes()).is_err(), "{value}");
        }
        let later = Record::read(br#"{"version": 2, "colour": "red"}"#).unwrap_err();
        assert!(later.contains("version 2"), "{later}");
    }
}
