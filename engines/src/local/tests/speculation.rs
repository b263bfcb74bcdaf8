//! Steps saved where text repeats, rows spent where it doesn't, and the same text either way.

use super::*;

async fn open(script: &Script, speculation: bool) -> LocalEngine {
    let loader = ScriptedLoader { name: "scripted".into(), script: script.clone() };
    LocalEngine::start(LocalOptions { queue: 8, reuse: true, speculation }, loader).await.unwrap()
}

/// Steps taken and tokens fed.
pub(super) type Taken = (usize, usize);

/// The answer, the same with drafts and without, and what it took with them and without.
pub(super) async fn both(script: impl Fn() -> Script, request: GenerateRequest) -> (Completion, [Taken; 2]) {
    let (mut answers, mut taken) = (Vec::new(), Vec::new());
    for speculation in [true, false] {
        let script = script();
        let engine = open(&script, speculation).await;
        answers.push(engine.generate(request.clone()).await.unwrap().collect().await.unwrap());
        let steps = script.steps();
        taken.push((steps.len(), steps.iter().flatten().map(|feed| feed.1.len()).sum()));
        let mut again = engine.generate(request.clone()).await.unwrap();
        while let Some(event) = again.next().await {
            assert!(!matches!(event, Ok(TextEvent::Text { tokens, .. }) if tokens.len() > 1), "an event for each token");
        }
    }
    assert_eq!(answers[0], answers[1]);
    (answers.remove(0), [taken[0], taken[1]])
}

#[tokio::test]
async fn text_that_repeats_takes_a_fraction_of_the_steps() {
    let (answer, [(steps, _), (plain, _)]) = both(|| scripted("abcdefgh"), greedy("x", 200)).await;
    assert_eq!(answer.tokens.len(), 200);
    assert!(steps * 3 < plain, "{steps} steps instead of {plain}");
}

#[tokio::test]
async fn text_that_does_not_repeat_costs_few_rows() {
    // A hundred and twenty different bytes that the prompt has in common with the answer by ones and twos only.
    let text: String = (33..=126).map(char::from).collect();
    let script = || Script { ends: true, ..scripted(&text) };
    let (_, [(steps, fed), (plain_steps, plain_fed)]) = both(script, greedy("7 and 9 and 11", 90)).await;
    assert!(steps <= plain_steps && fed <= plain_fed + plain_fed / 33, "{steps} steps, {fed} tokens; {plain_steps}, {plain_fed} without");
}

#[tokio::test]
async fn noise_costs_few_rows() {
    let request = GenerateRequest {
        sampling: Sampling { temperature: 3.0, seed: Some(5), ..Sampling::default() },
        ..GenerateRequest::text("nothing here comes again", MaxTokens::AtMost(300))
    };
    let (_, [(steps, fed), (plain_steps, plain_fed)]) = both(|| scripted("abcdefgh"), request).await;
    assert!(steps <= plain_steps && fed <= plain_fed + plain_fed / 20, "{steps} steps, {fed} tokens; {plain_steps}, {plain_fed} without");
}

#[tokio::test]
async fn a_run_of_right_drafts_ends_exactly_where_it_must() {
    for max_tokens in 30..60 {
        let (answer, _) = both(|| scripted("abcdefgh"), greedy("x", max_tokens)).await;
        assert_eq!(answer.tokens.len(), max_tokens);
    }
    for length in 1..20 {
        // A stop string that is complete at any place of a run.
        let text = "abcdefgh".repeat(8) + &"0123456789"[..length % 10];
        let stop = text[text.len() - length.min(8)..].to_owned();
        let request = GenerateRequest { stop: vec![stop.clone(), "hab".repeat(40)], ..greedy("x", 150) };
        both(|| scripted(&text), request).await;
    }
    let request = GenerateRequest { stop: vec!["habcdefghabcdefghabcdefghab".into()], logprobs: Some(3), ..greedy("abcdefgh", 100) };
    let (answer, _) = both(|| scripted("abcdefgh"), request).await;
    assert!(matches!(answer.finish.reason, FinishReason::StopString(_)));
    assert!(answer.tokens.iter().all(|token| token.top.len() == 3 && token.logprob.is_some()));
}

#[tokio::test]
async fn the_end_of_text_comes_in_the_middle_of_a_draft() {
    let text: String = ('0'..='9').chain('A'..='Z').collect();
    // What the prompt says already is said once more, and this time nothing follows.
    let prompt = format!("{text} and so on and so on, once more:");
    let (answer, [(steps, _), (plain, _)]) = both(|| Script { ends: true, ..scripted(&text) }, greedy(&prompt, 150)).await;
    assert_eq!((answer.text, answer.finish.reason), (text, FinishReason::EndOfText));
    assert!(steps < plain / 2, "{steps} steps instead of {plain}");
}

#[tokio::test]
async fn penalties_and_seeds_count_token_by_token() {
    for seed in 0..12 {
        let sampling = Sampling {
            temperature: 0.7,
            repetition_penalty: 1.05,
            frequency_penalty: 0.02,
            top_k: 20,
            seed: Some(seed),
            ..Sampling::default()
        };
        let request = GenerateRequest { sampling, logprobs: Some(2), ..GenerateRequest::text("abcdefghabcdefgh", MaxTokens::AtMost(120)) };
        both(Script::default, request).await;
    }
}

#[tokio::test]
async fn a_finished_run_leaves_a_cache_that_can_be_relied_on() {
    let script = scripted("abcdefgh");
    let engine = open(&script, true).await;
    for max_tokens in [37, 41, 43, 50] {
        let first = engine.generate(greedy("x", max_tokens)).await.unwrap().collect().await.unwrap();
        let prompt = format!("x{}", first.text);
        let next = engine.generate(greedy(&prompt, 9)).await.unwrap().collect().await.unwrap();
        assert_eq!(next.finish.usage.cached_tokens, prompt.len() - 1);
        let whole = open(&scripted("abcdefgh"), false).await.generate(greedy("x", max_tokens + 9)).await.unwrap().collect().await.unwrap();
        assert_eq!(first.text + &next.text, whole.text);
    }
}

#[tokio::test]
async fn no_step_grows_beyond_its_bound() {
    let script = scripted("abcdefgh");
    let limits = Limits { step_tokens: 64, ..script.limits };
    let script = slots(Script { limits, ..script }, 6);
    let engine = open(&script, true).await;
    let requests: Vec<_> = (0..6).map(|_| engine.generate(greedy("x", 150))).collect();
    for request in futures_util::future::join_all(requests).await {
        request.unwrap().collect().await.unwrap();
    }
    let widest = script.steps().iter().map(|step| step.iter().map(|feed| feed.1.len()).sum::<usize>()).max();
    assert!(widest <= Some(16), "{widest:?} rows");
}
