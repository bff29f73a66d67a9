//! A CloudEvent in JSON that was understood is the same after it was written and read again.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use sidespan::cloudevents::{parse, structured};

fuzz_target!(|input: &[u8]| {
    let Ok(event) = parse(&Bytes::copy_from_slice(input)) else { return };
    let written = structured(&event);
    let again = parse(&written).expect("what was written is a CloudEvent");
    assert_eq!(structured(&again), written);
    assert_eq!((again.id, again.key, again.payload), (event.id, event.key, event.payload));
});
