//! The network in candle's operations: slower, and short enough to see that it is right. Tests and benches compare the kernels with it.

use candle_core::{Device, Result, Tensor};
use candle_nn::{LayerNorm, Module};

use self::linear::{Linear, MIN_ROWS};
use super::architecture::Architecture;
use super::cache::{KvShape, Sequence};
use super::kernels::{self, Isa, Span, Step, Team};
use super::network::{Forward, Place};
use super::weights::{Weights, with_values};

mod linear;

/// GPT-2 with its head, on candle. Only attention is the kernels' own.
pub(super) struct PlainNetwork {
    token_embedding: Tensor,
    position_embedding: Tensor,
    blocks: Vec<Block>,
    last_norm: LayerNorm,
    head: Linear,
    shape: KvShape,
    team: Team,
}

struct Block {
    attention_norm: LayerNorm,
    projections: Linear,
    attention_output: Linear,
    mlp_norm: LayerNorm,
    mlp_input: Linear,
    mlp_output: Linear,
}

impl PlainNetwork {
    /// `weights` are those that [`Architecture::tensors`] names.
    pub(super) fn new(architecture: &Architecture, mut weights: Weights) -> Result<Self> {
        let blocks = (0..architecture.layers).map(|layer| Block::new(layer, architecture, &mut weights)).collect::<Result<_>>()?;
        let token_embedding = weights.tensor("wte.weight")?;
        // `[outputs, inputs]` in both cases. The view costs nothing; a second copy of the largest tensor would.
        let head = if architecture.tied_head { token_embedding.clone() } else { weights.tensor(&architecture.head())? };
        Ok(Self {
            position_embedding: weights.tensor("wpe.weight")?,
            last_norm: norm("ln_f", architecture, &mut weights)?,
            head: Linear::new(head.t()?, None)?,
            shape: architecture.kv_shape(),
            team: Team::new(1),
            token_embedding,
            blocks,
        })
    }

    fn embed(&self, places: &[Place]) -> Result<Tensor> {
        let missing = MIN_ROWS.saturating_sub(places.len());
        let padded = |of: fn(&Place) -> u32| {
            let ids: Vec<u32> = places.iter().map(of).chain(std::iter::repeat_n(0, missing)).collect();
            Tensor::new(ids, &Device::Cpu)
        };
        let tokens = self.token_embedding.index_select(&padded(|place| place.token)?, 0)?;
        // Positions are below the context's length, and that has a limit far below 32 bits.
        let positions = self.position_embedding.index_select(&padded(|place| place.position as u32)?, 0)?;
        tokens + positions
    }

    fn attend(&self, layer: usize, projections: &Tensor, spans: &[Span], sequences: &mut [Sequence]) -> Result<Tensor> {
        let (rows, shape) = (projections.dim(0)?, self.shape);
        let mut gathered = vec![0.0; rows * shape.heads * shape.head_size];
        with_values(projections, |projections| {
            kernels::store(shape, layer, projections, spans, sequences, &self.team);
            kernels::attend(Step { shape, layer, projections, spans, sequences }, &mut gathered, Isa::best(), &self.team);
        })?;
        Tensor::from_vec(gathered, (rows, shape.heads * shape.head_size), &Device::Cpu)
    }

    fn rows(&self, values: &[f32]) -> Result<Tensor> {
        let width = self.shape.heads * self.shape.head_size;
        Tensor::from_slice(values, (values.len() / width, width), &Device::Cpu)
    }
}

impl Forward for PlainNetwork {
    fn hidden(&mut self, places: &[Place], spans: &[Span], sequences: &mut [Sequence]) -> Result<Vec<f32>> {
        let mut x = self.embed(places)?;
        for (layer, block) in self.blocks.iter().enumerate() {
            let projections = block.projections.forward(&block.attention_norm.forward(&x)?)?;
            let gathered = self.attend(layer, &projections, spans, sequences)?;
            x = (x + block.attention_output.forward(&gathered)?)?;
            // candle's `gelu` is the tanh form, GPT-2's `gelu_new`.
            let inner = block.mlp_input.forward(&block.mlp_norm.forward(&x)?)?.gelu()?;
            x = (x + block.mlp_output.forward(&inner)?)?;
        }
        with_values(&x.narrow(0, 0, places.len())?, <[f32]>::to_vec)
    }

    fn normalise(&mut self, hidden: &[f32]) -> Result<Vec<f32>> {
        with_values(&self.last_norm.forward(&self.rows(hidden)?)?, <[f32]>::to_vec)
    }

    /// A row of its own follows a single one.
    fn logits(&mut self, hidden: &[f32], rows: &[usize], logits: &mut [f32]) -> Result<()> {
        // A step has a few thousand rows at most.
        let mut rows: Vec<u32> = rows.iter().map(|&row| row as u32).collect();
        rows.resize(rows.len().max(MIN_ROWS), rows.first().copied().unwrap_or(0));
        let rows = self.rows(hidden)?.index_select(&Tensor::new(rows, &Device::Cpu)?, 0)?;
        let computed = self.head.forward(&self.last_norm.forward(&rows)?)?;
        with_values(&computed, |values| logits.copy_from_slice(&values[..logits.len()]))
    }
}

impl Block {
    fn new(layer: usize, architecture: &Architecture, weights: &mut Weights) -> Result<Self> {
        let name = |part: &str| format!("h.{layer}.{part}");
        Ok(Self {
            attention_norm: norm(&name("ln_1"), architecture, weights)?,
            projections: linear(&name("attn.c_attn"), weights)?,
            attention_output: linear(&name("attn.c_proj"), weights)?,
            mlp_norm: norm(&name("ln_2"), architecture, weights)?,
            mlp_input: linear(&name("mlp.c_fc"), weights)?,
            mlp_output: linear(&name("mlp.c_proj"), weights)?,
        })
    }
}

fn norm(name: &str, architecture: &Architecture, weights: &mut Weights) -> Result<LayerNorm> {
    let weight = weights.tensor(&format!("{name}.weight"))?;
    Ok(LayerNorm::new(weight, weights.tensor(&format!("{name}.bias"))?, architecture.norm_epsilon))
}

fn linear(name: &str, weights: &mut Weights) -> Result<Linear> {
    let weight = weights.tensor(&format!("{name}.weight"))?;
    Linear::new(weight, Some(weights.tensor(&format!("{name}.bias"))?))
}
