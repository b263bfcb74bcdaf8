//! The same request, the same bytes, as far as the engine claims it.

use std::sync::Arc;

use futures_util::future::join_all;

use super::{Subject, Verdict, answer, answer_with_cache, greedy, seeded};
use crate::error::EngineError;
use crate::request::GenerateRequest;
use crate::text_engine::{Circumstance, TextEngine};

pub(super) async fn greedy_repeats(engine: Arc<dyn TextEngine>, subject: &Subject) -> Verdict {
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

pub(super) async fn same_seed_same_text(engine: Arc<dyn TextEngine>, subject: &Subject) -> Verdict {
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

pub(super) async fn a_seed_is_chosen_and_works(engine: Arc<dyn TextEngine>, subject: &Subject) -> Verdict {
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

pub(super) async fn many_at_once_give_what_each_gives_alone(engine: Arc<dyn TextEngine>, subject: &Subject) -> Verdict {
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

/// A request that says `deterministic` beside others: the same as alone, on an engine that promises anything at all.
pub(super) async fn what_must_be_the_same_is_so_beside_others_or_is_refused(engine: Arc<dyn TextEngine>, subject: &Subject) -> Verdict {
    let deterministic = |prompt: &str, seed| GenerateRequest { deterministic: true, ..seeded(prompt, 12, seed) };
    if !engine.info().determinism.holds(Circumstance::Repeated) {
        let refused = engine.generate(deterministic(&subject.prompt, 1)).await.err();
        ensure!(matches!(refused, Some(EngineError::Unsupported { .. })), "it promises nothing, and doesn't refuse: {refused:?}");
        return Ok(());
    }
    let alone = answer(&*engine, deterministic(&subject.prompt, 1)).await?;
    let room = subject.capacity.unwrap_or(8).min(12);
    let requests = (0..room).map(|index| match index % 3 {
        1 => deterministic(&subject.prompt, 1),
        _ => seeded(&subject.others[index % subject.others.len()], 16, index as u64),
    });
    let requests: Vec<GenerateRequest> = requests.collect();
    let answers = join_all(requests.iter().map(|request| answer(&*engine, request.clone()))).await;
    for (_, among) in requests.iter().zip(answers).filter(|(request, _)| request.deterministic) {
        let among = among?;
        ensure!(among == alone, "{:?} alone, {:?} among others", alone.text, among.text);
    }
    Ok(())
}

/// Each turn of a conversation on an engine that saw the turns before, and on one that sees nothing else.
pub(super) async fn what_earlier_requests_left_changes_no_bytes(engine: Arc<dyn TextEngine>, subject: &Subject) -> Verdict {
    let claims_sameness = engine.info().determinism.holds(Circumstance::PrefixReuse);
    let context = engine.info().context_length;
    let mut history = format!("{} {}", subject.prompt, subject.others[0]);
    let mut earlier = false;
    for (seed, more) in (0..4).zip(subject.others.iter().cycle()) {
        for request in [greedy(&history, 5), seeded(&history, 5, seed)] {
            let found = answer_with_cache(&*engine, request.clone()).await?;
            let usage = found.finish.usage;
            ensure!(usage.cached_tokens < usage.prompt_tokens, "{usage:?}: a token at least must be computed");
            let expected = earlier && subject.reuses_prefixes;
            ensure!((usage.cached_tokens > 0) == expected, "turn {seed}: {usage:?}, something cached expected: {expected}");
            if claims_sameness {
                let fresh = (subject.open)().await.map_err(|error| format!("it can't be opened again: {error}"))?;
                let fresh = answer(&*fresh, request).await?;
                let same = (&found.text, &found.tokens) == (&fresh.text, &fresh.tokens);
                ensure!(same, "turn {seed}: {:?} after others, {:?} alone", found.text, fresh.text);
            }
            if !earlier {
                history.push_str(&found.text);
            }
            earlier = true;
            if usage.prompt_tokens * 2 > context {
                return Ok(());
            }
        }
        history.push_str(more);
    }
    Ok(())
}

pub(super) async fn changed_circumstances_change_no_bytes_where_that_is_claimed(engine: Arc<dyn TextEngine>, subject: &Subject) -> Verdict {
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
