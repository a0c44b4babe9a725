//! The wire: what clients and servers say to each other, and how it is written.
//!
//! Server, SDK and terminal client share these types. Compatibility rules: readers ignore members, events and enum values
//! that they don't know; absent members are left out, never `null`; a name or code, once released, stays.

pub mod error;
pub mod hub;
pub mod paths;
pub mod rest;
pub mod signalr;
pub mod strict_json;

pub use self::error::{ErrorCode, FieldError, HubError, Problem};
