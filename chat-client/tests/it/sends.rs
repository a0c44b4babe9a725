//! What is said over a connection, against a scripted hub: in order, once, and again after a cut.

use std::time::Duration;

use chat_client::model::{Event, Seq};
use chat_client::protocol::ErrorCode;
use chat_client::{ClientEvent, Error};
use futures_util::future::join_all;
use serde_json::json;
use tokio::time::Instant;

use crate::hub::{Hub, ROOM, message};
use crate::realtime::{connected, next, places};

#[tokio::test(start_paused = true)]
async fn a_send_is_answered_and_told_in_its_place_once() {
    let mut hub = Hub::new();
    let (client, mut connection, mut peer) = connected(&mut hub).await;
    let room = client.room(ROOM);
    let serve = async {
        peer.created(6).await;
        let call = peer.call().await;
        peer.stored(&call, 7).await;
        peer.created(8).await;
    };
    let (sent, ()) = tokio::join!(room.send("hello"), serve);
    let sent = sent.unwrap();
    assert_eq!((sent.content.as_str(), sent.seq), ("hello", Seq(7)));
    assert_eq!(sent.client_message_id.unwrap().len(), 32);
    assert_eq!(places(&mut connection, 3).await, [6, 7, 8]);
}

#[tokio::test(start_paused = true)]
async fn sends_survive_a_cut_under_the_same_ids_in_the_same_order() {
    let mut hub = Hub::new();
    let (client, mut connection, mut peer) = connected(&mut hub).await;
    let room = client.room(ROOM);
    let serve = async {
        let first: Vec<_> = [peer.call().await, peer.call().await, peer.call().await].into();
        // The server stored the first; its answer was lost.
        drop(peer);
        let mut peer = hub.connected(&[(ROOM, 6)]).await;
        let mut again = Vec::new();
        for _ in 0..4 {
            let call = peer.call().await;
            if call.target == "GetChanges" {
                let mut stored = message(6, "1");
                stored["clientMessageId"] = first[0].argument["clientMessageId"].clone();
                let stored = Event::MessageCreated(serde_json::from_value(stored).unwrap());
                let page = json!({"items": [stored], "seq": 6, "hasMore": false, "complete": true});
                peer.complete(&call.id, page).await;
            } else {
                again.push(call);
            }
        }
        for (n, (was, now)) in first.iter().zip(&again).enumerate() {
            assert_eq!(was.argument, now.argument);
            peer.stored(now, 6 + n as i64).await;
        }
        peer
    };
    let sends = async { tokio::join!(room.send("1"), room.send("2"), room.send("3")) };
    let ((one, two, three), _peer) = tokio::join!(sends, serve);
    let seqs = [one, two, three].map(|sent| sent.unwrap().seq.0);
    assert_eq!(seqs, [6, 7, 8]);
    assert_eq!(places(&mut connection, 3).await, [6, 7, 8]);
}

#[tokio::test(start_paused = true)]
async fn many_sends_at_once_keep_their_order() {
    let mut hub = Hub::new();
    let (client, _connection, mut peer) = connected(&mut hub).await;
    let room = client.room(ROOM);
    let sends = join_all((0..300).map(|n| room.send(n.to_string())));
    let serve = async {
        for n in 0..300 {
            let call = peer.call().await;
            assert_eq!(call.argument["content"], n.to_string());
            peer.stored(&call, 6 + n).await;
        }
    };
    let (sent, ()) = tokio::join!(sends, serve);
    assert!(sent.iter().all(Result::is_ok));
}

#[tokio::test(start_paused = true)]
async fn a_send_without_an_answer_gives_up_at_its_deadline() {
    let mut hub = Hub::new();
    let (client, _connection, peer) = connected(&mut hub).await;
    drop(peer);
    (0..100).for_each(|_| hub.refuse_next(Error::Timeout(Duration::from_secs(1))));
    let began = Instant::now();
    let error = client.room(ROOM).send("hello").await.unwrap_err();
    assert!(matches!(error, Error::Timeout(_)), "{error}");
    assert_eq!(began.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn a_refused_send_says_why_and_one_refused_for_now_goes_out_again() {
    let mut hub = Hub::new();
    let (client, mut connection, mut peer) = connected(&mut hub).await;
    let room = client.room(ROOM);
    let serve = async {
        let call = peer.call().await;
        peer.refuse(&call.id, "rate_limited: too fast (retry after 2 s)")
            .await;
        let began = Instant::now();
        let again = peer.call().await;
        assert_eq!(began.elapsed().as_secs(), 2);
        assert_eq!(call.argument, again.argument);
        peer.stored(&again, 6).await;
        let call = peer.call().await;
        peer.refuse(&call.id, "forbidden: not here").await;
    };
    let client = async {
        assert_eq!(room.send("one").await.unwrap().seq, Seq(6));
        let error = room.send("two").await.unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::Forbidden));
    };
    tokio::join!(client, serve);
    assert_eq!(places(&mut connection, 1).await, [6]);
}

#[tokio::test(start_paused = true)]
async fn a_text_that_breaks_a_rule_never_leaves() {
    let mut hub = Hub::new();
    let (client, _connection, mut peer) = connected(&mut hub).await;
    let error = client
        .room(ROOM)
        .send("x".repeat(100_000))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::ValidationFailed));
    assert!(peer.call_within(Duration::from_secs(1)).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn an_edit_goes_over_the_connection_and_is_told_once() {
    let mut hub = Hub::new();
    let (client, mut connection, mut peer) = connected(&mut hub).await;
    let room = client.room(ROOM);
    let serve = async {
        let call = peer.call().await;
        assert_eq!(call.target, "EditMessage");
        let mut edited = message(3, "better");
        edited["changedSeq"] = 6.into();
        edited["editedAt"] = "2026-01-31T12:00:00.000Z".into();
        peer.complete(&call.id, edited).await;
    };
    let (edited, ()) = tokio::join!(room.edit(103.into(), "better"), serve);
    assert_eq!(edited.unwrap().content, "better");
    assert!(matches!(
        next(&mut connection).await,
        ClientEvent::Event(Event::MessageEdited(_))
    ));
}
