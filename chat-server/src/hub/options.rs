//! What may be set of the hub's connections.

use std::time::Duration;

/// The times and bounds of the hub's connections; the defaults are SignalR's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubOptions {
    /// How long the handshake may take; default: 15 s.
    pub handshake: Duration,
    /// How long a connection without a request is waited for: one that was negotiated and not opened, and one whose last poll
    /// has ended; default: 15 s.
    pub disconnect: Duration,
    /// How long a poll waits for something to come; default: 90 s.
    pub poll: Duration,
    /// How long the last bytes to a client may take; default: 5 s.
    pub goodbye: Duration,
    /// Connections over Server-Sent Events and long polling at once; default: 10,000.
    pub channels: usize,
}

impl Default for HubOptions {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(15),
            disconnect: Duration::from_secs(15),
            poll: Duration::from_secs(90),
            goodbye: Duration::from_secs(5),
            channels: 10_000,
        }
    }
}
