//! The promises against the real server: a module each.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod acceptance;
mod authorisation;
mod bad_input;
mod cluster;
mod durability;
mod hub;
mod kafka_user;
mod kill;
mod migrations;
mod outbox;
mod postgres;
mod promises;
mod roles;
mod tail;
mod webhooks;
