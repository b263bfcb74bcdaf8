//! The JSON that crosses MiniVault's HTTP border, for the daemon and for clients alike.
//!
//! - [`native`][]: `/generate` and `/stream-generate`
//! - [`chat`][]: `/v1/chat/completions`
//! - [`embeddings`][]: `/v1/embeddings`
//! - [`models`][]: `/v1/models`
//! - [`status`][]: `/health` and `/ready`
//! - [`error`][]: the one error body

pub mod chat;
pub mod embeddings;
pub mod error;
pub mod models;
pub mod native;
pub mod status;
mod stop;

pub use stop::Stop;
