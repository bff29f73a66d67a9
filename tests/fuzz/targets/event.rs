//! A CloudEvent in JSON that was understood is the same after it was written and read again.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use sidespan::cloudevents::Format;

fuzz_target!(|input: &[u8]| {
    let Ok(event) = Format::Json.read(&Bytes::copy_from_slice(input)) else { return };
    let written = Format::Json.write(&event);
    let again = Format::Json.read(&written).expect("what was written is a CloudEvent");
    assert_eq!(Format::Json.write(&again), written);
    assert_eq!((again.id, again.key, again.payload), (event.id, event.key, event.payload));
});
