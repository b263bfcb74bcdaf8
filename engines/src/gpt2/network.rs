//! The network: pre-LN transformer blocks with learned positions (Radford et al. 2019).

use candle_core::Result;

use super::architecture::Architecture;
use super::attention::{self, Span, Step};
use super::cache::{KvShape, Sequence};
use super::kernels::{self, Interleaved, Isa, LayerNorm, Linear};
use super::weights::{Weights, with_values};
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
    change: Vec<f32>,
    interleaved: Interleaved,
}

impl Network {
    /// `weights` are those that [`Architecture::tensors`] names; each is dropped as soon as it lies in the kernels' layout.
    pub(super) fn new(architecture: &Architecture, mut weights: Weights) -> Result<Self> {
        let isa = Isa::best();
        let blocks = (0..architecture.layers).map(|layer| Block::new(layer, architecture, &mut weights, isa)).collect::<Result<_>>()?;
        let head = if architecture.tied_head { "wte.weight" } else { "lm_head.weight" };
        let head = with_values(&weights.take(head)?, |head| Linear::from_rows(head, architecture.width, isa))?;
        Ok(Self {
            embedding: if architecture.tied_head { Embedding::Tied } else { Embedding::Own(weights.take_values("wte.weight")?) },
            position_embedding: weights.take_values("wpe.weight")?,
            last_norm: norm("ln_f", architecture, &mut weights, isa)?,
            head,
            shape: architecture.kv_shape(),
            isa,
            scratch: Scratch::default(),
            blocks,
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
        let Self { blocks, shape, isa, scratch, .. } = self;
        kernels::on_threads(places.len(), || {
            scratch.resize(places.len(), blocks);
            for (layer, block) in blocks.iter().enumerate() {
                block.forward(&mut x, scratch, *isa, |projections, gathered| {
                    attention::store(*shape, layer, projections, spans, sequences);
                    attention::attend(Step { shape: *shape, layer, projections, spans, sequences }, gathered, *isa);
                });
            }
        });
        Ok(x)
    }

    fn normalise(&mut self, hidden: &[f32]) -> Result<Vec<f32>> {
        let mut normalised = vec![0.0; hidden.len()];
        self.last_norm.forward(hidden, &mut normalised);
        Ok(normalised)
    }

    fn logits(&mut self, hidden: &[f32], rows: &[usize], logits: &mut [f32]) -> Result<()> {
        let width = self.last_norm.weight.len();
        let hidden: Vec<f32> = rows.iter().flat_map(|row| &hidden[row * width..][..width]).copied().collect();
        let normalised = self.normalise(&hidden)?;
        let Self { head, scratch, .. } = self;
        kernels::on_threads(rows.len(), || head.forward(&normalised, logits, &mut scratch.interleaved));
        Ok(())
    }
}

impl Block {
    fn new(layer: usize, architecture: &Architecture, weights: &mut Weights, isa: Isa) -> Result<Self> {
        let name = |part: &str| format!("h.{layer}.{part}");
        Ok(Self {
            attention_norm: norm(&name("ln_1"), architecture, weights, isa)?,
            projections: linear(&name("attn.c_attn"), weights, isa)?,
            attention_output: linear(&name("attn.c_proj"), weights, isa)?,
            mlp_norm: norm(&name("ln_2"), architecture, weights, isa)?,
            mlp_input: linear(&name("mlp.c_fc"), weights, isa)?,
            mlp_output: linear(&name("mlp.c_proj"), weights, isa)?,
        })
    }

    fn forward(&self, x: &mut [f32], scratch: &mut Scratch, isa: Isa, attend: impl FnOnce(&[f32], &mut [f32])) {
        let Scratch { normalised, projections, gathered, inner, change, interleaved } = scratch;
        self.attention_norm.forward(x, normalised);
        self.projections.forward(normalised, projections, interleaved);
        attend(projections, gathered);
        self.attention_output.forward(gathered, change, interleaved);
        kernels::add(x, change);
        self.mlp_norm.forward(x, normalised);
        self.mlp_input.forward(normalised, inner, interleaved);
        kernels::gelu(inner, self.mlp_input.outputs(), isa);
        self.mlp_output.forward(inner, change, interleaved);
        kernels::add(x, change);
    }
}

impl Scratch {
    fn resize(&mut self, rows: usize, blocks: &[Block]) {
        let Some(block) = blocks.first() else { return };
        let width = block.mlp_output.outputs();
        for part in [&mut self.normalised, &mut self.gathered, &mut self.change] {
            part.resize(rows * width, 0.0);
        }
        self.projections.resize(rows * block.projections.outputs(), 0.0);
        self.inner.resize(rows * block.mlp_input.outputs(), 0.0);
    }
}

fn norm(name: &str, architecture: &Architecture, weights: &mut Weights, isa: Isa) -> Result<LayerNorm> {
    let (weight, bias) = (weights.take_values(&format!("{name}.weight"))?, weights.take_values(&format!("{name}.bias"))?);
    // The norm itself is computed in f32.
    Ok(LayerNorm { weight, bias, epsilon: architecture.norm_epsilon as f32, isa })
}

fn linear(name: &str, weights: &mut Weights, isa: Isa) -> Result<Linear> {
    let bias = weights.take_values(&format!("{name}.bias"))?;
    with_values(&weights.take(&format!("{name}.weight"))?, |weight| Linear::from_columns(weight, bias, isa))
}
