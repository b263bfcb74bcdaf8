//! One linear layer alone, for `benches/kernels.rs`.

use super::Dtype;
use super::kernels::{Inputs, Isa, Linear, Memory, Outcome, Published, Team};
use crate::error::{EngineError, Result};

/// A layer with its input and output.
pub struct Layer {
    linear: Linear,
    team: Team,
    encoded: Inputs,
    x: Vec<f32>,
    y: Vec<f32>,
}

impl Layer {
    /// A layer of any weights, on the fastest instructions there are. `rows` are computed together.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn new(inputs: usize, outputs: usize, rows: usize, dtype: Dtype, threads: usize) -> Result<Self> {
        let value = |index: usize| (index as f32 * 0.7).sin();
        let mut memory = Memory::new(Linear::bytes(inputs, outputs, dtype)).map_err(EngineError::failed)?;
        let mut linear = Linear::zeros(inputs, vec![0.0; outputs], dtype, Isa::best(), &mut memory).map_err(EngineError::failed)?;
        linear.fill(0, Published::Columns(&(0..inputs * outputs).map(value).collect::<Vec<_>>()));
        let (x, y) = ((0..rows * inputs).map(value).collect(), vec![0.0; rows * outputs]);
        Ok(Self { linear, team: Team::new(threads), encoded: Inputs::default(), x, y })
    }

    /// Computes all rows once.
    pub fn forward(&mut self) {
        let Self { linear, team, encoded, x, y } = self;
        team.step(|| linear.forward(x, y, Outcome::Place, encoded, team));
    }
}
