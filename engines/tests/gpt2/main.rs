//! GPT-2 on candle: against Transformers, in every form of a checkpoint, and bit for bit.

mod bits;
mod checkpoints;
mod reference;
mod support;
mod vocabulary;
