//! The documents of a YAML stream, each with the text that it came with.

use yaml_serde::Value;

/// A document, and how it was written.
#[derive(Debug)]
pub(super) struct Document {
    /// Where it begins: the stream's name, and the line from 1.
    pub(super) place: String,
    /// The line that parts it from the one before, if there is one.
    pub(super) separator: Option<String>,
    /// What it says.
    pub(super) text: String,
    /// What that means; null where there are only comments.
    pub(super) value: Value,
}

/// What cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{stream}: document {number} is no YAML: {error}")]
pub(super) struct NoYaml {
    stream: String,
    number: usize,
    error: yaml_serde::Error,
}

/// Reads a stream, of a name.
///
/// # Errors
///
/// A document is no YAML; it is named by its number, from 1, and the fault by its line of the stream.
pub(super) fn read(name: &str, stream: &str) -> Result<Vec<Document>, NoYaml> {
    let mut parts = vec![(1, None, String::new())];
    // Editors on Windows begin a file with a mark of its encoding.
    let stream = stream.strip_prefix('\u{feff}').unwrap_or(stream);
    for (line, number) in stream.split_inclusive('\n').zip(2..) {
        let bare = line.trim_end();
        if bare == "---" || bare.starts_with("--- #") {
            parts.push((number, Some(line.to_owned()), String::new()));
        } else if let Some((.., text)) = parts.last_mut() {
            text.push_str(line);
        }
    }
    // A stream may begin with a separator: then nothing is before it.
    if parts.len() > 1 && parts.first().is_some_and(|(.., text)| text.is_empty()) {
        parts.remove(0);
    }
    let mut number = 0;
    let read = |(line, separator, text): (usize, Option<String>, String)| {
        number += usize::from(!text.trim().is_empty());
        match value(&text, line) {
            Ok(value) => Ok(Document { place: format!("{name}:{line}"), separator, text, value }),
            Err(error) => Err(NoYaml { stream: name.to_owned(), number, error }),
        }
    };
    parts.into_iter().map(read).collect()
}

/// Returns what a document means, with what it merges in (`<<`); errors name lines as if it began at the given one.
pub(super) fn value(text: &str, line: usize) -> Result<Value, yaml_serde::Error> {
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    let above = "\n".repeat(line.saturating_sub(1));
    let mut value: Value = yaml_serde::from_str(&(above + text))?;
    value.apply_merge()?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_named_by_its_line_of_the_stream() {
        let error = read("x", "a: 1\n---\n# b\n---\nc: [1\nd: }\n").expect_err("it is no YAML").to_string();
        assert!(error.starts_with("x: document 3 is no YAML") && error.contains("line 6"), "{error}");
        let documents = read("x", "a: 1\n---\nb: 1\n--- # c\n\nc: 1\n").expect("YAML");
        let places: Vec<_> = documents.iter().map(|document| document.place.as_str()).collect();
        assert_eq!(places, ["x:1", "x:3", "x:5"]);
    }
}
