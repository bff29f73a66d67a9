//! A CloudEvent in one body that was understood is the same after it was written and read again.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use sidespan::cloudevents::Format;

fuzz_target!(|input: &[u8]| {
    for format in [Format::Json, Format::Protobuf] {
        let Ok(event) = format.read(&Bytes::copy_from_slice(input)) else { continue };
        let written = format.write(&event);
        let again = format.read(&written).expect("what was written is a CloudEvent");
        assert_eq!(format.write(&again), written);
        assert_eq!((again.id, again.key, again.payload), (event.id, event.key, event.payload));
    }
});
