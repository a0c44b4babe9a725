use chat_core::fanout::{Framing, Wire};
use chat_core::protocol::signalr::Encoding;

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_000);

fn caller(session: &str) -> Caller {
    Caller {
        user_id: UserId(1),
        session: Some(session.to_owned()),
        expires_at: Some(NOW),
    }
}

fn claims(id: &str) -> Claims {
    Claims {
        connection_id: id.to_owned(),
        user_id: UserId(1),
        session: Some("s".to_owned()),
        expires_at: NOW.plus(Duration::from_secs(15)),
        is_resumable: false,
    }
}

fn ask(registry: &Registry, id: &str, ask: Ask) -> Result<Granted, u16> {
    let granted = registry.ask(&claims(id), ask, &caller("s"), NOW, false);
    granted.map_err(|refusal| refusal.code())
}

#[test]
fn a_token_opens_one_connection_once_and_its_place_is_released() {
    let registry = Registry::new(9);
    let opened = ask(&registry, "c", Ask::Upgrade);
    assert!(matches!(opened, Ok(Granted::WebSocket(_, None))));
    assert_eq!(registry.len(), 1);
    assert_eq!(ask(&registry, "c", Ask::Upgrade).expect_err("open"), 409);
    drop(opened);
    assert_eq!(registry.len(), 0);
    assert_eq!(ask(&registry, "c", Ask::Upgrade).expect_err("used"), 404);
    // Once the token has run out its traces go as well.
    let late = NOW.plus(Duration::from_secs(15));
    let refused = registry.ask(&claims("c"), Ask::Upgrade, &caller("s"), late, false);
    assert_eq!(refused.expect_err("too late").code(), 404);
    assert!(registry.lock().by_id.is_empty());
}

#[test]
fn a_draining_server_opens_nothing_and_serves_what_is_open() {
    let registry = Registry::new(9);
    let polled = ask(&registry, "c", Ask::Poll).expect("opened");
    let drained = |id, what| {
        let asked = registry.ask(&claims(id), what, &caller("s"), NOW, true);
        asked.map_err(|refusal| refusal.code())
    };
    for what in [Ask::Upgrade, Ask::Stream, Ask::Poll, Ask::Post] {
        assert_eq!(drained("new", what).expect_err("draining"), 503);
    }
    assert!(matches!(drained("c", Ask::Poll), Ok(Granted::Poll(_))));
    assert!(matches!(drained("c", Ask::Post), Ok(Granted::Post(_))));
    assert!(matches!(drained("c", Ask::Delete), Ok(Granted::End(_))));
    drop(polled);
}

#[test]
fn connections_without_a_socket_are_bounded() {
    let registry = Registry::new(2);
    let first = ask(&registry, "1", Ask::Poll).expect("opened");
    let second = ask(&registry, "2", Ask::Post).expect("opened");
    assert_eq!(ask(&registry, "3", Ask::Stream).expect_err("full"), 503);
    assert!(ask(&registry, "4", Ask::Upgrade).is_ok());
    // One that nobody claims gives its place back.
    drop(second);
    assert!(registry.end_unclaimed("2"));
    assert!(ask(&registry, "3", Ask::Stream).is_ok());
    assert!(!registry.end_unclaimed("1"), "a GET came");
    drop(first);
}

#[test]
fn a_renewed_connection_takes_the_tokens_that_its_requests_came_with() {
    let registry = Registry::new(9);
    let Ok(Granted::Polls(place, channel)) = ask(&registry, "c", Ask::Poll) else {
        panic!("it is opened");
    };
    let (token, other) = (Fingerprint::of("a"), Fingerprint::of("b"));
    channel.remember(token, &caller("s"));
    let wire = Wire {
        encoding: Encoding::Json,
        framing: Framing::LongPolling,
    };
    let connection = Connection::new(1, "c".into(), &caller("s"), wire, 1, None);
    let connection = Arc::new(connection);
    place.attach(&connection);
    assert_eq!(registry.recall("c", token, NOW), None, "it ran out");
    let renewed = Caller {
        expires_at: Some(NOW.plus(Duration::from_secs(900))),
        ..caller("t")
    };
    connection.renew(&renewed);
    assert_eq!(registry.recall("c", token, NOW), Some(caller("s")));
    assert_eq!(registry.recall("c", other, NOW), None);
    // Both sessions' requests are let in, and no third one's.
    for (session, is_let_in) in [("s", true), ("t", true), ("u", false)] {
        let poll = registry.ask(&claims("c"), Ask::Poll, &caller(session), NOW, false);
        assert_eq!(poll.is_ok(), is_let_in, "{session}");
    }
    drop(place);
    assert_eq!(registry.recall("c", token, NOW), None);
}
