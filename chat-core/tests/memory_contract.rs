//! The contract of storage, on the memory store.

use std::sync::Arc;

use chat_core::store::contract::Backend;
use chat_core::store::memory::Memory;

/// The same database through one more handle is what this store has for opening it again.
fn opened(memory: Memory) -> Backend {
    let again = memory.connect();
    Backend::with_accounts(Arc::new(memory)).reopened_by(|| async { opened(again) })
}

async fn memory() -> Backend {
    opened(Memory::new())
}

chat_core::store_contract!(memory);
chat_core::accounts_contract!(memory);
chat_core::reopening_contract!(memory);
