//! The contract of storage, on the memory store: where writes are synced at once, and where that takes a while and the
//! database crashes before it is opened again.

use std::sync::Arc;

use chat_core::store::contract::Backend;
use chat_core::store::memory::Memory;

fn opened(memory: Memory) -> Backend {
    let again = memory.connect();
    let memory = Arc::new(memory);
    Backend::with_accounts(Arc::clone(&memory))
        .with_webhooks(memory)
        .reopened_by(|| async {
            again.crash();
            opened(again)
        })
}

mod synced_at_once {
    use super::*;

    async fn memory() -> Backend {
        opened(Memory::new())
    }

    chat_core::store_contract!(memory);
    chat_core::accounts_contract!(memory);
    chat_core::webhooks_contract!(memory);
    chat_core::reopening_contract!(memory);
}

mod synced_later {
    use std::time::Duration;

    use super::*;

    async fn memory() -> Backend {
        opened(Memory::with_sync_delay(Duration::from_millis(1)))
    }

    chat_core::store_contract!(memory);
    chat_core::accounts_contract!(memory);
    chat_core::webhooks_contract!(memory);
    chat_core::reopening_contract!(memory);
}
