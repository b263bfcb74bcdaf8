//! The bodies in which servers say what is wrong, in their dialects.

use serde_json::Value;

/// What a server says of a request that it didn't serve.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Complaint {
    /// Its words.
    pub message: String,
    /// The field it means.
    pub param: Option<String>,
    /// The status, where it stands in the body (llama-server, vLLM).
    pub status: Option<u16>,
    /// A word for programs: `code` or `type`.
    kinds: Vec<String>,
    /// Tokens of the prompt and of the context (llama-server, MiniVault).
    tokens: Option<(usize, usize)>,
}

impl Complaint {
    /// Reads a body: `{"error": {"message": …}}` as OpenAI writes it, `{"error": "…"}` (Ollama), the same without `error` (older vLLM),
    /// `{"detail": …}` (FastAPI); anything else is taken word for word.
    pub fn read(body: &str) -> Self {
        match serde_json::from_str(body) {
            Ok(value @ Value::Object(_)) => Self::of(&value),
            _ => Self { message: body.to_owned(), ..Self::default() },
        }
    }

    /// An event that is an error, and nothing else.
    pub fn in_event(event: &Value) -> Option<Self> {
        let is_one = event.get("error").is_some_and(|error| !error.is_null()) || event.get("object").is_some_and(|kind| kind == "error");
        is_one.then(|| Self::of(event))
    }

    fn of(value: &Value) -> Self {
        let error = value.get("error").filter(|error| !error.is_null()).unwrap_or(value);
        let text = |key: &str| error.get(key).and_then(Value::as_str).map(str::to_owned);
        let number = |key: &str| error.get(key).and_then(Value::as_u64).and_then(|number| usize::try_from(number).ok());
        let message = match error {
            Value::String(message) => message.clone(),
            _ => text("message").or_else(|| text("detail")).unwrap_or_else(|| error.to_string()),
        };
        Self {
            message,
            param: text("param"),
            status: error.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok()),
            kinds: [text("code"), text("type")].into_iter().flatten().collect(),
            tokens: number("n_prompt_tokens").zip(number("n_ctx")),
        }
    }

    /// Tokens of the prompt and of the context, where the complaint is that the one doesn't fit the other.
    pub fn too_long(&self) -> Option<(usize, usize)> {
        let named = self.kinds.iter().any(|kind| matches!(kind.as_str(), "context_length_exceeded" | "exceed_context_size_error"));
        let in_words = self.message.contains("maximum context length");
        if !named && !in_words {
            return None;
        }
        self.tokens.or_else(|| self.tokens_in_words())
    }

    /// The same out of the sentences of OpenAI and vLLM, which have stayed what they are for years because clients look for them:
    /// "This model's maximum context length is 4097 tokens. However, you requested 4927 tokens (3927 in the messages, 1000 in the
    /// completion)", "… your messages resulted in 5000 tokens", "your request has 3927 input tokens".
    fn tokens_in_words(&self) -> Option<(usize, usize)> {
        let limit = number_after(&self.message, "maximum context length is ")?;
        let before = [" in the messages", " in the prompt", " in your prompt", " input tokens", " of text input"];
        let prompt = before.iter().find_map(|words| number_before(&self.message, words));
        let after = ["resulted in ", "at least "];
        Some((prompt.or_else(|| after.iter().find_map(|words| number_after(&self.message, words)))?, limit))
    }
}

fn number_after(text: &str, words: &str) -> Option<usize> {
    let rest = &text[text.find(words)? + words.len()..];
    rest.split(|character: char| !character.is_ascii_digit()).next()?.parse().ok()
}

fn number_before(text: &str, words: &str) -> Option<usize> {
    let rest = &text[..text.find(words)?];
    rest.rsplit(|character: char| !character.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, message: &str, too_long: Option<(usize, usize)>) {
        let complaint = Complaint::read(body);
        assert_eq!((complaint.message.as_str(), complaint.too_long()), (message, too_long), "{body}");
    }

    #[test]
    fn every_dialect_is_understood() {
        check(r#"{"error": {"message": "no", "type": "invalid_request_error", "param": null, "code": null}}"#, "no", None);
        check(r#"{"error": "model \"x\" not found"}"#, "model \"x\" not found", None);
        check(r#"{"object": "error", "message": "no", "type": "BadRequestError", "code": 400}"#, "no", None);
        check(r#"{"detail": "Not Found"}"#, "Not Found", None);
        check(r#"{"detail": [{"loc": ["body"]}]}"#, r#"{"detail":[{"loc":["body"]}]}"#, None);
        check("Bad Gateway", "Bad Gateway", None);
        check("", "", None);
        check("[1]", "[1]", None);
    }

    #[test]
    fn a_prompt_that_is_too_long_is_recognized_with_its_numbers() {
        let llama =
            r#"{"error": {"code": 400, "message": "too much", "type": "exceed_context_size_error", "n_prompt_tokens": 70, "n_ctx": 64}}"#;
        check(llama, "too much", Some((70, 64)));
        let ours = r#"{"error": {"message": "long", "code": "context_length_exceeded", "n_prompt_tokens": 7, "n_ctx": 64}}"#;
        check(ours, "long", Some((7, 64)));
        for (words, numbers) in [
            (
                "This model's maximum context length is 4097 tokens. However, you requested 4927 tokens (3927 in the messages, 1000 in the completion).",
                (3927, 4097),
            ),
            (
                "This model's maximum context length is 4097 tokens, however you requested 4113 tokens (4013 in your prompt; 100 for the completion).",
                (4013, 4097),
            ),
            ("This model's maximum context length is 4097 tokens. However, your messages resulted in 5000 tokens.", (5000, 4097)),
            (
                "'max_tokens' is too large: 100. This model's maximum context length is 64 tokens and your request has 7 input tokens (100 > 64 - 7).",
                (7, 64),
            ),
        ] {
            check(&serde_json::json!({"error": {"message": words}}).to_string(), words, Some(numbers));
        }
        check(r#"{"error": {"message": "too long", "code": "context_length_exceeded"}}"#, "too long", None);
    }
}
