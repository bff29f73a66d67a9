//! A message that was fetched, as a command gets it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::cli::failure::Failure;

/// What is read of a message object.
#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    /// What settles it.
    pub(super) ack_id: String,
    /// Where a reply is awaited, if one is.
    pub(super) reply_to: Option<String>,
    correlation_id: Option<String>,
    topic: Option<String>,
    id: Option<String>,
    key: Option<String>,
    key_base64: Option<String>,
    attempt: Option<u32>,
    content_type: Option<String>,
    #[serde(default)]
    headers: Vec<(String, Value)>,
    data: Option<Box<RawValue>>,
    text: Option<String>,
    data_base64: Option<String>,
    #[serde(default)]
    tombstone: bool,
}

impl Asked {
    /// Returns what people find the message by.
    pub(super) fn id(&self) -> &str {
        self.id.as_deref().unwrap_or("the message")
    }

    /// Returns the payload as it was published; a tombstone has none.
    pub(super) fn payload(&self) -> Result<Vec<u8>, Failure> {
        match (&self.data, &self.text, &self.data_base64) {
            (Some(data), _, _) => Ok(data.get().into()),
            (None, Some(text), _) => Ok(text.clone().into_bytes()),
            (None, None, Some(coded)) => STANDARD
                .decode(coded)
                .map_err(|_| Failure::Failed("the server's answer cannot be read: it is no base64".into())),
            (None, None, None) if self.tombstone => Ok(Vec::new()),
            // `data` is there, and is this.
            (None, None, None) => Ok(b"null".to_vec()),
        }
    }

    /// Returns what the command's environment tells of the message. What an environment cannot hold is left out.
    pub(super) fn environment(&self) -> Vec<(String, String)> {
        let fields = [
            ("SIDESPAN_TOPIC", self.topic.clone()),
            ("SIDESPAN_ID", self.id.clone()),
            ("SIDESPAN_KEY", self.key.clone()),
            ("SIDESPAN_KEY_BASE64", self.key_base64.clone()),
            ("SIDESPAN_ATTEMPT", self.attempt.map(|attempt| attempt.to_string())),
            ("SIDESPAN_CONTENT_TYPE", self.content_type.clone()),
            ("SIDESPAN_REPLY_TO", self.reply_to.clone()),
            ("SIDESPAN_CORRELATION_ID", self.correlation_id.clone()),
        ];
        let fields = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        let headers = self.headers.iter().filter_map(|(name, value)| {
            let name =
                name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' });
            Some((format!("SIDESPAN_HEADER_{}", name.collect::<String>()), value.as_str()?.to_owned()))
        });
        fields.chain(headers).filter(|(_, value)| !value.contains('\0')).collect()
    }
}

/// Writes bytes as message objects have them.
pub(super) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(fields: &str) -> Asked {
        serde_json::from_str(&format!("{{\"ack_id\": \"a\", {fields}}}")).unwrap()
    }

    #[test]
    fn a_payload_is_what_was_published() {
        for (fields, payload) in [
            (r#""data": { "a": 1.10 }"#, &b"{ \"a\": 1.10 }"[..]),
            (r#""data": null"#, b"null"),
            (r#""text": "a\nb""#, b"a\nb"),
            (r#""data_base64": "/w==""#, b"\xff"),
            (r#""tombstone": true"#, b""),
        ] {
            assert_eq!(asked(fields).payload().unwrap(), payload, "{fields}");
        }
    }

    #[test]
    fn the_environment_has_what_it_can_hold() {
        let headers = r#"[["x-zone", "é"], ["bytes", {"base64": "/w=="}], ["nul", "a\u0000"]]"#;
        let told = asked(&format!(r#""topic": "t", "attempt": 2, "text": "", "headers": {headers}"#));
        let told: Vec<_> =
            told.environment().into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(told, ["SIDESPAN_TOPIC=t", "SIDESPAN_ATTEMPT=2", "SIDESPAN_HEADER_X_ZONE=é"]);
    }
}
