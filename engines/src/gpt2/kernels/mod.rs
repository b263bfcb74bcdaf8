//! The arithmetic of the network, by kernels of our own.
//!
//! `isa` chooses once, at run time, among `avx512`, `avx2` (with FMA) and `portable`. `panels` is how weights lie in memory: one
//! stream, read from front to back; `interleave` brings the rows of a step into the order in which the kernels want them; `linear`
//! is the layer made of these; `rows` has layer norm, gelu and the residual sum; `threads` says who computes what.
//!
//! **Bits.** Every output of a linear layer is one chain: from zero, `sum += weight · input`, from the first input to the last, then
//! the bias. Rows and outputs lie side by side in registers and never meet in a sum, so neither the number of rows, nor how they are
//! grouped, nor how outputs are shared among threads, can change a bit. The two x86 kernels fuse product and sum and agree with each
//! other; the portable one rounds twice.

// Vector instructions are reached by `unsafe` alone, and so is one output shared by several threads. Here and nowhere else.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod interleave;
mod isa;
mod linear;
mod panels;
mod portable;
mod rows;
mod threads;

#[cfg(test)]
mod tests;

pub(super) use interleave::Interleaved;
pub(super) use isa::{Isa, Work};
pub(super) use linear::Linear;
pub(super) use rows::{LayerNorm, add, dot, exponentials, gelu};
pub(super) use threads::{is_wide, on_threads};
