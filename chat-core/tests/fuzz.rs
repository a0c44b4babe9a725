//! The fuzz targets with inputs mutated from a corpus: the same each run, and bounded, so that they belong to the ordinary
//! tests. With coverage, and for as long as one likes, the repository's `tests/fuzz` drives them.

#![allow(missing_docs)]

#[path = "fuzz/targets.rs"]
mod targets;

use std::path::Path;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Inputs that each target is given beside its corpus.
const INPUTS: usize = 10_000;
/// Mutations of one input, at most.
const MUTATIONS: usize = 6;
/// An input is cut to this many bytes.
const BYTES: usize = 4096;
/// Bytes that mean something in one of the formats.
const MEANINGFUL: &[u8] = &[
    0x00, 0x01, 0x06, 0x1e, b'"', b'\\', b'{', b'}', b'[', b']', b',', b':', b'0', b'e', 0x7f,
    0x80, 0x81, 0x90, 0x91, 0x95, 0x96, 0xa0, 0xa1, 0xc0, 0xc1, 0xc4, 0xc7, 0xca, 0xcb, 0xcf, 0xd3,
    0xd6, 0xd9, 0xdb, 0xdc, 0xdd, 0xde, 0xdf, 0xff,
];

#[test]
fn json_records_are_read_or_refused() {
    fuzz("json", targets::json);
}

#[test]
fn messagepack_records_are_read_or_refused() {
    fuzz("messagepack", targets::messagepack);
}

#[test]
fn handshakes_are_read_or_refused() {
    fuzz("handshake", targets::handshake);
}

fn fuzz(name: &str, target: fn(&[u8])) {
    let corpus = corpus(name);
    assert!(corpus.len() >= 10, "{} inputs", corpus.len());
    for input in &corpus {
        run(target, input);
    }
    let mut random = StdRng::seed_from_u64(7);
    for _ in 0..INPUTS {
        let mut input = pick(&mut random, &corpus).clone();
        for _ in 0..random.random_range(1..=MUTATIONS) {
            mutate(&mut random, &mut input, pick_bytes(&corpus));
        }
        input.truncate(BYTES);
        run(target, &input);
    }
}

/// The inputs of a folder, in the order of their names.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/corpus")
        .join(name);
    let mut paths: Vec<_> = std::fs::read_dir(&folder)
        .expect("a corpus")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    let read = |path| std::fs::read(path).expect("an input");
    paths.into_iter().map(read).collect()
}

fn run(target: fn(&[u8]), input: &[u8]) {
    /// Says which input it was.
    struct Shown<'a>(&'a [u8]);

    impl Drop for Shown<'_> {
        #[allow(clippy::print_stderr)]
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("the input: {}", self.0.escape_ascii());
            }
        }
    }

    let shown = Shown(input);
    target(shown.0);
}

fn pick<'a, T>(random: &mut StdRng, from: &'a [T]) -> &'a T {
    &from[random.random_range(0..from.len())]
}

fn pick_bytes(corpus: &[Vec<u8>]) -> impl Fn(&mut StdRng) -> Vec<u8> {
    move |random| {
        let from = pick(random, corpus);
        let start = random.random_range(0..=from.len());
        let end = random.random_range(start..=from.len());
        from[start..end].to_vec()
    }
}

fn mutate(random: &mut StdRng, input: &mut Vec<u8>, other: impl Fn(&mut StdRng) -> Vec<u8>) {
    let at = random.random_range(0..=input.len());
    match random.random_range(0..6) {
        0 if at < input.len() => input[at] ^= 1 << random.random_range(0..8),
        1 if at < input.len() => input[at] = *pick(random, MEANINGFUL),
        2 => input.insert(at, *pick(random, MEANINGFUL)),
        3 => {
            let end = random.random_range(at..=input.len());
            input.drain(at..end);
        }
        4 => {
            let more = other(random);
            input.splice(at..at, more);
        }
        _ => {
            let end = random.random_range(at..=input.len());
            let again = input[at..end].to_vec();
            input.splice(at..at, again);
        }
    }
}
