//! The SDK at its edges: against a mock of the REST calls, and against a scripted hub.

#![allow(clippy::unwrap_used)]

mod connector;
mod hub;
mod mock;
mod outbox;
mod realtime;
mod renewal;
mod rest;
mod sends;
mod tokens;
mod transports;
