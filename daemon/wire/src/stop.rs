//! Stop strings, one or several.

use serde::{Deserialize, Serialize};

/// What ends an answer: a string or a list of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged, expecting = "stop must be a string or a list of strings")]
pub enum Stop {
    /// `"stop": "\n"`
    One(String),
    /// `"stop": ["\n", "END"]`
    Many(Vec<String>),
}

impl From<Stop> for Vec<String> {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::One(one) => vec![one],
            Stop::Many(many) => many,
        }
    }
}
