//! What the description of a key says: its meaning, and its default where it tells one.

use serde_json::Value;

use super::kind::Kind;

/// The description of a key, taken apart.
#[derive(Debug, Default)]
pub(super) struct Meaning {
    /// All but the default.
    pub(super) text: String,
    /// What the sentence that begins with `Default` or `Required` says.
    pub(super) default: Option<String>,
}

impl Meaning {
    /// Reads the description of a schema.
    pub(super) fn of(schema: &Value) -> Self {
        let text = schema.get("description").and_then(Value::as_str).unwrap_or_default();
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut meaning = Self::default();
        for sentence in line.split_inclusive(". ") {
            match told(sentence.trim_end()) {
                Some(default) => meaning.default = Some(default),
                None => meaning.text.push_str(sentence),
            }
        }
        meaning.text.truncate(meaning.text.trim_end().len());
        meaning
    }

    /// Returns the meaning, and those of the values.
    pub(super) fn with_values(&self, kind: &Kind<'_>) -> String {
        let mut text = self.text.clone();
        for (value, meaning) in &kind.values {
            let meaning = meaning.split_whitespace().collect::<Vec<_>>().join(" ");
            text.push_str(&format!(" {value}: {}", lowered(&meaning)));
        }
        text
    }
}

/// Returns the default that a sentence tells, if it tells one.
fn told(sentence: &str) -> Option<String> {
    let sentence = sentence.strip_suffix('.').unwrap_or(sentence);
    if sentence.starts_with("Required") {
        return Some(lowered(sentence));
    }
    let default = sentence.strip_prefix("Default: ").or_else(|| sentence.strip_prefix("Default "))?;
    let is_value = default.starts_with(|c: char| c.is_ascii_digit()) && !default.contains(' ');
    Some(if is_value { format!("`{default}`") } else { default.to_owned() })
}

/// Lowers the first letter, unless it begins an abbreviation.
fn lowered(text: &str) -> String {
    let mut letters = text.chars();
    match (letters.next(), letters.next()) {
        (Some(first), Some(second)) if second.is_lowercase() || second == ' ' => {
            format!("{}{}", first.to_lowercase(), &text[first.len_utf8()..])
        }
        _ => text.to_owned(),
    }
}
