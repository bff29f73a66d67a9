//! The list of headers that restores what a map of text lines loses.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::collections::vec_deque::VecDeque;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sidespan_bridge::Header;

use super::{decode, encode};

/// All headers in order.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Carried(Vec<Item>);

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Item {
    /// The next one of this name among the plain ones.
    Plain(String),
    /// A name, and a value in base64.
    Odd(String, String),
}

impl Carried {
    /// Returns the list as text, if one is needed.
    pub(super) fn of(list: &[(&str, &[u8])]) -> Option<String> {
        let mut fields = list.iter();
        let sorted = list.is_sorted_by_key(|(name, _)| *name);
        if fields.all(|header| plain(header).is_some()) && (sorted || !matters(list)) {
            return None;
        }
        let item = |header: &(&str, &[u8])| match plain(header) {
            Some((name, _)) => Item::Plain(name.to_owned()),
            None => Item::Odd(header.0.to_owned(), encode(header.1)),
        };
        serde_json::to_string(&Self(list.iter().map(item).collect())).ok()
    }

    /// Reads a list; what is none is as if there were none.
    pub(super) fn read(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }

    /// Puts the plain headers into the order of the list, with the others between them. What the list
    /// does not name was added on the way, and stands behind.
    pub(super) fn restore(self, plain: Vec<Header>) -> Vec<Header> {
        let count = plain.len();
        let mut by_name: HashMap<Box<str>, VecDeque<(usize, Bytes)>> = HashMap::new();
        for (index, header) in plain.into_iter().enumerate() {
            by_name.entry(header.name).or_default().push_back((index, header.value));
        }
        let mut restored = Vec::with_capacity(count);
        for item in self.0 {
            match item {
                Item::Plain(name) => {
                    if let Entry::Occupied(mut values) = by_name.entry(name.into())
                        && let Some((_, value)) = values.get_mut().pop_front()
                    {
                        restored.push(Header::new(values.key().clone(), value));
                    }
                }
                Item::Odd(name, value) => {
                    restored.extend(decode(&value).map(|value| Header::new(name, value)));
                }
            }
        }
        let left = |(name, values): (Box<str>, VecDeque<(usize, Bytes)>)| {
            values.into_iter().map(move |(index, value)| (index, Header::new(name.clone(), value)))
        };
        let mut left: Vec<(usize, Header)> = by_name.into_iter().flat_map(left).collect();
        left.sort_by_key(|(index, _)| *index);
        restored.extend(left.into_iter().map(|(_, header)| header));
        restored
    }
}

/// Returns a header that is a line of text, and comes out as it went in.
pub(super) fn plain<'a>(header: &(&'a str, &'a [u8])) -> Option<(&'a str, &'a str)> {
    let (name, value) = *header;
    let legal = |byte: u8| byte.is_ascii_graphic() && byte != b':';
    let text = std::str::from_utf8(value).ok()?;
    let kept = !text.is_empty() && text.trim() == text && !text.contains(['\r', '\n']);
    (kept && !name.is_empty() && name.bytes().all(legal)).then_some((name, text))
}

/// Tells whether the order could be seen: fields have none among each other.
fn matters(list: &[(&str, &[u8])]) -> bool {
    let fields = [super::CONTENT_TYPE, super::ID, super::REPLY_TO, super::CORRELATION, super::KEY];
    let mut seen = Vec::new();
    let free: Vec<&str> = list
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| {
            let first = fields.contains(name) && !seen.contains(name);
            seen.push(*name);
            !first
        })
        .collect();
    // One that looks like a field, and is none, must stay behind the field.
    !free.is_sorted() || free.iter().any(|name| fields.iter().any(|field| field.eq_ignore_ascii_case(name)))
}
