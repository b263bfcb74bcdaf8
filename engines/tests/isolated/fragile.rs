//! An engine that its prompts can kill.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use minivault_engines::error::Result;
use minivault_engines::local::{LocalEngine, LocalOptions, Serve};
use minivault_engines::model::{Feed, Limits, Logits, Model, ModelLoader, Slot};
use minivault_engines::testkit::{Script, ScriptedConfig, ScriptedModel, ScriptedVocabulary};
use minivault_engines::{Backend, Capabilities, Computation, Determinism, EngineInfo, Opening, TextEngine};

/// A prompt with this in it ends the process as a failed assertion of C++ does.
pub const ABORTS: &str = "!";
/// A prompt with this in it panics.
pub const PANICS: &str = "?";
/// A prompt with this in it takes a gigabyte of memory.
pub const DEVOURS: &str = "#";

/// The backend. Its engines say as their source which process they are in.
#[derive(Clone, Copy)]
pub struct Fragile {
    pub dies_loading: bool,
}

#[async_trait]
impl Backend for Fragile {
    type Config = ScriptedConfig;

    fn may_end_the_process(&self) -> bool {
        true
    }

    async fn open(&self, opening: &Opening, _: &ScriptedConfig) -> Result<Arc<dyn TextEngine>> {
        let loader = FragileLoader { name: opening.name.clone(), dies: self.dies_loading };
        Ok(Arc::new(LocalEngine::start(LocalOptions { queue: 4, ..LocalOptions::default() }, loader).await?))
    }
}

struct FragileLoader {
    name: String,
    dies: bool,
}

impl ModelLoader for FragileLoader {
    fn run(self: Box<Self>, serve: Serve) -> Result<()> {
        if self.dies {
            abort("the file is not to its taste");
        }
        let script = Script { limits: Limits { context: 4096, ..Script::default().limits }, ..Script::default() };
        let info = EngineInfo {
            name: self.name,
            backend: "fragile".into(),
            model: "script".into(),
            source: std::process::id().to_string(),
            fingerprint: "fragile-1".into(),
            context_length: script.limits.context,
            determinism: Determinism::Bitwise,
            capabilities: Capabilities { logprobs: true, tokenize: true, ..Capabilities::default() },
            computation: Computation::default(),
        };
        serve.serve(info, Arc::new(ScriptedVocabulary), &mut FragileModel(ScriptedModel::new(script)))
    }
}

struct FragileModel(ScriptedModel);

impl Model for FragileModel {
    fn limits(&self) -> Limits {
        self.0.limits()
    }

    fn step(&mut self, feeds: &[Feed<'_>], logits: &mut Logits) -> Result<()> {
        std::thread::sleep(Duration::from_millis(1));
        let said = |word: &str| feeds.iter().any(|feed| feed.tokens.len() > 1 && feed.tokens.contains(&word.as_bytes()[0].into()));
        if said(ABORTS) {
            abort("ASSERT(n > 0) failed");
        }
        assert!(!said(PANICS), "asked for");
        if said(DEVOURS) {
            std::hint::black_box(vec![1_u8; 1 << 30]);
        }
        self.0.step(feeds, logits)
    }

    fn truncate(&mut self, slot: Slot, length: usize) -> usize {
        self.0.truncate(slot, length)
    }

    fn release(&mut self, slot: Slot) {
        self.0.release(slot);
    }
}

fn abort(last_words: &str) -> ! {
    eprintln!("{last_words}");
    std::process::abort();
}
