//! The use cases: authorise, write, deliver.

mod error;

pub use self::error::Error;
