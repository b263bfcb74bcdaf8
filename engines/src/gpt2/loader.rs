//! From a folder in Hugging Face layout to a model that can be served.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

use super::Gpt2Config;
use super::architecture::{Architecture, end_tokens};
use super::kernels::Team;
use super::model::Gpt2Model;
use super::network::{Forward, Network};
use super::plain::PlainNetwork;
use super::vocabulary::{ChatSettings, Gpt2Vocabulary};
use super::weights::{self, Weights, parse_json, read_file};
use crate::error::{EngineError, Result};
use crate::local::Serve;
use crate::model::{ModelLoader, Vocabulary};
use crate::text_engine::{Capabilities, Determinism, EngineInfo};

/// Loads GPT-2 on the engine's thread.
#[derive(Debug, Clone)]
pub struct Gpt2Loader {
    /// The engine's name in the configuration.
    pub name: String,
    /// Where `config.json`, `tokenizer.json` and the weights are.
    pub folder: PathBuf,
    /// Where the folder came from, for people to read.
    pub origin: String,
    /// The engine's settings.
    pub config: Gpt2Config,
}

/// Who computes the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arithmetic {
    /// Kernels of our own.
    Kernels,
    /// candle's operations, always in f32: slower, and there to compare with.
    Plain,
}

/// A model in memory.
pub struct LoadedGpt2 {
    /// What it is.
    pub info: EngineInfo,
    /// Its tokens.
    pub vocabulary: Arc<dyn Vocabulary>,
    /// The network with its slots.
    pub model: Gpt2Model,
}

impl Gpt2Loader {
    /// Reads and checks everything.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] naming the file, and in it the setting, token or tensor, that is wrong.
    pub fn load(&self) -> Result<LoadedGpt2> {
        self.load_for(Arithmetic::Kernels)
    }

    /// [`Gpt2Loader::load`], with a choice of who computes.
    ///
    /// # Errors
    /// As there.
    pub fn load_for(&self, arithmetic: Arithmetic) -> Result<LoadedGpt2> {
        self.config.check()?;
        self.read(arithmetic).map_err(|cause| EngineError::Unavailable(format!("engine `{}` can't load its model: {cause}", self.name)))
    }

    fn read(&self, arithmetic: Arithmetic) -> Result<LoadedGpt2, String> {
        let mut fingerprint = Fingerprint::default();
        let architecture = self.architecture(&mut fingerprint)?;
        let paths = weights::files(&self.folder)?;
        // The tokenizer and the hash take as long as the weights do.
        let (vocabulary, network, hashed) = std::thread::scope(|scope| {
            let hashed = scope.spawn(|| fingerprint_of_files(&paths));
            let vocabulary = scope.spawn(|| self.vocabulary(&architecture));
            let network = self.network(&architecture, &paths, arithmetic);
            (join(vocabulary), network, join(hashed))
        });
        let (vocabulary, read) = vocabulary?;
        let network = network?;
        fingerprint.include(&read);
        fingerprint.include(&hashed?);
        let Gpt2Config { slots, step_tokens, embeddings, .. } = self.config;
        let info = EngineInfo {
            name: self.name.clone(),
            backend: "gpt2".to_owned(),
            model: self.config.model.clone(),
            source: self.origin.clone(),
            fingerprint: fingerprint.finish(),
            context_length: architecture.context,
            determinism: Determinism::Bitwise,
            capabilities: Capabilities { chat_template: vocabulary.has_chat_template(), logprobs: true, tokenize: true, embeddings },
        };
        let model = Gpt2Model::new(network, &architecture, slots, step_tokens, embeddings);
        Ok(LoadedGpt2 { info, vocabulary: Arc::new(vocabulary), model })
    }

    fn architecture(&self, fingerprint: &mut Fingerprint) -> Result<Architecture, String> {
        let path = self.folder.join("config.json");
        let config = self.json("config.json", fingerprint)?.ok_or_else(|| format!("{} is not there", path.display()))?;
        let mut architecture = Architecture::new(&config).map_err(|cause| format!("{}: {cause}", path.display()))?;
        if let Some(generation) = self.json("generation_config.json", fingerprint)? {
            let more = end_tokens(generation.get("eos_token_id"))
                .map_err(|cause| format!("{}: {cause}", self.folder.join("generation_config.json").display()))?;
            architecture.end_tokens.extend(more);
        }
        // Transformers writes GPT-2's own 50256 into the files of small models, too; a token that isn't there ends nothing.
        architecture.end_tokens.retain(|&token| (token as usize) < architecture.vocabulary);
        architecture.end_tokens.sort_unstable();
        architecture.end_tokens.dedup();
        Ok(architecture)
    }

    fn network(&self, architecture: &Architecture, paths: &[PathBuf], arithmetic: Arithmetic) -> Result<Box<dyn Forward>, String> {
        let weights = Weights::open(&self.folder, architecture, paths)?;
        let network: candle_core::Result<Box<dyn Forward>> = match arithmetic {
            Arithmetic::Kernels => {
                let team = Team::new(self.config.threads.count());
                Network::new(architecture, weights, self.config.dtype, team).map(|network| Box::new(network) as _)
            }
            Arithmetic::Plain => PlainNetwork::new(architecture, weights).map(|network| Box::new(network) as _),
        };
        network.map_err(|error| error.to_string())
    }

    /// The vocabulary, and a hash of the files it was made of.
    fn vocabulary(&self, architecture: &Architecture) -> Result<(Gpt2Vocabulary, Fingerprint), String> {
        let mut fingerprint = Fingerprint::default();
        let chat = self.chat_settings(&mut fingerprint)?;
        let path = self.folder.join("tokenizer.json");
        let json = read_file(&path)?;
        fingerprint.add("tokenizer.json", &json);
        let vocabulary = Gpt2Vocabulary::new(&json, architecture.vocabulary, architecture.end_tokens.clone(), chat);
        Ok((vocabulary.map_err(|cause| format!("{}: {cause}", path.display()))?, fingerprint))
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
        let path = self.folder.join(name);
        if !path.is_file() {
            return Ok(None);
        }
        let bytes = read_file(&path)?;
        fingerprint.add(name, &bytes);
        Ok(Some((path, bytes)))
    }
}

impl ModelLoader for Gpt2Loader {
    fn run(self: Box<Self>, serve: Serve) -> Result<()> {
        let LoadedGpt2 { info, vocabulary, mut model } = self.load()?;
        serve.serve(info, vocabulary, &mut model)
    }
}

/// What a thread returns; its panic goes on here.
fn join<T>(thread: std::thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// A hash of files that decide the output: their names, lengths and bytes.
#[derive(Default)]
struct Fingerprint(blake3::Hasher);

impl Fingerprint {
    /// The lengths keep the end of one file from passing for the beginning of the next.
    fn add(&mut self, name: &str, bytes: &[u8]) {
        for part in [name.as_bytes(), bytes] {
            self.0.update(&(part.len() as u64).to_le_bytes());
            self.0.update(part);
        }
    }

    fn include(&mut self, other: &Self) {
        self.0.update(other.0.finalize().as_bytes());
    }

    fn finish(self) -> String {
        self.0.finalize().to_hex().to_string()
    }
}

fn fingerprint_of_files(paths: &[PathBuf]) -> Result<Fingerprint, String> {
    let mut fingerprint = Fingerprint::default();
    for path in paths {
        let unreadable = |error: std::io::Error| format!("{} can't be read: {error}", path.display());
        let mut file = File::open(path).map_err(unreadable)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        fingerprint.add(&name, &file.metadata().map_err(unreadable)?.len().to_le_bytes());
        fingerprint.0.update_reader(&mut file).map_err(unreadable)?;
    }
    Ok(fingerprint)
}
