//! A connection's input in JSON.
#![no_main]

#[allow(dead_code)] // each target has its own of these
#[path = "../../../chat-core/tests/fuzz/targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::json(bytes));
