//! The contract of storage, on PostgreSQL; and what of it needs a database that keeps a call waiting.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use chat_core::model::limits::Limits;
use chat_core::model::{RoomId, Timestamp, UserId};
use chat_core::store::contract::Backend;
use chat_core::store::postgres::Postgres;
use chat_core::store::{Change, CommitContext, Outcome, Store as _};
use chat_test_postgres::{Database, Server};
use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Executor as _};
use tokio::sync::OnceCell;
use tokio::time::{sleep, timeout};

/// The database that each test gets a copy of.
async fn template() -> &'static str {
    static TEMPLATE: OnceCell<Database> = OnceCell::const_new();
    let database = TEMPLATE.get_or_init(|| async {
        let database = Server::shared().database(None).await;
        let store = connect(&database).await;
        store.migrate().await.expect("the schema can be made");
        store.close().await;
        database
    });
    database.await.name()
}

async fn connect(database: &Database) -> Postgres {
    Postgres::connect(&database.url())
        .await
        .expect("the server answers")
}

fn open(database: Arc<Database>) -> Pin<Box<dyn Future<Output = Backend> + Send>> {
    Box::pin(async {
        let store = Arc::new(connect(&database).await);
        let again = Arc::clone(&store);
        let kept = Arc::clone(&database);
        Backend::with_accounts(Arc::clone(&store))
            .with_webhooks(store)
            .keeping(kept)
            .reopened_by(|| async move {
                again.close().await;
                open(database).await
            })
    })
}

async fn postgres() -> Backend {
    let database = Server::shared().database(Some(template().await)).await;
    open(Arc::new(database)).await
}

chat_core::store_contract!(postgres);
chat_core::accounts_contract!(postgres);
chat_core::webhooks_contract!(postgres);
chat_core::reopening_contract!(postgres);

mod bus {
    use chat_core::bus::{PostgresBus, contract};

    use super::*;

    /// Each node has connections of its own, as in processes of their own.
    fn backend(store: &Postgres) -> contract::Backend {
        let nodes = store.clone();
        contract::Backend::new(Arc::new(store.clone()), move || {
            Arc::new(PostgresBus::new(&nodes))
        })
    }

    async fn postgres() -> contract::Backend {
        let database = Server::shared().database(Some(template().await)).await;
        backend(&connect(&database).await).keeping(database)
    }

    chat_core::bus_contract!(postgres);

    mod away {
        use super::*;

        /// A server of its own, which is stopped.
        async fn postgres() -> contract::Backend {
            let server = Arc::new(Server::start());
            let store = Postgres::connect(&server.url("postgres"))
                .await
                .expect("the server answers");
            store.migrate().await.expect("the schema can be made");
            let (stopped, resumed) = (Arc::clone(&server), Arc::clone(&server));
            backend(&store)
                .stopped_by(
                    move || blocking(Arc::clone(&stopped), Server::stop),
                    move || blocking(Arc::clone(&resumed), Server::resume),
                )
                .keeping(server)
        }

        async fn blocking(server: Arc<Server>, act: fn(&Server)) {
            let done = tokio::task::spawn_blocking(move || act(&server));
            done.await.expect("it is done");
        }

        chat_core::bus_outage_contract!(postgres);
    }
}

fn ctx() -> CommitContext {
    CommitContext {
        at: Timestamp::from_millis(1_000),
        limits: Limits::default(),
        outbox: None,
    }
}

async fn room(store: &Postgres, by: UserId) -> RoomId {
    let name = "room".to_owned();
    let create = [Change::CreateRoom { by, name }];
    let made = store.commit(&ctx(), &create).await;
    let made = made.expect("the database answers").remove(0);
    match made.expect("nothing forbids it").outcome {
        Outcome::Room(room) => room.id,
        other => panic!("{other:?}"),
    }
}

fn send(room_id: RoomId, sender_id: UserId) -> [Change; 1] {
    [Change::SendMessage {
        room_id,
        sender_id,
        content: "Hello".to_owned(),
        client_message_id: None,
    }]
}

/// Whoever writes after a caller gave up finds that caller's batch done or not done, and never about to be; that holds too if
/// the next caller gives up while it waits for that.
#[tokio::test]
async fn a_batch_given_up_is_waited_for_though_the_next_caller_gives_up_too() {
    let database = Server::shared().database(Some(template().await)).await;
    let store = connect(&database).await;
    let at = Timestamp::from_millis(0);
    let ada = store.identify("test", "ada", "ada", at).await;
    let ada = ada.expect("the database answers").expect("a user");
    let (held, free) = (room(&store, ada).await, room(&store, ada).await);
    let mut holder = PgConnection::connect(&database.url())
        .await
        .expect("the server answers");
    let lock = format!("BEGIN; SELECT 1 FROM rooms WHERE id = {held} FOR UPDATE");
    holder
        .execute(sqlx::AssertSqlSafe(lock))
        .await
        .expect("locked");
    let waits = async {
        let waiting = "SELECT count(*) FROM pg_stat_activity
                       WHERE datname = current_database() AND wait_event_type = 'Lock'";
        while sqlx::query_scalar::<_, i64>(waiting)
            .fetch_one(&mut holder)
            .await
            .expect("read")
            == 0
        {
            sleep(Duration::from_millis(5)).await;
        }
    };

    let (context, first, next) = (ctx(), send(held, ada), send(free, ada));
    tokio::select! {
        biased;
        done = store.commit(&context, &first) => panic!("the room is held: {done:?}"),
        () = waits => {}
    }
    // The next caller waits for the first one's batch, and gives up as soon as it does.
    timeout(Duration::ZERO, store.commit(&context, &next))
        .await
        .expect_err("the batch before is under way");
    timeout(Duration::from_millis(200), store.commit(&context, &next))
        .await
        .expect_err("it still is");
    holder.execute("ROLLBACK").await.expect("let go");
    let done = store.commit(&context, &next).await.expect("committed");
    assert!(done[0].is_ok());
    let heads = store.heads(&[held]).await.expect("read");
    assert_eq!(heads[0].head.0, 2, "the batch given up is there by now");
}

/// What a send reads doesn't grow with what its sender has sent before.
#[tokio::test]
async fn a_repeated_send_is_looked_up_by_its_whole_key() {
    const BEFORE: usize = 300;
    const AFTER: usize = 20;
    let database = Server::shared().database(Some(template().await)).await;
    let at = Timestamp::from_millis(0);
    let store = connect(&database).await;
    let ada = store.identify("test", "ada", "ada", at).await;
    let ada = ada.expect("the database answers").expect("a user");
    let room = room(&store, ada).await;
    for n in 0..BEFORE {
        let sent = store.commit(&ctx(), &named(room, ada, n)).await;
        assert!(sent.expect("committed")[0].is_ok());
    }
    store.close().await;
    let before = entries_read(&database).await;

    let store = connect(&database).await;
    for n in BEFORE..BEFORE + AFTER {
        let sent = store.commit(&ctx(), &named(room, ada, n)).await;
        assert!(sent.expect("committed")[0].is_ok());
    }
    let repeated = store.commit(&ctx(), &named(room, ada, 0)).await;
    assert!(repeated.expect("committed")[0].is_ok());
    store.close().await;
    let read = entries_read(&database).await - before;
    assert_eq!(read, 1, "only the repeated one finds an entry");
}

fn named(room_id: RoomId, sender_id: UserId, n: usize) -> [Change; 1] {
    let [mut change] = send(room_id, sender_id);
    if let Change::SendMessage {
        client_message_id, ..
    } = &mut change
    {
        *client_message_id = Some(n.to_string());
    }
    [change]
}

/// Entries that the index of the senders' ids has given out to sessions that are over.
async fn entries_read(database: &Database) -> i64 {
    let mut connection = PgConnection::connect(&database.url())
        .await
        .expect("the server answers");
    let others = "SELECT count(*) FROM pg_stat_activity
                  WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'";
    while sqlx::query_scalar::<_, i64>(others)
        .fetch_one(&mut connection)
        .await
        .expect("read")
        > 0
    {
        sleep(Duration::from_millis(5)).await;
    }
    let read = "SELECT sum(idx_tup_read)::bigint FROM pg_stat_user_indexes
                WHERE indexrelname ~ '^messages_[0-9]+_room_id_sender_id_client_message_id'";
    let read: i64 = sqlx::query_scalar(read)
        .fetch_one(&mut connection)
        .await
        .expect("read");
    connection.close().await.expect("closed");
    read
}
