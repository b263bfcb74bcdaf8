//! llama.cpp's own server as the upstream, where `MINIVAULT_TEST_LLAMA_SERVER` names it.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures_util::StreamExt;
use minivault_engines::chat::ChatMessage;
use minivault_engines::{EngineError, FinishReason, GenerateRequest, MaxTokens, Prompt, Sampling};
use serde_json::json;

use crate::open;

const PATIENCE: Duration = Duration::from_secs(60);

/// The server, until it is dropped.
struct LlamaServer {
    child: Child,
    url: String,
}

impl Drop for LlamaServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl LlamaServer {
    async fn start(binary: &PathBuf, model: &PathBuf) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let arguments =
            ["--host", "127.0.0.1", "--ctx-size", "512", "--parallel", "2", "--threads", "1", "--alias", "scripted", "--no-webui"];
        let mut command = Command::new(binary);
        command.arg("--model").arg(model).args(arguments).args(["--port", &port.to_string()]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let server = Self { child, url: format!("http://127.0.0.1:{port}/v1") };
        let answers = async {
            // It refuses connections first and then says 503 until its model is loaded.
            loop {
                let engine = open(&[&server.url], &json!({})).await.unwrap();
                match crate::text(&*engine, GenerateRequest::text("Hello", MaxTokens::AtMost(1))).await {
                    Ok(_) => return,
                    Err(EngineError::Upstream(_) | EngineError::UpstreamBusy { .. }) => tokio::time::sleep(Duration::from_millis(50)).await,
                    Err(error) => panic!("{error}"),
                }
            }
        };
        tokio::time::timeout(PATIENCE, answers).await.expect("the server comes up");
        server
    }
}

fn given(variable: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    if path.is_none() {
        println!("skipped: {variable} is not set");
    }
    path
}

#[tokio::test]
async fn llama_cpps_server_answers_as_an_engine() {
    let (Some(binary), Some(model)) = (given("MINIVAULT_TEST_LLAMA_SERVER"), given("MINIVAULT_TEST_SMOLLM2")) else { return };
    let server = LlamaServer::start(&binary, &model).await;
    let engine = open(&[&server.url], &json!({})).await.unwrap();
    assert!(engine.info().context_length > 0, "{:?}", engine.info());

    let greedy =
        |max_tokens| GenerateRequest { sampling: Sampling::greedy(), ..GenerateRequest::text("The capital of France is", max_tokens) };
    let request = GenerateRequest { logprobs: Some(3), ..greedy(MaxTokens::Exactly(5)) };
    let completion = engine.generate(request).await.unwrap().collect().await.unwrap();
    assert!(completion.text.starts_with(" Paris"), "{completion:?}");
    assert_eq!((completion.tokens.len(), &completion.finish.reason), (5, &FinishReason::Length));
    assert_eq!(completion.finish.usage.completion_tokens, 5);
    for token in &completion.tokens {
        assert_eq!((token.top.len(), token.top[0].id, Some(token.top[0].logprob)), (3, token.id, token.logprob), "{token:?}");
    }
    let joined: Vec<u8> = completion.tokens.iter().flat_map(|token| token.bytes.clone()).collect();
    assert_eq!(String::from_utf8_lossy(&joined), completion.text);

    let messages = vec![ChatMessage::new("user", "Say hello.")];
    let chat =
        GenerateRequest { prompt: Prompt::Chat { messages, tools: Vec::new() }, stop: vec!["!".into()], ..greedy(MaxTokens::AtMost(12)) };
    let completion = engine.generate(chat).await.unwrap().collect().await.unwrap();
    assert!(!completion.text.is_empty() && !completion.text.contains('!') && completion.finish.usage.prompt_tokens > 3, "{completion:?}");

    let long = GenerateRequest { prompt: Prompt::Text("word ".repeat(2000)), ..greedy(MaxTokens::AtMost(5)) };
    let error = engine.generate(long).await.err().unwrap();
    assert!(matches!(error, EngineError::ContextLengthExceeded { prompt_tokens: 1000.., max_tokens: None, .. }), "{error:?}");

    // A dropped answer frees one of its two slots: more of them than it has slots go through.
    for _ in 0..5 {
        let mut endless = engine.generate(greedy(MaxTokens::AtMost(400))).await.unwrap();
        endless.next().await.unwrap().unwrap();
    }
    let completion = engine.generate(greedy(MaxTokens::Exactly(2))).await.unwrap().collect().await.unwrap();
    assert_eq!(completion.finish.usage.completion_tokens, 2);
}
