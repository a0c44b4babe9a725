//! The contract of storage, on SQLite.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use chat_core::store::contract::Backend;
use chat_core::store::sqlite::Sqlite;
use tempfile::TempDir;

fn open(folder: Arc<TempDir>) -> Pin<Box<dyn Future<Output = Backend> + Send>> {
    Box::pin(async {
        let path = folder.path().join("chat.db");
        let store = Arc::new(Sqlite::open(path).await.expect("the database opens"));
        let again = Arc::clone(&store);
        Backend::with_accounts(Arc::clone(&store))
            .with_webhooks(store)
            .reopened_by(|| async move {
                again.close().await.expect("the database closes");
                open(folder).await
            })
    })
}

async fn sqlite() -> Backend {
    open(Arc::new(TempDir::new().expect("a folder"))).await
}

chat_core::store_contract!(sqlite);
chat_core::accounts_contract!(sqlite);
chat_core::webhooks_contract!(sqlite);
chat_core::reopening_contract!(sqlite);
