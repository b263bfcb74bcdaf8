//! An engine of one's own: it answers with the prompt, over and over.
//!
//! A local engine is three things: a [`Model`] that turns tokens into logits, a [`Vocabulary`] between tokens and text, and a
//! [`Backend`] that opens it from a table of the configuration. Queueing, batching, sampling, stop strings, whole characters and
//! cancellation come for free with [`LocalEngine`].

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use minivault_engines::chat::{ChatMessage, RenderedChat, render_transcript};
use minivault_engines::error::Result;
use minivault_engines::local::{LocalEngine, LocalOptions, Serve};
use minivault_engines::model::{Feed, Limits, Logits, Model, ModelLoader, Slot, Specials, TokenKind, Vocabulary};
use minivault_engines::registry::check_range;
use minivault_engines::{Backend, Capabilities, Computation, Determinism, EngineInfo, Opening, TextEngine, TokenId};
use serde::Deserialize;

/// The backend. `Engines::builtin().with("echo", Echo)` makes it known.
pub struct Echo;

/// Its table in the configuration; a misspelt key is explained to whoever wrote it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EchoConfig {
    /// Requests it answers side by side.
    pub slots: usize,
    /// Requests that may wait.
    pub queue: usize,
    /// Milliseconds a step takes, for a look at streams.
    pub pace: u64,
}

impl Default for EchoConfig {
    fn default() -> Self {
        Self { slots: 2, queue: 16, pace: 0 }
    }
}

#[async_trait]
impl Backend for Echo {
    type Config = EchoConfig;

    fn check(&self, config: &EchoConfig) -> Result<()> {
        check_range("slots", config.slots, 1..=64)
    }

    async fn open(&self, opening: &Opening, config: &EchoConfig) -> Result<Arc<dyn TextEngine>> {
        let loader = EchoLoader { name: opening.name.clone(), config: config.clone() };
        Ok(Arc::new(LocalEngine::start(LocalOptions { queue: config.queue, ..LocalOptions::default() }, loader).await?))
    }
}

struct EchoLoader {
    name: String,
    config: EchoConfig,
}

impl ModelLoader for EchoLoader {
    fn run(self: Box<Self>, serve: Serve) -> Result<()> {
        let mut model = EchoModel { slots: vec![Sequence::default(); self.config.slots], pace: Duration::from_millis(self.config.pace) };
        let info = EngineInfo {
            name: self.name,
            backend: "echo".into(),
            model: "echo".into(),
            source: "built in".into(),
            fingerprint: "echo-1".into(),
            context_length: model.limits().context,
            determinism: Determinism::Bitwise,
            capabilities: Capabilities { tokenize: true, logprobs: true, ..Capabilities::default() },
            computation: Computation::default(),
        };
        serve.serve(info, Arc::new(Bytes), &mut model)
    }
}

/// Keeps each slot's tokens, and where its prompt ended.
struct EchoModel {
    slots: Vec<Sequence>,
    pace: Duration,
}

#[derive(Clone, Default)]
struct Sequence {
    tokens: Vec<TokenId>,
    /// Known once logits were asked for: that is where answering began.
    prompt: Option<usize>,
}

impl Model for EchoModel {
    fn limits(&self) -> Limits {
        Limits { slots: self.slots.len(), step_tokens: 256, context: 4096, logits_width: Bytes.size() }
    }

    fn step(&mut self, feeds: &[Feed<'_>], logits: &mut Logits) -> Result<()> {
        std::thread::sleep(self.pace);
        for feed in feeds {
            let sequence = &mut self.slots[feed.slot.0];
            let wanted = feed.rows.range(feed.tokens.len());
            for (place, &token) in feed.tokens.iter().enumerate() {
                sequence.tokens.push(token);
                if wanted.contains(&place) {
                    let length = sequence.tokens.len();
                    let prompt = *sequence.prompt.get_or_insert(length);
                    let next = sequence.tokens[(length - prompt) % prompt];
                    let row = logits.extend(1);
                    // Other letters are possible, so that temperature and seeds have something to choose from.
                    row.fill(-50.0);
                    row[usize::from(b'a')..=usize::from(b'z')].fill(0.0);
                    row[next as usize] = 3.0;
                }
            }
        }
        Ok(())
    }

    fn truncate(&mut self, slot: Slot, length: usize) -> usize {
        let sequence = &mut self.slots[slot.0];
        sequence.tokens.truncate(length);
        sequence.prompt = sequence.prompt.filter(|&prompt| prompt <= length);
        sequence.tokens.len()
    }

    fn release(&mut self, slot: Slot) {
        self.slots[slot.0] = Sequence::default();
    }
}

/// One token for each byte.
struct Bytes;

impl Vocabulary for Bytes {
    fn size(&self) -> usize {
        256
    }

    fn encode(&self, text: &str, _: Specials) -> Result<Vec<TokenId>> {
        Ok(text.bytes().map(TokenId::from).collect())
    }

    fn push_bytes(&self, id: TokenId, bytes: &mut Vec<u8>) {
        bytes.extend(u8::try_from(id));
    }

    fn kind(&self, _: TokenId) -> TokenKind {
        TokenKind::Byte
    }

    fn name(&self, id: TokenId) -> String {
        format!("<0x{id:02X}>")
    }

    fn end_tokens(&self) -> &[TokenId] {
        &[]
    }

    fn render_chat(&self, messages: &[ChatMessage], _: &[serde_json::Value]) -> Result<RenderedChat> {
        render_transcript(messages)
    }
}
