//! The conformance kit: what every engine promises, asked of it through [`TextEngine`] alone.
//!
//! A new promise gets its case here first.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{join_all, try_join_all};

use crate::error::EngineError;
use crate::generation::{Completion, FinishReason, TextEvent};
use crate::request::{GenerateRequest, MaxTokens, Sampling};
use crate::text_engine::{Circumstance, State, TextEngine};

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
}

/// Opens an engine.
pub type Open = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Result<Arc<dyn TextEngine>, EngineError>> + Send>> + Send + Sync>;

type Verdict = Result<(), String>;

macro_rules! ensure {
    ($holds:expr, $($message:tt)+) => {
        if !$holds {
            return Err(format!($($message)+));
        }
    };
}

/// Runs every case.
///
/// # Panics
/// With all cases that failed.
pub async fn check(subject: &Subject) {
    let mut failures = Vec::new();
    macro_rules! run {
        ($($case:ident),+ $(,)?) => {$(
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
        it_says_what_it_is,
        one_finished_and_it_is_the_last_event,
        joined_pieces_are_the_collected_text,
        max_tokens_is_exact,
        max_tokens_beyond_the_context_is_lowered_only_if_it_is_a_default,
        greedy_repeats,
        same_seed_same_text,
        a_seed_is_chosen_and_works,
        a_stop_string_is_never_shown,
        characters_come_whole,
        usage_counts_tokens,
        too_long_is_refused_before_the_stream,
        bad_requests_are_refused_with_their_field,
        a_full_engine_is_busy,
        a_dropped_generation_frees_its_slot,
        many_at_once_give_what_each_gives_alone,
        changed_circumstances_change_no_bytes_where_that_is_claimed,
        logprobs_are_of_the_tokens,
        tokens_and_text_go_both_ways,
        texts_have_vectors_where_that_is_claimed,
        dropping_the_engine_ends_its_generations,
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

async fn answer(engine: &dyn TextEngine, request: GenerateRequest) -> Result<Completion, String> {
    let generation = engine.generate(request).await.map_err(|error| format!("refused: {error}"))?;
    generation.collect().await.map_err(|error| format!("broke off: {error}"))
}

async fn it_says_what_it_is(engine: Arc<dyn TextEngine>, _: &Subject) -> Verdict {
    let info = engine.info();
    for (what, text) in [
        ("name", &info.name),
        ("backend", &info.backend),
        ("model", &info.model),
        ("source", &info.source),
        ("fingerprint", &info.fingerprint),
    ] {
        ensure!(!text.is_empty(), "{what} is empty");
    }
    let health = engine.health();
    ensure!(health.state == State::Ready, "health is {health:?}");
    ensure!(health.slots > 0 && health.active == 0 && health.queued == 0, "health is {health:?}");
    Ok(())
}

async fn one_finished_and_it_is_the_last_event(engine: Arc<dyn TextEngine>, subject: &Subject) -> Verdict {
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

async fn joined_pieces_are_the_collected_text(engine: Arc<dyn TextEngine>, subject: &Subject) -> Verdict {
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

async fn max_tokens_is_exact(engine: Arc<dyn TextEngine>, subject: &Subject) -> Verdict {
    for max_tokens in [1, 2, 5, 24] {
        let Completion { finish, tokens, .. } = answer(&*engine, greedy(&subject.prompt, max_tokens)).await?;
        ensure!(finish.reason == FinishReason::Length, "it ended by {:?} before {max_tokens} tokens", finish.reason);
        ensure!(finish.usage.completion_tokens == max_tokens, "{} tokens instead of {max_tokens}", finish.usage.completion_tokens);
        ensure!(tokens.is_empty() || tokens.len() == max_tokens, "{} tokens told instead of {max_tokens}", tokens.len());
    }
    Ok(())
}

async fn max_tokens_beyond_the_context_is_lowered_only_if_it_is_a_default(engine: Arc<dyn TextEngine>, subject: &Subject) -> Verdict {
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

async fn greedy_repeats(engine: Arc<dyn TextEngine>, subject: &Subject) -> Verdict {
    if !engine.info().determinism.holds(Circumstance::Repeated) {
        return Ok(());
    }
    let first = answer(&*engine, greedy(&subject.prompt, 16)).await?;
    for other in &subject.others {
        answer(&*engine, greedy(other, 5)).await?;
        let again = answer(&*engine, greedy(&subject.prompt, 16)).await?;
        ensure!(again == first, "{:?} and then {:?}", first.text, again.text);
    }
    Ok(())
}

async fn same_seed_same_text(engine: Arc<dyn TextEngine>, subject: &Subject) -> Verdict {
    if !engine.info().determinism.holds(Circumstance::Repeated) {
        return Ok(());
    }
    let mut texts = std::collections::BTreeSet::new();
    for seed in 0..4 {
        let first = answer(&*engine, seeded(&subject.prompt, 12, seed)).await?;
        let again = answer(&*engine, seeded(&subject.prompt, 12, seed)).await?;
        ensure!(first == again, "seed {seed}: {:?} and then {:?}", first.text, again.text);
        texts.insert(first.text);
    }
    ensure!(texts.len() > 1, "four seeds give one text: {texts:?}");
    Ok(())
}

async fn a_seed_is_chosen_and_works(engine: Arc<dyn TextEngine>, subject: &Subject) -> Verdict {
    if !engine.info().determinism.holds(Circumstance::Repeated) {
        return Ok(());
    }
    let mut unseeded = seeded(&subject.prompt, 12, 0);
    unseeded.sampling.seed = None;
    let generation = engine.generate(unseeded).await.map_err(|error| error.to_string())?;
    let seed = generation.beginning().seed;
    let first = generation.collect().await.map_err(|error| error.to_string())?;
    let again = answer(&*engine, seeded(&subject.prompt, 12, seed)).await?;
    ensure!(first == again, "chosen seed {seed}: {:?} and then {:?}", first.text, again.text);
    Ok(())
}

async fn a_stop_string_is_never_shown(engine: Arc<dyn TextEngine>, subject: &Subject) -> Verdict {
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

async fn characters_come_whole(engine: Arc<dyn TextEngine>, subject: &Subject) -> Verdict {
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

async fn usage_counts_tokens(engine: Arc<dyn TextEngine>, subject: &Subject) -> Verdict {
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

async fn too_long_is_refused_before_the_stream(engine: Arc<dyn TextEngine>, subject: &Subject) -> Verdict {
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

async fn bad_requests_are_refused_with_their_field(engine: Arc<dyn TextEngine>, subject: &Subject) -> Verdict {
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

async fn a_full_engine_is_busy(engine: Arc<dyn TextEngine>, subject: &Subject) -> Verdict {
    let Some(capacity) = subject.capacity else { return Ok(()) };
    let request = GenerateRequest { max_tokens: MaxTokens::Remaining, ..seeded(&subject.prompt, 1, 5) };
    let (mut accepted, mut busy) = (Vec::new(), 0);
    // An engine may finish some while others come, so a few more are sent; it must have refused one by then.
    for _ in 0..capacity + 16 {
        match engine.generate(request.clone()).await {
            Ok(generation) => accepted.push(generation),
            Err(EngineError::Busy { .. }) => busy += 1,
            Err(other) => return Err(format!("refused as {other:?}")),
        }
    }
    ensure!(busy > 0, "{} requests accepted by an engine that holds {capacity}", accepted.len());
    ensure!(accepted.len() >= capacity, "{} requests accepted by an engine that holds {capacity}", accepted.len());
    accepted.truncate(engine.health().slots + 1);
    try_join_all(accepted.into_iter().map(crate::Generation::collect))
        .await
        .map_err(|error| format!("an accepted one ends with {error}"))?;
    Ok(())
}

async fn a_dropped_generation_frees_its_slot(engine: Arc<dyn TextEngine>, subject: &Subject) -> Verdict {
    let endless = GenerateRequest { max_tokens: MaxTokens::Remaining, ..greedy(&subject.prompt, 1) };
    let slots = engine.health().slots;
    for _ in 0..3 {
        let mut held = Vec::new();
        for _ in 0..slots {
            let mut generation = engine.generate(endless.clone()).await.map_err(|error| format!("a freed slot is refused: {error}"))?;
            generation.next().await;
            held.push(generation);
        }
    }
    answer(&*engine, greedy(&subject.prompt, 2)).await?;
    while engine.health().active + engine.health().queued > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

async fn many_at_once_give_what_each_gives_alone(engine: Arc<dyn TextEngine>, subject: &Subject) -> Verdict {
    let promised = engine.info().determinism;
    if !promised.holds(Circumstance::Repeated) {
        return Ok(());
    }
    let prompts: Vec<&String> = subject.others.iter().chain([&subject.prompt]).collect();
    let room = subject.capacity.unwrap_or(8).min(12);
    let requests: Vec<GenerateRequest> = (0..room)
        .map(|index| {
            let prompt = prompts[index % prompts.len()];
            if index % 2 == 0 { greedy(prompt, 20 - index % 7) } else { seeded(prompt, 20 - index % 7, index as u64) }
        })
        .collect();
    let mut alone = Vec::new();
    for request in &requests {
        alone.push(answer(&*engine, request.clone()).await?);
    }
    let again = if promised.holds(Circumstance::Load) {
        join_all(requests.iter().map(|request| answer(&*engine, request.clone()))).await
    } else {
        let mut again = Vec::new();
        for request in requests.iter().rev() {
            again.insert(0, answer(&*engine, request.clone()).await);
        }
        again
    };
    for ((request, alone), again) in requests.iter().zip(alone).zip(again) {
        let again = again?;
        ensure!(alone == again, "{:?}: {:?} alone, {:?} with others", request.prompt, alone.text, again.text);
    }
    Ok(())
}

async fn changed_circumstances_change_no_bytes_where_that_is_claimed(engine: Arc<dyn TextEngine>, subject: &Subject) -> Verdict {
    for (circumstance, open) in &subject.variants {
        if !engine.info().determinism.holds(*circumstance) {
            continue;
        }
        let other = open().await.map_err(|error| format!("{circumstance:?}: it can't be opened: {error}"))?;
        for (seed, prompt) in (0..).zip(subject.others.iter().chain([&subject.prompt])) {
            for request in [greedy(prompt, 16), seeded(prompt, 16, seed)] {
                let (here, there) = (answer(&*engine, request.clone()).await?, answer(&*other, request).await?);
                ensure!(here == there, "{circumstance:?}, {prompt:?}: {:?} and {:?}", here.text, there.text);
            }
        }
    }
    Ok(())
}

async fn logprobs_are_of_the_tokens(engine: Arc<dyn TextEngine>, subject: &Subject) -> Verdict {
    if !engine.info().capabilities.logprobs {
        return Ok(());
    }
    let tokens = answer(&*engine, GenerateRequest { logprobs: Some(3), ..greedy(&subject.prompt, 8) }).await?.tokens;
    for token in &tokens {
        let Some(logprob) = token.logprob else { return Err(format!("token {} has no log probability", token.id)) };
        let is_logarithm_of_a_share = logprob <= 0.0;
        ensure!(is_logarithm_of_a_share, "log probability {logprob}");
        ensure!(token.top.len() == 3 && token.top.is_sorted_by(|a, b| a.1 >= b.1), "alternatives {:?}", token.top);
        ensure!(token.top[0] == (token.id, logprob), "greedy chose {} before {:?}", token.id, token.top);
    }
    let plain = answer(&*engine, greedy(&subject.prompt, 8)).await?.tokens;
    ensure!(plain.iter().all(|token| token.logprob.is_none() && token.top.is_empty()), "log probabilities that nobody asked for");
    ensure!(plain.iter().map(|token| token.id).eq(tokens.iter().map(|token| token.id)), "asking for log probabilities changes the text");
    Ok(())
}

async fn tokens_and_text_go_both_ways(engine: Arc<dyn TextEngine>, subject: &Subject) -> Verdict {
    if !engine.info().capabilities.tokenize {
        return Ok(());
    }
    for text in subject.others.iter().chain([&subject.prompt]) {
        let tokens = engine.tokenize(text).await.map_err(|error| error.to_string())?;
        let back = engine.detokenize(&tokens).await.map_err(|error| error.to_string())?;
        ensure!(back.trim_start() == text.trim_start(), "{text:?} came back as {back:?}");
        let request = GenerateRequest { prompt: crate::Prompt::Tokens(tokens.clone()), ..greedy(text, 4) };
        answer(&*engine, request).await?;
    }
    let outside = engine.detokenize(&[u32::MAX]).await;
    ensure!(
        matches!(outside, Err(EngineError::InvalidRequest { param: "tokens", .. })),
        "a token outside the vocabulary gives {outside:?}"
    );
    let request = GenerateRequest { prompt: crate::Prompt::Tokens(vec![u32::MAX]), ..greedy("", 4) };
    let outside = engine.generate(request).await.err();
    ensure!(matches!(outside, Some(EngineError::InvalidRequest { param: "prompt", .. })), "as a prompt it gives {outside:?}");
    Ok(())
}

async fn texts_have_vectors_where_that_is_claimed(engine: Arc<dyn TextEngine>, subject: &Subject) -> Verdict {
    let embedded = engine.embed(&[subject.prompt.clone(), subject.others[0].clone()]).await;
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
            Ok(())
        }
        (false, Err(EngineError::Unsupported { .. })) => Ok(()),
        (claimed, outcome) => Err(format!("claimed: {claimed}, but {outcome:?}")),
    }
}

async fn dropping_the_engine_ends_its_generations(engine: Arc<dyn TextEngine>, subject: &Subject) -> Verdict {
    let endless = GenerateRequest { max_tokens: MaxTokens::Remaining, ..greedy(&subject.prompt, 1) };
    let mut generations = Vec::new();
    for _ in 0..engine.health().slots {
        generations.push(engine.generate(endless.clone()).await.map_err(|error| error.to_string())?);
    }
    let dropped = tokio::task::spawn_blocking(move || drop(engine));
    for generation in generations {
        // It may have come to its end before.
        if let Err(error) = generation.collect().await {
            ensure!(matches!(error, EngineError::Stopped), "it ends with {error:?}");
        }
    }
    dropped.await.map_err(|error| error.to_string())
}
