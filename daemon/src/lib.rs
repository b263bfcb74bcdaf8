//! minivaultd: text generation over HTTP, every interaction kept.
//!
//! The way of a request: [`door`] accepts a connection and looks at who asks, [`routes`] reads the body and turns it into a question for an engine,
//! [`engine_table`] finds that engine and keeps it by a [`lease`], [`interaction`] asks it and leaves one line in the log, whatever happens, and the route
//! gives the answer the form that its client expects. Every refusal takes its status and body from [`error`].
//!
//! - [`arguments`], [`config`]: the command line and the configuration
//! - `engine_process`: engines in processes of their own
//! - [`daemon`]: opens everything, serves, and closes everything in order
//! - [`door`]: sockets, hosts, origins and keys, before any route
//! - [`eval`]: `minivaultd eval`, what an engine makes of a text
//! - `logging`: what a request says of its own place in the log, and whose it is
//! - [`normalized`]: a request as the log keeps it, and back
//! - `reload`, `signals`: the configuration read anew, and what asks for that
//! - [`replay`]: interactions run again and compared
//! - [`body`]: JSON bodies, and what is wrong with them
//! - [`patience`], `throughput`: how long a request may take, and how fast engines are
//! - `supervisor`, `said`: what systemd is told, and whoever started the daemon
//! - `openapi`: `/openapi.json`, put together from what stands beside each route
//!
//! No model library is named here: engines come from the registry that [`run`] is given.

#[macro_use]
mod said;

pub mod arguments;
pub mod body;
pub mod config;
pub mod daemon;
pub mod diagnostics;
mod doctor;
pub mod door;
mod engine_process;
pub mod engine_table;
pub mod error;
pub mod eval;
mod init;
pub mod interaction;
mod introduction;
pub mod lease;
mod logging;
mod manuals;
mod memory;
mod metrics;
mod nearest;
pub mod normalized;
mod observation;
mod openapi;
pub mod patience;
mod reload;
pub mod replay;
pub mod routes;
mod signals;
mod supervisor;
mod throughput;

pub use daemon::run;
