//! A model that recites: real slots, real logits, no weights.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Gate;
use crate::chat::{ChatMessage, ChatTemplate, RenderedChat, render_transcript};
use crate::error::{EngineError, Result};
use crate::local::{LocalEngine, LocalOptions, Serve};
use crate::model::{Feed, Limits, Logits, Model, ModelLoader, Slot, Specials, TokenKind, Vocabulary};
use crate::registry::{Backend, Opening};
use crate::request::TokenId;
use crate::text_engine::{Capabilities, Computation, Determinism, EngineInfo, TextEngine};
use crate::turn::{Line, Turn};

/// What the model recites unless told otherwise, in a circle; characters of one to four bytes.
pub const SCRIPT: &str = "Zwölf Boxkämpfer jagen Viktor quer über den Sylter Deich 🥊🇩🇪 und naïve 日本語 follow, ";

/// How a scripted model behaves. Clones share the gate and the record.
#[derive(Debug, Clone)]
pub struct Script {
    /// The text it recites in a circle, from where the prompt left it, or from the start.
    pub text: String,
    /// Ends the text with the end token after one round, instead of going on for ever.
    pub ends: bool,
    /// What it can hold.
    pub limits: Limits,
    /// Whether texts are given vectors.
    pub embeddings: bool,
    /// Holds back each step.
    pub gate: Option<Gate>,
    /// Whether it can copy a slot's beginning to another one.
    pub copies: bool,
    /// Goes wrong.
    pub fault: Option<Fault>,
    /// Renders conversations, instead of the plain transcript.
    pub chat_template: Option<String>,
    /// The turn in which it computes; `None`: one of its own, so that a step that is held back holds up nobody else.
    pub turn: Option<Arc<dyn Turn>>,
    /// What it promises.
    pub determinism: Determinism,
    /// What it calls itself; another one for other weights.
    pub fingerprint: &'static str,
    /// How long a step takes at least.
    pub pace: Duration,
    /// Every step taken; `None`: they are too many to be remembered.
    pub record: Option<Arc<Mutex<Vec<StepRecord>>>>,
}

/// What goes wrong, and when; steps count from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// This step answers with an error.
    FailsAt(usize),
    /// This step panics.
    PanicsAt(usize),
    /// This step's logits are not numbers.
    NotNumbersAt(usize),
    /// Loading answers with an error.
    DoesNotLoad,
    /// Loading panics.
    PanicsWhileLoading,
}

/// One step: for each feed its slot and its tokens.
pub type StepRecord = Vec<(Slot, Vec<TokenId>)>;

impl Default for Script {
    fn default() -> Self {
        Self {
            text: SCRIPT.to_owned(),
            ends: false,
            limits: Limits { slots: 4, step_tokens: 16, context: 512, logits_width: ScriptedVocabulary::SIZE + 7 },
            embeddings: true,
            gate: None,
            copies: true,
            fault: None,
            chat_template: None,
            turn: None,
            determinism: Determinism::Bitwise,
            fingerprint: "scripted-1",
            pace: Duration::ZERO,
            record: Some(Arc::default()),
        }
    }
}

impl Script {
    /// The steps taken so far.
    pub fn steps(&self) -> Vec<StepRecord> {
        self.record.as_ref().map(|record| record.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap_or_default()
    }
}

/// The model: one sequence of tokens per slot. What comes next depends on the sequence alone.
#[derive(Debug)]
pub struct ScriptedModel {
    script: Script,
    slots: Vec<Vec<TokenId>>,
    steps: usize,
}

impl ScriptedModel {
    /// A model with empty slots.
    pub fn new(script: Script) -> Self {
        Self { slots: vec![Vec::new(); script.limits.slots], script, steps: 0 }
    }

    /// Logits after a sequence: the script's next byte stands out; letters follow at random, but never inside a character.
    fn logits(&self, sequence: &[TokenId]) -> Vec<f32> {
        let script = self.script.text.as_bytes();
        let mut logits = vec![-30.0; self.script.limits.logits_width];
        // Wider than the vocabulary, and likeliest there: sampling must never look.
        logits[ScriptedVocabulary::SIZE..].fill(99.0);
        let place = place_in(script, sequence);
        if self.script.ends && place == script.len() {
            logits[ScriptedVocabulary::END as usize] = 9.0;
            return logits;
        }
        let next = script[place % script.len()];
        let inside_character = next & 0xC0 == 0x80;
        if !inside_character {
            let mut noise = sequence.iter().rev().take(3).fold(17u32, |hash, &token| hash.wrapping_mul(31).wrapping_add(token));
            for letter in b'a'..=b'z' {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                logits[usize::from(letter)] = (noise >> 24) as f32 / 64.0;
            }
        }
        logits[usize::from(next)] = 6.0;
        logits
    }
}

/// The place in the script after the longest end of the sequence, of up to eight tokens, that stands in it; 0 if there is none.
fn place_in(script: &[u8], sequence: &[TokenId]) -> usize {
    let bytes: Vec<u8> = sequence.iter().map_while(|&token| u8::try_from(token).ok()).collect();
    let doubled = [script, script].concat();
    for length in (1..=bytes.len().min(8)).rev() {
        let end = &bytes[bytes.len() - length..];
        if let Some(start) = doubled.windows(length).position(|window| window == end) {
            let place = start + length;
            let whole = place <= script.len();
            // A character's inner bytes are followed by the rest of the same character only when its first byte was matched too.
            if end[0] & 0xC0 != 0x80 {
                return if whole { place } else { place - script.len() };
            }
        }
    }
    0
}

impl Model for ScriptedModel {
    fn limits(&self) -> Limits {
        self.script.limits
    }

    fn step(&mut self, feeds: &[Feed<'_>], logits: &mut Logits) -> Result<()> {
        if let Some(gate) = &self.script.gate {
            gate.pass();
        }
        if !self.script.pace.is_zero() {
            std::thread::sleep(self.script.pace);
        }
        let step = self.steps;
        self.steps += 1;
        match self.script.fault {
            Some(Fault::FailsAt(at)) if at == step => return Err(EngineError::failed("the script says so")),
            Some(Fault::PanicsAt(at)) if at == step => panic!("the script says so"),
            _ => {}
        }
        let total: usize = feeds.iter().map(|feed| feed.tokens.len()).sum();
        assert!(total > 0 && total <= self.script.limits.step_tokens, "a step of {total} tokens");
        for (index, feed) in feeds.iter().enumerate() {
            assert!(!feed.tokens.is_empty(), "an empty feed");
            assert!(feeds[..index].iter().all(|other| other.slot != feed.slot), "{:?} is fed twice in a step", feed.slot);
            let wanted = feed.rows.range(feed.tokens.len());
            for (place, &token) in feed.tokens.iter().enumerate() {
                self.slots[feed.slot.0].push(token);
                if wanted.contains(&place) {
                    let mut row = self.logits(&self.slots[feed.slot.0]);
                    if self.script.fault == Some(Fault::NotNumbersAt(step)) {
                        row[3] = f32::NAN;
                    }
                    logits.push(&row);
                }
            }
            assert!(self.slots[feed.slot.0].len() <= self.script.limits.context, "{:?} is over its context", feed.slot);
        }
        if let Some(record) = &self.script.record {
            let step = feeds.iter().map(|feed| (feed.slot, feed.tokens.to_vec())).collect();
            record.lock().unwrap_or_else(PoisonError::into_inner).push(step);
        }
        Ok(())
    }

    fn truncate(&mut self, slot: Slot, length: usize) -> usize {
        self.slots[slot.0].truncate(length);
        self.slots[slot.0].len()
    }

    fn copy_prefix(&mut self, from: Slot, to: Slot, length: usize) -> usize {
        let length = if self.script.copies { length.min(self.slots[from.0].len()) } else { 0 };
        self.slots[to.0] = self.slots[from.0][..length].to_vec();
        length
    }

    /// Sixteen numbers: how often each residue of 16 occurs among the tokens.
    fn embed(&mut self, tokens: &[TokenId]) -> Result<Vec<f32>> {
        let mut vector = vec![0.0; 16];
        tokens.iter().for_each(|token| vector[*token as usize % 16] += 1.0 / tokens.len() as f32);
        Ok(vector)
    }

    fn release(&mut self, slot: Slot) {
        self.slots[slot.0].clear();
    }
}

/// Bytes as tokens, and one token for the end.
#[derive(Debug, Clone, Copy, Default)]
pub struct ScriptedVocabulary;

impl ScriptedVocabulary {
    /// Number of tokens.
    pub const SIZE: usize = 257;
    /// The end of a text.
    pub const END: TokenId = 256;
    /// How the end is spelt.
    pub const END_NAME: &str = "<|end|>";
}

impl Vocabulary for ScriptedVocabulary {
    fn size(&self) -> usize {
        Self::SIZE
    }

    fn encode(&self, text: &str, specials: Specials) -> Result<Vec<TokenId>> {
        let literal = |text: &str| text.bytes().map(TokenId::from).collect::<Vec<_>>();
        match specials {
            Specials::Literal => Ok(literal(text)),
            Specials::Parse => Ok(text.split(Self::END_NAME).map(literal).collect::<Vec<_>>().join(&Self::END)),
        }
    }

    fn push_bytes(&self, id: TokenId, bytes: &mut Vec<u8>) {
        bytes.extend(u8::try_from(id));
    }

    fn kind(&self, id: TokenId) -> TokenKind {
        if id == Self::END { TokenKind::Control } else { TokenKind::Byte }
    }

    fn name(&self, id: TokenId) -> String {
        if id == Self::END { Self::END_NAME.to_owned() } else { format!("<0x{id:02X}>") }
    }

    fn end_tokens(&self) -> &[TokenId] {
        &[Self::END]
    }

    fn render_chat(&self, messages: &[ChatMessage], tools: &[serde_json::Value]) -> Result<RenderedChat> {
        if !tools.is_empty() {
            return Err(EngineError::Unsupported { engine: String::new(), what: "tools".into() });
        }
        render_transcript(messages)
    }
}

/// The same with a chat template.
#[derive(Debug)]
struct TemplatedVocabulary(ChatTemplate);

impl Vocabulary for TemplatedVocabulary {
    fn size(&self) -> usize {
        ScriptedVocabulary.size()
    }

    fn encode(&self, text: &str, specials: Specials) -> Result<Vec<TokenId>> {
        ScriptedVocabulary.encode(text, specials)
    }

    fn push_bytes(&self, id: TokenId, bytes: &mut Vec<u8>) {
        ScriptedVocabulary.push_bytes(id, bytes);
    }

    fn kind(&self, id: TokenId) -> TokenKind {
        ScriptedVocabulary.kind(id)
    }

    fn name(&self, id: TokenId) -> String {
        ScriptedVocabulary.name(id)
    }

    fn end_tokens(&self) -> &[TokenId] {
        &[ScriptedVocabulary::END]
    }

    fn render_chat(&self, messages: &[ChatMessage], tools: &[serde_json::Value]) -> Result<RenderedChat> {
        self.0.render(messages, tools)
    }
}

/// Loads a [`ScriptedModel`].
#[derive(Debug, Clone, Default)]
pub struct ScriptedLoader {
    /// The engine's name.
    pub name: String,
    /// How the model behaves.
    pub script: Script,
}

impl ModelLoader for ScriptedLoader {
    fn run(self: Box<Self>, serve: Serve) -> Result<()> {
        match self.script.fault {
            Some(Fault::DoesNotLoad) => return Err(EngineError::Unavailable("the script says so".into())),
            Some(Fault::PanicsWhileLoading) => panic!("the script says so"),
            _ => {}
        }
        let info = EngineInfo {
            name: self.name,
            backend: "scripted".into(),
            model: "script".into(),
            source: "the test".into(),
            fingerprint: self.script.fingerprint.into(),
            context_length: self.script.limits.context,
            determinism: self.script.determinism,
            capabilities: Capabilities {
                chat_template: self.script.chat_template.is_some(),
                logprobs: true,
                tokenize: true,
                embeddings: self.script.embeddings,
            },
            computation: Computation { version: "1".into(), dtype: "none".into(), kernel: "script".into(), threads: 1 },
        };
        let turn = self.script.turn.clone().unwrap_or_else(|| Arc::new(Line::default()));
        let vocabulary: Arc<dyn Vocabulary> = match self.script.chat_template.clone() {
            None => Arc::new(ScriptedVocabulary),
            Some(template) => {
                let names = [ScriptedVocabulary::END_NAME.to_owned()];
                Arc::new(TemplatedVocabulary(ChatTemplate::new(template, String::new(), ScriptedVocabulary::END_NAME.into(), names)?))
            }
        };
        serve.with_turn(turn).serve(info, vocabulary, &mut ScriptedModel::new(self.script))
    }
}

/// The backend `scripted`, for tests of whatever chooses engines by configuration.
#[derive(Debug, Clone, Default)]
pub struct ScriptedBackend {
    /// How the models of all its engines behave.
    pub script: Script,
    /// Requests that may wait.
    pub queue: usize,
}

/// Its table: nothing to set.
#[derive(Debug, Clone, Copy, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptedConfig {}

#[async_trait::async_trait]
impl Backend for ScriptedBackend {
    type Config = ScriptedConfig;

    async fn open(&self, opening: &Opening, _: &ScriptedConfig) -> Result<Arc<dyn TextEngine>> {
        let loader = ScriptedLoader { name: opening.name.clone(), script: self.script.clone() };
        Ok(Arc::new(LocalEngine::start(LocalOptions { queue: self.queue, reuse: true, speculation: false }, loader).await?))
    }
}
