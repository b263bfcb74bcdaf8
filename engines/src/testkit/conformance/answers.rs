//! What an answer is made of.

use std::sync::Arc;

use futures_util::StreamExt;

use super::{Subject, Verdict, answer, greedy, seeded};
use crate::error::EngineError;
use crate::generation::{Completion, FinishReason, TextEvent, Token};
use crate::request::{GenerateRequest, Prompt};
use crate::text_engine::{Circumstance, Determinism, Embedding, TextEngine};

pub(super) async fn one_finished_and_it_is_the_last_event(engine: Arc<dyn TextEngine>, subject: &Subject) -> Verdict {
    for max_tokens in [1, 7] {
        let generation = engine.generate(greedy(&subject.prompt, max_tokens)).await.map_err(|error| error.to_string())?;
        let events: Vec<_> = StreamExt::collect(generation).await;
        let finished = events.iter().filter(|event| matches!(event, Ok(TextEvent::Finished(_)))).count();
        ensure!(finished == 1, "{finished} Finished among {} events", events.len());
        ensure!(matches!(events.last(), Some(Ok(TextEvent::Finished(_)))), "the last event is {:?}", events.last());
        ensure!(events.len() <= max_tokens + 2, "{} events for {max_tokens} tokens", events.len());
    }
    Ok(())
}

pub(super) async fn joined_pieces_are_the_collected_text(engine: Arc<dyn TextEngine>, subject: &Subject) -> Verdict {
    for request in [greedy(&subject.prompt, 16), seeded(&subject.prompt, 16, 3)] {
        let mut generation = engine.generate(request.clone()).await.map_err(|error| error.to_string())?;
        let mut joined = String::new();
        while let Some(event) = generation.next().await {
            if let TextEvent::Text { text, .. } = event.map_err(|error| error.to_string())? {
                joined.push_str(&text);
            }
        }
        let collected = answer(&*engine, request).await?.text;
        ensure!(joined == collected, "{joined:?} in pieces, {collected:?} collected");
    }
    Ok(())
}

pub(super) async fn max_tokens_is_exact(engine: Arc<dyn TextEngine>, subject: &Subject) -> Verdict {
    for max_tokens in [1, 2, 5, 24] {
        let Completion { finish, tokens, .. } = answer(&*engine, greedy(&subject.prompt, max_tokens)).await?;
        ensure!(finish.reason == FinishReason::Length, "it ended by {:?} before {max_tokens} tokens", finish.reason);
        ensure!(finish.usage.completion_tokens == max_tokens, "{} tokens instead of {max_tokens}", finish.usage.completion_tokens);
        ensure!(tokens.is_empty() || tokens.len() == max_tokens, "{} tokens told instead of {max_tokens}", tokens.len());
    }
    Ok(())
}

pub(super) async fn a_stop_string_is_never_shown(engine: Arc<dyn TextEngine>, subject: &Subject) -> Verdict {
    if !engine.info().determinism.holds(Circumstance::Repeated) {
        return Ok(());
    }
    let whole = answer(&*engine, greedy(&subject.prompt, 24)).await?.text;
    let characters: Vec<char> = whole.chars().collect();
    // Strings of every length from one place on: within a token, over two, over many.
    for length in 1..=12.min(characters.len().saturating_sub(4)) {
        let stop: String = characters[4..4 + length].iter().collect();
        let request = GenerateRequest { stop: vec!["\u{1}never".into(), stop.clone()], ..greedy(&subject.prompt, 24) };
        let Completion { text, finish, .. } = answer(&*engine, request).await?;
        let expected = &whole[..whole.find(&stop).unwrap_or(whole.len())];
        ensure!(text == expected, "stop {stop:?}: {text:?} instead of {expected:?}");
        ensure!(finish.reason == FinishReason::StopString(stop.clone()), "stop {stop:?} ended as {:?}", finish.reason);
    }
    Ok(())
}

pub(super) async fn characters_come_whole(engine: Arc<dyn TextEngine>, subject: &Subject) -> Verdict {
    for (seed, prompt) in (0..).zip(subject.others.iter().chain([&subject.prompt])) {
        for request in [greedy(prompt, 24), seeded(prompt, 24, seed)] {
            let Completion { text, tokens, .. } = answer(&*engine, request).await?;
            let bytes: Vec<u8> = tokens.iter().flat_map(|token| token.bytes.iter().copied()).collect();
            let lossy = String::from_utf8_lossy(&bytes);
            // What the last token began may be left out, and nothing else.
            let without_tail = lossy.strip_suffix('\u{FFFD}').unwrap_or(&lossy);
            ensure!(tokens.is_empty() || text == lossy || text == without_tail, "{text:?} of bytes that say {lossy:?}");
        }
    }
    Ok(())
}

pub(super) async fn usage_counts_tokens(engine: Arc<dyn TextEngine>, subject: &Subject) -> Verdict {
    let generation = engine.generate(greedy(&subject.prompt, 9)).await.map_err(|error| error.to_string())?;
    let prompt_tokens = generation.beginning().prompt_tokens.len();
    let Completion { finish, tokens, .. } = generation.collect().await.map_err(|error| error.to_string())?;
    ensure!(finish.usage.prompt_tokens > 0, "no token in the prompt");
    if engine.info().capabilities.tokenize {
        let counted = engine.tokenize(&subject.prompt).await.map_err(|error| error.to_string())?.len();
        let told = finish.usage.prompt_tokens;
        ensure!(told == prompt_tokens && told >= counted && told <= counted + 2, "{told} prompt tokens told, {counted} counted");
        ensure!(finish.usage.completion_tokens == tokens.len(), "{} tokens told, {} counted", finish.usage.completion_tokens, tokens.len());
    }
    Ok(())
}

pub(super) async fn logprobs_are_of_the_tokens(engine: Arc<dyn TextEngine>, subject: &Subject) -> Verdict {
    if !engine.info().capabilities.logprobs {
        return Ok(());
    }
    let tokens = answer(&*engine, GenerateRequest { logprobs: Some(3), ..greedy(&subject.prompt, 8) }).await?.tokens;
    for token in &tokens {
        let Some(logprob) = token.logprob else { return Err(format!("token {} has no log probability", token.id)) };
        let is_logarithm_of_a_share = logprob <= 0.0;
        ensure!(is_logarithm_of_a_share, "log probability {logprob}");
        ensure!(token.top.len() == 3 && token.top.is_sorted_by(|a, b| a.logprob >= b.logprob), "alternatives {:?}", token.top);
        ensure!((token.top[0].id, token.top[0].logprob) == (token.id, logprob), "greedy chose {} before {:?}", token.id, token.top);
    }
    if subject.knows_tokens_alone {
        agree_with_a_full_softmax(&*engine, &subject.prompt, &tokens).await?;
    }
    let plain = answer(&*engine, greedy(&subject.prompt, 8)).await?.tokens;
    ensure!(plain.iter().all(|token| token.logprob.is_none() && token.top.is_empty()), "log probabilities that nobody asked for");
    // An upstream tells its tokens only where log probabilities are asked for.
    let same = plain.is_empty() || plain.iter().map(|token| token.id).eq(tokens.iter().map(|token| token.id));
    ensure!(same, "asking for log probabilities changes the text");
    Ok(())
}

/// The log probabilities of an answer and of its prompt against those of all logits, to 1e-4.
///
/// The logits are of another reading of the same tokens, in steps of another shape. An engine whose bits depend on how tokens are fed gives
/// others then: llama.cpp's, with quantised weights, are up to some hundredths off, whatever the log probabilities are made of. There 0.05 is
/// what two readings may differ by; that a log probability is that of its very row is held to 1e-4 in engines/tests/logprobs.rs.
async fn agree_with_a_full_softmax(engine: &dyn TextEngine, prompt: &str, answer: &[Token]) -> Verdict {
    let failed = |error: EngineError| error.to_string();
    let mut tokens = match engine.tokenize(prompt).await {
        Err(EngineError::Unsupported { .. }) => return Ok(()),
        tokens => tokens.map_err(failed)?,
    };
    let scored = match engine.score(&Prompt::Text(prompt.to_owned()), 3).await {
        Err(EngineError::Unsupported { .. }) => return Ok(()),
        scored => scored.map_err(failed)?,
    };
    ensure!(scored.iter().map(|token| token.id).eq(tokens.iter().copied()), "scored {scored:?} instead of {tokens:?}");
    ensure!(scored[0].logprob.is_none() && scored[0].top.is_empty(), "the first token follows nothing");
    tokens.extend(answer.iter().map(|token| token.id));
    let mut rows = engine.logits(&tokens).await.map_err(failed)?;
    let mut exact = Vec::new();
    while let Some(logits) = rows.next().await {
        let logits = logits.map_err(failed)?;
        exact.extend((0..logits.rows()).map(|row| {
            let row = logits.row(row);
            let maximum = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let total: f64 = row.iter().map(|&logit| f64::from(logit - maximum).exp()).sum();
            row.iter().map(|&logit| f64::from(logit - maximum) - total.ln()).collect::<Vec<f64>>()
        }));
    }
    let tolerance = if engine.info().determinism == Determinism::Bitwise { 1e-4 } else { 0.05 };
    for (place, token) in scored.iter().chain(answer).enumerate().skip(1) {
        let exact = &exact[place - 1];
        let told = token.top.iter().map(|other| (other.id, other.logprob)).chain(token.logprob.map(|logprob| (token.id, logprob)));
        for (id, logprob) in told {
            let difference = (f64::from(logprob) - exact[id as usize]).abs();
            ensure!(difference < tolerance, "token {id} at place {place}: {logprob} instead of {}", exact[id as usize]);
        }
        ensure!(token.top.len() == 3, "{} alternatives at place {place}", token.top.len());
    }
    Ok(())
}

pub(super) async fn tokens_and_text_go_both_ways(engine: Arc<dyn TextEngine>, subject: &Subject) -> Verdict {
    if !engine.info().capabilities.tokenize {
        return Ok(());
    }
    for text in subject.others.iter().chain([&subject.prompt]) {
        let tokens = engine.tokenize(text).await.map_err(|error| error.to_string())?;
        let back = engine.detokenize(&tokens).await.map_err(|error| error.to_string())?;
        ensure!(back.trim_start() == text.trim_start(), "{text:?} came back as {back:?}");
        let request = GenerateRequest { prompt: Prompt::Tokens(tokens.clone()), ..greedy(text, 4) };
        answer(&*engine, request).await?;
    }
    let outside = engine.detokenize(&[u32::MAX]).await;
    ensure!(
        matches!(outside, Err(EngineError::InvalidRequest { param: "tokens", .. })),
        "a token outside the vocabulary gives {outside:?}"
    );
    let request = GenerateRequest { prompt: Prompt::Tokens(vec![u32::MAX]), ..greedy("", 4) };
    let outside = engine.generate(request).await.err();
    ensure!(matches!(outside, Some(EngineError::InvalidRequest { param: "prompt", .. })), "as a prompt it gives {outside:?}");
    Ok(())
}

pub(super) async fn texts_have_vectors_where_that_is_claimed(engine: Arc<dyn TextEngine>, subject: &Subject) -> Verdict {
    let text = |text: &String| Prompt::Text(text.clone());
    let embedded = engine.embed(&[text(&subject.prompt), text(&subject.others[0])]).await;
    match (engine.info().capabilities.embeddings, embedded) {
        (true, Ok(vectors)) => {
            let [one, other] = &vectors[..] else { return Err(format!("{} vectors of 2 texts", vectors.len())) };
            ensure!(
                one.vector.len() == other.vector.len() && !one.vector.is_empty(),
                "{} and {} wide",
                one.vector.len(),
                other.vector.len()
            );
            ensure!(one.vector != other.vector && one.tokens > 0, "two texts, one vector");
            for Embedding { vector, .. } in &vectors {
                let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
                ensure!((length - 1.0).abs() < 1e-4, "a vector of length {length}");
            }
            let again = engine.embed(&[text(&subject.prompt)]).await.map_err(|error| format!("a second time: {error}"))?;
            ensure!(again[0] == *one, "the same text has another vector the second time");
            let long = "word ".repeat(engine.info().context_length);
            let refused = engine.embed(&[text(&long)]).await;
            ensure!(
                matches!(refused, Err(EngineError::InvalidRequest { param: "input", .. })),
                "a text beyond the context gives {refused:?}"
            );
            Ok(())
        }
        (false, Err(EngineError::Unsupported { .. })) => Ok(()),
        (claimed, outcome) => Err(format!("claimed: {claimed}, but {outcome:?}")),
    }
}
