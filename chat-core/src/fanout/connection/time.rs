//! What the passing of time does to a connection.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::{Connection, End, Phase};
use crate::model::Timestamp;
use crate::protocol::hub::ClosingReason;

/// A connection that is sent nothing gets a Ping this often (signalr.md, section 9).
const PING_EVERY: Duration = Duration::from_secs(15);
/// A client that has pinged once and then says nothing is given up after this long.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long one write may be stuck.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

impl Connection {
    /// Once a second: pings, and ends what is silent, stuck or past its token.
    pub(in crate::fanout) fn tick(&self, now: Instant, wall: Timestamp, ping: &Bytes) {
        let expired = self.is_expired(wall);
        let mut out = self.lock();
        match out.phase {
            Phase::Entering | Phase::Closed => return,
            Phase::Closing => {
                if out.close_by.is_some_and(|by| by <= now) {
                    drop(out);
                    self.shut();
                }
                return;
            }
            Phase::Open => {}
        }
        let is_kept_alive = self.wire.framing.is_kept_alive() && !out.is_away();
        let silent = is_kept_alive
            && out.heard.is_some_and(|at| now - at >= CLIENT_TIMEOUT)
            && self.calls_in_flight() == 0;
        let stuck = out.blocked_since.is_some_and(|at| now - at >= SEND_TIMEOUT);
        let end = if stuck {
            out.drop_queue();
            Some(End::Closing(ClosingReason::Slow))
        } else if expired {
            Some(End::Closing(ClosingReason::TokenExpired))
        } else if silent {
            Some(End::Error)
        } else {
            None
        };
        if let Some(end) = end {
            drop(out);
            self.close(end);
        } else if is_kept_alive && now - out.last_ping >= PING_EVERY && out.blocked_since.is_none()
        {
            out.last_ping = now;
            drop(out);
            self.send_unnumbered(ping.clone());
        }
    }
}
