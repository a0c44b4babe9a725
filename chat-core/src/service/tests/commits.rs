//! Commits that fail as a whole, or whose answer is lost.

use std::time::Duration;

use super::{Listener, node, room, say, say_as, user};
use crate::auth::Caller;
use crate::model::RoomId;
use crate::protocol::ErrorCode;
use crate::service::Chat;
use crate::store::memory::{Fault, Memory};

/// How long a commit takes: so long that more changes wait for the next.
const SYNC: Duration = Duration::from_millis(50);
const INDIGESTIBLE: &str = "what no commit takes";

/// A node, and Ada's room on it with a connection that is in it.
async fn kitchen(store: Memory) -> (Chat, Caller, RoomId, Listener) {
    let chat = node(store).start().await.expect("starts");
    let ada = user(&chat, "Ada").await;
    let kitchen = room(&chat, &ada).await;
    let mut listener = Listener::connect(&chat, &ada).await;
    assert_eq!(listener.hears("Connected").await["rooms"][0]["seq"], 1);
    (chat, ada, kitchen, listener)
}

/// Sends what is to wait together for the second commit, while the first is under way; the codes of those that failed.
async fn say_in_one_batch(
    store: &Memory,
    chat: &Chat,
    ada: &Caller,
    kitchen: RoomId,
    contents: [&str; 4],
    fault: Option<Fault>,
) -> [Option<ErrorCode>; 4] {
    let code = async |content| {
        say(chat, ada, kitchen, content)
            .await
            .err()
            .map(|e| e.code())
    };
    let rest = async {
        tokio::time::sleep(SYNC / 2).await;
        if let Some(fault) = fault {
            store.fail_next_commits(1, fault);
        }
        let [a, b, c, d] = contents;
        let (a, b, c, d) = tokio::join!(code(a), code(b), code(c), code(d));
        [a, b, c, d]
    };
    let (first, rest) = tokio::join!(code("first"), rest);
    assert_eq!(first, None);
    rest
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_fails_as_a_whole_is_tried_change_by_change() {
    let store = Memory::with_sync_delay(SYNC);
    let (chat, ada, kitchen, mut listener) = kitchen(store.clone()).await;
    store.fail_commits_of(INDIGESTIBLE);
    let failures = chat.writer_stats().failures();

    let contents = ["one", INDIGESTIBLE, "two", "three"];
    let failed = say_in_one_batch(&store, &chat, &ada, kitchen, contents, None).await;
    assert_eq!(failed, [None, Some(ErrorCode::Internal), None, None]);

    // The first, then the others, one after the other and without a hole.
    for (seq, content) in [(2, "first"), (3, "one"), (4, "two"), (5, "three")] {
        let message = listener.hears("MessageCreated").await;
        assert_eq!(
            (&message["seq"], &message["content"]),
            (&seq.into(), &content.into())
        );
    }
    assert_eq!(chat.writer_stats().failures(), failures + 1);
    assert_eq!(chat.fanout_stats().fills(), 0);
}

/// Of a batch that is tried change by change too the answer of one COMMIT can be lost: what it did is told all the same.
#[tokio::test(start_paused = true)]
async fn an_unanswered_commit_among_single_changes_is_looked_at() {
    let store = Memory::with_sync_delay(SYNC);
    let (chat, ada, kitchen, mut listener) = kitchen(store.clone()).await;
    store.fail_commits_of(INDIGESTIBLE);

    let contents = ["one", "two", INDIGESTIBLE, INDIGESTIBLE];
    let fault = Some(Fault::UncertainApplied);
    let failed = say_in_one_batch(&store, &chat, &ada, kitchen, contents, fault).await;
    let (unavailable, internal) = (Some(ErrorCode::Unavailable), Some(ErrorCode::Internal));
    assert_eq!(failed, [unavailable, None, internal, internal]);

    for (seq, content) in [(2, "first"), (3, "one"), (4, "two")] {
        let message = listener.hears("MessageCreated").await;
        assert_eq!(
            (&message["seq"], &message["content"]),
            (&seq.into(), &content.into())
        );
    }
}

/// Nobody is told that it was kept, and it is heard all the same; sent again it isn't stored again.
#[tokio::test(start_paused = true)]
async fn what_an_unanswered_commit_kept_is_told_and_kept_once() {
    let store = Memory::new();
    let (chat, ada, kitchen, mut listener) = kitchen(store.clone()).await;
    store.fail_next_commits(1, Fault::UncertainApplied);
    kept_and_told_once(&chat, &ada, kitchen, &mut listener).await;
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn what_an_unanswered_commit_of_sqlite_kept_is_told_and_kept_once() {
    use crate::store::sqlite::Sqlite;

    let folder = tempfile::TempDir::new().expect("a folder");
    let store = Sqlite::open(folder.path().join("chat.db")).await;
    let store = store.expect("opens");
    let chat = node(store.clone()).start().await.expect("starts");
    let ada = user(&chat, "Ada").await;
    let kitchen = room(&chat, &ada).await;
    let mut listener = Listener::connect(&chat, &ada).await;
    store.lose_answers(1);
    kept_and_told_once(&chat, &ada, kitchen, &mut listener).await;
}

async fn kept_and_told_once(chat: &Chat, ada: &Caller, kitchen: RoomId, listener: &mut Listener) {
    let send = async || say_as(chat, ada, kitchen, "Hello", Some("a")).await;
    let lost = send().await.expect_err("nobody knows");
    assert_eq!(lost.code(), ErrorCode::Unavailable);
    let message = listener.hears("MessageCreated").await;
    assert_eq!(
        (&message["seq"], &message["content"]),
        (&2.into(), &"Hello".into())
    );

    let again = send().await.expect("it is there");
    assert_eq!(message["id"], again.id.0);
    say(chat, ada, kitchen, "What follows").await.expect("sent");
    assert_eq!(listener.hears("MessageCreated").await["seq"], 3);
}

/// The place that wasn't taken is taken by what comes next.
#[tokio::test(start_paused = true)]
async fn an_unanswered_commit_that_kept_nothing_leaves_no_hole() {
    let store = Memory::new();
    let (chat, ada, kitchen, mut listener) = kitchen(store.clone()).await;
    store.fail_next_commits(1, Fault::UncertainLost);
    let lost = say(&chat, &ada, kitchen, "lost").await;
    assert_eq!(
        lost.expect_err("nobody knows").code(),
        ErrorCode::Unavailable
    );
    say(&chat, &ada, kitchen, "kept").await.expect("sent");
    let message = listener.hears("MessageCreated").await;
    assert_eq!(
        (&message["seq"], &message["content"]),
        (&2.into(), &"kept".into())
    );
}
