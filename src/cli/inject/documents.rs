//! The documents of a YAML stream, each with the text that it came with.

use yaml_serde::Value;

/// A document, and how it was written.
#[derive(Debug)]
pub(super) struct Document {
    /// The line that parts it from the one before, if there is one.
    pub(super) separator: Option<String>,
    /// What it says.
    pub(super) text: String,
    /// What that means; null where there are only comments.
    pub(super) value: Value,
}

/// What cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("document {number} is no YAML: {error}")]
pub(super) struct NoYaml {
    number: usize,
    error: yaml_serde::Error,
}

/// Reads a stream.
///
/// # Errors
///
/// A document is no YAML; it is named by its number, from 1.
pub(super) fn read(stream: &str) -> Result<Vec<Document>, NoYaml> {
    let mut parts: Vec<(Option<String>, String)> = vec![(None, String::new())];
    for line in stream.split_inclusive('\n') {
        let bare = line.trim_end();
        if bare == "---" || bare.starts_with("--- #") {
            parts.push((Some(line.to_owned()), String::new()));
        } else if let Some((_, text)) = parts.last_mut() {
            text.push_str(line);
        }
    }
    // A stream may begin with a separator: then nothing is before it.
    let first = usize::from(parts.first().is_some_and(|(_, text)| !text.trim().is_empty()));
    let read = |(index, (separator, text)): (usize, (Option<String>, String))| {
        let value = if text.trim().is_empty() { Ok(Value::Null) } else { yaml_serde::from_str(&text) };
        match value {
            Ok(value) => Ok(Document { separator, text, value }),
            Err(error) => Err(NoYaml { number: first + index, error }),
        }
    };
    parts.into_iter().enumerate().map(read).collect()
}
