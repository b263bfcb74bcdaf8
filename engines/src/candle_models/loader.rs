//! From a folder or a file to a model that can be served.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::quantized::gguf_file::Content;
use candle_core::{Device, Tensor};
use candle_transformers::models::quantized_llama::ModelWeights;

use super::CandleConfig;
use super::architecture::Architecture;
use super::header::Header;
use super::model::Slots;
use super::network::Network;
use super::requantise;
use crate::checkpoint::{Checkpoint, Fingerprint, TensorFile};
use crate::error::{EngineError, Result};
use crate::gguf::Gguf;
use crate::local::Serve;
use crate::memory;
use crate::model::{Limits, Model, ModelLoader, Vocabulary};
use crate::text_engine::{Capabilities, Computation, Determinism, EngineInfo};
use crate::threads::available;
use crate::vocabulary::{TokenizerVocabulary, gguf};

/// What helps where there is too little memory.
const SMALLER: &str = "a model of fewer or smaller weights needs less";

/// Loads one of candle's models on the engine's thread.
#[derive(Debug, Clone)]
pub struct CandleLoader {
    /// The engine's name in the configuration.
    pub name: String,
    /// A folder in Hugging Face layout, or a GGUF file.
    pub path: PathBuf,
    /// Where it came from, for people to read.
    pub origin: String,
    /// The engine's settings.
    pub config: CandleConfig,
}

/// What was read, before it is known how long its sequences may get.
struct Loaded {
    network: Network,
    vocabulary: TokenizerVocabulary,
    context: usize,
    width: usize,
    fingerprint: String,
    model: String,
}

impl CandleLoader {
    /// Loads the model and lends it, with its vocabulary and what is to be said of it, to `work`.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] naming the file, and in it the setting, token or tensor that is wrong, or the error of `work`.
    pub fn lend<T>(&self, work: impl FnOnce(EngineInfo, Arc<dyn Vocabulary>, &mut dyn Model) -> Result<T>) -> Result<T> {
        self.config.check()?;
        warn_of_threads(&self.name);
        let loaded = if self.config.is_file() { self.read_file() } else { self.read_folder() };
        let Loaded { network, vocabulary, context, width, fingerprint, model } = loaded?;
        let info = EngineInfo {
            name: self.name.clone(),
            backend: "candle".into(),
            model,
            source: self.origin.clone(),
            fingerprint,
            context_length: context,
            // A lone token takes another way through candle's matrix product than one among others.
            determinism: Determinism::Serial,
            capabilities: Capabilities { chat_template: vocabulary.has_chat_template(), logprobs: true, tokenize: true, embeddings: false },
            computation: Computation {
                version: concat!("minivault ", env!("CARGO_PKG_VERSION"), ", candle 0.11").into(),
                threads: candle_core::utils::get_num_threads(),
                ..Computation::default()
            },
        };
        let limits = Limits { slots: self.config.slots, step_tokens: self.config.step_tokens, context, logits_width: width };
        work(info, Arc::new(vocabulary), &mut Slots::new(network, limits))
    }

    fn read_folder(&self) -> Result<Loaded> {
        let mut fingerprint = Fingerprint::default();
        let checkpoint = Checkpoint::new(&self.path);
        let architecture = self.architecture(&checkpoint, &mut fingerprint).map_err(|reason| self.unusable(&reason))?;
        let context = self.config.context_of(architecture.context)?;
        let load = || {
            let paths = checkpoint.weights()?;
            // Whatever they are in the files, here they are f32.
            let values: usize = architecture.tensors().values().map(|shape| shape.iter().product::<usize>()).sum();
            memory::check(values as u64 * 4, SMALLER)?;
            let (vocabulary, read) = checkpoint.vocabulary(architecture.vocabulary, architecture.end_tokens.clone())?;
            fingerprint.include(&read);
            fingerprint.include(&Fingerprint::of_files(&paths)?);
            let tensors = tensors(&self.path, &architecture, &paths)?;
            let network = architecture.network(tensors, context).map_err(|error| format!("candle can't use it: {error}"))?;
            let (width, model) = (architecture.vocabulary, self.config.model.clone());
            Ok::<_, String>(Loaded { network, vocabulary, context, width, fingerprint: fingerprint.finish(), model })
        };
        load().map_err(|reason| self.unusable(&reason))
    }

    fn architecture(&self, checkpoint: &Checkpoint<'_>, fingerprint: &mut Fingerprint) -> Result<Architecture, String> {
        let config = checkpoint.config(fingerprint)?;
        let mut architecture =
            Architecture::new(&config).map_err(|cause| format!("{}: {cause}", checkpoint.path("config.json").display()))?;
        architecture.end_tokens = checkpoint.end_tokens(&architecture.end_tokens, architecture.vocabulary, fingerprint)?;
        Ok(architecture)
    }

    fn read_file(&self) -> Result<Loaded> {
        // Nothing that the header claims is believed before this.
        drop(Gguf::open(&self.path)?);
        let open = || {
            let mut file = BufReader::with_capacity(1 << 18, File::open(&self.path).map_err(|error| error.to_string())?);
            let content = Content::read(&mut file).map_err(|error| format!("candle can't read its header: {error}"))?;
            let header = Header::of(&content)?;
            let vocabulary = gguf::vocabulary(&content.metadata, header.vocabulary)?;
            Ok::<_, String>((file, content, header, vocabulary))
        };
        let (mut file, content, header, vocabulary) = open().map_err(|reason| self.unusable(&reason))?;
        let context = self.config.context_of(header.context)?;
        // Weights take what the file does at least; caches grow with what is in them.
        let bytes = self.path.metadata().map_or(0, |file| file.len());
        memory::check(bytes, SMALLER).map_err(|reason| self.unusable(&reason))?;
        let network = if requantise::is_needed(&content) {
            requantise::requantised(content, &mut file)
                .and_then(|(content, mut bytes)| ModelWeights::from_gguf(content, &mut bytes, &Device::Cpu))
        } else {
            ModelWeights::from_gguf(content, &mut file, &Device::Cpu)
        };
        let network = network.map_err(|error| self.unusable(&format!("candle can't load it: {error}")))?;
        let fingerprint = Fingerprint::of_files(std::slice::from_ref(&self.path)).map_err(|reason| self.unusable(&reason))?.finish();
        let file_name = || self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let model = header.name.unwrap_or_else(file_name);
        Ok(Loaded {
            network: Network::QuantizedLlama(Box::new(network)),
            vocabulary,
            context,
            width: header.vocabulary,
            fingerprint,
            model,
        })
    }

    fn unusable(&self, reason: &str) -> EngineError {
        let place = self.path.display().to_string();
        let reason = if reason.contains(&place) { reason.to_owned() } else { format!("{place}: {reason}") };
        EngineError::Unavailable(format!("engine `{}` can't load its model: {reason}", self.name))
    }
}

impl ModelLoader for CandleLoader {
    fn run(self: Box<Self>, serve: Serve) -> Result<()> {
        self.lend(|info, vocabulary, model| serve.serve(info, vocabulary, model))
    }
}

/// All tensors of the network, as f32, in the right shapes; no others are there.
fn tensors(folder: &Path, architecture: &Architecture, paths: &[PathBuf]) -> Result<HashMap<String, Tensor>, String> {
    let wanted = architecture.tensors();
    let mut tensors = HashMap::new();
    for path in paths {
        let mut file = TensorFile::open(path)?;
        let named = |cause: String| format!("{}: {cause}", path.display());
        for (name, entry) in file.tensors().clone() {
            if architecture.ignores(&name) {
                continue;
            }
            let shape = wanted.get(&name).ok_or_else(|| named(format!("tensor {name} is unknown; the network has none of this name")))?;
            if entry.shape != *shape {
                return Err(named(format!("tensor {name} has shape {:?}; config.json asks for {shape:?}", entry.shape)));
            }
            entry.check_type().map_err(|cause| named(format!("tensor {name} {cause}")))?;
            let mut values = Vec::new();
            file.read(&entry, 0..shape.iter().product(), &mut values)?;
            let tensor = Tensor::from_vec(values, shape.clone(), &Device::Cpu).map_err(|error| named(error.to_string()))?;
            if tensors.insert(name.clone(), tensor).is_some() {
                return Err(named(format!("tensor {name} is there twice")));
            }
        }
    }
    match wanted.keys().find(|name| !tensors.contains_key(*name)) {
        Some(missing) => Err(format!("{}: tensor {missing} is missing", folder.display())),
        None => Ok(tensors),
    }
}

/// candle's threads wait for each other by spinning; more of them than may run at once hold each other up.
fn warn_of_threads(engine: &str) {
    let (threads, processors) = (candle_core::utils::get_num_threads(), available());
    if threads > processors {
        tracing::warn!(
            engine,
            threads,
            processors,
            "candle computes with more threads than this process may run at once; RAYON_NUM_THREADS={processors} in its environment makes it faster"
        );
    }
}
