//! A bus that drops, doubles, delays and reorders: for simulation.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::{BusError, EventBus, Health, Hint, Interest, LocalBus, Subscription};
use crate::model::Event;
use crate::random::Random;

/// How often what happens to an event, each as a fraction of 1.
#[derive(Clone, Copy, Debug, Default)]
pub struct BusFaults {
    /// Never arrives, though acknowledged.
    pub lost: f64,
    /// Arrives twice.
    pub doubled: f64,
    /// Arrives late, after others, by up to `delay`.
    pub delayed: f64,
    /// How late at most.
    pub delay: Duration,
    /// A publish fails, with some of its events published.
    pub refused: f64,
}

/// A [`LocalBus`] with [`BusFaults`].
#[derive(Clone, Debug)]
pub struct FaultyBus {
    bus: LocalBus,
    faults: Arc<Mutex<BusFaults>>,
    random: Arc<dyn Random>,
}

impl FaultyBus {
    /// A bus that `random` decides over.
    #[must_use]
    pub fn new(faults: BusFaults, random: Arc<dyn Random>) -> Self {
        Self {
            bus: LocalBus::new(),
            faults: Arc::new(Mutex::new(faults)),
            random,
        }
    }

    /// Other faults from now on.
    pub fn set(&self, faults: BusFaults) {
        *self.faults.lock().unwrap_or_else(PoisonError::into_inner) = faults;
    }

    fn faults(&self) -> BusFaults {
        *self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refused() -> BusError {
    BusError::Unavailable("the simulated bus refused".into())
}

#[async_trait]
impl EventBus for FaultyBus {
    async fn publish(&self, events: &[Event]) -> Result<(), BusError> {
        let faults = self.faults();
        for event in events {
            if self.random.fraction() < faults.refused {
                return Err(refused());
            }
            if self.random.fraction() < faults.lost {
                continue;
            }
            if self.random.fraction() < faults.delayed {
                let (bus, event) = (self.bus.clone(), event.clone());
                let delay = faults.delay.mul_f64(self.random.fraction());
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    let _ = bus.publish(&[event]).await;
                });
                continue;
            }
            self.bus.publish(std::slice::from_ref(event)).await?;
            if self.random.fraction() < faults.doubled {
                self.bus.publish(std::slice::from_ref(event)).await?;
            }
        }
        Ok(())
    }

    async fn hint(&self, hint: Hint) -> Result<(), BusError> {
        let faults = self.faults();
        if self.random.fraction() < faults.refused {
            return Err(refused());
        }
        if self.random.fraction() < faults.lost {
            return Ok(());
        }
        self.bus.hint(hint).await
    }

    async fn subscribe(
        &self,
        interest: Option<Arc<dyn Interest>>,
    ) -> Result<Box<dyn Subscription>, BusError> {
        self.bus.subscribe(interest).await
    }

    fn health(&self) -> Health {
        if self.faults().refused < 1.0 {
            Health::Up
        } else {
            Health::Down
        }
    }
}
