//! Schemas of PostgreSQL, older and newer than this version's: what an operator meets on the way up and back.
//!
//! There is no earlier release yet. What stands for one: this binary on the schema of a later one, which the tests make of this
//! one's by the kind of steps that are allowed; and this binary on the schema before its last step.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use chat_test_postgres::{Database, Server as PostgreSql};
use chat_tests::cluster::ready;
use chat_tests::{Crowd, Gateway, Server, Size, WITHIN, chat_server};
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::acceptance::five_users;
use crate::postgres::{migrate, migrated};

const STEPS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../migrations/postgres");

/// What a later release may do beside this one: every table has a column more, a new function is beside and a changed one in
/// the place of an old one, and there are a new table and a new index.
const LATER: &str = "
DO $$
DECLARE
    one text;
BEGIN
    FOR one IN SELECT format('%I.%I', n.nspname, c.relname)
               FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p') AND NOT c.relispartition
                 AND c.relname <> '_sqlx_migrations'
    LOOP
        EXECUTE format('ALTER TABLE %s ADD COLUMN later jsonb NOT NULL DEFAULT ''{}''', one);
    END LOOP;
END
$$;
CREATE TABLE later (room_id bigint PRIMARY KEY, pins bigint[] NOT NULL DEFAULT '{}');
CREATE INDEX messages_later ON messages (room_id, seq) WHERE deleted_at IS NOT NULL;
CREATE FUNCTION later(the_room bigint) RETURNS bigint LANGUAGE sql STABLE AS 'SELECT seq FROM rooms WHERE id = the_room';
CREATE OR REPLACE FUNCTION next_seq(the_room bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    place bigint;
BEGIN
    INSERT INTO later VALUES (the_room) ON CONFLICT DO NOTHING;
    UPDATE rooms SET seq = seq + 1 WHERE id = the_room RETURNING seq INTO place;
    RETURN place;
END
$$;
";

/// The files of this version's steps, in their order.
fn steps() -> Vec<PathBuf> {
    let folder = std::fs::read_dir(STEPS).expect("the migrations can be read");
    let mut steps: Vec<_> = folder.map(|file| file.unwrap().path()).collect();
    steps.sort();
    steps
}

/// Brings a database by these files to where `chat-server migrate` of the version that had them would.
async fn take(steps: &[&Path], database: &Database) {
    let folder = TempDir::new().expect("a temporary folder");
    for step in steps {
        std::fs::copy(step, folder.path().join(step.file_name().unwrap())).unwrap();
    }
    let migrator = Migrator::new(folder.path()).await.unwrap();
    let mut connection = connect(database).await;
    migrator.run(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

async fn connect(database: &Database) -> PgConnection {
    let options: PgConnectOptions = database.url().parse().unwrap();
    options.connect().await.unwrap()
}

/// The last step that is taken.
async fn version(connection: &mut PgConnection) -> i64 {
    sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM _sqlx_migrations WHERE success")
        .fetch_one(connection)
        .await
        .unwrap_or(0) // no table yet
}

/// The schema as its own dump has it.
fn schema(postgres: &PostgreSql, database: &Database) -> String {
    let dump = Command::new(postgres.program("pg_dump"))
        .args(["--schema-only", "--no-owner", &database.url()])
        .output()
        .expect("pg_dump runs");
    assert!(dump.status.success(), "{dump:?}");
    let text = String::from_utf8(dump.stdout).expect("text");
    // Newer versions of pg_dump write a key that is another each time.
    let lines = text.lines().filter(|line| !line.starts_with('\\'));
    lines.collect::<Vec<_>>().join("\n")
}

/// A later release's migration runs while this version serves; this version goes on, and starts again on it: the way back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn this_version_serves_on_the_schema_of_a_later_one() {
    let postgres = PostgreSql::shared();
    let database = postgres.database(None).await;
    let mut server = migrated(&database).await;
    let gateway = Gateway::to(&server).await;
    let mut crowd = Crowd::gather(gateway.url(), Size::pairs(4)).await;
    crowd.acknowledges(200).await;

    let folder = TempDir::new().expect("a temporary folder");
    let later = folder.path().join("9000_later.sql");
    std::fs::write(&later, LATER).unwrap();
    let steps = steps();
    let mut all: Vec<&Path> = steps.iter().map(PathBuf::as_path).collect();
    all.push(&later);
    take(&all, &database).await;

    crowd.acknowledges(200).await;
    server.kill().await;
    server.restart().await;
    ready(&server).await;
    gateway.lead_to(&server);
    crowd.acknowledges(200).await;
    let (_, problems) = crowd.finish().await;
    assert_eq!(problems, [""; 0]);
    let mut connection = connect(&database).await;
    assert_eq!(version(&mut connection).await, 9000);

    // Edits, deletions, invites, roles, sessions: all that users do. The job of this version finds nothing to do.
    migrate(&Server::builder().set("CHAT_DATABASE_URL", database.url()));
    five_users(server.url()).await;
    assert_eq!(version(&mut connection).await, 9000);
    let rooms: i64 = sqlx::query_scalar("SELECT count(*) FROM later")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert!(rooms > 0, "what the later one changed is in use");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn this_version_is_not_ready_on_an_older_schema_and_says_so() {
    let database = PostgreSql::shared().database(None).await;
    let steps = steps();
    let needed = steps.len();
    let older: Vec<&Path> = steps[..needed - 1].iter().map(PathBuf::as_path).collect();
    take(&older, &database).await;

    let server = Server::builder().on(&database).start().await;
    let anyone = server.anyone();
    assert_eq!(anyone.get("/healthz").await.status, 200);
    let answer = anyone.get("/readyz").await.with(503);
    let detail = answer["detail"].as_str().unwrap();
    let versions = format!(
        "has version {}, and this program needs {needed}",
        needed - 1
    );
    assert!(detail.contains(&versions), "{detail}");
    assert!(detail.contains("chat-server migrate"), "{detail}");
    assert!(server.log().contains(&versions), "{}", server.log());

    migrate(&Server::builder().set("CHAT_DATABASE_URL", database.url()));
    ready(&server).await;
    five_users(server.url()).await;
}

/// The job is killed in the middle, as a pod may be, and others run at once: what comes of it is the schema, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_job_may_be_killed_and_run_again_and_several_at_once() {
    let postgres = PostgreSql::shared();
    let (clean, database) = tokio::join!(postgres.database(None), postgres.database(None));
    let builder = |database: &Database| Server::builder().set("CHAT_DATABASE_URL", database.url());
    migrate(&builder(&clean));
    let needed = i64::try_from(steps().len()).unwrap();

    // Each statement takes its time, so that there is a middle.
    let mut connection = connect(&database).await;
    let slow = "CREATE FUNCTION slow() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.01); END $$;
                CREATE EVENT TRIGGER slow ON ddl_command_start EXECUTE FUNCTION slow()";
    sqlx::raw_sql(slow).execute(&mut connection).await.unwrap();
    for least in 1..needed {
        let mut job = Command::new(chat_server())
            .arg("migrate")
            .env_clear()
            .env("CHAT_DATABASE_URL", database.url())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let under_way = timeout(3 * WITHIN, async {
            while version(&mut connection).await < least {
                sleep(Duration::from_millis(2)).await;
            }
        });
        under_way.await.expect("steps are taken");
        job.kill().unwrap();
        job.wait().unwrap();
        if version(&mut connection).await < needed {
            let early = Server::builder().on(&database).start().await;
            early
                .anyone()
                .get("/readyz")
                .await
                .refused(503, "unavailable");
        }
    }
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| migrate(&builder(&database)));
        }
    });
    migrate(&builder(&database));
    assert_eq!(version(&mut connection).await, needed);

    let quick = "DROP EVENT TRIGGER slow; DROP FUNCTION slow()";
    sqlx::raw_sql(quick).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    assert_eq!(schema(postgres, &database), schema(postgres, &clean));
    let server = Server::builder().on(&database).start().await;
    ready(&server).await;
    five_users(server.url()).await;
}
