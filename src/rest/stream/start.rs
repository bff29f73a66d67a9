//! Where a stream begins.

use http::HeaderMap;
use sidespan_bridge::{Pattern, Position, Start};
use url::form_urlencoded;

use super::cursor;
use crate::error::Error;

/// Reads `?start=` and `Last-Event-ID`; the latter wins, since a browser sends both when it comes
/// back. A page that opens a WebSocket can set no header, and says `?last_event_id=`.
pub(super) fn read(query: &str, headers: &HeaderMap, pattern: &Pattern) -> Result<Start, Error> {
    let (mut start, mut seen) = (Start::End, String::new());
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match (name.as_ref(), value.as_ref()) {
            ("start", "begin") => start = Start::Begin,
            ("start", "end") => start = Start::End,
            ("start", written) => start = Start::Position(positions(written, pattern)?),
            ("last_event_id", id) => seen = id.to_owned(),
            (other, _) => {
                let other: String = other.chars().take(80).collect();
                return Err(Error::Invalid(format!(
                    "there is no query parameter {other:?}; known are start and last_event_id"
                )));
            }
        }
    }
    let last = headers.get("last-event-id").map(http::HeaderValue::as_bytes);
    let last = last.filter(|last| !last.is_empty()).unwrap_or(seen.as_bytes());
    if last.is_empty() { Ok(start) } else { cursor::read(last, pattern) }
}

/// One position a partition, separated by commas.
fn positions(written: &str, pattern: &Pattern) -> Result<Vec<Position>, Error> {
    if pattern.is_wildcard() {
        let reason = "`start` of a pattern must be begin or end: a position is one topic's";
        return Err(Error::Invalid(reason.to_owned()));
    }
    let read = |part: &str| {
        part.trim().parse::<Position>().map_err(|error| {
            Error::Invalid(format!("`start` must be begin, end, or positions separated by commas: {error}"))
        })
    };
    if written.split(',').count() > MOST_POSITIONS {
        return Err(Error::Invalid(format!("`start` has more than {MOST_POSITIONS} positions")));
    }
    let mut positions: Vec<Position> = written.split(',').map(read).collect::<Result<_, _>>()?;
    positions.sort();
    positions.dedup_by_key(|position| position.partition);
    Ok(positions)
}

const MOST_POSITIONS: usize = 4096;

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use http::HeaderValue;
    use sidespan_bridge::Topic;

    use super::cursor::Cursor;
    use super::*;

    fn start(query: &str, last: Option<&str>, pattern: &str) -> Result<Start, String> {
        let mut headers = HeaderMap::new();
        if let Some(last) = last {
            headers.insert("last-event-id", HeaderValue::from_str(last).unwrap());
        }
        read(query, &headers, &Pattern::parse(pattern).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_stream_begins_where_it_is_told_and_goes_on_behind_what_was_seen() {
        let at = |partition, sequence| Position { partition, sequence };
        assert_eq!(start("", None, "t"), Ok(Start::End));
        assert_eq!(start("start=begin", None, "t"), Ok(Start::Begin));
        assert_eq!(start("start=0-7", None, "t"), Ok(Start::Position(vec![at(0, 7)])));
        assert_eq!(start("start=1-4,0-7", None, "t"), Ok(Start::Position(vec![at(0, 7), at(1, 4)])));
        let from = vec![(Topic::new("t.a"), at(0, 7))];
        let pattern = Pattern::parse("t.*").unwrap();
        let id = Cursor::new(pattern, &Start::End, SystemTime::now(), &from).id();
        let resumed = Start::Resume { from, since: SystemTime::UNIX_EPOCH };
        assert_eq!(start("start=begin", Some(&id), "t.*"), Ok(resumed));
        assert_eq!(start("start=begin", Some(""), "t"), Ok(Start::Begin));
    }

    #[test]
    fn what_is_no_start_is_told_why() {
        assert!(start("start=now", None, "t").unwrap_err().contains("begin, end, or positions"));
        assert!(start("from=begin", None, "t").unwrap_err().contains("known are start"));
        assert!(start("start=0-1", None, "t.*").unwrap_err().contains("one topic's"));
        assert!(start("", Some("0-7"), "t").unwrap_err().contains("Last-Event-ID"));
    }
}
