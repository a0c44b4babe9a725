//! The harness of the end-to-end tests: the real server as a process of its own, on a port that it picks and a database of
//! its own, and what its users hold: calls over REST and the hub as raw records, so that tests see what is on the wire.

mod binary;
pub mod cluster;
mod crowd;
mod gateway;
mod hub;
mod ingress;
mod local;
mod network;
pub mod nginx;
mod people;
mod proxy;
mod receiver;
mod rest;
mod server;
mod watched;

pub use binary::{chat, chat_server};
pub use cluster::Cluster;
pub use crowd::{Crowd, Size};
pub use gateway::Gateway;
pub use hub::{Completion, Hub, Over, WITHIN, framed, packed_of, text_of};
pub use ingress::Ingress;
pub use local::Local;
pub use network::{Cut, Network};
pub use people::{PASSWORD, Person};
pub use proxy::{Blocks, Proxy};
pub use receiver::{Received, Receiver};
pub use rest::{Answer, Api};
pub use server::{Ended, Server, ServerBuilder};
pub use watched::Watched;
