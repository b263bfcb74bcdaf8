//! A model's folder in Hugging Face layout: `config.json`, `tokenizer.json`, safetensors. Whatever of it doesn't depend on the kind of network
//! is read here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::request::TokenId;
use crate::vocabulary::{ChatSettings, TokenizerVocabulary};

mod fingerprint;
pub mod header;
pub(crate) mod settings;
mod tensor_file;

pub(crate) use fingerprint::Fingerprint;
pub(crate) use header::Entry;
pub(crate) use tensor_file::TensorFile;

const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// How the names of its shards end.
const SHARD: &str = ".safetensors";
const CONFIG: &str = "config.json";
const GENERATION: &str = "generation_config.json";
const TOKENIZER: &str = "tokenizer.json";

/// A folder whose files are read as they are asked for. Each that decides the output goes into a fingerprint.
pub(crate) struct Checkpoint<'a> {
    folder: &'a Path,
}

impl<'a> Checkpoint<'a> {
    pub(crate) fn new(folder: &'a Path) -> Self {
        Self { folder }
    }

    /// Where a file of the folder lies.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// What `config.json` says.
    ///
    /// # Errors
    /// A sentence naming the file.
    pub(crate) fn config(&self, fingerprint: &mut Fingerprint) -> Result<Value, String> {
        self.json(CONFIG, fingerprint)?.ok_or_else(|| format!("{} is not there", self.path(CONFIG).display()))
    }

    /// The end tokens of `config.json` and those that `generation_config.json` names besides, in order, of a network that knows `limit` tokens.
    ///
    /// # Errors
    /// A sentence naming the file.
    pub(crate) fn end_tokens(&self, of_config: &[TokenId], limit: usize, fingerprint: &mut Fingerprint) -> Result<Vec<TokenId>, String> {
        let mut all = of_config.to_vec();
        if let Some(generation) = self.json(GENERATION, fingerprint)? {
            let named = end_tokens(generation.get("eos_token_id"));
            all.extend(named.map_err(|cause| format!("{}: {cause}", self.path(GENERATION).display()))?);
        }
        // Transformers writes GPT-2's own 50256 into the files of small models, too; a token that isn't there ends nothing.
        all.retain(|&token| (token as usize) < limit);
        all.sort_unstable();
        all.dedup();
        Ok(all)
    }

    /// The vocabulary with its chat template, and a hash of the files it was made of. `limit` is the number of tokens that the network knows.
    ///
    /// # Errors
    /// A sentence naming the file, and in it the token or the template's fault.
    pub(crate) fn vocabulary(&self, limit: usize, end_tokens: Vec<TokenId>) -> Result<(TokenizerVocabulary, Fingerprint), String> {
        let mut fingerprint = Fingerprint::default();
        let chat = self.chat_settings(&mut fingerprint)?;
        let path = self.path(TOKENIZER);
        let json = read_file(&path)?;
        fingerprint.add(TOKENIZER, &json);
        let vocabulary = TokenizerVocabulary::from_json(&json, limit, end_tokens, chat);
        Ok((vocabulary.map_err(|cause| format!("{}: {cause}", path.display()))?, fingerprint))
    }

    /// `model.safetensors`, or the shards that its index names.
    ///
    /// # Errors
    /// A sentence naming the folder or the index.
    pub(crate) fn weights(&self) -> Result<Vec<PathBuf>, String> {
        if self.path(WEIGHTS).is_file() {
            return Ok(vec![self.path(WEIGHTS)]);
        }
        let path = self.path(INDEX);
        if !path.is_file() {
            return Err(format!("{}: neither {WEIGHTS} nor {INDEX} is there", self.folder.display()));
        }
        let named = |cause: String| format!("{}: {cause}", path.display());
        let index = parse_json(&path, &read_file(&path)?)?;
        let map = index.get("weight_map").and_then(Value::as_object).ok_or_else(|| named("weight_map is missing".to_owned()))?;
        let mut names = BTreeSet::new();
        for (tensor, name) in map {
            // The index comes from a stranger; it names files of this folder and no others, and none that opening would run.
            let plain = |name: &&str| !name.starts_with('.') && !name.contains(['/', '\\', ':', '\0']) && name.ends_with(SHARD);
            let Some(plain) = name.as_str().filter(plain) else {
                return Err(named(format!(
                    "tensor {tensor} is said to be in {name}, which is no plain name of a file of this folder that ends with {SHARD}"
                )));
            };
            names.insert(plain.to_owned());
        }
        if names.is_empty() {
            return Err(named("weight_map is empty".to_owned()));
        }
        Ok(names.iter().map(|name| self.path(name)).collect())
    }

    fn chat_settings(&self, fingerprint: &mut Fingerprint) -> Result<ChatSettings, String> {
        let settings = self.json("tokenizer_config.json", fingerprint)?.unwrap_or_default();
        let name = |token: &str| {
            let token = &settings[token];
            token.as_str().or_else(|| token["content"].as_str()).unwrap_or_default().to_owned()
        };
        // One template, or several with names.
        let named = |templates: &Value| {
            let default = templates.as_array()?.iter().find(|template| template["name"] == "default")?;
            default["template"].as_str().map(ToOwned::to_owned)
        };
        let written = &settings["chat_template"];
        // Newer checkpoints keep their template in a file of its own.
        let template = match self.text("chat_template.jinja", fingerprint)? {
            Some(template) => Some(template),
            None => written.as_str().map(ToOwned::to_owned).or_else(|| named(written)),
        };
        Ok(ChatSettings { template, begin: name("bos_token"), end: name("eos_token") })
    }

    /// A text file of the folder; `None` if there is none of this name.
    fn text(&self, name: &str, fingerprint: &mut Fingerprint) -> Result<Option<String>, String> {
        let Some((path, bytes)) = self.file(name, fingerprint)? else { return Ok(None) };
        String::from_utf8(bytes).map(Some).map_err(|error| format!("{}: it isn't text: {error}", path.display()))
    }

    /// A JSON file of the folder; `None` if there is none of this name.
    fn json(&self, name: &str, fingerprint: &mut Fingerprint) -> Result<Option<Value>, String> {
        let Some((path, bytes)) = self.file(name, fingerprint)? else { return Ok(None) };
        parse_json(&path, &bytes).map(Some)
    }

    /// A file of the folder that may not be there.
    fn file(&self, name: &str, fingerprint: &mut Fingerprint) -> Result<Option<(PathBuf, Vec<u8>)>, String> {
        let path = self.path(name);
        if !path.is_file() {
            return Ok(None);
        }
        let bytes = read_file(&path)?;
        fingerprint.add(name, &bytes);
        Ok(Some((path, bytes)))
    }
}

/// What `eos_token_id` says: nothing, one token or several.
///
/// # Errors
/// A sentence naming the key and its value.
pub(crate) fn end_tokens(value: Option<&Value>) -> Result<Vec<TokenId>, String> {
    let tokens = match value {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(tokens)) => tokens.as_slice(),
        Some(token) => std::slice::from_ref(token),
    };
    let token = |token: &Value| token.as_u64().and_then(|token| TokenId::try_from(token).ok());
    tokens
        .iter()
        .map(|value| token(value).ok_or_else(|| format!("eos_token_id is {value}; it must be a token or a list of tokens")))
        .collect()
}

/// A whole file.
fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{} can't be read: {error}", path.display()))
}

/// The JSON that a file holds.
fn parse_json(path: &Path, bytes: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(bytes).map_err(|error| format!("{} is not JSON: {error}", path.display()))
}
