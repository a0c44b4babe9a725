//! The use cases: authorise, write, deliver.

pub mod accounts;
mod error;
mod fields;
pub mod rates;

pub use self::error::Error;
