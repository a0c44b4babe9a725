//! The connection against a scripted hub: order, holes, reconnects, what an application that is behind gets.

use std::time::Duration;

use chat_client::model::{RoomId, Seq};
use chat_client::{Client, ClientEvent, Connection, ConnectionState, Disconnect, Error, Positions};
use futures_util::StreamExt as _;
use serde_json::json;
use tokio::time::Instant;

use crate::hub::{Hub, Peer, ROOM, created, message};

/// A client connected to `ROOM` at place 5.
pub(crate) async fn connected(hub: &mut Hub) -> (Client, Connection, Peer) {
    let client = hub.client();
    let (connection, peer) = tokio::join!(client.connect(), hub.connected(&[(ROOM, 5)]));
    let mut connection = connection.unwrap();
    assert!(matches!(
        next(&mut connection).await,
        ClientEvent::Connected(_)
    ));
    (client, connection, peer)
}

pub(crate) async fn next(connection: &mut Connection) -> ClientEvent {
    // A client that tries for ever would keep the paused clock going for ever.
    let next = tokio::time::timeout(Duration::from_secs(600), connection.next()).await;
    next.expect("an event in time").expect("an event")
}

/// The places of the next `n` changes.
pub(crate) async fn places(connection: &mut Connection, n: usize) -> Vec<i64> {
    let mut places = Vec::new();
    while places.len() < n {
        if let ClientEvent::Event(event) = next(connection).await {
            places.push(event.seq().0);
        }
    }
    places
}

async fn until(
    connection: &Connection,
    what: impl FnMut(&ConnectionState) -> bool,
) -> ConnectionState {
    let mut state = connection.state();
    let reached = tokio::time::timeout(Duration::from_secs(600), state.wait_for(what)).await;
    reached
        .expect("the state in time")
        .expect("a state")
        .clone()
}

async fn closed(connection: &Connection) -> Error {
    match until(connection, |s| matches!(s, ConnectionState::Closed { .. })).await {
        ConnectionState::Closed { reason } => reason,
        _ => unreachable!(),
    }
}

#[tokio::test(start_paused = true)]
async fn events_come_in_order_and_duplicates_are_dropped() {
    let mut hub = Hub::new();
    let (_client, mut connection, mut peer) = connected(&mut hub).await;
    for seq in [5, 6, 6, 7, 3, 8] {
        peer.created(seq).await;
    }
    assert_eq!(places(&mut connection, 3).await, [6, 7, 8]);
    assert_eq!(connection.positions().get(ROOM), Some(Seq(8)));
}

#[tokio::test(start_paused = true)]
async fn a_hole_that_closes_by_itself_is_waited_for() {
    let mut hub = Hub::new();
    let (_client, mut connection, mut peer) = connected(&mut hub).await;
    peer.created(7).await;
    peer.created(8).await;
    tokio::time::sleep(Duration::from_millis(900)).await;
    peer.created(6).await;
    assert_eq!(places(&mut connection, 3).await, [6, 7, 8]);
    assert!(peer.call_within(Duration::from_secs(5)).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_hole_that_stays_is_fetched_after_a_second() {
    let mut hub = Hub::new();
    let (_client, mut connection, mut peer) = connected(&mut hub).await;
    let began = Instant::now();
    peer.created(8).await;
    let asked = peer
        .changes(&[created(6), created(8)], 8, false, true)
        .await;
    assert_eq!(began.elapsed().as_secs(), 1);
    assert_eq!(asked["since"], 5);
    assert_eq!(asked["from"], 5);
    peer.created(9).await;
    assert_eq!(places(&mut connection, 3).await, [6, 8, 9]);
}

#[tokio::test(start_paused = true)]
async fn heads_beyond_our_place_are_a_hole() {
    let mut hub = Hub::new();
    let (_client, mut connection, mut peer) = connected(&mut hub).await;
    peer.event(
        "Heads",
        json!({"rooms": [{"id": ROOM, "seq": 6}, {"id": 99, "seq": 4}]}),
    )
    .await;
    peer.changes(&[created(6)], 6, false, true).await;
    assert_eq!(places(&mut connection, 1).await, [6]);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_event_takes_its_place() {
    let mut hub = Hub::new();
    let (_client, mut connection, mut peer) = connected(&mut hub).await;
    peer.event(
        "RoomPainted",
        json!({"roomId": ROOM, "seq": 6, "colour": "red"}),
    )
    .await;
    peer.created(7).await;
    assert_eq!(places(&mut connection, 1).await, [7]);
    assert_eq!(connection.positions().get(ROOM), Some(Seq(7)));
}

#[tokio::test(start_paused = true)]
async fn a_long_catch_up_goes_page_by_page_from_where_it_began() {
    let mut hub = Hub::new();
    let client = hub.client();
    let (connection, mut peer) = tokio::join!(
        client.connect().resume_from(ROOM, Seq(2)),
        hub.connected(&[(ROOM, 9)])
    );
    let mut connection = connection.unwrap();
    let asked = peer.changes(&[created(3), created(4)], 5, true, true).await;
    assert_eq!((&asked["since"], &asked["from"]), (&json!(2), &json!(2)));
    // What comes meanwhile waits for its turn.
    peer.created(10).await;
    let asked = peer.changes(&[created(9)], 9, false, true).await;
    assert_eq!((&asked["since"], &asked["from"]), (&json!(5), &json!(2)));
    assert_eq!(places(&mut connection, 4).await, [3, 4, 9, 10]);
}

#[tokio::test(start_paused = true)]
async fn a_catch_up_cut_in_the_middle_goes_on_in_another_run() {
    let mut hub = Hub::new();
    let client = hub.client();
    let (connection, mut peer) = tokio::join!(
        client.connect().resume_from(ROOM, Seq(2)),
        hub.connected(&[(ROOM, 9)])
    );
    let mut connection = connection.unwrap();
    peer.changes(&[created(3), created(4)], 5, true, true).await;
    assert_eq!(places(&mut connection, 2).await, [3, 4]);
    let kept = serde_json::to_string(connection.positions()).unwrap();
    connection.close().await;

    let positions: Positions = serde_json::from_str(&kept).unwrap();
    let client = hub.client();
    let (connection, mut peer) = tokio::join!(
        client.connect().positions(positions),
        hub.connected(&[(ROOM, 9)])
    );
    let mut connection = connection.unwrap();
    let asked = peer.changes(&[created(9)], 9, false, true).await;
    assert_eq!((&asked["since"], &asked["from"]), (&json!(4), &json!(2)));
    assert_eq!(places(&mut connection, 1).await, [9]);
}

#[tokio::test(start_paused = true)]
async fn what_retention_removed_is_said_aloud() {
    let mut hub = Hub::new();
    let client = hub.client();
    let (connection, mut peer) = tokio::join!(
        client.connect().resume_from(ROOM, Seq(2)),
        hub.connected(&[(ROOM, 9)])
    );
    let mut connection = connection.unwrap();
    peer.changes(&[created(8), created(9)], 9, false, false)
        .await;
    next(&mut connection).await;
    let ClientEvent::Discontinuity { room_id, after, .. } = next(&mut connection).await else {
        panic!("no discontinuity");
    };
    assert_eq!((room_id, after), (ROOM, Seq(2)));
    assert_eq!(places(&mut connection, 2).await, [8, 9]);
}

#[tokio::test(start_paused = true)]
async fn a_server_restored_from_a_backup_is_a_discontinuity() {
    let mut hub = Hub::new();
    let client = hub.client();
    let (connection, mut peer) = tokio::join!(
        client.connect().resume_from(ROOM, Seq(20)),
        hub.connected(&[(ROOM, 9)])
    );
    let mut connection = connection.unwrap();
    peer.changes(&[], 9, false, false).await;
    next(&mut connection).await;
    let ClientEvent::Discontinuity { after, seq, .. } = next(&mut connection).await else {
        panic!("no discontinuity");
    };
    assert_eq!((after, seq), (Seq(20), Seq(9)));
    peer.created(10).await;
    assert_eq!(places(&mut connection, 1).await, [10]);
}

#[tokio::test(start_paused = true)]
async fn a_cut_connection_comes_back_at_once_and_catches_up() {
    let mut hub = Hub::new();
    let (_client, mut connection, peer) = connected(&mut hub).await;
    let began = Instant::now();
    drop(peer);
    let mut peer = hub.connected(&[(ROOM, 7)]).await;
    assert!(began.elapsed() < Duration::from_millis(10));
    let asked = peer
        .changes(&[created(6), created(7)], 7, false, true)
        .await;
    assert_eq!(asked["since"], 5);
    assert_eq!(places(&mut connection, 2).await, [6, 7]);
}

#[tokio::test(start_paused = true)]
async fn pauses_between_tries_grow_and_begin_anew_after_a_good_connection() {
    let mut hub = Hub::new();
    let (_client, connection, peer) = connected(&mut hub).await;
    let down = || Error::Timeout(Duration::from_secs(1));
    (0..4).for_each(|_| hub.refuse_next(down()));
    let began = Instant::now();
    drop(peer);
    let peer = hub.connected(&[(ROOM, 5)]).await;
    // At once, then 1, 2, 4 and 8 s, spread by half.
    let took = began.elapsed().as_secs_f64();
    assert!((7.5..22.5).contains(&took), "{took} s");
    until(&connection, |s| matches!(s, ConnectionState::Connected)).await;

    tokio::time::sleep(Duration::from_secs(11)).await;
    let began = Instant::now();
    drop(peer);
    let _peer = hub.connected(&[(ROOM, 5)]).await;
    assert!(began.elapsed() < Duration::from_millis(10));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_there_but_falls_over_is_come_back_to_without_long_pauses() {
    let mut hub = Hub::new();
    let (_client, connection, mut peer) = connected(&mut hub).await;
    for n in 0..10 {
        let began = Instant::now();
        drop(peer);
        peer = hub.connected(&[(ROOM, 5)]).await;
        until(&connection, |s| matches!(s, ConnectionState::Connected)).await;
        let pause = began.elapsed();
        assert!(pause <= Duration::from_secs(3), "{pause:?}");
        // Nor does the client spin.
        assert!(n < 2 || pause >= Duration::from_millis(500), "{pause:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn rooms_left_and_joined_while_away_are_told() {
    let mut hub = Hub::new();
    let (_client, mut connection, peer) = connected(&mut hub).await;
    drop(peer);
    let _peer = hub.connected(&[(RoomId(8), 3)]).await;
    assert!(matches!(
        next(&mut connection).await,
        ClientEvent::Connected(_)
    ));
    assert!(matches!(
        next(&mut connection).await,
        ClientEvent::RoomGone { room_id: ROOM }
    ));
    assert!(matches!(
        next(&mut connection).await,
        ClientEvent::RoomJoined {
            room_id: RoomId(8),
            seq: Seq(3),
            room: None
        }
    ));
    assert_eq!(connection.positions().get(ROOM), None);
    assert_eq!(connection.positions().get(RoomId(8)), Some(Seq(3)));
}

#[tokio::test(start_paused = true)]
async fn a_room_joined_begins_at_its_seq() {
    let mut hub = Hub::new();
    let (_client, mut connection, mut peer) = connected(&mut hub).await;
    let room = json!({"id": 8, "name": "New", "createdAt": "2026-01-31T12:00:00.000Z",
        "memberCount": 2, "seq": 30});
    peer.event("RoomJoined", json!({"room": room})).await;
    peer.event(
        "MessagesDeleted",
        json!({"roomId": 8, "seq": 31, "senderId": 2}),
    )
    .await;
    assert!(matches!(
        next(&mut connection).await,
        ClientEvent::RoomJoined {
            room_id: RoomId(8),
            room: Some(_),
            ..
        }
    ));
    assert_eq!(places(&mut connection, 1).await, [31]);
}

#[tokio::test(start_paused = true)]
async fn leaving_is_the_last_thing_from_a_room() {
    let mut hub = Hub::new();
    let (_client, mut connection, mut peer) = connected(&mut hub).await;
    let left = json!({"roomId": ROOM, "seq": 6, "userId": 1, "reason": "removed"});
    peer.event("MemberLeft", left).await;
    peer.created(7).await;
    assert_eq!(places(&mut connection, 1).await, [6]);
    assert_eq!(connection.positions().get(ROOM), None);
    drop(peer);
    let mut peer = hub.connected(&[(RoomId(8), 1)]).await;
    peer.event("RoomDeleted", json!({"roomId": 8, "seq": 2}))
        .await;
    assert!(matches!(
        next(&mut connection).await,
        ClientEvent::Connected(_)
    ));
    assert!(matches!(
        next(&mut connection).await,
        ClientEvent::RoomJoined { .. }
    ));
    assert_eq!(places(&mut connection, 1).await, [2]);
}

#[tokio::test(start_paused = true)]
async fn a_room_that_refuses_the_catch_up_is_gone() {
    let mut hub = Hub::new();
    let (_client, mut connection, mut peer) = connected(&mut hub).await;
    peer.created(7).await;
    let call = peer.call().await;
    peer.refuse(&call.id, "unavailable: try again (retry after 3 s)")
        .await;
    let began = Instant::now();
    let call = peer.call().await;
    assert_eq!(began.elapsed().as_secs(), 3);
    peer.refuse(&call.id, "not_found: no such room").await;
    assert!(matches!(
        next(&mut connection).await,
        ClientEvent::RoomGone { room_id: ROOM }
    ));
}

#[tokio::test(start_paused = true)]
async fn the_connection_is_kept_alive_and_given_up_after_silence() {
    let mut hub = Hub::new();
    let (_client, connection, mut peer) = connected(&mut hub).await;
    let began = Instant::now();
    assert!(peer.call_or_end().await.is_none());
    assert_eq!(began.elapsed().as_secs(), 30);
    assert!(peer.pings >= 2, "{} pings", peer.pings);
    let state = until(&connection, |s| {
        matches!(s, ConnectionState::Reconnecting { .. })
    })
    .await;
    assert!(matches!(
        state,
        ConnectionState::Reconnecting {
            reason: Error::ConnectionLost(Disconnect::Silent(_)),
            ..
        }
    ));
    let _peer = hub.connected(&[(ROOM, 5)]).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_drains_is_come_back_to() {
    let mut hub = Hub::new();
    let (_client, connection, mut peer) = connected(&mut hub).await;
    peer.closing("draining", true).await;
    let _peer = hub.connected(&[(ROOM, 5)]).await;
    until(&connection, |s| matches!(s, ConnectionState::Connected)).await;
}

#[tokio::test(start_paused = true)]
async fn an_ended_session_closes_for_good_and_ends_the_stream() {
    let mut hub = Hub::new();
    let (_client, mut connection, mut peer) = connected(&mut hub).await;
    peer.created(6).await;
    peer.closing("sessionEnded", false).await;
    assert!(matches!(closed(&connection).await, Error::SessionEnded(_)));
    assert_eq!(places(&mut connection, 1).await, [6]);
    assert!(connection.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_close_that_allows_no_reconnect_is_obeyed() {
    let mut hub = Hub::new();
    let (client, connection, mut peer) = connected(&mut hub).await;
    let room = client.room(ROOM);
    let serve = async {
        peer.call().await;
        peer.write(r#"{"type":7,"error":"go away"}"#).await;
    };
    let (sent, ()) = tokio::join!(room.send("hello"), serve);
    let reason = closed(&connection).await;
    assert!(
        matches!(&reason, Error::ConnectionLost(Disconnect::ClosedByServer(Some(e)))
        if e == "go away")
    );
    assert!(matches!(sent.unwrap_err(), Error::ConnectionLost(_)));
}

#[tokio::test(start_paused = true)]
async fn a_first_try_that_fails_is_the_callers_to_judge() {
    let mut hub = Hub::new();
    let client = hub.client();
    hub.refuse_next(Error::Timeout(Duration::from_secs(1)));
    let error = client.connect().await.unwrap_err();
    assert!(matches!(error, Error::Timeout(_)));

    hub.refuse_next(Error::Timeout(Duration::from_secs(1)));
    let connection = client.connect().retry_first().await.unwrap();
    let _peer = hub.connected(&[(ROOM, 5)]).await;
    until(&connection, |s| matches!(s, ConnectionState::Connected)).await;
    assert!(matches!(
        client.connect().await,
        Err(Error::AlreadyConnected)
    ));
}

#[tokio::test(start_paused = true)]
async fn closing_says_goodbye_and_fails_what_waits() {
    let mut hub = Hub::new();
    let (client, connection, mut peer) = connected(&mut hub).await;
    let room = client.room(ROOM);
    let sending = tokio::spawn(async move { room.send("hello").await });
    peer.call().await;
    let (end, ()) = tokio::join!(peer.call_or_end(), connection.close());
    assert!(end.is_none());
    assert!(matches!(sending.await.unwrap(), Err(Error::Closed)));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_asks_for_a_result_is_told_that_there_is_none() {
    let mut hub = Hub::new();
    let (_client, mut connection, mut peer) = connected(&mut hub).await;
    let record = json!({"type": 1, "invocationId": "s1", "target": "MessageCreated",
        "arguments": [message(6, "hi")]});
    peer.write(&record.to_string()).await;
    assert_eq!(places(&mut connection, 1).await, [6]);
    let answer = peer.answer().await;
    assert_eq!(answer["invocationId"], "s1");
    assert!(answer["error"].is_string());
}

#[tokio::test(start_paused = true)]
async fn a_malformed_record_ends_the_connection_and_a_new_one_is_made() {
    let mut hub = Hub::new();
    let (_client, connection, mut peer) = connected(&mut hub).await;
    peer.write("{\"type\":\"what\"}").await;
    let state = until(&connection, |s| {
        matches!(s, ConnectionState::Reconnecting { .. })
    })
    .await;
    assert!(matches!(
        state,
        ConnectionState::Reconnecting {
            reason: Error::ConnectionLost(Disconnect::Protocol(_)),
            ..
        }
    ));
    let _peer = hub.connected(&[(ROOM, 5)]).await;
}

#[tokio::test(start_paused = true)]
async fn an_application_that_is_behind_holds_up_the_socket() {
    let mut hub = Hub::new();
    let client = hub.builder().event_queue(4).build().unwrap();
    let (connection, mut peer) = tokio::join!(client.connect(), hub.connected(&[(ROOM, 0)]));
    let mut connection = connection.unwrap();
    let mut written = 0;
    // The writer stands still once every buffer on the way is full: far from reading them all.
    let flood = async {
        for seq in 1..=10_000 {
            peer.created(seq).await;
            written = seq;
        }
    };
    assert!(
        tokio::time::timeout(Duration::from_secs(20), flood)
            .await
            .is_err()
    );
    assert!(written < 2_000, "{written} events were taken");
    let expected: Vec<i64> = (1..=100).collect();
    assert_eq!(places(&mut connection, 100).await, expected);
}

#[tokio::test(start_paused = true)]
async fn an_application_that_slept_doesnt_take_the_server_for_silent() {
    let mut hub = Hub::new();
    let client = hub.builder().event_queue(1).build().unwrap();
    let (connection, mut peer) = tokio::join!(client.connect(), hub.connected(&[(ROOM, 0)]));
    let mut connection = connection.unwrap();
    for seq in 1..=10 {
        peer.created(seq).await;
    }
    // Pings go out all the same.
    let slept = peer.call_within(Duration::from_secs(120)).await;
    assert!(slept.is_none());
    assert!(peer.pings >= 8, "{} pings", peer.pings);
    let expected: Vec<i64> = (1..=11).collect();
    peer.created(11).await;
    assert_eq!(places(&mut connection, 11).await, expected);
    assert!(matches!(
        *connection.state().borrow(),
        ConnectionState::Connected
    ));
}

#[tokio::test(start_paused = true)]
async fn an_application_that_is_behind_still_gets_its_answers() {
    let mut hub = Hub::new();
    let client = hub.builder().event_queue(4).build().unwrap();
    let (connection, mut peer) = tokio::join!(client.connect(), hub.connected(&[(ROOM, 0)]));
    let mut connection = connection.unwrap();
    let room = client.room(ROOM);
    let serve = async {
        let call = peer.call().await;
        for seq in 1..=2_000 {
            peer.created(seq).await;
        }
        peer.stored(&call, 2_001).await;
    };
    let both = async { tokio::join!(room.send("hello"), serve) };
    let both = tokio::time::timeout(Duration::from_secs(600), both).await;
    let (sent, ()) = both.expect("an answer");
    assert_eq!(sent.unwrap().seq, Seq(2_001));
    // What didn't fit is fetched once the application takes events again.
    let refill = async {
        loop {
            let call = peer.call().await;
            let since = call.argument["since"].as_i64().unwrap();
            let to = (since + 100).min(2_001);
            let items: Vec<_> = (since + 1..=to).map(created).collect();
            let page = json!({"items": items, "seq": to, "hasMore": to < 2_001, "complete": true});
            peer.complete(&call.id, page).await;
        }
    };
    let expected: Vec<i64> = (1..=2_001).collect();
    tokio::select! {
        told = places(&mut connection, 2_001) => assert_eq!(told, expected),
        () = refill => unreachable!(),
    }
}
