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
                    self.at += 1;
                    if within(byte, open, text, escaped)? {
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
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn cut(form: Form, body: &[u8], sizes: &[usize], most: usize) -> (Vec<Piece>, Option<Broken>) {
        let mut splitter = Splitter::new(form, most);
        let mut pieces = Vec::new();
        let mut rest = body;
        let mut sizes = sizes.iter().copied().cycle();
        while !rest.is_empty() {
            let (chunk, behind) = rest.split_at(sizes.next().unwrap_or(usize::MAX).clamp(1, rest.len()));
            rest = behind;
            splitter.push(chunk);
            loop {
                match splitter.next() {
                    Ok(Some(piece)) => pieces.push(piece),
                    Ok(None) => break,
                    Err(broken) => return (pieces, Some(broken)),
                }
            }
        }
        match splitter.finish() {
            Ok(last) => pieces.extend(last),
            Err(broken) => return (pieces, Some(broken)),
        }
        (pieces, None)
    }

    fn items(texts: &[&str]) -> Vec<Piece> {
        texts.iter().map(|text| Piece::Item(Bytes::copy_from_slice(text.as_bytes()))).collect()
    }

    #[test]
    fn arrays_are_cut_at_their_commas() {
        let cases: [(&str, &[&str], Option<Broken>); 16] = [
            ("[]", &[], None),
            (
                " [ 1 , \"a,]\\\"\" ,{\"x\":[1,{}]}, null]\n",
                &["1", "\"a,]\\\"\"", "{\"x\":[1,{}]}", "null"],
                None,
            ),
            ("", &[], Some(Broken::NotAnArray)),
            ("{}", &[], Some(Broken::NotAnArray)),
            ("[1", &[], Some(Broken::Unfinished)),
            ("[1,", &["1"], Some(Broken::Unfinished)),
            ("[1,]", &["1"], Some(Broken::Syntax)),
            ("[,1]", &[], Some(Broken::Syntax)),
            ("[1 2]", &["1"], Some(Broken::Syntax)),
            ("[{\"a\":1}{\"b\":2}]", &["{\"a\":1}"], Some(Broken::Syntax)),
            ("[{]]", &[], Some(Broken::Syntax)),
            ("[1]x", &["1"], Some(Broken::Trailing)),
            ("[1][2]", &["1"], Some(Broken::Trailing)),
            ("[tru{]", &[], Some(Broken::Syntax)),
            ("[{\"a\":tru},nope]", &["{\"a\":tru}", "nope"], None),
            ("[\"", &[], Some(Broken::Unfinished)),
        ];
        for (body, expected, broken) in cases {
            for size in [1, 2, 3, 1000] {
                assert_eq!(
                    cut(Form::Array, body.as_bytes(), &[size], 100),
                    (items(expected), broken),
                    "{body}"
                );
            }
        }
    }

    #[test]
    fn lines_may_be_blank_and_the_last_may_lack_its_end() {
        let body = b"{\"a\":1}\r\n\n  \nbroken\n2";
        for size in [1, 4, 1000] {
            let (pieces, broken) = cut(Form::Lines, body, &[size], 100);
            assert_eq!((pieces, broken), (items(&["{\"a\":1}\r", "broken", "2"]), None));
        }
    }

    #[test]
    fn a_large_item_is_dropped_and_the_others_are_not() {
        let big = "x".repeat(50);
        for size in [1, 7, 1000] {
            let array = format!("[1,\"{big}\",[\"{big}\"],2]");
            let (pieces, broken) = cut(Form::Array, array.as_bytes(), &[size], 20);
            assert_eq!(broken, None);
            assert_eq!(pieces.len(), 4, "{pieces:?}");
            assert_eq!(pieces[1], Piece::TooLarge);
            assert_eq!(pieces[2], Piece::TooLarge);
            let lines = format!("1\n{big}\n2\n{big}");
            let (pieces, _) = cut(Form::Lines, lines.as_bytes(), &[size], 20);
            let one = |text: &str| items(&[text]).remove(0);
            assert_eq!(pieces, [one("1"), Piece::TooLarge, one("2"), Piece::TooLarge]);
        }
    }

    #[test]
    fn depth_is_bounded() {
        let deep = format!("[{}", "[".repeat(10_000));
        assert_eq!(cut(Form::Array, deep.as_bytes(), &[100], 1 << 20).1, Some(Broken::TooDeep));
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            "[\\[\\]{},:\"\\\\ ]{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((any::<String>(), inner), 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_array_in_any_chunks_gives_its_elements(
            values in prop::collection::vec(value(), 0..12),
            sizes in prop::collection::vec(1_usize..40, 1..8),
            pretty in any::<bool>(),
        ) {
            let body = if pretty { serde_json::to_vec_pretty(&values) } else { serde_json::to_vec(&values) }.unwrap();
            let (pieces, broken) = cut(Form::Array, &body, &sizes, usize::MAX);
            prop_assert_eq!(broken, None);
            let read: Vec<Value> = pieces
                .iter()
                .map(|piece| match piece {
                    Piece::Item(item) => serde_json::from_slice(item).unwrap(),
                    Piece::TooLarge => unreachable!("there is no limit"),
                })
                .collect();
            // Through text once, since some floats change by it.
            let written: Vec<Value> = serde_json::from_slice(&body).unwrap();
            prop_assert_eq!(read, written);
        }

        #[test]
        fn no_bytes_bring_it_down_and_chunks_make_no_difference(
            body in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"[]{},\"\\ 1\n".to_vec())], 0..60),
            sizes in prop::collection::vec(1_usize..9, 1..5),
        ) {
            for form in [Form::Array, Form::Lines] {
                prop_assert_eq!(cut(form, &body, &sizes, 16), cut(form, &body, &[usize::MAX], 16));
            }
        }
    }
}
