//! Being asked to end.

use std::io;

use crate::exit::{Exit, Failure, Result};

/// Hears of SIGINT and SIGTERM from when it is made.
#[derive(Debug)]
pub(super) struct Stop {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl Stop {
    /// Takes over from what the system does with these signals.
    pub(super) fn listen() -> Result<Self> {
        Self::new()
            .map_err(|e| Failure::new(Exit::Failed, format!("signals can't be listened for: {e}")))
    }

    #[cfg(unix)]
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    #[cfg(not(unix))]
    #[expect(clippy::unnecessary_wraps, reason = "as on Unix")]
    fn new() -> io::Result<Self> {
        Ok(Self {})
    }

    /// Waits until a signal comes.
    #[cfg(unix)]
    pub(super) async fn asked(mut self) {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// Waits until Ctrl-C is pressed.
    #[cfg(not(unix))]
    pub(super) async fn asked(self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
