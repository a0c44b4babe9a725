//! Official clients with two realtime nodes behind one address: what a proxy must do for each transport, and no more.

use chat_test_postgres::Server as Postgres;
use chat_tests::cluster::Bus;
use chat_tests::{Cluster, Ingress};

use crate::each::{LP_JSON, SSE_JSON, WS_JSON, WS_MESSAGEPACK, does_everything, kind};
use crate::process::{Kind, Program};

/// All over WebSockets: each negotiates with one node, and its socket goes to the next in turn, which is the other.
const IN_TURN: &[Kind] = &[
    kind(Program::Node, WS_JSON),
    kind(Program::Node, WS_MESSAGEPACK),
    kind(Program::Browser, WS_JSON),
    kind(Program::Java, WS_JSON),
    kind(Program::Signalrcore, WS_JSON),
    kind(Program::Pysignalr, WS_MESSAGEPACK),
];

/// Those that come back to their connection with a new request.
const PINNED: &[Kind] = &[
    kind(Program::Node, WS_JSON).stateful(),
    kind(Program::Node, WS_MESSAGEPACK).stateful(),
    kind(Program::Browser, WS_JSON).stateful(),
    kind(Program::Node, SSE_JSON),
    kind(Program::Browser, SSE_JSON),
    kind(Program::Signalrcore, SSE_JSON),
    kind(Program::Node, LP_JSON),
    kind(Program::Java, LP_JSON),
];

#[tokio::test]
async fn websockets_need_nothing_of_a_proxy() {
    behind(Ingress::open().await, IN_TURN).await;
}

#[tokio::test]
async fn other_transports_and_stateful_reconnect_need_their_ids_pinned() {
    behind(Ingress::open_pinning().await, PINNED).await;
}

async fn behind(ingress: Ingress, kinds: &[Kind]) {
    let database = Postgres::shared().database(None).await;
    let cluster = Cluster::start_behind(ingress, &database, Bus::Postgres).await;
    for &kind in kinds {
        does_everything(kind, cluster.ingress.url()).await;
    }
}
