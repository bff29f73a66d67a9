//! The messages of the gRPC door and clients of its services, as `proto/` describes them.
//!
//! `build.rs` makes this. The generated clients are for the tests and for whoever embeds Sidespan.

#![allow(
    missing_docs,
    unreachable_pub,
    rust_2018_idioms,
    clippy::all,
    clippy::pedantic,
    reason = "generated"
)]

pub(crate) mod fields;

tonic::include_proto!("sidespan.v1");

/// CloudEvents in protobuf.
pub mod cloudevents {
    tonic::include_proto!("io.cloudevents.v1");
}

impl Message {
    /// Writes a message that was received. One that has no id of its own goes by `id`, the same in every
    /// attempt.
    pub fn of(message: &sidespan_bridge::Message, topic: &str, id: &str) -> Self {
        let header = |header: &sidespan_bridge::Header| Header {
            name: header.name.to_string(),
            value: header.value.to_vec(),
        };
        Self {
            topic: topic.to_owned(),
            id: message.id.as_deref().unwrap_or(id).to_owned(),
            key: message.key.as_ref().map(|key| key.to_vec()),
            partition: message.partition,
            content_type: message.content_type.as_deref().unwrap_or_default().to_owned(),
            headers: message.headers.iter().map(header).collect(),
            payload: message.payload.clone().unwrap_or_default(),
            tombstone: message.payload.is_none(),
            reply_to: message.reply_to.as_deref().unwrap_or_default().to_owned(),
            correlation_id: message.correlation.as_deref().unwrap_or_default().to_owned(),
        }
    }
}

/// The description of all of it, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
