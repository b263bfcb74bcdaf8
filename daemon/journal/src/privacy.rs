//! What of an interaction may be recorded.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use regex::Regex;
use serde_json::Value;

use crate::options::Recording;
use crate::record::{Record, TokenHashes};
use crate::segment::{PARTIAL, with_suffix};

/// What stands in the place of what was blackened.
const BLACKENED: &str = "[redacted]";
/// The request's field that holds a prompt's tokens.
const TOKENS: &str = "prompt_tokens";
/// What the file with the key is called, behind the log's name.
const KEY: &str = ".key";

/// Takes from records what isn't to be recorded.
pub(crate) struct Privacy {
    pub recording: Recording,
    redact: Vec<Regex>,
    /// Of the hashes, so that nobody without it finds short texts by trying.
    key: [u8; 32],
}

impl Privacy {
    /// With [`Recording::Hash`] the key is read from a file beside the log, which is made where there is none.
    pub fn new(log: &Path, recording: Recording, redact: Vec<Regex>) -> io::Result<Self> {
        let key = if recording == Recording::Hash { key(&with_suffix(log, KEY))? } else { [0; 32] };
        Ok(Self { recording, redact, key })
    }

    /// The record as it may be written.
    pub fn apply(&self, mut record: Record) -> Record {
        record.record = self.recording;
        match self.recording {
            Recording::Full => self.blacken(&mut record),
            Recording::Hash => self.hash_texts(&mut record),
            Recording::Meta | Recording::Off => leave_texts_out(&mut record),
        }
        record
    }

    fn blacken(&self, record: &mut Record) {
        if self.redact.is_empty() {
            return;
        }
        let mut found = false;
        let Record { prompt, response, tool_calls, request, error, .. } = record;
        for text in [prompt, response].into_iter().chain(error) {
            found |= self.blacken_text(text);
        }
        // The request's own numbers are settings.
        let written = tool_calls.iter_mut().chain(texts_of(request));
        found |= written.fold(false, |found, value| self.blacken_value(value) | found);
        if found {
            record.redacted = true;
            leave_tokens_out(record);
        }
    }

    fn blacken_text(&self, text: &mut String) -> bool {
        let mut found = false;
        for pattern in &self.redact {
            if let std::borrow::Cow::Owned(blackened) = pattern.replace_all(text, BLACKENED) {
                (*text, found) = (blackened, true);
            }
        }
        found
    }

    fn blacken_value(&self, value: &mut Value) -> bool {
        match value {
            Value::String(text) => self.blacken_text(text),
            Value::Array(values) => values.iter_mut().fold(false, |found, value| self.blacken_value(value) | found),
            Value::Object(fields) => {
                // What somebody calls a field, in a schema for example, is a text like any other.
                let names: Vec<(String, String)> = fields
                    .keys()
                    .filter_map(|name| {
                        let mut blackened = name.clone();
                        self.blacken_text(&mut blackened).then(|| (name.clone(), blackened))
                    })
                    .collect();
                let found = !names.is_empty();
                for (name, blackened) in names {
                    if let Some(value) = fields.remove(&name) {
                        fields.insert(blackened, value);
                    }
                }
                fields.values_mut().fold(found, |found, value| self.blacken_value(value) | found)
            }
            Value::Number(number) => {
                let mut text = number.to_string();
                let found = self.blacken_text(&mut text);
                if found {
                    *value = text.into();
                }
                found
            }
            Value::Null | Value::Bool(_) => false,
        }
    }

    fn hash_texts(&self, record: &mut Record) {
        record.token_hashes = Some(TokenHashes {
            prompt: self.hash(bytes_of(&record.prompt_token_ids).as_slice()),
            response: self.hash(bytes_of(&record.response_token_ids).as_slice()),
        });
        leave_tokens_out(record);
        let Record { prompt, response, tool_calls, request, error, .. } = record;
        for text in [prompt, response].into_iter().chain(error) {
            *text = self.hash(text.as_bytes());
        }
        for call in tool_calls {
            *call = self.hash(call.to_string().as_bytes()).into();
        }
        for value in texts_of(request) {
            *value = self.hash(value.to_string().as_bytes()).into();
        }
    }

    fn hash(&self, bytes: &[u8]) -> String {
        format!("blake3:{}", blake3::keyed_hash(&self.key, bytes).to_hex())
    }
}

fn leave_texts_out(record: &mut Record) {
    leave_tokens_out(record);
    (record.prompt, record.response, record.error) = (String::new(), String::new(), None);
    record.tool_calls.clear();
    match &mut record.request {
        Value::Object(fields) => fields.retain(|_, value| is_setting(value)),
        other => *other = Value::Null,
    }
}

/// Tokens are texts, too.
fn leave_tokens_out(record: &mut Record) {
    record.prompt_token_ids.clear();
    record.response_token_ids.clear();
    if let Value::Object(fields) = &mut record.request {
        fields.remove(TOKENS);
    }
}

/// The request's fields that may hold what somebody wrote: all but numbers, switches, what is empty, and tokens, which go as a whole. What
/// is no object may be all text.
fn texts_of(request: &mut Value) -> impl Iterator<Item = &mut Value> {
    let (fields, whole) = match request {
        Value::Object(fields) => (Some(fields.iter_mut()), None),
        other => (None, Some(other)),
    };
    let texts = fields.into_iter().flatten().filter(|(name, value)| *name != TOKENS && !is_setting(value));
    texts.map(|(_, value)| value).chain(whole)
}

fn is_setting(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

fn bytes_of(tokens: &[u32]) -> Vec<u8> {
    tokens.iter().flat_map(|token| token.to_le_bytes()).collect()
}

/// The key in this file, in hex; made where there is none.
fn key(path: &Path) -> io::Result<[u8; 32]> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, format!("{} holds no key of 64 hex digits", path.display()));
    match fs::read_to_string(path) {
        Ok(text) => blake3::Hash::from_hex(text.trim()).map(|key| *key.as_bytes()).map_err(|_| wrong()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut key = [0; 32];
            getrandom::fill(&mut key).map_err(io::Error::other)?;
            // Killed in the middle, the next start makes another one; nothing was hashed with this one.
            let partial = with_suffix(path, PARTIAL);
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
            writeln!(file, "{}", blake3::Hash::from_bytes(key).to_hex())?;
            file.sync_all()?;
            fs::rename(&partial, path)?;
            Ok(key)
        }
        Err(error) => Err(error),
    }
}
