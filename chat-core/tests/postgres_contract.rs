//! The contract of storage, on PostgreSQL.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use chat_core::store::contract::Backend;
use chat_core::store::postgres::Postgres;
use chat_test_postgres::{Database, Server};
use tokio::sync::OnceCell;

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
        Backend::with_accounts(store)
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
chat_core::reopening_contract!(postgres);
