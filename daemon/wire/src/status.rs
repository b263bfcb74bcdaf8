//! `/health`, `/ready` and `/admin/reload`.

use serde::{Deserialize, Serialize};

/// `/health`: the daemon is alive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HealthAnswer {
    /// `ok`.
    pub status: String,
    /// The daemon's version.
    pub version: String,
}

/// `/ready`: whether a request is answered now; status 200 if so, 503 if not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReadyAnswer {
    /// `ready`, `loading`, `failed`, `draining`, or `degraded` while interactions can't be logged.
    pub status: String,
    /// The default engine, as configured.
    pub engine: String,
    /// The engine that answers in its place because its own model can't be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_by: Option<String>,
    /// Why it is not ready, or why another engine answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `/admin/reload`: what reading the configuration anew has changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReloadAnswer {
    /// Keys of the configuration whose new values count from now on.
    pub changed: Vec<String>,
    /// Keys whose new values will count when the daemon is started again.
    pub needs_restart: Vec<String>,
}
