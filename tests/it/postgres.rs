//! The server on PostgreSQL: how an operator brings it up, and that it keeps its promises while the database goes away.

use std::time::Duration;

use chat_test_postgres::Server as PostgreSql;
use chat_tests::{Crowd, Gateway, Server, ServerBuilder, Size, WITHIN};
use rand::RngExt as _;
use tokio::time::{sleep, timeout};

/// A server on a database that is migrated already.
pub(crate) async fn migrated(database: &chat_test_postgres::Database) -> Server {
    let builder = Server::builder().on(database);
    migrate(&builder);
    builder.start().await
}

pub(crate) fn migrate(builder: &ServerBuilder) {
    let migrated = builder.run(&["migrate"]);
    assert!(migrated.status.success(), "{}", migrated.log);
    assert!(!migrated.log.contains("postgres://"), "{}", migrated.log);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_unready_until_its_database_is_migrated_and_goes_on_by_itself() {
    let database = PostgreSql::shared().database(None).await;
    let early = Server::builder().on(&database).start().await;
    let anyone = early.anyone();
    assert_eq!(anyone.get("/healthz").await.status, 200);
    anyone.get("/readyz").await.refused(503, "unavailable");
    let body = serde_json::json!({
        "email": "ann@example.com", "username": "ann", "password": "correct horse"
    });
    let refused = anyone.post("/v1/auth/register", &body).await;
    refused.refused(503, "unavailable");

    // Several may migrate at once, and again.
    let builder = Server::builder().set("CHAT_DATABASE_URL", database.url());
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| migrate(&builder));
        }
    });
    migrate(&builder);
    timeout(3 * WITHIN, async {
        while anyone.get("/readyz").await.status != 200 {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("it becomes ready by itself");
    let ann = early.person("ann").await;
    let room = ann.room_with("room", &[]).await;
    assert!(room > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_its_signing_key_or_its_database_says_so_and_ends() {
    let database = PostgreSql::shared().database(None).await;
    let keyless = Server::builder().set("CHAT_DATABASE_URL", database.url());
    let ended = keyless.fail().await;
    assert!(ended.log.contains("the signing key"), "{}", ended.log);

    let url = "postgres://chat:hunter2@127.0.0.1:1/chat";
    let nowhere = Server::builder().set("CHAT_DATABASE_URL", url).fail().await;
    assert!(nowhere.log.contains("127.0.0.1:1"), "{}", nowhere.log);
    assert!(!nowhere.log.contains("hunter2"), "{}", nowhere.log);
    assert_eq!(ended.status.code(), Some(1));
    assert_eq!(nowhere.status.code(), Some(1));
}

/// The server is killed, and so is the database, in turn; clients see neither a loss nor a double nor a hole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_of_server_and_database_lose_nothing_double_nothing_and_leave_no_hole() {
    let postgres: &'static PostgreSql = Box::leak(Box::new(PostgreSql::start()));
    let database = postgres.database(None).await;
    let mut server = migrated(&database).await;
    let gateway = Gateway::to(&server).await;
    let mut crowd = Crowd::gather(gateway.url(), Size::pairs(4)).await;
    for round in 0..6 {
        crowd.acknowledges(100).await;
        let moment = rand::rng().random_range(0..500);
        sleep(Duration::from_millis(moment)).await;
        if round % 2 == 0 {
            server.kill().await;
            server.restart().await;
            gateway.lead_to(&server);
        } else {
            postgres.stop();
            // Sometimes long enough for a node to know that it can't tell who was signed out.
            sleep(Duration::from_secs(round)).await;
            postgres.resume();
        }
    }
    let (_, problems) = crowd.finish().await;
    assert_eq!(problems, [""; 0]);
    drop((server, database));
    postgres.stop();
}

/// As docs/operations.md says it: a dump taken under load, restored elsewhere, is a moment of the chat: each room whole up to a
/// place. Who was further on is told so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_is_a_moment_of_every_room() {
    let postgres = PostgreSql::shared();
    let database = postgres.database(None).await;
    let server = migrated(&database).await;
    let mut crowd = Crowd::gather(server.url(), Size::pairs(4)).await;
    crowd.acknowledges(200).await;
    let before = crowd.places().await;
    let dump = server.signing_key().with_file_name("chat.dump");
    let run = async |program: &str, arguments: &[&str]| {
        let output = tokio::process::Command::new(postgres.program(program))
            .args(arguments)
            .output();
        let output = output.await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program}: {said}");
    };
    let file = dump.to_str().unwrap();
    run(
        "pg_dump",
        &["--format=custom", "--file", file, &database.url()],
    )
    .await;
    crowd.acknowledges(200).await;
    let (_, problems) = crowd.finish().await;
    assert_eq!(problems, [""; 0]);
    let after = crowd.places().await;

    let restored = postgres.database(None).await;
    run(
        "pg_restore",
        &["--exit-on-error", "--dbname", &restored.url(), file],
    )
    .await;
    let again = Server::builder()
        .set("CHAT_DATABASE_URL", restored.url())
        .set("CHAT_SIGNING_KEY", server.signing_key().to_str().unwrap())
        .start()
        .await;
    for (admin, room) in crowd.admins() {
        let admin = admin.at(again.url());
        let place = after[&room];
        let path = format!("/v1/rooms/{room}/changes?since={place}");
        let changes = admin.api.get(&path).await.with(200);
        let head = changes["seq"].as_i64().unwrap();
        assert!((before[&room].0..place.0).contains(&head), "{head}");
        assert_eq!(changes["complete"], false);
        assert_eq!(changes["items"], serde_json::json!([]));
        crowd.is_whole_up_to(&admin, room, head).await;
    }
}
