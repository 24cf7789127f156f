//! What clients send over HTTP/1: the same requests however it is cut, and nothing behind a mistake.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tollgate::fuzzing::requests(input));
