//! PostgreSQL and Kafka for a developer, until SIGTERM: see `tests/services`.

use std::process::ExitCode;

use chat_test_kafka::Kafka;
use chat_test_postgres::Server;
use tokio::signal::unix::{SignalKind, signal};

/// Starts so many brokers, writes what `chat-server` is to be told into a file, and waits.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let brokers = arguments.next().and_then(|n| n.parse().ok());
    let (Some(brokers @ 1..=9), Some(file)) = (brokers, arguments.next()) else {
        return ExitCode::from(2);
    };
    let mut stop = signal(SignalKind::terminate()).expect("signals can be listened for");
    let postgres = Server::start();
    let kafka = Kafka::start(brokers);
    let environment = format!(
        "export CHAT_DATABASE_URL='{}'\nexport CHAT_BUS=kafka\nexport CHAT_KAFKA_BROKERS={}\n",
        postgres.url("postgres"),
        kafka.bootstrap()
    );
    std::fs::write(&file, environment).expect("the file can be written");
    stop.recv().await;
    // Both go with this process.
    drop((postgres, kafka));
    ExitCode::SUCCESS
}
