//! What a server's list of models says of the one that is asked.

use serde_json::Value;

/// A model, as far as its server describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Description {
    /// Tokens that one request may hold.
    pub context: Option<usize>,
    /// A hash of all that decides its output.
    pub fingerprint: Option<String>,
}

impl Description {
    /// Looks for the model in a list; `None` where it isn't there.
    pub fn find(list: &Value, model: &str) -> Option<Self> {
        let entries = list.get("data")?.as_array()?;
        // Ollama lists `llama3.2` as `llama3.2:latest`.
        let is_model = |entry: &&Value| {
            let id = entry.get("id").and_then(Value::as_str).unwrap_or_default();
            id == model || id.strip_suffix(":latest") == Some(model)
        };
        entries.iter().find(is_model).map(Self::of)
    }

    fn of(entry: &Value) -> Self {
        // MiniVault's, vLLM's, llama-server's, and what hosts of many models call it.
        const CONTEXT: [&str; 6] = [
            "/minivault/loaded/context_length",
            "/max_model_len",
            "/meta/n_ctx",
            "/context_length",
            "/context_window",
            "/meta/n_ctx_train",
        ];
        let context = CONTEXT.iter().find_map(|place| entry.pointer(place)?.as_u64()).and_then(|tokens| usize::try_from(tokens).ok());
        let fingerprint = entry.pointer("/minivault/loaded/fingerprint").and_then(Value::as_str).map(str::to_owned);
        Self { context: context.filter(|tokens| *tokens > 1), fingerprint }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_servers_list_is_understood() {
        let check = |entry: Value, model: &str, context: Option<usize>| {
            let list = json!({"object": "list", "data": [{"id": "other", "max_model_len": 9}, entry]});
            assert_eq!(Description::find(&list, model).map(|description| description.context), Some(context), "{list}");
        };
        check(json!({"id": "m", "minivault": {"loaded": {"context_length": 64}}}), "m", Some(64));
        check(json!({"id": "m", "minivault": {"state": "idle"}}), "m", None);
        check(json!({"id": "m", "max_model_len": 4096}), "m", Some(4096));
        check(json!({"id": "m", "meta": {"n_ctx_train": 2048}}), "m", Some(2048));
        check(json!({"id": "llama3.2:latest", "object": "model"}), "llama3.2", None);
        assert_eq!(Description::find(&json!({"data": [{"id": "other"}]}), "m"), None);
        assert_eq!(Description::find(&json!({"models": []}), "m"), None);
    }
}
