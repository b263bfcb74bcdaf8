//! What is refused, and how.

use std::sync::Arc;

use super::{Subject, Verdict, greedy};
use crate::error::EngineError;
use crate::request::{GenerateRequest, MaxTokens};
use crate::text_engine::TextEngine;

pub(super) async fn max_tokens_beyond_the_context_is_lowered_only_if_it_is_a_default(
    engine: Arc<dyn TextEngine>,
    subject: &Subject,
) -> Verdict {
    let context = engine.info().context_length;
    let with = |max_tokens| GenerateRequest { max_tokens, ..greedy(&subject.prompt, 1) };
    let lowered = engine.generate(with(MaxTokens::AtMost(context + 1))).await.map_err(|error| format!("a default is refused: {error}"))?;
    let remaining = engine.generate(with(MaxTokens::Remaining)).await.map_err(|error| format!("the rest is refused: {error}"))?;
    let (lowered, remaining) = (lowered.beginning().max_tokens, remaining.beginning().max_tokens);
    ensure!(lowered == remaining && lowered < context, "lowered to {lowered}, the rest is {remaining}, the context {context}");
    match engine.generate(with(MaxTokens::Exactly(context))).await {
        Err(EngineError::ContextLengthExceeded { max_tokens: Some(wanted), limit, .. }) => {
            ensure!(wanted == context && limit == context, "the refusal names {wanted} and {limit} instead of {context}");
            Ok(())
        }
        Err(other) => Err(format!("refused as {other:?}")),
        Ok(_) => Err("more than the context holds is accepted".into()),
    }
}

pub(super) async fn too_long_is_refused_before_the_stream(engine: Arc<dyn TextEngine>, subject: &Subject) -> Verdict {
    let context = engine.info().context_length;
    let endless = format!("{} ", subject.prompt).repeat(context);
    match engine.generate(greedy(&endless, 1)).await {
        Err(EngineError::ContextLengthExceeded { prompt_tokens, limit, max_tokens: None }) => {
            ensure!(prompt_tokens >= limit && limit == context, "the refusal names {prompt_tokens} and {limit}");
            Ok(())
        }
        Err(other) => Err(format!("refused as {other:?}")),
        Ok(_) => Err("accepted".into()),
    }
}

pub(super) async fn bad_requests_are_refused_with_their_field(engine: Arc<dyn TextEngine>, subject: &Subject) -> Verdict {
    let with = |change: fn(&mut GenerateRequest)| {
        let mut request = greedy(&subject.prompt, 4);
        change(&mut request);
        request
    };
    let cases = [
        ("prompt", greedy("", 4)),
        ("max_tokens", greedy(&subject.prompt, 0)),
        ("temperature", with(|request| request.sampling.temperature = f32::NAN)),
        ("temperature", with(|request| request.sampling.temperature = -1.0)),
        ("top_p", with(|request| request.sampling.top_p = 0.0)),
        ("min_p", with(|request| request.sampling.min_p = 1.5)),
        ("repetition_penalty", with(|request| request.sampling.repetition_penalty = 0.0)),
        ("stop", with(|request| request.stop = vec![String::new()])),
        ("logprobs", with(|request| request.logprobs = Some(21))),
    ];
    for (field, request) in cases {
        match engine.generate(request).await {
            Err(EngineError::InvalidRequest { param, .. }) if param == field => {}
            Err(other) => return Err(format!("{field} is refused as {other:?}")),
            Ok(_) => return Err(format!("{field} is accepted")),
        }
    }
    Ok(())
}
