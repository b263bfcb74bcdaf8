//! What belongs into a model's folder.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;

use super::attempts::{Attempt, Miss};
use super::location::check_file_name;
use crate::foreign;

/// Files that no model is without.
pub(super) const REQUIRED: [&str; 2] = ["config.json", "tokenizer.json"];
/// Files that many models are without.
pub(super) const OPTIONAL: [&str; 3] = ["tokenizer_config.json", "generation_config.json", "chat_template.jinja"];
/// The weights in one file.
pub(super) const WEIGHTS: &str = "model.safetensors";
/// The list of the files that the weights are spread over.
pub(super) const INDEX: &str = "model.safetensors.index.json";
/// How the names of those files end.
const SHARD: &str = ".safetensors";

/// An index of a model of a thousand layers is still far below this.
const LONGEST_INDEX: u64 = 64 << 20;

/// Nothing, if the folder has all that a model needs; otherwise what is missing.
pub(super) fn check(folder: &Path) -> Attempt<()> {
    let mut missing: Vec<String> =
        REQUIRED.into_iter().filter(|name| !folder.join(name).is_file()).map(|name| format!("`{name}`")).collect();
    match weights(folder)? {
        Some(weights) => missing.extend(weights.into_iter().filter(|name| !folder.join(name).is_file()).map(|name| format!("`{name}`"))),
        None => missing.push(format!("`{WEIGHTS}` (or `{INDEX}` and its shards)")),
    }
    if missing.is_empty() {
        return Ok(());
    }
    let instead = foreign_weights(folder).map(|name| format!("; `{name}` is there, and {}", foreign::ONLY));
    Err(Miss::new(format!("{} lacks {}{}", folder.display(), missing.join(", "), instead.unwrap_or_default())))
}

/// The first file of weights in a format that is never loaded.
fn foreign_weights(folder: &Path) -> Option<String> {
    let names = std::fs::read_dir(folder).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| foreign::is_name_of_weights(name)).min()
}

/// The files of the weights by name, whether they are there or not. `None`: the folder has neither a file nor an index.
pub(super) fn weights(folder: &Path) -> Attempt<Option<Vec<String>>> {
    if folder.join(WEIGHTS).is_file() {
        return Ok(Some(vec![WEIGHTS.to_owned()]));
    }
    let index = folder.join(INDEX);
    if index.is_file() { shards(&index).map(Some) } else { Ok(None) }
}

/// The files that an index names, each once.
pub(super) fn shards(index: &Path) -> Attempt<Vec<String>> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }

    let length = std::fs::metadata(index).map_err(|error| Miss::disk("read", index, error))?.len();
    if length > LONGEST_INDEX {
        return Err(Miss::new(format!("{} has {length} bytes; an index has at most {LONGEST_INDEX}", index.display())));
    }
    let text = std::fs::read(index).map_err(|error| Miss::disk("read", index, error))?;
    let parsed: Index =
        serde_json::from_slice(&text).map_err(|error| Miss::new(format!("{} is no index of weights: {error}", index.display())))?;
    let names: BTreeSet<String> = parsed.weight_map.into_values().collect();
    if names.is_empty() {
        return Err(Miss::new(format!("{} names no file", index.display())));
    }
    for name in &names {
        check_file_name(name).map_err(|_| {
            Miss::new(format!("{} names the file `{name}`, which is refused: it may lead out of the model's folder", index.display()))
        })?;
        if !name.ends_with(SHARD) {
            return Err(Miss::new(format!("{} names the file `{name}`, which is refused: {}", index.display(), foreign::ONLY)));
        }
    }
    Ok(names.into_iter().collect())
}
