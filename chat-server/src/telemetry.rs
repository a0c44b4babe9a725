//! Logs and metrics. The stock server starts both; an embedder has its own.

use std::io::IsTerminal as _;
use std::sync::OnceLock;

use chat_core::bus::Health;
use chat_core::service::Chat;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::config::{ConfigError, Log, LogFormat};

/// Names of the metrics, for whoever counts.
pub mod metric {
    /// Requests answered, by `method`, `route` (the template, or `none`) and `status`.
    pub const HTTP_REQUESTS: &str = "chat_http_requests_total";
    /// Seconds from a request's head to its answer's, by `method` and `route`.
    pub const HTTP_REQUEST_DURATION: &str = "chat_http_request_duration_seconds";
    /// Connections open on the public port, of all kinds.
    pub const CONNECTIONS: &str = "chat_connections";
    /// Hub connections that are in.
    pub const HUB_CONNECTIONS: &str = "chat_hub_connections";
    /// Transactions committed.
    pub const COMMITS: &str = "chat_commits_total";
    /// Changes committed; by [`COMMITS`] the size of a batch.
    pub const CHANGES: &str = "chat_changes_total";
    /// Transactions that failed.
    pub const COMMIT_FAILURES: &str = "chat_commit_failures_total";
    /// Events that this node delivered, each once.
    pub const EVENTS: &str = "chat_events_total";
    /// Events queued for connections, once for each.
    pub const DELIVERIES: &str = "chat_deliveries_total";
    /// Holes in a room's events that were filled from the database.
    pub const FILLS: &str = "chat_fills_total";
    /// Attempts to deliver to webhooks, by `outcome`: `delivered`, `failed` (it is tried again), `dead` (it isn't), `gone`
    /// (410: the webhook is disabled).
    pub const WEBHOOK_ATTEMPTS: &str = "chat_webhook_attempts_total";
    /// Seconds that an attempt takes.
    pub const WEBHOOK_DURATION: &str = "chat_webhook_duration_seconds";
    /// Seconds that the oldest delivery waits that wasn't tried yet.
    pub const WEBHOOK_LAG: &str = "chat_webhook_lag_seconds";
    /// Events that the bus carries for this consumer and that aren't deliveries yet.
    pub const WEBHOOK_BEHIND: &str = "chat_webhook_events_behind";
    /// Deliveries that aren't over.
    pub const WEBHOOK_PENDING: &str = "chat_webhook_pending";
    /// Whether the event bus answers: 1 or 0; absent where there is none.
    pub const BUS_UP: &str = "chat_bus_up";
}

/// Upper bounds of the buckets of durations, in seconds.
const DURATION_BUCKETS: [f64; 12] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0,
];

/// Starts logging to stderr, for the whole process, panics included.
///
/// # Errors
/// The filter isn't one, or something in this process logs already.
pub fn start_logging(log: &Log) -> Result<(), ConfigError> {
    let refused = |e: &dyn std::fmt::Display| ConfigError::new(format!("logging can't start: {e}"));
    let filter = EnvFilter::try_new(&log.filter).map_err(|e| refused(&e))?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match log.format {
        LogFormat::Text => subscriber.try_init(),
        LogFormat::Json => subscriber.json().flatten_event(true).try_init(),
    }
    .map_err(|e| refused(&e))?;
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let text = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        tracing::error!(
            location = panic.location().map(tracing::field::display),
            "panic: {}",
            text.unwrap_or("without a text")
        );
    }));
    Ok(())
}

/// The process's metrics. Installs the recorder when first asked; where the process has one of its own already, the pages
/// of this one stay empty.
#[must_use]
pub(crate) fn metrics() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            let builder = PrometheusBuilder::new();
            // Fails for an empty list of buckets alone.
            let builder = builder
                .set_buckets_for_metric(
                    Matcher::Suffix("_duration_seconds".to_owned()),
                    &DURATION_BUCKETS,
                )
                .unwrap_or_else(|_| PrometheusBuilder::new());
            let recorder = builder.build_recorder();
            let handle = recorder.handle();
            if metrics::set_global_recorder(recorder).is_ok() {
                describe();
            }
            handle
        })
        .clone()
}

/// Takes over what a chat counts by itself.
pub(crate) fn record(chat: &Chat) {
    let writer = chat.writer_stats();
    metrics::counter!(metric::COMMITS).absolute(writer.batches());
    metrics::counter!(metric::CHANGES).absolute(writer.changes());
    metrics::counter!(metric::COMMIT_FAILURES).absolute(writer.failures());
    let fanout = chat.fanout_stats();
    metrics::counter!(metric::EVENTS).absolute(fanout.events());
    metrics::counter!(metric::DELIVERIES).absolute(fanout.deliveries());
    metrics::counter!(metric::FILLS).absolute(fanout.fills());
    if let Some(health) = chat.bus_health() {
        metrics::gauge!(metric::BUS_UP).set(f64::from(u8::from(health == Health::Up)));
    }
    #[allow(clippy::cast_precision_loss)] // exact up to 2^53
    metrics::gauge!(metric::HUB_CONNECTIONS).set(fanout.connections() as f64);
}

fn describe() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
    describe_counter!(metric::HTTP_REQUESTS, "Requests answered");
    describe_histogram!(
        metric::HTTP_REQUEST_DURATION,
        Unit::Seconds,
        "Seconds from a request's head to its answer's"
    );
    describe_gauge!(metric::CONNECTIONS, "Connections open on the public port");
    describe_gauge!(metric::HUB_CONNECTIONS, "Hub connections that are in");
    describe_counter!(metric::COMMITS, "Transactions committed");
    describe_counter!(metric::CHANGES, "Changes committed");
    describe_counter!(metric::COMMIT_FAILURES, "Transactions that failed");
    describe_counter!(metric::EVENTS, "Events delivered on this node");
    describe_counter!(metric::DELIVERIES, "Events queued for connections");
    describe_counter!(metric::FILLS, "Holes filled from the database");
    describe_counter!(metric::WEBHOOK_ATTEMPTS, "Attempts to deliver to webhooks");
    describe_histogram!(
        metric::WEBHOOK_DURATION,
        Unit::Seconds,
        "Seconds that an attempt takes"
    );
    describe_gauge!(
        metric::WEBHOOK_LAG,
        Unit::Seconds,
        "Seconds that the oldest delivery waits that wasn't tried yet"
    );
    describe_gauge!(
        metric::WEBHOOK_BEHIND,
        "Events on the bus that aren't deliveries yet"
    );
    describe_gauge!(metric::WEBHOOK_PENDING, "Deliveries that aren't over");
    describe_gauge!(metric::BUS_UP, "Whether the event bus answers");
}
