//! A server-sent event, as readers of a stream hand it on. Nothing writes it as JSON; it stands here for the description of the routes.

use serde::{Deserialize, Serialize};

/// One event of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StreamEvent {
    /// Its name: `message` where it has none of its own.
    pub event: String,
    /// JSON, or a word that ends the stream.
    pub data: String,
}
