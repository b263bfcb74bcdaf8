//! A request's headers: how many and how long, and those of which there may be one.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName};

use crate::error::ApiError;

/// What a request's headers may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many.
    pub count: usize,
    /// Bytes of all of them, the first line included.
    pub bytes: usize,
}

impl Limits {
    /// Whether these headers are within them.
    ///
    /// # Errors
    /// They aren't.
    pub(super) fn check(&self, request: &Request) -> Result<(), ApiError> {
        let count = request.headers().len();
        if count > self.count {
            return Err(ApiError::headers_too_large(&format!("there are {count} headers; the limit is {}", self.count)));
        }
        // The blank, the colon and the line end belong to each.
        let line = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
        let bytes = line + request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>();
        if bytes > self.bytes {
            return Err(ApiError::headers_too_large(&format!("the headers have {bytes} bytes; the limit is {}", self.bytes)));
        }
        Ok(())
    }
}

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
