//! Reads a stream of server-sent events (HTML, 9.2.6).

/// An event, or only a new id where it has no data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Event {
    /// The last id that was given.
    pub(super) id: Option<String>,
    /// The event's name; empty for the default.
    pub(super) name: String,
    /// Its data.
    pub(super) data: Option<String>,
}

/// Puts pieces of a stream together.
#[derive(Debug, Default)]
pub(super) struct Events {
    buffer: Vec<u8>,
    event: Event,
}

impl Events {
    /// Takes a piece.
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<(), TooLong> {
        let data = self.event.data.as_ref().map_or(0, String::len);
        if self.buffer.len() + data + piece.len() > MOST {
            return Err(TooLong);
        }
        self.buffer.extend_from_slice(piece);
        Ok(())
    }

    /// Returns the next event that is complete.
    pub(super) fn next(&mut self) -> Option<Event> {
        loop {
            let end = self.buffer.iter().position(|byte| *byte == b'\n')?;
            let line: Vec<u8> = self.buffer.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches('\n').trim_end_matches('\r');
            if line.is_empty() {
                let id = self.event.id.clone();
                let event = std::mem::replace(&mut self.event, Event { id, ..Event::default() });
                return Some(event);
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "data" => match &mut self.event.data {
                    Some(data) => {
                        data.push('\n');
                        data.push_str(value);
                    }
                    None => self.event.data = Some(value.to_owned()),
                },
                "event" => value.clone_into(&mut self.event.name),
                "id" if !value.contains('\0') => self.event.id = Some(value.to_owned()),
                // Comments, and `retry`, which is for those that do not choose their pauses.
                _ => {}
            }
        }
    }
}

/// An event that does not end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server sent an event of more than {} MiB", MOST >> 20)]
pub(super) struct TooLong;

const MOST: usize = 512 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn all(pieces: &[&str]) -> Vec<Event> {
        let mut events = Events::default();
        let mut found = Vec::new();
        for piece in pieces {
            events.push(piece.as_bytes()).unwrap();
            found.extend(std::iter::from_fn(|| events.next()));
        }
        found
    }

    fn event(id: Option<&str>, name: &str, data: Option<&str>) -> Event {
        Event { id: id.map(Into::into), name: name.into(), data: data.map(Into::into) }
    }

    #[test]
    fn events_may_come_in_any_pieces() {
        let expected = [event(Some("0-1"), "", Some("a\nb")), event(Some("0-1"), "lost", Some(""))];
        let text = "id: 0-1\r\ndata: a\ndata:b\n\n: ping\nevent: lost\ndata\n\n";
        assert_eq!(all(&[text]), expected);
        let bytes: Vec<String> = text.chars().map(String::from).collect();
        assert_eq!(all(&bytes.iter().map(String::as_str).collect::<Vec<_>>()), expected);
    }

    #[test]
    fn an_id_without_data_is_remembered() {
        assert_eq!(all(&["id: 0-9\n\n"]), [event(Some("0-9"), "", None)]);
    }

    #[test]
    fn what_is_not_complete_is_no_event() {
        assert!(all(&["data: a\n"]).is_empty());
    }
}
