//! The contract of the bus, on those that live in one process.

use std::sync::Arc;

use chat_core::bus::contract::Backend;
use chat_core::bus::{BusFaults, FaultyBus, LocalBus};
use chat_core::random::SeededRandom;
use chat_core::store::memory::Memory;

mod local {
    use super::*;

    async fn local() -> Backend {
        let bus = LocalBus::new();
        Backend::new(Arc::new(Memory::new()), move || Arc::new(bus.clone()))
    }

    chat_core::bus_contract!(local);
}

mod faulty {
    use super::*;

    async fn faulty() -> Backend {
        let random = Arc::new(SeededRandom::new(1));
        let bus = FaultyBus::new(BusFaults::default(), random);
        let (stopped, resumed) = (bus.clone(), bus.clone());
        let away = BusFaults {
            refused: 1.0,
            ..BusFaults::default()
        };
        Backend::new(Arc::new(Memory::new()), move || Arc::new(bus.clone())).stopped_by(
            move || {
                stopped.set(away);
                async {}
            },
            move || {
                resumed.set(BusFaults::default());
                async {}
            },
        )
    }

    chat_core::bus_contract!(faulty);
    chat_core::bus_outage_contract!(faulty);
}
