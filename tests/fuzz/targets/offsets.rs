//! The metadata beside a Kafka offset: ours comes back, and nobody else's is believed.

#![no_main]
#![allow(dead_code, reason = "the bridge uses more of this file than is tried here")]

// By its file: the bridge's crate would bring the Kafka client, which is not what is tried.
#[path = "../../../bridges/kafka/src/offsets.rs"]
mod offsets;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use offsets::{Place, SkipSet};

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    text: &'a str,
    base: u64,
    steps: Vec<u16>,
    limit: u16,
}

fuzz_target!(|input: Input<'_>| {
    let place = Place { cluster: "c", topic: "orders", partition: 0 };
    let _ = SkipSet::read(input.text, place, input.base);

    let mut offset = input.base;
    let settled = input.steps.iter().map_while(|step| {
        offset = offset.checked_add(1 + u64::from(*step)).filter(|offset| *offset < u64::MAX)?;
        Some(offset)
    });
    let settled: Vec<u64> = settled.collect();
    let written = SkipSet::collect(settled.iter().copied()).write(place, input.base, input.limit.into());
    assert!(written.text.len() <= usize::from(input.limit));
    let read = SkipSet::read(&written.text, place, input.base);
    for offset in settled {
        let skipped = read.as_ref().is_some_and(|read| read.contains(offset));
        assert_eq!(skipped, offset < written.covers, "{offset} of {written:?}");
    }
    assert!(SkipSet::read(&written.text, place, input.base ^ 1).is_none());
});
