//! The network: pre-LN transformer blocks with learned positions (Radford et al. 2019).

use candle_core::{Device, Result, Storage, Tensor};
use candle_nn::{LayerNorm, Module};

use super::architecture::Architecture;
use super::attention::{self, Span};
use super::cache::{KvShape, Sequence};
use super::linear::{Linear, MIN_ROWS};
use super::weights::Weights;
use crate::request::TokenId;

/// GPT-2 with its head.
pub(super) struct Network {
    token_embedding: Tensor,
    position_embedding: Tensor,
    blocks: Vec<Block>,
    last_norm: LayerNorm,
    head: Linear,
    shape: KvShape,
}

struct Block {
    attention_norm: LayerNorm,
    projections: Linear,
    attention_output: Linear,
    mlp_norm: LayerNorm,
    mlp_input: Linear,
    mlp_output: Linear,
}

/// One token and its place in its sequence.
pub(super) struct Place {
    pub(super) token: TokenId,
    pub(super) position: usize,
}

impl Network {
    /// `weights` are those that [`Architecture::tensors`] names.
    pub(super) fn new(architecture: &Architecture, mut weights: Weights) -> Result<Self> {
        let blocks = (0..architecture.layers).map(|layer| Block::new(layer, architecture, &mut weights)).collect::<Result<_>>()?;
        let token_embedding = weights.take("wte.weight")?;
        // `[outputs, inputs]` in both cases. The view costs nothing; a second copy of the largest tensor would.
        let head = if architecture.tied_head { token_embedding.clone() } else { weights.take("lm_head.weight")? };
        Ok(Self {
            position_embedding: weights.take("wpe.weight")?,
            last_norm: norm("ln_f", architecture, &mut weights)?,
            head: Linear::new(head.t()?, None)?,
            shape: architecture.kv_shape(),
            token_embedding,
            blocks,
        })
    }

    /// The last hidden states of all rows, before the last norm; keys and values go into the sequences.
    ///
    /// `places` has the rows of all spans, one after the other. The result has [`MIN_ROWS`] rows at least.
    pub(super) fn forward(&self, places: &[Place], spans: &[Span], sequences: &mut [Sequence]) -> Result<Tensor> {
        let mut x = self.embed(places)?;
        for (layer, block) in self.blocks.iter().enumerate() {
            let projections = block.projections.forward(&block.attention_norm.forward(&x)?)?;
            let gathered = self.attend(layer, &projections, spans, sequences)?;
            x = (x + block.attention_output.forward(&gathered)?)?;
            // candle's `gelu` is the tanh form, GPT-2's `gelu_new`.
            let inner = block.mlp_input.forward(&block.mlp_norm.forward(&x)?)?.gelu()?;
            x = (x + block.mlp_output.forward(&inner)?)?;
        }
        Ok(x)
    }

    /// Hidden states after the last norm.
    pub(super) fn normalise(&self, hidden: &Tensor) -> Result<Tensor> {
        self.last_norm.forward(hidden)
    }

    /// Logits of these rows of the hidden states that [`Network::forward`] returns; a row of its own follows a single one.
    pub(super) fn logits(&self, hidden: &Tensor, rows: &[u32]) -> Result<Tensor> {
        let mut rows = rows.to_vec();
        rows.resize(rows.len().max(MIN_ROWS), rows.first().copied().unwrap_or(0));
        let rows = Tensor::new(rows, &Device::Cpu)?;
        self.head.forward(&self.normalise(&hidden.index_select(&rows, 0)?)?)
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
        let gathered = with_values(projections, |values| {
            attention::store(shape, layer, values, spans, sequences);
            attention::attend(shape, layer, values, spans, sequences)
        })?;
        let gathered = Tensor::from_vec(gathered, (shape.heads, rows, shape.head_size), &Device::Cpu)?;
        gathered.transpose(0, 1)?.contiguous()?.reshape((rows, shape.heads * shape.head_size))
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
    let weight = weights.take(&format!("{name}.weight"))?;
    Ok(LayerNorm::new(weight, weights.take(&format!("{name}.bias"))?, architecture.norm_epsilon))
}

fn linear(name: &str, weights: &mut Weights) -> Result<Linear> {
    let weight = weights.take(&format!("{name}.weight"))?;
    Linear::new(weight, Some(weights.take(&format!("{name}.bias"))?))
}

/// Lends a contiguous f32 tensor's values without copying them.
pub(super) fn with_values<T>(tensor: &Tensor, work: impl FnOnce(&[f32]) -> T) -> Result<T> {
    let (storage, layout) = tensor.storage_and_layout();
    match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(storage), Some((start, end))) => Ok(work(&storage.as_slice::<f32>()?[start..end])),
        _ => candle_core::bail!("a tensor that is contiguous in main memory was expected"),
    }
}
