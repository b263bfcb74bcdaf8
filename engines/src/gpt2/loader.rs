//! From a folder in Hugging Face layout to a model that can be served.

use std::path::PathBuf;
use std::sync::Arc;

use super::architecture::Architecture;
use super::kernels::Isa;
use super::kernels::Team;
use super::model::Gpt2Model;
use super::network::{Forward, Network};
use super::plain::PlainNetwork;
use super::weights::Weights;
use super::{Dtype, Gpt2Config};
use crate::checkpoint::{Checkpoint, Fingerprint};
use crate::error::{EngineError, Result};
use crate::local::Serve;
use crate::memory;
use crate::model::{ModelLoader, Vocabulary};
use crate::text_engine::{Capabilities, Computation, Determinism, EngineInfo};

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
        let paths = Checkpoint::new(&self.folder).weights()?;
        // The tokenizer and the hash take as long as the weights do.
        let (vocabulary, network, hashed) = std::thread::scope(|scope| {
            let hashed = scope.spawn(|| Fingerprint::of_files(&paths));
            let vocabulary =
                scope.spawn(|| Checkpoint::new(&self.folder).vocabulary(architecture.vocabulary, architecture.end_tokens.clone()));
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
            computation: self.computation(arithmetic),
        };
        let model = Gpt2Model::new(network, &architecture, slots, step_tokens, embeddings);
        Ok(LoadedGpt2 { info, vocabulary: Arc::new(vocabulary), model })
    }

    fn computation(&self, arithmetic: Arithmetic) -> Computation {
        let (dtype, kernel) = match arithmetic {
            Arithmetic::Kernels => (self.config.dtype.as_str(), Isa::best().name()),
            Arithmetic::Plain => ("f32", "candle"),
        };
        let (version, threads) = (concat!("minivault ", env!("CARGO_PKG_VERSION")).into(), self.config.threads.count());
        Computation { version, dtype: dtype.into(), kernel: kernel.into(), threads }
    }

    fn architecture(&self, fingerprint: &mut Fingerprint) -> Result<Architecture, String> {
        let checkpoint = Checkpoint::new(&self.folder);
        let config = checkpoint.config(fingerprint)?;
        let mut architecture =
            Architecture::new(&config).map_err(|cause| format!("{}: {cause}", checkpoint.path("config.json").display()))?;
        architecture.end_tokens = checkpoint.end_tokens(&architecture.end_tokens, architecture.vocabulary, fingerprint)?;
        Ok(architecture)
    }

    fn network(&self, architecture: &Architecture, paths: &[PathBuf], arithmetic: Arithmetic) -> Result<Box<dyn Forward>, String> {
        let weights = Weights::open(&self.folder, architecture, paths)?;
        let dtype = if arithmetic == Arithmetic::Plain { Dtype::F32 } else { self.config.dtype };
        memory::check(
            dtype.bytes(weights.value_count()),
            match dtype {
                Dtype::Q8 => "a smaller model needs less",
                Dtype::F32 | Dtype::Bf16 => "`dtype = \"q8\"` needs less",
            },
        )?;
        let network: candle_core::Result<Box<dyn Forward>> = match arithmetic {
            Arithmetic::Kernels => {
                let team = Team::new(self.config.threads.count());
                Network::new(architecture, weights, self.config.dtype, team).map(|network| Box::new(network) as _)
            }
            Arithmetic::Plain => PlainNetwork::new(architecture, weights).map(|network| Box::new(network) as _),
        };
        network.map_err(|error| error.to_string())
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
