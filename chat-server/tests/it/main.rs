//! The server from outside: over sockets, and as a program.

mod accounts;
mod cli;
mod config;
mod conventions;
mod documentation;
mod embedding;
mod harness;
mod rooms;
mod serving;
mod session;
mod web;
mod webhooks;
