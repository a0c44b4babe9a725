//! The hub's contract, record by record.

mod calls;
mod connecting;
mod ending;
mod events;
mod records;
