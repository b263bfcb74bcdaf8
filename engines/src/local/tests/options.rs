//! What few requests want besides.

use super::*;
use crate::chat::ChatMessage;
use crate::generation::PromptProgress;
use crate::request::RequestOptions;

fn with(options: RequestOptions, request: GenerateRequest) -> GenerateRequest {
    GenerateRequest { options, ..request }
}

async fn reading(engine: &LocalEngine, prompt: &str) -> Vec<PromptProgress> {
    let request = with(RequestOptions { progress: true, ..RequestOptions::default() }, greedy(prompt, 3));
    let events: Vec<_> = engine.generate(request).await.unwrap().map(Result::unwrap).collect().await;
    let texts = events.iter().skip_while(|event| matches!(event, TextEvent::Reading(_)));
    assert!(texts.clone().all(|event| !matches!(event, TextEvent::Reading(_))) && texts.count() == 4, "{events:?}");
    events.into_iter().filter_map(|event| if let TextEvent::Reading(progress) = event { Some(progress) } else { None }).collect()
}

#[tokio::test]
async fn a_prompts_progress_is_told_step_by_step() {
    let script = Script { limits: Limits { step_tokens: 8, slots: 1, ..Script::default().limits }, ..scripted("abcdefgh") };
    let loader = ScriptedLoader { name: "scripted".into(), script };
    let engine = LocalEngine::start(LocalOptions { queue: 1, reuse: true, speculation: false }, loader).await.unwrap();
    let told = |cached, processed: &[usize]| -> Vec<PromptProgress> {
        processed.iter().map(|&processed| PromptProgress { total: 20, cached, processed }).collect()
    };
    let prompt = "Tell me how it goes.";
    assert_eq!(reading(&engine, prompt).await, told(0, &[0, 8, 16, 20]));
    assert_eq!(reading(&engine, prompt).await, told(19, &[19, 20]));
}

#[tokio::test]
async fn a_prompt_can_be_computed_whole_although_it_is_cached() {
    let loader = ScriptedLoader { name: "scripted".into(), script: slots(scripted("abcdefgh"), 1) };
    let engine = LocalEngine::start(LocalOptions { queue: 1, reuse: true, speculation: false }, loader).await.unwrap();
    let cached = async |without_cache| {
        let request = with(RequestOptions { without_cache, ..RequestOptions::default() }, greedy("Tell me more", 2));
        engine.generate(request).await.unwrap().collect().await.unwrap().finish.usage.cached_tokens
    };
    assert_eq!(cached(false).await, 0);
    assert_eq!(cached(false).await, 11);
    assert_eq!(cached(true).await, 0);
    assert_eq!(cached(false).await, 11);
}

#[tokio::test]
async fn a_text_that_may_not_end_goes_on_to_its_limit() {
    let engine = start(&Script { ends: true, ..scripted("abc") }, 1).await;
    let ask = async |ignore_eos, sampling: Sampling| {
        let request = GenerateRequest { sampling, ..greedy("x", 9) };
        engine.generate(with(RequestOptions { ignore_eos, ..RequestOptions::default() }, request)).await.unwrap().collect().await.unwrap()
    };
    for sampling in [Sampling::greedy(), Sampling { temperature: 0.1, seed: Some(1), ..Sampling::default() }] {
        assert_eq!(ask(false, sampling.clone()).await.finish.reason, FinishReason::EndOfText);
        let Completion { finish, tokens, .. } = ask(true, sampling).await;
        assert_eq!((finish.reason, tokens.len()), (FinishReason::Length, 9));
    }
}

#[tokio::test]
async fn a_begun_answer_is_gone_on_with() {
    let engine = start(&scripted("Assistant: fine.\n\n"), 1).await;
    let ask = |messages: &[(&str, &str)], continue_final_message| {
        let messages = messages.iter().map(|&(role, content)| ChatMessage::new(role, content)).collect();
        let options = RequestOptions { continue_final_message, ..RequestOptions::default() };
        with(options, GenerateRequest { prompt: Prompt::Chat { messages, tools: vec![] }, ..greedy("", 20) })
    };
    let generation = engine.generate(ask(&[("user", "How?"), ("assistant", " fi")], true)).await.unwrap();
    assert_eq!(&*generation.beginning().prompt_text, "User: How?\n\nAssistant: fi");
    assert!(generation.collect().await.unwrap().text.starts_with("ne."));
    let rendered = engine.render(&ask(&[("user", "How?"), ("assistant", "fi")], false)).await.unwrap();
    assert_eq!(rendered.text, "User: How?\n\nAssistant: fi\n\nAssistant:");
    assert_eq!(rendered.tokens, bytes(&rendered.text));
    for messages in [&[("user", "How?")][..], &[("assistant", "fi")]] {
        let refused = engine.generate(ask(messages, true)).await.err();
        assert!(matches!(refused, Some(EngineError::InvalidRequest { param: "messages", .. })), "{refused:?}");
    }
}
