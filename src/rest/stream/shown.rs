//! A message as readers get to see it: written once, however many they are.

use std::sync::OnceLock;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use sidespan_bridge::{Delivery, Verdict};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::cursor::Cursor;
use crate::cloudevents::opened;
use crate::publish::Route;
use crate::rest::message::Received;

/// A message, and where a reader goes on behind it.
#[derive(Debug)]
pub(super) struct Shown {
    id: Option<Box<str>>,
    json: Box<RawValue>,
    event: OnceLock<Bytes>,
    frame: OnceLock<Utf8Bytes>,
}

impl Shown {
    /// Takes a delivery. Its token settles nothing; it makes room in the window.
    pub(super) fn new(route: &Route, cursor: Option<&mut Cursor>, delivery: Delivery) -> Self {
        let Delivery { message, topic, position, redelivered, ack, .. } = delivery;
        let message = opened(&message).unwrap_or(message);
        let name = if topic == *route.address() { route.name() } else { topic.as_str() };
        let attempt = redelivered.map(|times| times.saturating_add(1));
        // Our own type has text keys only: it cannot fail.
        let line = Received::new(&message, name, position, attempt).line().unwrap_or_default();
        let json = String::from_utf8(line).ok().and_then(|line| RawValue::from_string(line).ok());
        let id = cursor.zip(position).map(|(cursor, position)| {
            cursor.saw(&topic, position);
            cursor.id().into()
        });
        drop(ack.settle(Verdict::Accept));
        let (event, frame) = (OnceLock::new(), OnceLock::new());
        Self { id, json: json.unwrap_or_else(|| RawValue::NULL.to_owned()), event, frame }
    }

    #[cfg(test)]
    pub(super) fn of(id: &str, json: &str) -> Self {
        let json = RawValue::from_string(json.to_owned()).unwrap();
        Self { id: Some(id.into()), json, event: OnceLock::new(), frame: OnceLock::new() }
    }

    /// Returns where a reader goes on behind it, if it can.
    pub(super) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Returns how many bytes it has, in one form.
    pub(super) fn weight(&self) -> usize {
        self.json.get().len()
    }

    /// Returns it as a server-sent event.
    pub(super) fn event(&self) -> Bytes {
        let write = || {
            let id = self.id().map(|id| format!("id: {id}\n"));
            format!("{}data: {}\n\n", id.unwrap_or_default(), self.json.get()).into()
        };
        self.event.get_or_init(write).clone()
    }

    /// Returns it as a frame.
    pub(super) fn frame(&self) -> Utf8Bytes {
        #[derive(Serialize)]
        struct MessageFrame<'a> {
            r#type: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            id: Option<&'a str>,
            message: &'a RawValue,
        }
        let frame = MessageFrame { r#type: "message", id: self.id(), message: &self.json };
        self.frame.get_or_init(|| serde_json::to_string(&frame).unwrap_or_default().into()).clone()
    }
}
