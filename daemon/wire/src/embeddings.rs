//! `/v1/embeddings`, in OpenAI's form: texts in, vectors out.

use serde::{Deserialize, Serialize};

/// The body of a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EmbeddingsBody {
    /// What to make vectors of.
    pub input: Input,
    /// The engine to ask; left out, the default one answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// How the vectors are written; left out, as numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding_format: Option<EncodingFormat>,
    /// How wide the vectors shall be; only the model's own width can be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<usize>,
    /// Who asks; no answer depends on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// One text or several, as characters or as tokens of the model's vocabulary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged, expecting = "input must be a string, a list of strings, a list of tokens, or a list of such lists")]
pub enum Input {
    /// `"input": "Hello"`
    Text(String),
    /// `"input": ["Hello", "world"]`
    Texts(Vec<String>),
    /// `"input": [15496, 995]`
    Tokens(Vec<u32>),
    /// `"input": [[15496], [995]]`
    TokenLists(Vec<Vec<u32>>),
}

/// How a vector is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum EncodingFormat {
    /// As a list of numbers.
    #[default]
    Float,
    /// As the bytes of its numbers, each 32 bits of IEEE 754, least byte first, in base64.
    Base64,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EmbeddingsAnswer {
    /// `list`.
    pub object: String,
    /// One vector for each text, in their order.
    pub data: Vec<Embedding>,
    /// The engine that computed them.
    pub model: String,
    /// What it took.
    pub usage: EmbeddingsUsage,
}

/// The vector of one text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Embedding {
    /// `embedding`.
    pub object: String,
    /// The text's place in the input, from 0.
    pub index: usize,
    /// The vector, of length 1.
    pub embedding: Vector,
}

/// A vector, written in either way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum Vector {
    /// See [`EncodingFormat::Float`].
    Numbers(Vec<f32>),
    /// See [`EncodingFormat::Base64`].
    Base64(String),
}

/// What the vectors took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EmbeddingsUsage {
    /// Tokens in all texts.
    pub prompt_tokens: usize,
    /// The same.
    pub total_tokens: usize,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn input_comes_in_four_shapes() {
        let read = |input| serde_json::from_value::<EmbeddingsBody>(json!({ "input": input })).map(|body| body.input);
        assert_eq!(read(json!("a")).unwrap(), Input::Text("a".into()));
        assert_eq!(read(json!(["a", "b"])).unwrap(), Input::Texts(vec!["a".into(), "b".into()]));
        assert_eq!(read(json!([1, 2])).unwrap(), Input::Tokens(vec![1, 2]));
        assert_eq!(read(json!([[1], [2]])).unwrap(), Input::TokenLists(vec![vec![1], vec![2]]));
        for wrong in [json!(7), json!([1, "a"]), json!([-1]), json!({"text": "a"})] {
            assert!(read(wrong.clone()).unwrap_err().to_string().contains("input must be"), "{wrong}");
        }
    }
}
