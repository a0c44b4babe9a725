//! The official SignalR clients of other languages against the real server. What they need is installed by
//! `tests/clients/install`, which `tests/run` calls; each runs as a process that is told what to do, line by line.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod cluster;
mod cuts;
mod each;
mod everyone;
mod gateway;
mod page;
mod process;
mod proxy;
mod shears;
