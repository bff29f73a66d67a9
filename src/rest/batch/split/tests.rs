//! What is found, whatever pieces a body comes in.

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
            assert_eq!(cut(Form::Array, body.as_bytes(), &[size], 100), (items(expected), broken), "{body}");
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
