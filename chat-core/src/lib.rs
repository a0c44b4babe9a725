//! The chat backend as a library.

pub mod model;
pub mod protocol;
pub mod random;

#[cfg(feature = "service")]
pub mod auth;
#[cfg(feature = "service")]
pub mod bus;
#[cfg(feature = "service")]
pub mod fanout;
#[cfg(feature = "service")]
pub mod service;
#[cfg(feature = "service")]
pub mod store;
