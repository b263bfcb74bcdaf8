//! The network: pre-LN transformer blocks with learned positions (Radford et al. 2019).

use candle_core::Result;

use super::Dtype;
use super::architecture::Architecture;
use super::cache::{KvShape, Sequence};
use super::kernels::{self, Inputs, Isa, LayerNorm, Linear, Memory, Outcome, Published, Span, Step, Team};
use super::weights::Weights;
use crate::request::TokenId;

/// One token and its place in its sequence.
pub(super) struct Place {
    pub(super) token: TokenId,
    pub(super) position: usize,
}

/// A forward pass in two parts, since few rows need logits.
pub(super) trait Forward: Send {
    /// The last hidden states, before the last norm, `[rows, width]`; keys and values go into the sequences.
    ///
    /// `places` has the rows of all spans, one after the other.
    fn hidden(&mut self, places: &[Place], spans: &[Span], sequences: &mut [Sequence]) -> Result<Vec<f32>>;

    /// Hidden states after the last norm.
    fn normalise(&mut self, hidden: &[f32]) -> Result<Vec<f32>>;

    /// Logits of these rows of the hidden states, `[rows, vocabulary]`.
    fn logits(&mut self, hidden: &[f32], rows: &[usize], logits: &mut [f32]) -> Result<()>;
}

/// GPT-2 with its head, on kernels of our own.
pub(super) struct Network {
    embedding: Embedding,
    position_embedding: Vec<f32>,
    blocks: Vec<Block>,
    last_norm: LayerNorm,
    head: Linear,
    shape: KvShape,
    isa: Isa,
    team: Team,
    scratch: Scratch,
}

/// The tokens' embedding.
enum Embedding {
    /// The head's rows.
    Tied,
    /// `[vocabulary, width]`.
    Own(Vec<f32>),
}

struct Block {
    attention_norm: LayerNorm,
    projections: Linear,
    attention_output: Linear,
    mlp_norm: LayerNorm,
    mlp_input: Linear,
    mlp_output: Linear,
}

/// Memory that every layer of every step uses again.
#[derive(Default)]
struct Scratch {
    normalised: Vec<f32>,
    projections: Vec<f32>,
    gathered: Vec<f32>,
    inner: Vec<f32>,
    encoded: Inputs,
}

impl Network {
    /// `weights` are those that [`Architecture::tensors`] names; each is read when it is laid out for the kernels.
    pub(super) fn new(architecture: &Architecture, weights: Weights, dtype: Dtype, team: Team) -> Result<Self> {
        let head = architecture.head();
        let linears = architecture.linears().chain([(head.clone(), architecture.width, architecture.vocabulary)]);
        let bytes: usize = linears.map(|(_, inputs, outputs)| Linear::bytes(inputs, outputs, dtype)).sum();
        let mut parts = Parts { weights, dtype, isa: Isa::best(), memory: Memory::new(bytes)?, epsilon: architecture.norm_epsilon as f32 };
        tracing::info!(instructions = parts.isa.name(), ?dtype, threads = team.threads(), bytes, "laying out GPT-2's weights");
        // In the order in which a step reads them.
        let blocks = (0..architecture.layers).map(|layer| Block::new(layer, &mut parts)).collect::<Result<_>>()?;
        Ok(Self {
            blocks,
            last_norm: parts.norm("ln_f")?,
            head: parts.head(&head, architecture.width, architecture.vocabulary)?,
            embedding: if architecture.tied_head { Embedding::Tied } else { Embedding::Own(parts.weights.values("wte.weight")?) },
            position_embedding: parts.weights.values("wpe.weight")?,
            shape: architecture.kv_shape(),
            isa: parts.isa,
            team,
            scratch: Scratch::default(),
        })
    }

    fn embed(&self, places: &[Place]) -> Vec<f32> {
        let width = self.last_norm.weight.len();
        let mut x = Vec::with_capacity(places.len() * width);
        for (row, place) in places.iter().enumerate() {
            x.extend_from_slice(&self.position_embedding[place.position * width..][..width]);
            let (x, token) = (&mut x[row * width..], place.token as usize);
            match &self.embedding {
                Embedding::Tied => self.head.add_row(token, x),
                Embedding::Own(values) => kernels::add(x, &values[token * width..][..width]),
            }
        }
        x
    }
}

impl Forward for Network {
    fn hidden(&mut self, places: &[Place], spans: &[Span], sequences: &mut [Sequence]) -> Result<Vec<f32>> {
        let mut x = self.embed(places);
        let Self { blocks, shape, isa, team, scratch, .. } = self;
        team.step(|| {
            scratch.resize(places.len(), blocks);
            for (layer, block) in blocks.iter().enumerate() {
                block.forward(&mut x, scratch, team, |projections, gathered| {
                    kernels::store(*shape, layer, projections, spans, sequences, team);
                    kernels::attend(Step { shape: *shape, layer, projections, spans, sequences }, gathered, *isa, team);
                });
            }
        });
        Ok(x)
    }

    fn normalise(&mut self, hidden: &[f32]) -> Result<Vec<f32>> {
        let mut normalised = vec![0.0; hidden.len()];
        self.last_norm.forward(hidden, &mut normalised, &self.team);
        Ok(normalised)
    }

    fn logits(&mut self, hidden: &[f32], rows: &[usize], logits: &mut [f32]) -> Result<()> {
        let width = self.last_norm.weight.len();
        let hidden: Vec<f32> = rows.iter().flat_map(|row| &hidden[row * width..][..width]).copied().collect();
        let normalised = self.normalise(&hidden)?;
        let Self { head, scratch, team, .. } = self;
        team.step(|| head.forward(&normalised, logits, Outcome::Place, &mut scratch.encoded, team));
        Ok(())
    }
}

impl Block {
    fn new(layer: usize, parts: &mut Parts) -> Result<Self> {
        let name = |part: &str| format!("h.{layer}.{part}");
        Ok(Self {
            attention_norm: parts.norm(&name("ln_1"))?,
            projections: parts.linear(&name("attn.c_attn"))?,
            attention_output: parts.linear(&name("attn.c_proj"))?,
            mlp_norm: parts.norm(&name("ln_2"))?,
            mlp_input: parts.linear(&name("mlp.c_fc"))?,
            mlp_output: parts.linear(&name("mlp.c_proj"))?,
        })
    }

    fn forward(&self, x: &mut [f32], scratch: &mut Scratch, team: &Team, attend: impl FnOnce(&[f32], &mut [f32])) {
        let Scratch { normalised, projections, gathered, inner, encoded } = scratch;
        self.attention_norm.forward(x, normalised, team);
        self.projections.forward(normalised, projections, Outcome::Place, encoded, team);
        attend(projections, gathered);
        self.attention_output.forward(gathered, x, Outcome::Sum, encoded, team);
        self.mlp_norm.forward(x, normalised, team);
        self.mlp_input.forward(normalised, inner, Outcome::Gelu, encoded, team);
        self.mlp_output.forward(inner, x, Outcome::Sum, encoded, team);
    }
}

impl Scratch {
    fn resize(&mut self, rows: usize, blocks: &[Block]) {
        let Some(block) = blocks.first() else { return };
        let width = block.mlp_output.outputs();
        for part in [&mut self.normalised, &mut self.gathered] {
            part.resize(rows * width, 0.0);
        }
        self.projections.resize(rows * block.projections.outputs(), 0.0);
        self.inner.resize(rows * block.mlp_input.outputs(), 0.0);
    }
}

/// What the network is put together from.
struct Parts {
    weights: Weights,
    dtype: Dtype,
    isa: Isa,
    memory: Memory,
    /// The norm itself is computed in f32.
    epsilon: f32,
}

impl Parts {
    fn norm(&mut self, name: &str) -> Result<LayerNorm> {
        let (weight, bias) = (self.weights.values(&format!("{name}.weight"))?, self.weights.values(&format!("{name}.bias"))?);
        Ok(LayerNorm { weight, bias, epsilon: self.epsilon, isa: self.isa })
    }

    fn linear(&mut self, name: &str) -> Result<Linear> {
        let bias = self.weights.values(&format!("{name}.bias"))?;
        let weight = self.weights.values(&format!("{name}.weight"))?;
        let mut linear = Linear::zeros(weight.len() / bias.len(), bias, self.dtype, self.isa, &mut self.memory)?;
        linear.fill(0, Published::Columns(&weight));
        Ok(linear)
    }

    /// In parts, since it is larger than all the rest.
    fn head(&mut self, name: &str, inputs: usize, outputs: usize) -> Result<Linear> {
        let mut linear = Linear::zeros(inputs, vec![0.0; outputs], self.dtype, self.isa, &mut self.memory)?;
        let mut rows = Vec::new();
        for first in (0..outputs).step_by(ROWS_AT_ONCE) {
            self.weights.read(name, first * inputs..outputs.min(first + ROWS_AT_ONCE) * inputs, &mut rows)?;
            linear.fill(first, Published::Rows(&rows));
        }
        Ok(linear)
    }
}

/// Rows of the head that are read at once; whole panels.
const ROWS_AT_ONCE: usize = 4096;
