//! The admin API of a node: the types that travel, and a client for them.
//!
//! Used by the node (which serves it), the operator, the command line and the end-to-end tests. JSON throughout;
//! node ids are numbers here and strings in Kubernetes.

mod client;
mod kv;
mod queue;
mod queue_events;
mod status;
mod stream;
mod transport;
mod verbs;
mod watch;
mod write;

pub use client::Client;
pub use kv::*;
pub use queue::*;
pub use queue_events::{QueueEvents, QueueHeard};
pub use status::*;
pub use transport::{Answer, ClientError, Transport};
pub use verbs::*;
pub use watch::{Watch, Watched};
