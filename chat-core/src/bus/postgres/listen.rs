//! The connection that listens.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Duration, sleep, timeout};

use super::notice::Notice;
use super::{CALL, CHANNEL, Inner, unavailable};
use crate::bus::{Batch, BusError, Interest, News, Subscription};
use crate::store::BoxError;

/// How often a connection that is silent is asked whether it is alive: half-open, it would be silent for ever.
const ASKED_EVERY: Duration = Duration::from_secs(1);
/// How long it may take to say so.
const ALIVE_WITHIN: Duration = Duration::from_secs(3);
/// How long after a lost connection the next is tried.
const PAUSE: Duration = Duration::from_millis(200);
/// Notifications that wait to be taken. The server keeps what comes beyond them.
const QUEUE: usize = 256;

/// What comes over the connection.
enum Heard {
    Notice(Notice),
    /// The connection was lost, and there is another: what was sent between them was not heard.
    Lost,
}

/// A subscription: what a task of its own hears.
pub(super) struct Listening {
    bus: Arc<Inner>,
    interest: Option<Arc<dyn Interest>>,
    heard: mpsc::Receiver<Heard>,
    task: JoinHandle<()>,
}

impl fmt::Debug for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listening").finish_non_exhaustive()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Begins to listen: from when this returns, nothing that is sent is lost unnoticed.
pub(super) async fn begin(
    bus: Arc<Inner>,
    interest: Option<Arc<dyn Interest>>,
) -> Result<Listening, BusError> {
    let listener = listener(&bus).await.map_err(unavailable)?;
    let (tell, heard) = mpsc::channel(QUEUE);
    let task = tokio::spawn(listen(Arc::clone(&bus), listener, tell));
    Ok(Listening {
        bus,
        interest,
        heard,
        task,
    })
}

async fn listener(bus: &Inner) -> Result<PgListener, BoxError> {
    let connected = timeout(CALL, async {
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .max_lifetime(None)
            .idle_timeout(None)
            .connect_lazy_with(bus.store.connect_options());
        let mut listener = PgListener::connect_with(&pool).await?;
        // A lost connection is replaced here, where it is known what was missed.
        listener.eager_reconnect(false);
        listener.listen(CHANNEL).await?;
        Ok::<_, sqlx::Error>(listener)
    });
    let connected = match connected.await {
        Ok(connected) => connected.map_err(BoxError::from),
        Err(elapsed) => Err(elapsed.into()),
    };
    bus.health.is_up(connected.is_ok());
    connected
}

/// Hands on what is heard, over one connection after the other; ends when nobody listens to it.
async fn listen(bus: Arc<Inner>, mut listener: PgListener, tell: mpsc::Sender<Heard>) {
    loop {
        let lost = follow(&mut listener, &tell).await;
        let Some(lost) = lost else { return };
        bus.health.is_up(false);
        tracing::warn!(
            error = lost.as_ref(),
            "the connection that listens was lost"
        );
        listener = loop {
            sleep(PAUSE).await;
            match self::listener(&bus).await {
                Ok(listener) => break listener,
                Err(e) => tracing::debug!(error = e.as_ref(), "it can't be had again yet"),
            }
        };
        tracing::info!("another connection listens");
        if tell.send(Heard::Lost).await.is_err() {
            return;
        }
    }
}

/// Hands on what one connection hears, until it is lost; `None` when nobody wants it any more.
async fn follow(listener: &mut PgListener, tell: &mpsc::Sender<Heard>) -> Option<BoxError> {
    loop {
        let heard = match timeout(ASKED_EVERY, listener.try_recv()).await {
            Ok(Ok(Some(heard))) => heard,
            Ok(Ok(None)) => return Some("the server closed it".into()),
            Ok(Err(e)) => return Some(e.into()),
            Err(_silent) => {
                let alive = sqlx::query("SELECT 1").execute(&mut *listener);
                match timeout(ALIVE_WITHIN, alive).await {
                    Ok(Ok(_)) => continue,
                    Ok(Err(e)) => return Some(e.into()),
                    Err(elapsed) => return Some(elapsed.into()),
                }
            }
        };
        match Notice::decode(heard.payload()) {
            Ok(notice) => tell.send(Heard::Notice(notice)).await.ok()?,
            Err(e) => tracing::warn!(
                error = &e as &dyn std::error::Error,
                "a notification isn't one of a node's"
            ),
        }
    }
}

#[async_trait]
impl Subscription for Listening {
    async fn next(&mut self) -> Result<Vec<News>, BusError> {
        loop {
            let over = || unavailable("nobody listens any more");
            let mut batch = Batch::new(self.interest.as_ref());
            let mut heard = Some(self.heard.recv().await.ok_or_else(over)?);
            while let Some(next) = heard {
                match next {
                    Heard::Notice(notice) => notice.tell(&self.bus.name, &mut batch),
                    Heard::Lost => batch.news.push(News::Missed),
                }
                heard = self.heard.try_recv().ok();
            }
            if !batch.news.is_empty() {
                return Ok(batch.news);
            }
        }
    }
}
