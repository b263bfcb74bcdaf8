//! GPT-2: against Transformers, in every form of a checkpoint, and bit for bit.

#![allow(clippy::unwrap_used)] // A test that fails here fails as it should.

mod bits;
mod checkpoints;
mod constraint;
mod reference;
mod support;
mod vocabulary;
