//! From logits to text, written once for all local engines.
//!
//! A row of logits goes through the [`Sampler`], which returns a token; the token's bytes go through [`WholeCharacters`] and come
//! out as text; the text goes through [`StopMatcher`], which holds back what may become a stop string. Where the answer must have a
//! form, [`constraint`] says which tokens may come next.

mod blocks;
mod characters;
pub mod constraint;
mod logprobs;
mod sampler;
mod scratch;
mod stop;
mod weights;

pub use characters::WholeCharacters;
pub use logprobs::{Logprobs, Scorer};
pub use sampler::Sampler;
pub use scratch::Scratch;
pub use stop::{StopMatcher, Stopping};
