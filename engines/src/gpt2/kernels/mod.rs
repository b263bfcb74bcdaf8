//! The arithmetic of the network, by kernels of our own.
//!
//! `isa` chooses once, at run time, among `avx512`, `avx2` (with FMA) and `portable`. `layout` is how weights lie in memory for each
//! dtype: one stream, read from front to back; `matrix` brings published weights into it, in `memory` of huge pages; `inputs` brings
//! the rows of a step into the form that the kernels want; `linear` is the layer made of these. `attention` goes over the cache, `rows`
//! has layer norm and gelu. `disjoint` lets several of the `team`'s threads write one output.
//!
//! **Bits.** Every output of a linear layer is one chain: from zero, `sum += weight · input`, from the first input to the last, then
//! the bias. In `q8` it is a chain over groups of 32 inputs, within which whole numbers are summed, exactly in any order. Rows and
//! outputs lie side by side in registers and never meet in a sum, so neither the number of rows, nor how they are grouped, nor how
//! outputs are shared among threads, can change a bit. The x86 kernels fuse products with sums and agree with each other, but for
//! bf16 where the processor multiplies it; the portable ones round twice.

// Vector instructions are reached by `unsafe` alone, and so is one output shared by several threads. Here and nowhere else.
#![allow(unsafe_code)]

mod attention;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod disjoint;
mod inputs;
mod isa;
mod lanes;
mod layout;
mod linear;
mod matrix;
mod memory;
mod portable;
mod rows;
mod team;

#[cfg(test)]
mod tests;

pub(super) use attention::{Span, Step, attend, store};
pub(super) use inputs::Inputs;
pub(super) use isa::Isa;
pub(super) use lanes::LANES;
pub(super) use linear::{Linear, Outcome};
pub(super) use matrix::Published;
pub(super) use memory::Memory;
pub(super) use rows::{LayerNorm, add};
pub(super) use team::Team;
