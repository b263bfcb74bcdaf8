//! The tokens that a GGUF file's metadata describe, as a [`Tokenizer`].

use std::collections::HashMap;

use candle_core::quantized::gguf_file::Value;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;
use tokenizers::{AddedToken, Tokenizer};

use super::{ChatSettings, Particulars, TokenizerVocabulary};
use crate::request::TokenId;

/// What `tokenizer.ggml.token_type` says of a token that is text, of one that was added to the vocabulary as text, and of a single byte.
/// All others (1 normal, 2 unknown, 3 control, 4 added, 5 unused, 6 byte) are never text.
const NORMAL: i32 = 1;
const ADDED: i32 = 4;
const BYTE: i32 = 6;

/// Keys that name a token which ends a text or a turn.
const END_KEYS: [&str; 3] = ["eos_token_id", "eot_token_id", "eom_token_id"];
/// How such tokens are called where no key names them.
const END_NAMES: [&str; 9] =
    ["<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<end_of_turn>", "<|end|>", "</s>", "<reponame>"];

/// What is between the words of a text, by the name that `tokenizer.ggml.pre` gives it.
const KNOWN_SPLITS: &str = "gpt-2, smollm, llama-bpe";
/// Llama 3's: contractions, words with the mark before them, up to three digits, marks, line breaks, blanks.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The vocabulary of a file with these metadata; `limit` is the number of tokens that the network knows.
///
/// # Errors
/// A sentence naming the key and its value.
pub(crate) fn vocabulary(metadata: &HashMap<String, Value>, limit: usize) -> Result<TokenizerVocabulary, String> {
    let keys = Keys { metadata };
    let model = keys.text("model")?.ok_or("key `tokenizer.ggml.model` is missing")?;
    if model != "gpt2" {
        return Err(format!("key `tokenizer.ggml.model` is `{model}`; this backend reads `gpt2`, byte-level BPE"));
    }
    let names = keys.texts("tokens")?;
    let types = keys.types(names.len())?;
    let tokenizer = tokenizer(&keys, &names, &types)?;
    let name = |key| Ok::<_, String>(keys.token(key, names.len())?.map(|id| names[id as usize].clone()).unwrap_or_default());
    let template = match metadata.get("tokenizer.chat_template") {
        None => None,
        Some(Value::String(template)) => Some(template.clone()),
        Some(_) => return Err("key `tokenizer.chat_template` isn't a string".into()),
    };
    let chat = ChatSettings { template, begin: name("bos_token_id")?, end: name("eos_token_id")? };
    let prompt_prefix = match keys.flag("add_bos_token")? {
        Some(true) => keys.token("bos_token_id", names.len())?.into_iter().collect(),
        _ => Vec::new(),
    };
    let end_tokens = end_tokens(&keys, &names, &types)?;
    TokenizerVocabulary::new(tokenizer, Particulars { limit, end_tokens, prompt_prefix, chat })
}

fn tokenizer(keys: &Keys<'_>, names: &[String], types: &[i32]) -> Result<Tokenizer, String> {
    let split = keys.text("pre")?.unwrap_or("gpt-2");
    let merges = keys.texts("merges")?;
    let merges = merges.iter().map(|merge| match merge.split_once(' ') {
        Some((left, right)) => Ok((left.to_owned(), right.to_owned())),
        None => Err(format!("key `tokenizer.ggml.merges` holds `{merge}`; a merge is two tokens with a blank between them")),
    });
    let ids: Vocab = names.iter().cloned().zip(0..).collect();
    if ids.len() != names.len() {
        return Err("key `tokenizer.ggml.tokens` holds a token twice".into());
    }
    // Llama 3's vocabulary has words that its merges don't lead to.
    let builder = BPE::builder().vocab_and_merges(ids, merges.collect::<Result<_, _>>()?).ignore_merges(split == "llama-bpe");
    let model = builder.build().map_err(|error| format!("the vocabulary can't be used: {error}"))?;
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_pre_tokenizer(Some(pre_tokenizer(split)?));
    let (mut controls, mut added) = (Vec::new(), Vec::new());
    for (name, &kind) in names.iter().zip(types) {
        match kind {
            NORMAL | BYTE => {}
            ADDED => added.push(AddedToken::from(name, false).normalized(false)),
            _ => controls.push(AddedToken::from(name, true)),
        }
    }
    tokenizer.add_special_tokens(&controls);
    tokenizer.add_tokens(&added);
    Ok(tokenizer)
}

fn pre_tokenizer(split: &str) -> Result<PreTokenizerWrapper, String> {
    let letters = |regex| PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, true, regex));
    let parts = match split {
        "gpt-2" => return Ok(letters(true)),
        "smollm" => vec![PreTokenizerWrapper::Digits(Digits::new(true)), letters(true)],
        "llama-bpe" => {
            let pattern = SplitPattern::Regex(LLAMA3.into());
            let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false).map_err(|error| error.to_string())?;
            vec![PreTokenizerWrapper::Split(split), letters(false)]
        }
        other => return Err(format!("key `tokenizer.ggml.pre` is `{other}`; this backend knows {KNOWN_SPLITS}")),
    };
    Ok(PreTokenizerWrapper::Sequence(Sequence::new(parts)))
}

fn end_tokens(keys: &Keys<'_>, names: &[String], types: &[i32]) -> Result<Vec<TokenId>, String> {
    let mut ends = Vec::new();
    for key in END_KEYS {
        ends.extend(keys.token(key, names.len())?);
    }
    let named = names.iter().zip(types).zip(0..).filter(|((name, kind), _)| **kind != NORMAL && END_NAMES.contains(&name.as_str()));
    ends.extend(named.map(|(_, id)| id));
    ends.sort_unstable();
    ends.dedup();
    Ok(ends)
}

/// Typed reading of the keys below `tokenizer.ggml`.
struct Keys<'a> {
    metadata: &'a HashMap<String, Value>,
}

impl<'a> Keys<'a> {
    fn get(&self, key: &str) -> Option<&'a Value> {
        self.metadata.get(&format!("tokenizer.ggml.{key}"))
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>, String> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong(key, other, "a string")),
        }
    }

    fn flag(&self, key: &str) -> Result<Option<bool>, String> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(wrong(key, other, "true or false")),
        }
    }

    fn texts(&self, key: &str) -> Result<Vec<String>, String> {
        let value = self.get(key).ok_or_else(|| format!("key `tokenizer.ggml.{key}` is missing"))?;
        let texts = value.to_vec().and_then(|texts| texts.iter().map(|text| text.to_string().cloned()).collect());
        texts.map_err(|_| wrong(key, value, "an array of strings"))
    }

    /// What sort each token is; all are text where the file doesn't say.
    fn types(&self, count: usize) -> Result<Vec<i32>, String> {
        let Some(value) = self.get("token_type") else { return Ok(vec![NORMAL; count]) };
        let types = value.to_vec().and_then(|types| types.iter().map(Value::to_i32).collect::<Result<Vec<_>, _>>());
        match types {
            Ok(types) if types.len() == count => Ok(types),
            _ => Err(wrong("token_type", value, &format!("an array of {count} numbers"))),
        }
    }

    fn token(&self, key: &str, count: usize) -> Result<Option<TokenId>, String> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::U32(id)) if (*id as usize) < count => Ok(Some(*id)),
            Some(other) => Err(wrong(key, other, &format!("a token below {count}"))),
        }
    }
}

fn wrong(key: &str, value: &Value, expected: &str) -> String {
    let seen = match value {
        Value::Array(values) => format!("an array of {}", values.len()),
        other => format!("{other:?}"),
    };
    format!("key `tokenizer.ggml.{key}` is {seen}; it must be {expected}")
}
