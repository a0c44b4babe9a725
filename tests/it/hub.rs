//! The hub's contract, record by record.

mod calls;
mod connecting;
mod encodings;
mod ending;
mod events;
mod records;
