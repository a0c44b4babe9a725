//! The contract of storage, on SQLite.

use std::sync::Arc;

use chat_core::store::contract::Backend;
use chat_core::store::sqlite::Sqlite;

async fn sqlite() -> Backend {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Sqlite::open(folder.path().join("chat.db"))
        .await
        .expect("the database opens");
    Backend::with_accounts(Arc::new(store)).keeping(folder)
}

chat_core::store_contract!(sqlite);
