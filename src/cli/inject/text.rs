//! Changes a YAML document and leaves every line as it is that need not change: comments, quotes, and
//! numbers as people write them.
//!
//! The change is made on the tree first, and here the old text is carried over: what is equal keeps its
//! lines, what is new is written in block style. The result is read again; where it isn't the changed tree, as with
//! documents in flow style, the whole is written as JSON, which every reader of YAML takes for what it is.

use yaml_serde::{Mapping, Value};

use super::documents;

/// Returns the text of `new`, as near to `text` as can be, which is that of `old`.
pub(super) fn edit(text: &str, old: &Value, new: &Value) -> String {
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let edited = match (old, new) {
        (Value::Mapping(old), Value::Mapping(new)) => mapping(&lines, old, new),
        _ => None,
    };
    let edited = edited.map(|lines| lines.join("\n") + "\n");
    match edited {
        Some(text) if documents::value(&text, 1).is_ok_and(|read| read == *new) => text,
        Some(_) | None => pretty(new) + "\n",
    }
}

fn mapping(lines: &[String], old: &Mapping, new: &Mapping) -> Option<Vec<String>> {
    let indent = column(lines.iter().find(|line| is_content(line))?);
    let (mut out, entries) = split(lines, |line| column(line) == indent && !is_item(line))?;
    if entries.len() != old.len() {
        return None;
    }
    for (entry, (key, before)) in entries.iter().zip(old) {
        let (first, body) = entry.split_first()?;
        let rest = ["", "\"", "'"].iter().find_map(|quote| {
            first
                .trim_start()
                .strip_prefix(quote)?
                .strip_prefix(key.as_str()?)?
                .strip_prefix(quote)?
                .strip_prefix(':')
        })?;
        let Some(after) = new.get(key) else { continue };
        let nested = !is_content(rest);
        match (before, after) {
            (before, after) if before == after => out.extend_from_slice(entry),
            (Value::Mapping(before), Value::Mapping(after)) if nested => {
                out.push(first.clone());
                out.extend(mapping(body, before, after)?);
            }
            (Value::Sequence(before), Value::Sequence(after)) if nested => {
                out.push(first.clone());
                out.extend(sequence(body, before, after)?);
            }
            (Value::Mapping(before), _) if !before.is_empty() => out.push(flow(indent, key, after)?),
            (Value::Sequence(before), _) if !before.is_empty() => out.push(flow(indent, key, after)?),
            (_, after) => out.extend(pair(indent, key, after)?),
        }
    }
    for (key, value) in new.iter().filter(|(key, _)| !old.contains_key(*key)) {
        append(&mut out, pair(indent, key, value)?);
    }
    Some(out)
}

fn sequence(lines: &[String], old: &[Value], new: &[Value]) -> Option<Vec<String>> {
    let indent = column(lines.iter().find(|line| is_content(line))?);
    let (mut out, items) = split(lines, |line| column(line) == indent && is_item(line))?;
    if items.len() != old.len() {
        return None;
    }
    for (place, value) in new.iter().enumerate() {
        if let Some(same) = old.iter().position(|before| before == value) {
            out.extend_from_slice(items.get(same)?);
            continue;
        }
        let name = |item: &Value| item.get("name").cloned();
        // What has no name, as in a list of manifests, stays where it is.
        let known = old.iter().zip(&items).enumerate().find(|(index, (before, _))| {
            name(before) == name(value)
                && (name(value).is_some() || (old.len() == new.len() && *index == place))
        });
        let known = known.map(|(_, known)| known);
        match (known, value) {
            (Some((Value::Mapping(before), item)), Value::Mapping(after)) => {
                let mut item = item.clone();
                // The first key stands behind the dash.
                item.first_mut()?.replace_range(indent..=indent, " ");
                let mut item = mapping(&item, before, after)?;
                item.iter_mut().find(|line| is_content(line))?.replace_range(indent..=indent, "-");
                out.extend(item);
            }
            _ => append(&mut out, block(indent, &Value::Sequence(vec![value.clone()]))?),
        }
    }
    Some(out)
}

/// Splits lines into what comes before the first entry, and the entries.
fn split(lines: &[String], begins: impl Fn(&str) -> bool) -> Option<(Vec<String>, Vec<Vec<String>>)> {
    let (mut head, mut entries) = (Vec::new(), Vec::<Vec<String>>::new());
    for line in lines {
        match entries.last_mut() {
            _ if is_content(line) && begins(line) => entries.push(vec![line.clone()]),
            Some(entry) => entry.push(line.clone()),
            None if is_content(line) => return None,
            None => head.push(line.clone()),
        }
    }
    Some((head, entries))
}

/// Adds lines, but before empty ones at the end.
fn append(out: &mut Vec<String>, lines: Vec<String>) {
    let full = out.iter().rposition(|line| !line.trim().is_empty()).map_or(0, |last| last + 1);
    let empty = out.split_off(full);
    out.extend(lines);
    out.extend(empty);
}

fn pair(indent: usize, key: &Value, value: &Value) -> Option<Vec<String>> {
    block(indent, &Value::Mapping(Mapping::from_iter([(key.clone(), value.clone())])))
}

fn block(indent: usize, value: &Value) -> Option<Vec<String>> {
    let text = yaml_serde::to_string(value).ok()?;
    Some(text.lines().map(|line| format!("{:indent$}{line}", "")).collect())
}

/// A value that was in flow style stays there: as JSON, it cannot be taken for another.
fn flow(indent: usize, key: &Value, value: &Value) -> Option<String> {
    Some(format!("{:indent$}{}: {}", "", key.as_str()?, serde_json::to_string(value).ok()?))
}

fn pretty(value: &Value) -> String {
    // Only keys that are no strings are refused, and Kubernetes has none.
    serde_json::to_string_pretty(value).unwrap_or_default()
}

fn column(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

fn is_content(line: &str) -> bool {
    let line = line.trim_start();
    !line.is_empty() && !line.starts_with('#')
}

fn is_item(line: &str) -> bool {
    let line = line.trim_start();
    line == "-" || line.starts_with("- ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn edited(text: &str, change: impl FnOnce(&mut Value)) -> String {
        let old: Value = yaml_serde::from_str(text).expect("YAML");
        let mut new = old.clone();
        change(&mut new);
        edit(text, &old, &new)
    }

    #[test]
    fn what_does_not_change_keeps_its_lines() {
        let text = "# a\nmode: 0644 # octal\nlist:\n# b\n- name: x\n  on: \"yes\"\n\n- name: y\nlast: |\n  # no comment\n  end\n\n";
        let out = edited(text, |doc| {
            doc["list"][0]["more"] = Value::from(1);
            doc["list"].as_sequence_mut().expect("a list").push(Value::from("z"));
            doc["new"] = yaml_serde::from_str("{a: [b]}").expect("YAML");
        });
        let wanted = "# a\nmode: 0644 # octal\nlist:\n# b\n- name: x\n  on: \"yes\"\n  more: 1\n\n- name: y\n- z\n\
                      last: |\n  # no comment\n  end\nnew:\n  a:\n  - b\n\n";
        assert_eq!(out, wanted);
    }

    #[test]
    fn what_has_no_name_is_known_by_its_place() {
        let text = "items:\n- on: \"yes\"\n- a: 1\n  b: \"no\"\n";
        let out = edited(text, |doc| doc["items"][1]["a"] = Value::from(2));
        assert_eq!(out, "items:\n- on: \"yes\"\n- a: 2\n  b: \"no\"\n");
    }

    #[test]
    fn flow_style_stays_what_it_means() {
        let out = edited("a: {b: \"on\"}\nc: d\n", |doc| doc["a"]["e"] = Value::from(1));
        assert_eq!(out, "a: {\"b\":\"on\",\"e\":1}\nc: d\n");
        let out = edited("{\"a\": {\"b\": \"on\"}}", |doc| doc["a"]["e"] = Value::from(1));
        assert_eq!(out, "{\n  \"a\": {\n    \"b\": \"on\",\n    \"e\": 1\n  }\n}\n");
    }
}
