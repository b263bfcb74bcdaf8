//! `/admin/reload`: for whoever runs the daemon.

use axum::Json;
use axum::extract::State;
use minivault_wire::status::ReloadAnswer;

use super::App;
use crate::error::ApiError;
use crate::openapi::{AnyTime, Reloading};
use crate::reload;

/// Reads the configuration anew: keys, limits, defaults and engines, without dropping a stream. A request that has begun ends as it began.
#[utoipa::path(
    post,
    path = "/admin/reload",
    tag = "status",
    responses((status = 200, description = "What has changed", body = ReloadAnswer), Reloading, AnyTime)
)]
pub(super) async fn reload(State(app): State<App>) -> Result<Json<ReloadAnswer>, ApiError> {
    if app.is_draining() {
        return Err(ApiError::draining());
    }
    reload::ask(&app.reloads).await.map(Json)
}
