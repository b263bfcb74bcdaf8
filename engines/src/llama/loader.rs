//! Loads a GGUF file on the engine's thread and lends it out.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;
use llama_cpp_2::{LogOptions, send_logs_to_tracing};
use sha2::{Digest, Sha256};

use super::config::{CacheType, LlamaConfig};
use super::description::Description;
use super::network::{CONTEXT_STEP, LlamaNetwork};
use super::vocabulary::LlamaVocabulary;
use super::{log, processor};
use crate::error::{EngineError, Result};
use crate::gguf::{Gguf, Texts};
use crate::local::Serve;
use crate::memory;
use crate::model::{Model, ModelLoader};
use crate::text_engine::{Capabilities, Computation, EngineInfo};

/// Alignment that ggml demands of tensors in a mapped file.
const MAPPED_ALIGNMENT: u32 = 32;

/// Loads a GGUF file on the engine's own thread.
#[derive(Debug, Clone)]
pub struct LlamaLoader {
    /// The engine's name in the configuration.
    pub name: String,
    /// The GGUF file.
    pub file: PathBuf,
    /// Where the file came from, for people to read.
    pub origin: String,
    /// A chat template that goes before the file's own.
    pub chat_template: Option<String>,
    /// The engine's table in the configuration.
    pub config: LlamaConfig,
}

impl LlamaLoader {
    /// Loads the model and lends it, with its vocabulary and what is to be said of it, to `work`.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] with what is wrong with the processor, the configuration or the file, or the error of `work`.
    pub fn lend<T>(&self, work: impl FnOnce(EngineInfo, Arc<LlamaVocabulary>, &mut dyn Model) -> Result<T>) -> Result<T> {
        self.config.check()?;
        let backend = backend()?;
        let gguf = Gguf::open(&self.file)?;
        let mut description = Description::of(&gguf).map_err(|reason| self.unusable(&reason))?;
        if self.chat_template.is_some() {
            description.chat_template.clone_from(&self.chat_template);
        }
        let context = self.config.context_of(description.context_length)?;
        self.check_memory(&gguf, &description, context)?;
        let model = Arc::new(self.load(backend, &gguf)?);
        let mut network = LlamaNetwork::new(backend, &model, &self.config, context).map_err(|error| self.unusable(&error.to_string()))?;
        let no_spellings = Texts::default();
        let vocabulary = Arc::new(LlamaVocabulary::new(model.clone(), &description, gguf.tokens().unwrap_or(&no_spellings)));
        let dtype = gguf.main_layout();
        drop(gguf);
        let info = self.info(&description, &vocabulary, network.limits().context, dtype)?;
        work(info, vocabulary, &mut network)
    }

    /// Weights that are read, and the cache, which llama.cpp takes at once for all slots.
    fn check_memory(&self, gguf: &Gguf, description: &Description, context: usize) -> Result<()> {
        let weights = if self.is_mapped(gguf) { 0 } else { self.file.metadata().map_or(0, |file| file.len()) };
        let tokens = context.next_multiple_of(CONTEXT_STEP) as u64 * self.config.slots as u64;
        let cache = description.cache_width.unwrap_or(0).saturating_mul(tokens);
        let cache = match self.config.cache_type {
            CacheType::F16 => cache.saturating_mul(2),
            // 32 bytes and a scale of two.
            CacheType::Q8_0 => cache.saturating_add(cache / 16),
        };
        let advice = "a shorter `context`, fewer `slots` or `cache_type = \"q8_0\"` need less";
        memory::check(weights.saturating_add(cache), advice).map_err(|reason| self.unusable(&reason))
    }

    /// Whether the file's weights stay in the file.
    fn is_mapped(&self, gguf: &Gguf) -> bool {
        self.config.mmap && gguf.alignment() >= MAPPED_ALIGNMENT
    }

    fn load(&self, backend: &LlamaBackend, gguf: &Gguf) -> Result<LlamaModel> {
        let mapped = self.is_mapped(gguf);
        let parameters = LlamaModelParams::default().with_use_mmap(mapped);
        let (model, reason) = log::listening(|| LlamaModel::load_from_file(backend, &self.file, &parameters));
        model.map_err(|error| self.unusable(&format!("llama.cpp can't load it: {}", reason.unwrap_or_else(|| error.to_string()))))
    }

    fn info(&self, description: &Description, vocabulary: &LlamaVocabulary, context: usize, dtype: &str) -> Result<EngineInfo> {
        let file_name = || self.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(EngineInfo {
            name: self.name.clone(),
            backend: "llama-cpp".into(),
            model: description.name.clone().filter(|name| !name.is_empty()).unwrap_or_else(file_name),
            source: self.origin.clone(),
            fingerprint: fingerprint(&self.file, self.chat_template.as_deref())
                .map_err(|error| self.unusable(&format!("reading it failed: {error}")))?,
            context_length: context,
            determinism: self.config.determinism(),
            capabilities: Capabilities {
                chat_template: vocabulary.has_chat_template(),
                logprobs: true,
                tokenize: true,
                embeddings: self.config.pooling.is_some(),
            },
            computation: Computation {
                version: concat!("minivault ", env!("CARGO_PKG_VERSION"), ", llama-cpp-sys-2 0.1.161").into(),
                dtype: dtype.into(),
                kernel: processor::instructions().into(),
                threads: self.config.threads(),
            },
        })
    }

    fn unusable(&self, reason: &str) -> EngineError {
        EngineError::Unavailable(format!("{}: {reason}", self.file.display()))
    }
}

impl ModelLoader for LlamaLoader {
    fn run(self: Box<Self>, serve: Serve) -> Result<()> {
        self.lend(|info, vocabulary, model| serve.serve(info, vocabulary, model))
    }
}

/// llama.cpp's own initialisation, once for the process.
fn backend() -> Result<&'static LlamaBackend> {
    static BACKEND: OnceLock<Result<LlamaBackend, String>> = OnceLock::new();
    processor::check_instructions()?;
    let initialise = || {
        send_logs_to_tracing(LogOptions::default());
        LlamaBackend::init().map_err(|error| error.to_string())
    };
    BACKEND.get_or_init(initialise).as_ref().map_err(|reason| EngineError::Unavailable(format!("llama.cpp can't be initialised: {reason}")))
}

/// The SHA-256 of the file, and of a chat template behind it: they decide all that the model computes.
fn fingerprint(file: &Path, chat_template: Option<&str>) -> std::io::Result<String> {
    let mut file = File::open(file)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => hash.update(&buffer[..read]),
        }
    }
    hash.update(chat_template.unwrap_or_default());
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
