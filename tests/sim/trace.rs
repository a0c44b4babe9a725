//! What happened in a run, line by line, and the hash of it that two runs of one seed must share.

/// FNV-1a (64 bit): stable across builds, which the standard library's hasher doesn't promise.
const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// The lines so far.
#[derive(Debug)]
pub(crate) struct Trace {
    lines: Vec<String>,
    hash: u64,
    prints: bool,
}

impl Default for Trace {
    fn default() -> Self {
        Self {
            lines: Vec::new(),
            hash: OFFSET,
            prints: false,
        }
    }
}

impl Trace {
    /// Whether each line is printed as it is noted.
    pub(crate) const fn print(&mut self, prints: bool) {
        self.prints = prints;
    }

    #[allow(clippy::print_stderr)] // where it was asked for
    pub(crate) fn note(&mut self, line: String) {
        for byte in line.bytes().chain([b'\n']) {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(PRIME);
        }
        if self.prints {
            eprintln!("{line}");
        }
        self.lines.push(line);
    }

    pub(crate) const fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn lines(&self) -> &[String] {
        &self.lines
    }
}
