//! What the contract can't see: the file, the pragmas, query plans, and what happens when things break.

use std::path::Path;

use futures_util::FutureExt as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};
use tempfile::TempDir;

use super::{
    OpenError, Sqlite, changes, invites, members, messages, rooms, sends, sessions, users,
};
use crate::model::limits::Limits;
use crate::model::{RoomId, Seq, Timestamp, UserId};
use crate::store::{
    Change, CommitContext, Committed, NodeId, Outcome, Position, Refusal, Store as _, StoreError,
};

fn ctx() -> CommitContext {
    CommitContext {
        at: Timestamp::from_millis(1_800_000_000_000),
        limits: Limits::default(),
        outbox: None,
    }
}

async fn opened() -> (TempDir, Sqlite) {
    let folder = TempDir::new().expect("a folder");
    let store = Sqlite::open(folder.path().join("chat.db"))
        .await
        .expect("opens");
    (folder, store)
}

async fn commit_one(
    store: &Sqlite,
    change: Change,
) -> Result<Result<Committed, Refusal>, StoreError> {
    Ok(store.commit(&ctx(), &[change]).await?.remove(0))
}

/// A room with one user in it.
async fn room(store: &Sqlite) -> (RoomId, UserId) {
    let user = store.identify("host", "ada", "Ada", ctx().at).await;
    let by = user.expect("identified").expect("lives");
    let name = "Kitchen".to_owned();
    let made = commit_one(store, Change::CreateRoom { by, name }).await;
    match made.expect("committed").expect("not refused").outcome {
        Outcome::Room(room) => (room.id, by),
        other => panic!("a room, not {other:?}"),
    }
}

fn send(room_id: RoomId, sender_id: UserId, content: &str) -> Change {
    Change::SendMessage {
        room_id,
        sender_id,
        content: content.to_owned(),
        client_message_id: None,
    }
}

async fn head(store: &Sqlite, room: RoomId) -> Seq {
    store.heads(&[room]).await.expect("heads")[0].head
}

/// How many messages the room has.
async fn count(store: &Sqlite, room: RoomId, user: UserId) -> usize {
    let page = store
        .messages(user, room, Position::Newest, 100)
        .await
        .expect("a page");
    page.expect("a member").items.len()
}

/// Runs SQL on the connection that writes, which stays the same while nothing fails.
async fn on_writer(store: &Sqlite, sql: String) -> Vec<(i64,)> {
    let mut transaction = store.0.begin().await.expect("begins");
    let rows = sqlx::query_as(AssertSqlSafe(sql))
        .fetch_all(transaction.connection())
        .await;
    transaction
        .finish(rows.map_err(Into::into))
        .await
        .expect("runs")
}

async fn foreign_database(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .connect()
        .await
        .expect("opens")
}

#[cfg(unix)]
#[tokio::test]
async fn the_files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let (folder, store) = opened().await;
    room(&store).await;
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder.path()).expect("a folder") {
        let entry = entry.expect("an entry");
        let mode = entry.metadata().expect("metadata").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{:?}", entry.file_name());
        names.push(entry.file_name().into_string().expect("text"));
    }
    names.sort();
    assert_eq!(names, ["chat.db", "chat.db-shm", "chat.db-wal"]);
}

#[tokio::test]
async fn a_commit_is_on_disk_before_it_is_answered() {
    let (_folder, store) = opened().await;
    assert_eq!(store.synchronous().await.expect("read"), 2);
    // Also on the connection that follows one that was given up.
    drop(store.0.begin().await.expect("begins"));
    assert_eq!(store.synchronous().await.expect("read"), 2);
}

#[tokio::test]
async fn a_file_of_another_kind_is_refused_and_left_alone() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("notes.txt");
    let text = "Not a database, but some text of a length that could well be one. ".repeat(40);
    std::fs::write(&path, &text).expect("written");
    let error = Sqlite::open(&path).await.expect_err("refused");
    assert!(matches!(error, OpenError::NotADatabase { .. }), "{error:?}");
    assert!(error.to_string().contains("notes.txt"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).expect("read"), text);
    let error = Sqlite::open(folder.path()).await.expect_err("refused");
    assert!(matches!(error, OpenError::NotADatabase { .. }), "{error:?}");
}

#[tokio::test]
async fn a_database_of_another_program_is_refused_and_left_alone() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("other.db");
    let mut other = foreign_database(&path).await;
    sqlx::query("CREATE TABLE notes (text TEXT)")
        .execute(&mut other)
        .await
        .expect("made");
    other.close().await.expect("closes");
    let before = std::fs::read(&path).expect("read");
    let error = Sqlite::open(&path).await.expect_err("refused");
    assert!(matches!(error, OpenError::Foreign { .. }), "{error:?}");
    assert_eq!(std::fs::read(&path).expect("read"), before);
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused() {
    let (folder, store) = opened().await;
    store.close().await.expect("closes");
    let path = folder.path().join("chat.db");
    let mut newer = foreign_database(&path).await;
    sqlx::query("INSERT INTO _sqlx_migrations SELECT 9999, 'later', installed_on, success, checksum, 0 FROM _sqlx_migrations LIMIT 1")
        .execute(&mut newer)
        .await
        .expect("written");
    newer.close().await.expect("closes");
    let error = Sqlite::open(&path).await.expect_err("refused");
    assert!(
        matches!(error, OpenError::Newer { found: 9999, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_missing_directory_is_named() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("no/such/chat.db");
    let error = Sqlite::open(&path).await.expect_err("refused");
    assert!(matches!(error, OpenError::NoDirectory { .. }), "{error:?}");
    assert!(error.to_string().contains("no/such/chat.db"), "{error}");
}

#[tokio::test]
async fn an_empty_file_becomes_a_database() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("chat.db");
    std::fs::write(&path, "").expect("written");
    let store = Sqlite::open(&path).await.expect("opens");
    room(&store).await;
}

#[tokio::test]
async fn a_closed_store_is_unavailable() {
    let (_folder, store) = opened().await;
    let (room, user) = room(&store).await;
    store.clone().close().await.expect("closes");
    for answer in [
        store.ping().await.map(drop),
        commit_one(&store, send(room, user, "too late"))
            .await
            .map(drop),
    ] {
        assert!(
            matches!(answer, Err(StoreError::Unavailable(_))),
            "{answer:?}"
        );
    }
}

/// A call is dropped at each of the points where it waits, in turn; whatever it did is whole, and the store goes on.
#[tokio::test]
async fn a_dropped_call_is_done_or_undone() {
    let (_folder, store) = opened().await;
    let (room, user) = room(&store).await;
    let rename = |n: usize| Change::RenameRoom {
        room_id: room,
        by: user,
        name: format!("Name {n}"),
    };
    let mut done = 0;
    // Polled ever more often before it is dropped, until it comes to its end by itself a few times.
    let mut polls = 0;
    while done < 3 {
        let before = (head(&store, room).await, count(&store, room, user).await);
        let context = ctx();
        // A run of sends, and a batch of several statements, wait at different points.
        let changes = if polls % 2 == 0 {
            vec![send(room, user, "a"), send(room, user, "b")]
        } else {
            vec![send(room, user, "a"), rename(polls), send(room, user, "b")]
        };
        let mut call = store.commit(&context, &changes);
        let mut answered = false;
        for _ in 0..polls {
            if (&mut call).now_or_never().is_some() {
                answered = true;
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(call);
        polls += 1 + polls / 8;
        done += usize::from(answered);

        // The next writer waits for what the dropped one still had under way.
        commit_one(&store, send(room, user, "after"))
            .await
            .expect("committed")
            .expect("not refused");
        let after = (head(&store, room).await, count(&store, room, user).await);
        let places = usize::try_from(after.0.0 - before.0.0).expect("forward");
        let sent = after.1 - before.1;
        let whole = (changes.len() + 1, 3);
        assert!(
            (places, sent) == whole || (!answered && (places, sent) == (1, 1)),
            "{places} places and {sent} messages after {polls} polls"
        );
        if after.1 > 90 {
            // Pages are at most 100.
            clear(&store, room).await;
        }
    }
}

async fn clear(store: &Sqlite, room: RoomId) {
    on_writer(
        store,
        format!("DELETE FROM messages WHERE room_id = {room}"),
    )
    .await;
}

/// Lets the database grow no further.
async fn fill_disk(store: &Sqlite) {
    let pages = on_writer(store, "PRAGMA page_count".to_owned()).await[0].0;
    on_writer(store, format!("PRAGMA max_page_count = {pages}")).await;
}

#[tokio::test]
async fn a_full_disk_changes_nothing_and_is_survived() {
    let (_folder, store) = opened().await;
    let (room, user) = room(&store).await;
    let before = head(&store, room).await;
    let large = "x".repeat(100_000);
    let rename = Change::RenameRoom {
        room_id: room,
        by: user,
        name: "Larder".to_owned(),
    };
    for changes in [
        vec![send(room, user, "small"), send(room, user, &large)],
        vec![rename, send(room, user, &large)],
    ] {
        fill_disk(&store).await;
        let full = store.commit(&ctx(), &changes).await;
        assert!(matches!(full, Err(StoreError::Unavailable(_))), "{full:?}");
        assert_eq!(head(&store, room).await, before);
    }
    on_writer(&store, "PRAGMA max_page_count = 1000000".to_owned()).await;
    let sent = commit_one(&store, send(room, user, &large)).await;
    assert!(sent.expect("committed").is_ok());
    assert_eq!(head(&store, room).await, before.next());
}

#[tokio::test]
async fn a_commit_that_sqlite_turns_down_keeps_nothing() {
    let (_folder, store) = opened().await;
    let (room, user) = room(&store).await;
    let before = head(&store, room).await;
    let delete = Change::DeleteRoom {
        room_id: room,
        by: user,
    };
    for changes in [
        vec![send(room, user, "one")],
        vec![send(room, user, "one"), delete],
    ] {
        refuse_commits(&store).await;
        let failed = store.commit(&ctx(), &changes).await;
        assert!(matches!(failed, Err(StoreError::Failed(_))), "{failed:?}");
        assert_eq!(head(&store, room).await, before);
    }
    let sent = commit_one(&store, send(room, user, "two")).await;
    assert!(sent.expect("committed").is_ok());
}

/// Makes SQLite turn down the commits of the connection that writes; one that fails takes the connection with it.
async fn refuse_commits(store: &Sqlite) {
    let mut transaction = store.0.begin().await.expect("begins");
    let mut handle = transaction.connection().lock_handle().await.expect("locks");
    let mut first = true;
    // The commit of this very transaction is let through.
    handle.set_commit_hook(move || std::mem::take(&mut first));
    drop(handle);
    transaction.finish(Ok(())).await.expect("committed");
}

#[tokio::test]
async fn an_event_is_in_the_outbox_with_its_change() {
    let (_folder, store) = opened().await;
    let (room, user) = room(&store).await;
    let ctx = CommitContext {
        outbox: Some(NodeId(7)),
        ..ctx()
    };
    refuse_commits(&store).await;
    let failed = store.commit(&ctx, &[send(room, user, "lost")]).await;
    assert!(matches!(failed, Err(StoreError::Failed(_))), "{failed:?}");
    assert_eq!(store.outbox(NodeId(7), 10).await.expect("read"), []);
    let sent = store.commit(&ctx, &[send(room, user, "kept")]).await;
    let sent = sent.expect("committed").remove(0).expect("not refused");
    assert_eq!(
        store.outbox(NodeId(7), 10).await.expect("read"),
        sent.events
    );
}

/// No statement of the hot paths reads a table from end to end, however it grows.
#[tokio::test]
async fn no_hot_statement_scans_a_table() {
    let (_folder, store) = opened().await;
    let mut transaction = store.0.begin().await.expect("begins");
    let connection = transaction.connection();
    let mut statements = 0;
    for text in [
        sends::LOOK,
        sends::INSERT,
        messages::NEWEST,
        messages::BEFORE,
        messages::AFTER,
        messages::AFTER_SEQ,
        messages::ONE,
        changes::CHANGES,
        rooms::MEMBERSHIPS,
        rooms::HEADS,
        rooms::JOINED,
        rooms::PAGE,
        rooms::ONE,
        members::PAGE,
        invites::PAGE,
        invites::ROOM,
        users::PROFILE,
        users::BY_IDENTITY,
        sessions::BY_TOKEN,
        sessions::ENDED,
    ] {
        for statement in text.split(';') {
            let plan: Vec<(i64, i64, i64, String)> =
                sqlx::query_as(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}")))
                    .fetch_all(&mut *connection)
                    .await
                    .unwrap_or_else(|error| panic!("{error}: {statement}"));
            for (.., step) in &plan {
                // A list that was passed in, the run of sends, and what another step has picked are small.
                let small = step.contains("VIRTUAL TABLE")
                    || step.contains("(subquery")
                    || step == "SCAN run"
                    || step.contains("CONSTANT ROW");
                assert!(!step.starts_with("SCAN") || small, "{step}: {statement}");
                assert!(!step.contains("AUTOMATIC"), "{step}: {statement}");
                // A list put in order where it is written out is a page, or was passed in.
                let sorts = step.contains("TEMP B-TREE") && !step.contains("json_group_array");
                assert!(!sorts, "{step}: {statement}");
            }
            statements += 1;
        }
    }
    assert!(statements > 20);
    transaction.finish(Ok(())).await.expect("ends");
}

/// SQLite's own answer says that nothing was kept; only where it gave none, nobody knows.
#[test]
fn a_commit_without_an_answer_is_uncertain() {
    use super::fault::Fault;

    for unanswered in [
        sqlx::Error::WorkerCrashed,
        sqlx::Error::Io(std::io::ErrorKind::Other.into()),
    ] {
        let error = Fault::Sql(unanswered).committing();
        assert!(matches!(error, StoreError::Uncertain(_)), "{error:?}");
        assert!(error.is_retryable());
    }
    let before = Fault::Sql(sqlx::Error::WorkerCrashed).unchanged();
    assert!(matches!(before, StoreError::Unavailable(_)), "{before:?}");
}
