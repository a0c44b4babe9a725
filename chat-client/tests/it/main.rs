//! The SDK at its edges: against a mock of the REST calls, and against a scripted hub.

#![allow(clippy::unwrap_used)]

mod hub;
mod realtime;
