//! The contract of storage, on the memory store.

use std::sync::Arc;

use chat_core::store::contract::Backend;
use chat_core::store::memory::Memory;

async fn memory() -> Backend {
    Backend::with_accounts(Arc::new(Memory::new()))
}

chat_core::store_contract!(memory);
