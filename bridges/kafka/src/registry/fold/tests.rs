//! Whatever comes together in the log, and whatever compaction takes away, all readers agree.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// What somebody does.
#[derive(Clone, Debug)]
enum Step {
    /// Writes with what stands there, or with something that stood there some steps ago.
    Write { key: usize, stale: usize, removes: bool },
    /// Decides what to restate, now.
    Prepare { key: usize },
    /// Writes what was decided first.
    Restate,
    /// Writes something that is none of ours.
    Litter { key: usize },
}

type Log = Vec<(&'static str, Option<Entry>)>;

fn step() -> impl Strategy<Value = Step> {
    let key = 0..KEYS.len();
    prop_oneof![
        4 => (key.clone(), 0..4_usize, any::<bool>())
            .prop_map(|(key, stale, removes)| Step::Write { key, stale, removes }),
        2 => key.clone().prop_map(|key| Step::Prepare { key }),
        2 => Just(Step::Restate),
        1 => key.prop_map(|key| Step::Litter { key }),
    ]
}

/// Writes a log, as one who has read it from its beginning sees it, until nothing is disturbed.
fn write(steps: Vec<Step>) -> (Log, Fold) {
    let (mut log, mut truth) = (Log::new(), Fold { live: true, ..Fold::default() });
    let mut append = |truth: &mut Fold, key: &'static str, entry: Option<Entry>| {
        truth.apply(key, log.len() as u64, entry.clone());
        log.push((key, entry));
    };
    let mut before: Vec<BTreeMap<&str, Revision>> = Vec::new();
    let mut prepared = Vec::new();
    for step in steps {
        before.push(KEYS.iter().map(|key| (*key, truth.stands(key))).collect());
        match step {
            Step::Write { key, stale, removes } => {
                let key = KEYS[key];
                let expected = before[before.len().saturating_sub(stale + 1)][key];
                let value = (!removes).then(|| format!("{}", before.len()).into());
                append(&mut truth, key, Some(Entry::Write { expected, value }));
            }
            Step::Prepare { key } => prepared.push((KEYS[key], truth.restatement(KEYS[key]))),
            Step::Restate if !prepared.is_empty() => {
                let (key, entry) = prepared.remove(0);
                append(&mut truth, key, Some(entry));
            }
            Step::Restate => {}
            Step::Litter { key } => append(&mut truth, KEYS[key], None),
        }
    }
    for key in KEYS {
        if truth.disturbed().iter().any(|disturbed| **disturbed == *key) {
            let entry = truth.restatement(key);
            append(&mut truth, key, Some(entry));
        }
    }
    (log, truth)
}

/// Reads what compaction up to an offset has left.
fn read(log: &Log, compacted: usize) -> Fold {
    let mut fold = Fold::default();
    for (offset, (key, entry)) in log.iter().enumerate() {
        let is_last = !log[offset + 1..compacted.max(offset + 1)].iter().any(|(other, _)| other == key);
        if offset >= compacted || is_last {
            fold.apply(key, offset as u64, entry.clone());
        }
    }
    fold.live = true;
    fold
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn all_readers_agree_whatever_was_compacted(steps in prop::collection::vec(step(), 1..40)) {
        let (log, truth) = write(steps);
        prop_assert!(truth.disturbed().is_empty());
        for compacted in 0..=log.len() {
            let late = read(&log, compacted);
            prop_assert_eq!(late.all(), truth.all(), "compacted up to {} of {:?}", compacted, &log);
        }
    }
}

#[test]
fn of_two_who_expect_the_same_the_first_in_the_log_wins() {
    let mut fold = Fold { live: true, ..Fold::default() };
    let write =
        |value: &'static str| Some(Entry::Write { expected: Revision::NONE, value: Some(value.into()) });
    assert_eq!(fold.apply("key", 7, write("one")), Effect::Changed);
    assert_eq!(fold.apply("key", 9, write("other")), Effect::Rejected);
    assert_eq!(fold.disturbed().len(), 1, "what was rejected is to be followed by what stands");
    let put = Change::Put { key: "key".into(), value: "one".into(), revision: Revision(8) };
    assert_eq!(fold.all(), [put]);
    let restatement = fold.restatement("key");
    assert_eq!(fold.apply("key", 10, Some(restatement)), Effect::Nothing);
    assert!(fold.disturbed().is_empty());
}

#[test]
fn entries_come_back_as_they_were_and_others_are_nobodys() {
    let (revision, value) = (Revision(5), Some(Bytes::from_static(b"x")));
    for entry in [
        Entry::Write { expected: Revision::NONE, value: value.clone() },
        Entry::Write { expected: revision, value: None },
        Entry::Restatement { revision, value },
        Entry::Restatement { revision: Revision::NONE, value: None },
    ] {
        assert_eq!(Entry::of_message(&entry.to_message("key")), Some(entry));
    }
    let later = Header::new(MARK, "2");
    for headers in [vec![], vec![Header::new(MARK, VERSION)], vec![later, Header::new(EXPECTS, "0")]] {
        assert_eq!(Entry::of_message(&Message { headers, ..Message::default() }), None);
    }
}

const KEYS: [&str; 2] = ["a", "b"];
