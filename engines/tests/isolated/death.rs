//! Processes that die, and those that outlive their daemon or don't.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use minivault_engines::isolated::Isolation;
use minivault_engines::{EngineError, GenerateRequest, MaxTokens, State, TextEngine, TextEvent};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::json;

use crate::fragile::{ABORTS, DEVOURS, PANICS};
use crate::{PATIENCE, fragile, isolation, opening, prepared};

fn asks(prompt: &str, tokens: usize) -> GenerateRequest {
    GenerateRequest::text(prompt, MaxTokens::Exactly(tokens))
}

/// The process that an engine is in.
fn process(engine: &dyn TextEngine) -> Pid {
    Pid::from_raw(engine.info().source.parse().unwrap()).unwrap()
}

/// Waits until there is no such process any more; one that nobody has waited for counts as gone.
fn is_gone(process: Pid) {
    let begin = Instant::now();
    while test_kill_process(process).is_ok() && !is_zombie(process) {
        assert!(begin.elapsed() < PATIENCE, "{process:?} is still there");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn is_zombie(process: Pid) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.as_raw_nonzero())).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && line.contains('Z'))
}

/// What the engine's failure says to whoever waited for an answer.
async fn failure(engine: &dyn TextEngine, prompt: &str) -> String {
    let error = match engine.generate(asks(prompt, 10)).await {
        Ok(generation) => generation.collect().await.err(),
        Err(error) => Some(error),
    };
    let Some(EngineError::Failed(cause)) = error else { panic!("{prompt} gives {error:?}") };
    cause.to_string()
}

#[tokio::test]
async fn killed_in_the_middle_it_ends_its_answers_and_comes_back() {
    let engine = fragile().await;
    let first = process(&*engine);
    let mut generation = engine.generate(asks("Zwölf", 4000)).await.unwrap();
    assert!(matches!(generation.next().await, Some(Ok(TextEvent::Text { .. }))));
    kill_process(first, Signal::KILL).unwrap();
    let error = generation.collect().await.unwrap_err();
    assert!(matches!(&error, EngineError::Failed(cause) if cause.to_string().contains("signal 9 (SIGKILL")), "{error:?}");
    // The next one waits for the next process.
    let answer = engine.generate(asks("Zwölf", 5)).await.unwrap().collect().await.unwrap();
    assert_eq!(answer.tokens.len(), 5);
    assert_ne!(process(&*engine), first);
    assert_eq!(engine.health().state, State::Ready);
}

#[tokio::test]
async fn a_question_to_a_process_that_has_just_died_reaches_the_next_one() {
    let engine = fragile().await;
    for _ in 0..3 {
        kill_process(process(&*engine), Signal::KILL).unwrap();
        let answer = engine.generate(asks("Zwölf", 5)).await.unwrap().collect().await;
        assert!(answer.is_ok(), "{answer:?}");
    }
}

#[tokio::test]
async fn an_abort_and_a_panic_are_told_with_their_last_words() {
    let engine = fragile().await;
    let beside = engine.generate(asks("Zwölf", 4000)).await.unwrap();
    let cause = failure(&*engine, &format!("Zwölf{ABORTS}x")).await;
    assert!(cause.contains("signal 6 (SIGABRT)") && cause.contains("ASSERT(n > 0) failed"), "{cause}");
    assert!(matches!(beside.collect().await, Err(EngineError::Failed(_))), "whoever was beside it is told the same");
    // A panic ends the engine, but no process; it is loaded anew all the same.
    let before = engine.info().source.clone();
    failure(&*engine, &format!("Zwölf{PANICS}x")).await;
    let answer = engine.generate(asks("Zwölf", 5)).await;
    // Until the panic is known, one more may meet it.
    if let Ok(generation) = answer {
        let _ = generation.collect().await;
    }
    engine.ready().await.unwrap();
    assert!(engine.generate(asks("Zwölf", 5)).await.unwrap().collect().await.is_ok());
    assert_ne!(engine.info().source, before);
}

#[tokio::test]
async fn who_dies_too_often_is_started_no_more_for_a_while() {
    let engine = fragile().await;
    let begin = Instant::now();
    for restart in 1..=5 {
        kill_process(process(&*engine), Signal::KILL).unwrap();
        is_gone(process(&*engine));
        while engine.health().state == State::Ready {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(engine.health().state, State::Loading, "restart {restart}");
        engine.ready().await.unwrap();
    }
    assert!(begin.elapsed() > Duration::from_secs(7), "each later than the one before: {:?}", begin.elapsed());
    kill_process(process(&*engine), Signal::KILL).unwrap();
    let error = engine.generate(asks("Zwölf", 5)).await.err();
    let Some(EngineError::Unavailable(reason)) = error else { panic!("{error:?}") };
    assert!(reason.contains("signal 9") && reason.contains("more than 5 times in 60 s"), "{reason}");
    assert_eq!(engine.health().state, State::Failed(reason));
    assert!(engine.recovers());
}

#[tokio::test]
async fn one_that_dies_while_it_loads_is_not_opened_and_not_for_ever_tried() {
    let stillborn = prepared("stillborn", &json!({})).isolated(isolation());
    let refusal = async || match stillborn.open(&opening()).await {
        Err(EngineError::Unavailable(reason)) => reason,
        Err(error) => panic!("{error:?}"),
        Ok(_) => panic!("it was opened"),
    };
    let reason = refusal().await;
    assert!(reason.contains("signal 6 (SIGABRT)") && reason.contains("the file is not to its taste"), "{reason}");
    for _ in 0..5 {
        refusal().await;
    }
    let begin = Instant::now();
    let reason = refusal().await;
    assert!(reason.contains("more than 5 times in 60 s") && begin.elapsed() < Duration::from_secs(1), "{reason}");
}

#[tokio::test]
async fn memory_beyond_the_limit_ends_the_process_alone() {
    let limited = Isolation { memory_limit: Some(512 << 20), ..isolation() };
    let engine = prepared("fragile", &json!({})).isolated(limited).open(&opening()).await.unwrap();
    let cause = failure(&*engine, &format!("Zwölf{DEVOURS}x")).await;
    assert!(cause.contains("memory_limit is 536870912 bytes") && cause.contains("memory allocation of 1073741824 bytes failed"), "{cause}");
    assert!(engine.generate(asks("Zwölf", 5)).await.unwrap().collect().await.is_ok());
    // Without a limit there is room for it.
    let engine = fragile().await;
    assert!(engine.generate(asks(&format!("Zwölf{DEVOURS}x"), 5)).await.unwrap().collect().await.is_ok());
}

#[cfg(feature = "llama-cpp")]
#[tokio::test]
async fn what_does_not_fit_is_refused_before_it_is_loaded() {
    let Some(model) = crate::given("MINIVAULT_TEST_SMOLLM2") else { return };
    let open = async |slots: usize| {
        let limited = Isolation { memory_limit: Some(320 << 20), ..isolation() };
        let table = json!({"model": model, "context": 2048, "slots": slots, "mmap": true});
        prepared("llama-cpp", &table).isolated(limited).open(&opening()).await
    };
    // 30 layers, each with 3 heads of 64 keys and 64 values of two bytes: 45 MiB for 2048 tokens.
    let refused = open(8).await.err().unwrap().to_string();
    assert!(refused.contains("it needs at least 360 MiB of memory and 3") && refused.contains("fewer `slots`"), "{refused}");
    open(1).await.unwrap();
}

#[tokio::test]
async fn signals_that_are_meant_for_the_daemon_end_nothing() {
    let engine = fragile().await;
    let mut generation = engine.generate(asks("Zwölf", 300)).await.unwrap();
    generation.next().await;
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        kill_process(process(&*engine), signal).unwrap();
    }
    assert_eq!(generation.collect().await.unwrap().tokens.len(), 299, "one was read before");
    let group = rustix::process::getpgid(Some(process(&*engine))).unwrap();
    assert_ne!(group, rustix::process::getpgrp(), "a terminal's signals don't reach it");
}

#[tokio::test]
async fn dropping_the_engine_ends_the_process_also_in_the_middle() {
    let engine = fragile().await;
    let (process, generation) = (process(&*engine), engine.generate(asks("Zwölf", 4000)).await.unwrap());
    drop(engine);
    assert!(test_kill_process(process).is_err(), "it has ended when drop returns");
    assert!(matches!(generation.collect().await, Err(EngineError::Stopped)));
}

/// Not a test: a daemon that is killed by the test below.
#[tokio::test]
#[ignore = "it is the daemon of another test"]
async fn a_daemon() {
    let engine: Arc<dyn TextEngine> = fragile().await;
    let _generation = engine.generate(asks("Zwölf", 4000)).await.unwrap();
    println!("process {}", engine.info().source);
    std::future::pending().await
}

#[test]
fn the_process_ends_with_its_daemon_also_while_it_is_stopped() {
    for stopped in [false, true] {
        let mut daemon = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "death::a_daemon", "--ignored", "--nocapture"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(daemon.stdout.take().unwrap()).lines().map_while(Result::ok);
        let process = lines.find_map(|line| line.split_once("process ").and_then(|(_, number)| number.parse().ok())).unwrap();
        let process = Pid::from_raw(process).unwrap();
        assert!(test_kill_process(process).is_ok());
        if stopped {
            kill_process(process, Signal::STOP).unwrap();
        }
        daemon.kill().unwrap();
        daemon.wait().unwrap();
        if !stopped || cfg!(target_os = "linux") {
            is_gone(process);
        }
    }
}
