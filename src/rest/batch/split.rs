//! Finds the items of a batch while its body arrives: the elements of a JSON array, or lines.
//!
//! It looks at brackets and quotes only. Whether an item is good JSON is for its reader to say, so
//! one bad item does not take the others with it; only when the brackets don't match is the rest
//! lost, since nobody can tell where the next item begins.

use bytes::{Buf, Bytes, BytesMut};

/// Cuts a body into items. At most one item is kept, up to a limit.
#[derive(Debug)]
pub(super) struct Splitter {
    form: Form,
    buffer: BytesMut,
    /// How far the buffer is scanned; the item begins at its start.
    at: usize,
    state: State,
    /// The most bytes of one item.
    most: usize,
    /// The item in hand was too large and is thrown away as it comes.
    skipping: bool,
}

/// How items are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// One JSON array.
    Array,
    /// One JSON value a line.
    Lines,
}

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// One item.
    Item(Bytes),
    /// An item that is larger than allowed; its bytes are gone.
    TooLarge,
}

/// Why the rest of a body cannot be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    /// The body is something else.
    #[error("the body is not a JSON array; one object a line is application/x-ndjson")]
    NotAnArray,
    /// Brackets don't match, or a comma is missing or too many.
    #[error("the JSON array is broken here")]
    Syntax,
    /// The body ends within the array.
    #[error("the body ends within the JSON array")]
    Unfinished,
    /// There is more after the array.
    #[error("there is more after the JSON array")]
    Trailing,
    /// Brackets within brackets within brackets.
    #[error("the JSON is nested too deeply")]
    TooDeep,
}

#[derive(Debug)]
enum State {
    /// Before the array.
    Start,
    /// Where an item must come, or may not: `[` allows `]`, a comma doesn't.
    Item { may_end: bool },
    /// Within an item that ends with its last bracket or quote.
    Within { open: Vec<u8>, text: bool, escaped: bool },
    /// Within a number or word, which ends where something else begins.
    Word,
    /// After an item.
    After,
    /// After the array.
    End,
}

impl Splitter {
    /// Cuts a body of this form into items of at most so many bytes.
    pub(super) fn new(form: Form, most: usize) -> Self {
        let state = match form {
            Form::Array => State::Start,
            Form::Lines => State::Item { may_end: true },
        };
        Self { form, buffer: BytesMut::new(), at: 0, state, most, skipping: false }
    }

    /// Returns how many bytes of an item that is not whole are kept.
    pub(super) fn held(&self) -> usize {
        self.buffer.len()
    }

    /// Adds what arrived. Take all pieces before the next.
    pub(super) fn push(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// Returns the next whole item that has arrived.
    pub(super) fn next(&mut self) -> Result<Option<Piece>, Broken> {
        match self.form {
            Form::Array => self.element(),
            Form::Lines => Ok(self.line()),
        }
    }

    /// Returns what is left at the end of the body: a last line without an end, or nothing.
    pub(super) fn finish(&mut self) -> Result<Option<Piece>, Broken> {
        match (self.form, &self.state) {
            (Form::Array, State::Start) => Err(Broken::NotAnArray),
            (Form::Array, State::End) => Ok(None),
            (Form::Array, _) => Err(Broken::Unfinished),
            (Form::Lines, _) => {
                self.at = self.buffer.len();
                Ok(self.take().filter(|piece| !is_blank(piece)))
            }
        }
    }

    fn line(&mut self) -> Option<Piece> {
        loop {
            let rest = self.buffer.get(self.at..).unwrap_or(&[]);
            let Some(length) = rest.iter().position(|byte| *byte == b'\n') else {
                self.at = self.buffer.len();
                self.shed();
                return None;
            };
            self.at += length;
            let piece = self.take();
            self.buffer.advance(1);
            if let Some(piece) = piece.filter(|piece| !is_blank(piece)) {
                return Some(piece);
            }
        }
    }

    fn element(&mut self) -> Result<Option<Piece>, Broken> {
        while let Some(byte) = self.buffer.get(self.at).copied() {
            let blank = matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
            match &mut self.state {
                State::Start if blank => self.pass(),
                State::Start if byte == b'[' => {
                    self.pass();
                    self.state = State::Item { may_end: true };
                }
                State::Start => return Err(Broken::NotAnArray),
                State::Item { .. } if blank => self.pass(),
                State::Item { may_end: true } if byte == b']' => {
                    self.pass();
                    self.state = State::End;
                }
                State::Item { .. } if matches!(byte, b']' | b'}' | b',' | b':') => {
                    return Err(Broken::Syntax);
                }
                State::Item { .. } => {
                    self.state = match byte {
                        b'{' | b'[' => State::Within { open: vec![byte], text: false, escaped: false },
                        b'"' => State::Within { open: Vec::new(), text: true, escaped: false },
                        _ => State::Word,
                    };
                    self.at += 1;
                }
                State::Within { open, text, escaped } => {
                    let mut whole = false;
                    for byte in self.buffer.iter().skip(self.at) {
                        self.at += 1;
                        whole = within(*byte, open, text, escaped)?;
                        if whole {
                            break;
                        }
                    }
                    if whole {
                        self.state = State::After;
                        return Ok(self.take());
                    }
                }
                State::Word if blank || matches!(byte, b',' | b']') => {
                    self.state = State::After;
                    return Ok(self.take());
                }
                State::Word if matches!(byte, b'{' | b'}' | b'[' | b'"' | b':') => {
                    return Err(Broken::Syntax);
                }
                State::Word => self.at += 1,
                State::After if blank => self.pass(),
                State::After if byte == b',' => {
                    self.pass();
                    self.state = State::Item { may_end: false };
                }
                State::After if byte == b']' => {
                    self.pass();
                    self.state = State::End;
                }
                State::After => return Err(Broken::Syntax),
                State::End if blank => self.pass(),
                State::End => return Err(Broken::Trailing),
            }
        }
        self.shed();
        Ok(None)
    }

    /// Drops a byte between items.
    fn pass(&mut self) {
        self.buffer.advance(1);
        self.at = 0;
    }

    /// Cuts the item off; it ends where the scan stands.
    fn take(&mut self) -> Option<Piece> {
        let item = self.buffer.split_to(self.at.min(self.buffer.len())).freeze();
        self.at = 0;
        let too_large = std::mem::take(&mut self.skipping) || item.len() > self.most;
        Some(if too_large { Piece::TooLarge } else { Piece::Item(item) })
    }

    /// Throws away the beginning of an item that is too large already.
    fn shed(&mut self) {
        if self.at > self.most {
            self.skipping = true;
            self.buffer.advance(self.at.min(self.buffer.len()));
            self.at = 0;
        }
    }
}

/// Follows brackets and quotes; tells whether the item ends with this byte.
fn within(byte: u8, open: &mut Vec<u8>, text: &mut bool, escaped: &mut bool) -> Result<bool, Broken> {
    if *text {
        match byte {
            _ if *escaped => *escaped = false,
            b'\\' => *escaped = true,
            b'"' => *text = false,
            _ => {}
        }
        return Ok(!*text && open.is_empty());
    }
    match byte {
        b'"' => *text = true,
        b'{' | b'[' if open.len() >= DEEPEST => return Err(Broken::TooDeep),
        b'{' | b'[' => open.push(byte),
        b'}' | b']' => {
            let matching = if byte == b'}' { b'{' } else { b'[' };
            if open.pop() != Some(matching) {
                return Err(Broken::Syntax);
            }
        }
        _ => {}
    }
    Ok(open.is_empty() && !*text)
}

fn is_blank(piece: &Piece) -> bool {
    matches!(piece, Piece::Item(line) if line.trim_ascii().is_empty())
}

const DEEPEST: usize = 512;

#[cfg(test)]
mod tests;
