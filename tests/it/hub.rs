//! The hub's contract, record by record.

mod connecting;
mod encodings;
mod fallback;
mod lifetimes;
mod polls;
mod posts;
mod records;
mod requests;
mod stateful;
mod streams;
mod websockets;

/// Tests that are the same however a client is connected.
macro_rules! over {
    ($($name:ident: $transport:ident, $encoding:ident, [$($file:literal $tests:ident),+];)+) => {
        $(#[path = "hub"]
        #[allow(clippy::duplicate_mod)] // that is the point
        mod $name {
            use chat_client::Encoding;
            use chat_tests::{Hub, Over, Person};

            async fn connect(person: &Person) -> Hub {
                Hub::connect_over(person, Over::$transport, Encoding::$encoding).await
            }

            $(#[path = $file]
            mod $tests;)+
        })+
    };
}

over! {
    over_websockets: WebSockets, Json,
        ["calls.rs" calls, "events.rs" events, "ending.rs" ending, "sessions.rs" sessions];
    over_events: ServerSentEvents, Json,
        ["calls.rs" calls, "events.rs" events, "ending.rs" ending, "sessions.rs" sessions];
    over_polls: LongPolling, Json,
        ["calls.rs" calls, "events.rs" events, "ending.rs" ending];
    over_polls_in_messagepack: LongPolling, MessagePack,
        ["calls.rs" calls];
}
