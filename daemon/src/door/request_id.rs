//! `x-request-id`: taken or made, and sent back with every answer, so that both sides can speak of the same request.

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Bytes of a client's own id that are sent back.
const LONGEST: usize = 128;

/// Answers with the request's id.
pub(super) async fn echo(request: Request, next: Next) -> Response {
    let taken = request.headers().get(&REQUEST_ID).filter(|id| !id.is_empty() && id.len() <= LONGEST).cloned();
    let id = taken.or_else(|| HeaderValue::try_from(uuid::Uuid::now_v7().simple().to_string()).ok());
    let mut response = next.run(request).await;
    if let Some(id) = id {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}
