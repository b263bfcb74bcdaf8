//! What several of OpenAI's bodies share.

use serde::{Deserialize, Deserializer, Serialize};

/// What a stream tells besides its text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StreamOptions {
    /// A last chunk without choices carries the usage.
    #[serde(default)]
    pub include_usage: bool,
}

/// A seed of either sign: OpenAI's are signed, and the bits are what counts.
///
/// # Errors
/// Anything but a whole number of 64 bits.
pub(crate) fn seed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "seed must be a whole number of at most 64 bits")]
    enum Seed {
        Positive(u64),
        Negative(i64),
    }
    Ok(Option::<Seed>::deserialize(deserializer)?.map(|seed| match seed {
        Seed::Positive(seed) => seed,
        Seed::Negative(seed) => seed.cast_unsigned(),
    }))
}

#[cfg(test)]
mod tests {
    use crate::completions::CompletionBody;

    #[test]
    fn seeds_have_either_sign() {
        let seed =
            |text: &str| serde_json::from_str::<CompletionBody>(&format!(r#"{{"prompt": "", "seed": {text}}}"#)).map(|body| body.seed);
        assert_eq!(seed("7").unwrap(), Some(7));
        assert_eq!(seed("-1").unwrap(), Some(u64::MAX));
        assert_eq!(seed("18446744073709551615").unwrap(), Some(u64::MAX));
        assert_eq!(seed("null").unwrap(), None);
        assert!(seed("1.5").unwrap_err().to_string().contains("seed must be a whole number"));
    }
}
