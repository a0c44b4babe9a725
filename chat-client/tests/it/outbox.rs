//! Sends that survive a kill of the client.

use std::sync::Arc;
use std::time::Duration;

use chat_client::model::Seq;
use chat_client::protocol::ErrorCode;
use chat_client::{
    Client, ClientEvent, Connection, Error, FileOutbox, Outbox, OutboxEntry, Source, async_trait,
};
use futures_util::StreamExt as _;

use crate::hub::{Hub, Peer, ROOM};

async fn connect(hub: &mut Hub, client: &Client) -> (Connection, Peer) {
    let (connection, peer) = tokio::join!(client.connect(), hub.connected(&[(ROOM, 5)]));
    (connection.unwrap(), peer)
}

/// Waits, without the paused clock, until the outbox in this file holds `n` messages.
async fn holds(path: &std::path::Path, n: usize) {
    loop {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let count = |what: &str| text.lines().filter(|l| l.starts_with(what)).count();
        if count("{\"add\"") - count("{\"done\"") == n {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_unanswered_send_is_sent_again_by_the_next_run_and_then_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outbox");
    let mut hub = Hub::new();
    let client = hub
        .builder()
        .outbox(FileOutbox::new(&path))
        .build()
        .unwrap();
    let (connection, mut peer) = connect(&mut hub, &client).await;
    let room = client.room(ROOM);
    let sends = tokio::spawn(async move { tokio::join!(room.send("one"), room.send("two")) });
    let first = peer.call().await;
    let second = peer.call().await;
    // On disk before it went out.
    holds(&path, 2).await;
    peer.stored(&first, 6).await;
    holds(&path, 1).await;
    // The program dies: nothing of it runs any more.
    sends.abort();
    drop((connection, client, peer));
    let _ = sends.await;

    let client = loop {
        // The lock is gone once the last of it is.
        let outbox = FileOutbox::new(&path);
        if outbox.load().await.is_ok() {
            break hub.builder().outbox(outbox).build().unwrap();
        }
    };
    let (mut connection, mut peer) = connect(&mut hub, &client).await;
    let again = peer.call().await;
    assert_eq!(again.argument, second.argument);
    peer.stored(&again, 6).await;
    holds(&path, 0).await;
    connection.next().await;
    let Some(ClientEvent::Event(event)) = connection.next().await else {
        panic!()
    };
    assert_eq!(event.seq(), Seq(6));
}

#[tokio::test]
async fn a_send_of_an_earlier_run_that_is_refused_is_told_and_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outbox");
    let entry = OutboxEntry {
        user_id: None,
        room_id: ROOM,
        client_message_id: "id-1".into(),
        content: "hello".into(),
    };
    let outbox = FileOutbox::new(&path);
    outbox.add(&[entry]).await.unwrap();
    let mut hub = Hub::new();
    let client = hub.builder().outbox(outbox).build().unwrap();
    let (mut connection, mut peer) = connect(&mut hub, &client).await;
    let call = peer.call().await;
    peer.refuse(&call.id, "not_found: no such room").await;
    connection.next().await;
    let Some(ClientEvent::SendFailed {
        client_message_id,
        error,
        ..
    }) = connection.next().await
    else {
        panic!("not told");
    };
    assert_eq!(
        (client_message_id.as_str(), error.code()),
        ("id-1", Some(ErrorCode::NotFound))
    );
    holds(&path, 0).await;
}

/// An outbox that can't keep anything.
#[derive(Debug)]
struct Full;

#[async_trait]
impl Outbox for Full {
    async fn load(&self) -> Result<Vec<OutboxEntry>, Source> {
        Ok(Vec::new())
    }

    async fn add(&self, _: &[OutboxEntry]) -> Result<(), Source> {
        Err(Arc::new(std::io::Error::from(
            std::io::ErrorKind::StorageFull,
        )))
    }

    async fn remove(&self, _: &[String]) -> Result<(), Source> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn what_cant_be_kept_isnt_sent() {
    let mut hub = Hub::new();
    let client = hub.builder().outbox(Full).build().unwrap();
    let (_connection, mut peer) = connect(&mut hub, &client).await;
    let error = client.room(ROOM).send("hello").await.unwrap_err();
    assert!(matches!(error, Error::Outbox(_)), "{error:?}");
    assert!(peer.call_within(Duration::from_secs(1)).await.is_none());
}
