//! What a caller is told about one stored message.

use serde::Serialize;
use sidespan_bridge::{Guarantee, Receipt};

use crate::publish::Stored;

/// A receipt, without the topic.
#[derive(Debug, Serialize)]
pub(super) struct StoredBody {
    id: Box<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<String>,
    guarantee: &'static str,
    duplicate: bool,
    deduplicated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    durability: Option<&'static str>,
}

impl From<Stored> for StoredBody {
    fn from(Stored { id, receipt }: Stored) -> Self {
        let Receipt { position, guarantee, duplicate, deduplicated, local } = receipt;
        Self {
            id,
            position: position.map(|position| position.to_string()),
            guarantee: match guarantee {
                Guarantee::AtLeastOnce => "at-least-once",
                Guarantee::AtMostOnce => AT_MOST_ONCE,
            },
            duplicate,
            deduplicated,
            durability: local.then_some("local"),
        }
    }
}

/// The guarantee of what nobody has stored yet.
pub(super) const AT_MOST_ONCE: &str = "at-most-once";
