//! The conformance kit: what every engine promises, asked of it through [`TextEngine`] alone.
//!
//! A new promise gets its case here first.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::error::EngineError;
use crate::generation::Completion;
use crate::request::{GenerateRequest, MaxTokens, Sampling};
use crate::text_engine::{Circumstance, TextEngine};

/// Ends the case with a message where a condition doesn't hold.
macro_rules! ensure {
    ($holds:expr, $($message:tt)+) => {
        // A comparison with what is no number must fail, so it isn't turned round.
        match $holds {
            true => {}
            false => return Err(format!($($message)+)),
        }
    };
}

mod answers;
mod lifetime;
mod refusals;
mod sameness;

/// How long anything may take before a case calls it a hang.
const PATIENCE: Duration = Duration::from_secs(120);

/// An engine to be examined.
pub struct Subject {
    /// Opens the engine anew.
    pub open: Open,
    /// A prompt whose greedy continuation goes on for 24 tokens at least.
    pub prompt: String,
    /// More prompts, all different.
    pub others: Vec<String>,
    /// How many requests the engine holds before it is busy, computed and waiting ones together; `None` for one without a bound of its own.
    pub capacity: Option<usize>,
    /// The engine with one circumstance changed: other chunk sizes, another number of threads. Where it claims that its bytes stay the same,
    /// they must.
    pub variants: Vec<(Circumstance, Open)>,
    /// Whether a prompt that starts as an earlier one did finds it in the cache.
    pub reuses_prefixes: bool,
    /// Whether logits follow from the tokens before alone, as a network's do, and not from where the prompt ended.
    pub knows_tokens_alone: bool,
}

/// Opens an engine.
pub type Open = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Result<Arc<dyn TextEngine>, EngineError>> + Send>> + Send + Sync>;

type Verdict = Result<(), String>;

/// Runs every case.
///
/// # Panics
/// With all cases that failed.
pub async fn check(subject: &Subject) {
    let mut failures = Vec::new();
    macro_rules! run {
        ($($case:path),+ $(,)?) => {$(
            let verdict = match (subject.open)().await {
                Ok(engine) => tokio::time::timeout(PATIENCE, $case(engine, subject)).await.unwrap_or_else(|_| Err("it hangs".into())),
                Err(error) => Err(format!("the engine can't be opened: {error}")),
            };
            if let Err(reason) = verdict {
                failures.push(format!("{}: {reason}", stringify!($case)));
            }
        )+};
    }
    run!(
        lifetime::it_says_what_it_is,
        answers::one_finished_and_it_is_the_last_event,
        answers::joined_pieces_are_the_collected_text,
        answers::max_tokens_is_exact,
        refusals::max_tokens_beyond_the_context_is_lowered_only_if_it_is_a_default,
        sameness::greedy_repeats,
        sameness::same_seed_same_text,
        sameness::a_seed_is_chosen_and_works,
        answers::a_stop_string_is_never_shown,
        answers::characters_come_whole,
        answers::usage_counts_tokens,
        refusals::too_long_is_refused_before_the_stream,
        refusals::bad_requests_are_refused_with_their_field,
        lifetime::a_full_engine_is_busy,
        lifetime::a_dropped_generation_frees_its_slot,
        sameness::many_at_once_give_what_each_gives_alone,
        sameness::what_must_be_the_same_is_so_beside_others_or_is_refused,
        sameness::what_earlier_requests_left_changes_no_bytes,
        sameness::changed_circumstances_change_no_bytes_where_that_is_claimed,
        answers::logprobs_are_of_the_tokens,
        answers::tokens_and_text_go_both_ways,
        answers::texts_have_vectors_where_that_is_claimed,
        lifetime::dropping_the_engine_ends_its_generations,
    );
    assert!(failures.is_empty(), "{} cases failed:\n{}", failures.len(), failures.join("\n"));
}

fn greedy(prompt: &str, max_tokens: usize) -> GenerateRequest {
    GenerateRequest { sampling: Sampling::greedy(), ..GenerateRequest::text(prompt, MaxTokens::AtMost(max_tokens)) }
}

fn seeded(prompt: &str, max_tokens: usize, seed: u64) -> GenerateRequest {
    let sampling = Sampling { temperature: 1.2, top_k: 40, top_p: 0.95, seed: Some(seed), ..Sampling::default() };
    GenerateRequest { sampling, ..GenerateRequest::text(prompt, MaxTokens::AtMost(max_tokens)) }
}

/// An answer without what depends on earlier requests and may: how many of its tokens were cached.
async fn answer(engine: &dyn TextEngine, request: GenerateRequest) -> Result<Completion, String> {
    let mut completion = answer_with_cache(engine, request).await?;
    completion.finish.usage.cached_tokens = 0;
    Ok(completion)
}

async fn answer_with_cache(engine: &dyn TextEngine, request: GenerateRequest) -> Result<Completion, String> {
    let generation = engine.generate(request).await.map_err(|error| format!("refused: {error}"))?;
    generation.collect().await.map_err(|error| format!("broke off: {error}"))
}
