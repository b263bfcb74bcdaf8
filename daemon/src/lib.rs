//! minivaultd: text generation over HTTP, every interaction kept.
//!
//! The way of a request: [`server`] accepts a connection, [`routes`] reads the body and turns it into a question for an engine,
//! [`engine_table`] finds that engine and keeps it by a [`lease`], [`interaction`] asks it and leaves one line in the log, whatever happens, and the route
//! gives the answer the form that its client expects. Every refusal takes its status and body from [`error`].
//!
//! - [`arguments`], [`config`]: the command line and the configuration
//! - `engine_process`: engines in processes of their own
//! - [`daemon`]: opens everything, serves, and closes everything in order
//! - [`eval`]: `minivaultd eval`, what an engine makes of a text
//! - [`listener`]: TCP and Unix sockets
//! - `logging`: what a request says of its own place in the log
//! - [`normalized`]: a request as the log keeps it, and back
//! - [`replay`]: interactions run again and compared
//! - [`body`]: JSON bodies, and what is wrong with them
//! - `openapi`: `/openapi.json`, put together from what stands beside each route
//!
//! No model library is named here: engines come from the registry that [`run`] is given.

pub mod arguments;
pub mod body;
pub mod config;
pub mod daemon;
mod engine_process;
pub mod engine_table;
pub mod error;
pub mod eval;
pub mod interaction;
pub mod lease;
pub mod listener;
mod logging;
mod nearest;
pub mod normalized;
mod openapi;
pub mod replay;
pub mod routes;
pub mod server;

pub use daemon::run;
