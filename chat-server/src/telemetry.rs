//! Logs and metrics. The stock server starts both; an embedder has its own.

use std::io::IsTerminal as _;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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
    /// How many [`CONNECTIONS`] there may be; more wait in the system's queue.
    pub const CONNECTIONS_LIMIT: &str = "chat_connections_limit";
    /// When the certificate of the public port ends, in seconds since 1970; absent without TLS.
    pub const CERTIFICATE_EXPIRY: &str = "chat_certificate_expiry_timestamp_seconds";
    /// Whether the node is ready: 1 or 0, as `/readyz` says it.
    pub const READY: &str = "chat_ready";
    /// Hub connections that are in.
    pub const HUB_CONNECTIONS: &str = "chat_hub_connections";
    /// Hub connections that were closed because they didn't keep up.
    pub const SLOW_CLOSES: &str = "chat_slow_closes_total";
    /// Seconds that a transaction takes.
    pub const COMMIT_DURATION: &str = chat_core::service::COMMIT_DURATION;
    /// Changes that were taken and aren't answered yet.
    pub const CHANGES_WAITING: &str = "chat_changes_waiting";
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
    /// Errors that Kafka's client has reported; absent without Kafka.
    pub const KAFKA_CLIENT_ERRORS: &str = "chat_kafka_client_errors_total";
    /// Seconds that the oldest event waits in this node's outbox, at most; absent where it publishes none.
    pub const OUTBOX_OLDEST: &str = "chat_outbox_oldest_seconds";
    /// Events published from the outbox.
    pub const PUBLISHED: &str = "chat_published_events_total";
    /// Attempts to publish that failed.
    pub const PUBLISH_FAILURES: &str = "chat_publish_failures_total";
}

/// The names that every exporter gives to what the system counts of a process.
mod process {
    pub(super) const STARTED: &str = "process_start_time_seconds";
    pub(super) const CPU: &str = "process_cpu_seconds_total";
    pub(super) const RESIDENT: &str = "process_resident_memory_bytes";
    pub(super) const THREADS: &str = "process_threads";
    pub(super) const OPEN_FDS: &str = "process_open_fds";
    pub(super) const MAX_FDS: &str = "process_max_fds";
}

/// How long readiness is waited for while metrics are read.
const READY_WITHIN: Duration = Duration::from_secs(1);

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
                let now = SystemTime::now().duration_since(UNIX_EPOCH);
                metrics::gauge!(process::STARTED).set(now.unwrap_or_default().as_secs_f64());
            }
            handle
        })
        .clone()
}

/// Takes over what a chat counts by itself, and what the system counts of the process.
#[allow(clippy::cast_precision_loss)] // exact up to 2^53
pub(crate) async fn record(chat: &Chat) {
    #[cfg(target_os = "linux")]
    if let Err(e) = record_process() {
        tracing::debug!("what the system counts can't be read: {e}");
    }
    let ready = tokio::time::timeout(READY_WITHIN, chat.ready()).await;
    let ready = matches!(ready, Ok(Ok(())));
    metrics::gauge!(metric::READY).set(f64::from(u8::from(ready)));
    let writer = chat.writer_stats();
    metrics::counter!(metric::COMMITS).absolute(writer.batches());
    metrics::counter!(metric::CHANGES).absolute(writer.changes());
    metrics::counter!(metric::COMMIT_FAILURES).absolute(writer.failures());
    metrics::gauge!(metric::CHANGES_WAITING).set(chat.changes_waiting() as f64);
    let fanout = chat.fanout_stats();
    metrics::counter!(metric::EVENTS).absolute(fanout.events());
    metrics::counter!(metric::DELIVERIES).absolute(fanout.deliveries());
    metrics::counter!(metric::FILLS).absolute(fanout.fills());
    metrics::counter!(metric::SLOW_CLOSES).absolute(fanout.slow());
    metrics::gauge!(metric::HUB_CONNECTIONS).set(fanout.connections() as f64);
    if let Some(health) = chat.bus_health() {
        metrics::gauge!(metric::BUS_UP).set(f64::from(u8::from(health == Health::Up)));
    }
    if let Some(errors) = chat.bus_client_errors() {
        metrics::counter!(metric::KAFKA_CLIENT_ERRORS).absolute(errors);
    }
    if let Some(relay) = chat.relay_stats() {
        metrics::gauge!(metric::OUTBOX_OLDEST).set(relay.waiting().as_secs_f64());
        metrics::counter!(metric::PUBLISHED).absolute(relay.published());
        metrics::counter!(metric::PUBLISH_FAILURES).absolute(relay.failures());
    }
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
    describe_gauge!(
        metric::CONNECTIONS_LIMIT,
        "How many connections there may be"
    );
    describe_gauge!(
        metric::CERTIFICATE_EXPIRY,
        Unit::Seconds,
        "When the certificate of the public port ends"
    );
    describe_gauge!(metric::READY, "Whether the node is ready");
    describe_gauge!(metric::HUB_CONNECTIONS, "Hub connections that are in");
    describe_counter!(
        metric::SLOW_CLOSES,
        "Hub connections closed because they didn't keep up"
    );
    describe_histogram!(
        metric::COMMIT_DURATION,
        Unit::Seconds,
        "Seconds that a transaction takes"
    );
    describe_gauge!(
        metric::CHANGES_WAITING,
        "Changes that were taken and aren't answered yet"
    );
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
    describe_counter!(
        metric::KAFKA_CLIENT_ERRORS,
        "Errors that Kafka's client has reported"
    );
    describe_gauge!(
        metric::OUTBOX_OLDEST,
        Unit::Seconds,
        "Seconds that the oldest event waits in this node's outbox, at most"
    );
    describe_counter!(metric::PUBLISHED, "Events published from the outbox");
    describe_counter!(metric::PUBLISH_FAILURES, "Attempts to publish that failed");
    describe_gauge!(
        process::STARTED,
        Unit::Seconds,
        "When the process began, since 1970"
    );
    describe_counter!(process::CPU, "Whole seconds of processor time");
    describe_gauge!(process::RESIDENT, Unit::Bytes, "Memory in use");
    describe_gauge!(process::THREADS, "Threads");
    describe_gauge!(process::OPEN_FDS, "Open file descriptors");
    describe_gauge!(process::MAX_FDS, "How many there may be");
}

/// Takes over what the system counts of this process.
#[cfg(target_os = "linux")]
#[allow(clippy::cast_precision_loss)] // exact up to 2^53
fn record_process() -> procfs::ProcResult<()> {
    use procfs::WithCurrentSystemInfo as _;
    let me = procfs::process::Process::myself()?;
    let stat = me.stat()?;
    let seconds = (stat.utime + stat.stime) / procfs::ticks_per_second();
    metrics::counter!(process::CPU).absolute(seconds);
    metrics::gauge!(process::RESIDENT).set(stat.rss_bytes().get() as f64);
    metrics::gauge!(process::THREADS).set(stat.num_threads as f64);
    metrics::gauge!(process::OPEN_FDS).set(me.fd_count()? as f64);
    if let procfs::process::LimitValue::Value(most) = me.limits()?.max_open_files.soft_limit {
        metrics::gauge!(process::MAX_FDS).set(most as f64);
    }
    Ok(())
}
