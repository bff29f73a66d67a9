//! Whether what was said is what the page shows: ids and times are alike, `...` is anything.

use jiff::Timestamp;
use serde_json::Value;

/// Tells whether all lines of the text stand in what was said, in order.
pub(crate) fn is_said(text: &str, said: &str) -> bool {
    let mut said = said.lines();
    let lines = text.lines().filter(|line| !matches!(line.trim(), "" | "..."));
    lines.into_iter().all(|line| said.by_ref().any(|said| is_alike(line.trim(), said.trim())))
}

/// Tells whether some JSON that was said, in a line or in all, has what the JSON of the page has.
pub(crate) fn is_said_in_json(text: &str, said: &str) -> bool {
    let wanted: Value = serde_json::from_str(text).expect("JSON on the page");
    std::iter::once(said).chain(said.lines()).any(|said| {
        let said: Result<Value, _> = serde_json::from_str(said);
        said.is_ok_and(|said| has(&said, &wanted))
    })
}

fn has(said: &Value, wanted: &Value) -> bool {
    match (said, wanted) {
        (Value::Object(said), Value::Object(wanted)) => {
            wanted.iter().all(|(key, wanted)| said.get(key).is_some_and(|said| has(said, wanted)))
        }
        (Value::Array(said), Value::Array(wanted)) => {
            said.len() == wanted.len() && said.iter().zip(wanted).all(|(said, wanted)| has(said, wanted))
        }
        (Value::String(said), Value::String(wanted)) => is_alike(wanted, said),
        (said, wanted) => said == wanted,
    }
}

fn is_alike(wanted: &str, said: &str) -> bool {
    let (wanted, said) = (plain(wanted), plain(said));
    let mut parts = wanted.split("...");
    let Some(mut rest) = parts.next().and_then(|first| said.strip_prefix(first)) else { return false };
    let mut ends = true;
    for part in parts {
        let Some(at) = rest.rfind(part).filter(|_| part.is_empty()).or_else(|| rest.find(part)) else {
            return false;
        };
        rest = &rest[at + part.len()..];
        ends = false;
    }
    // What ends with `...` goes on as it likes.
    rest.is_empty() || (!ends && wanted.ends_with("..."))
}

/// Exchanges what differs from run to run.
fn plain(line: &str) -> String {
    let mut plain = String::new();
    let mut word = String::new();
    for letter in line.chars().chain(['\n']) {
        if letter.is_alphanumeric() || matches!(letter, '-' | '_' | ':' | '.' | '+') {
            word.push(letter);
            continue;
        }
        plain.push_str(match word.as_str() {
            word if uuid::Uuid::parse_str(word).is_ok() => "<id>",
            word if word.parse::<Timestamp>().is_ok() => "<time>",
            word => word,
        });
        word.clear();
        plain.push(letter);
    }
    plain.truncate(plain.len() - 1);
    // Columns are as wide as what stands in them.
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn what_differs_from_run_to_run_is_alike() {
    let said = "stored\n  01a1f96b-e812-718a-83fa-390940893943  at 2026-11-20T14:46:00.98Z\nend";
    assert!(is_said("01a1f96b-e812-718a-83fa-000000000000 at 2027-01-01T00:00:00Z\n...\nend\n", said));
    assert!(is_said("stored\n... at ...", said));
    assert!(!is_said("end\nstored", said), "the order counts");
    assert!(!is_said("store", said), "a part of a line is not the line");
    assert!(!is_said("... on ...", said));
    assert!(!is_said("sto...r", said));
}

#[test]
fn json_may_have_more() {
    let said = "first\n{\"topic\": \"orders\", \"position\": \"0-1\", \"ids\": [1, 2]}";
    assert!(is_said_in_json(r#"{"topic": "...", "ids": [1, 2]}"#, said));
    assert!(!is_said_in_json(r#"{"topic": "orders", "ids": [1]}"#, said));
    assert!(!is_said_in_json(r#"{"topic": "prices"}"#, said));
}
