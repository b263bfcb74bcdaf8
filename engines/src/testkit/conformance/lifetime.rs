//! Places taken and given back.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{join_all, try_join_all};

use super::{Subject, Verdict, answer, greedy, seeded};
use crate::error::EngineError;
use crate::request::{GenerateRequest, MaxTokens};
use crate::text_engine::{State, TextEngine};

pub(super) async fn it_says_what_it_is(engine: Arc<dyn TextEngine>, _: &Subject) -> Verdict {
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

pub(super) async fn a_full_engine_is_busy(engine: Arc<dyn TextEngine>, subject: &Subject) -> Verdict {
    let Some(capacity) = subject.capacity else { return Ok(()) };
    let request = GenerateRequest { max_tokens: MaxTokens::Remaining, ..seeded(&subject.prompt, 1, 5) };
    let (mut accepted, mut busy) = (Vec::new(), 0);
    // All at once; an engine may finish some while others come, so a few more are sent, and it must have refused one by then.
    for answered in join_all((0..capacity + 16).map(|_| engine.generate(request.clone()))).await {
        match answered {
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

pub(super) async fn a_dropped_generation_frees_its_slot(engine: Arc<dyn TextEngine>, subject: &Subject) -> Verdict {
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

pub(super) async fn dropping_the_engine_ends_its_generations(engine: Arc<dyn TextEngine>, subject: &Subject) -> Verdict {
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
