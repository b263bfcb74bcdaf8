//! Headers of which a request may have one.

use axum::http::{HeaderMap, HeaderName};

use crate::error::ApiError;

/// The header's text, where it is there.
///
/// # Errors
/// It is there twice, or isn't ASCII text: then nobody can say what the client meant.
pub(super) fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, ApiError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(ApiError::invalid(None, format!("there is more than one {name} header")));
    }
    value.to_str().map(Some).map_err(|_| ApiError::invalid(None, format!("the {name} header isn't ASCII text")))
}
