//! `/v1/embeddings`.

use axum::http::StatusCode;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use minivault_engines::testkit::Script;
use serde_json::{Value, json};

use crate::support::{Daemon, Engine};

const PATH: &str = "/v1/embeddings";

fn numbers(vector: &Value) -> Vec<f32> {
    vector.as_array().unwrap().iter().map(|value| value.as_f64().unwrap() as f32).collect()
}

#[tokio::test]
async fn each_text_has_its_vector_and_nothing_is_logged() {
    let daemon = Daemon::reciting("").await;
    let (status, answer) = daemon.ask(PATH, &json!({"input": ["ab", "c"], "model": "scripted", "user": "me"})).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!((&answer["object"], &answer["model"]), (&json!("list"), &json!("scripted")));
    assert_eq!(answer["usage"], json!({"prompt_tokens": 3, "total_tokens": 3}));
    for (index, text) in ["ab", "c"].into_iter().enumerate() {
        let entry = &answer["data"][index];
        assert_eq!((&entry["object"], &entry["index"]), (&json!("embedding"), &json!(index)));
        let length = numbers(&entry["embedding"]).iter().map(|value| value * value).sum::<f32>().sqrt();
        assert!((length - 1.0).abs() < 1e-6, "{length}");
        // Characters or tokens, alone or among others: the same vector.
        let tokens: Vec<u8> = text.bytes().collect();
        for input in [json!(text), json!(tokens), json!([tokens])] {
            let (_, alone) = daemon.ask(PATH, &json!({ "input": input })).await;
            assert_eq!(alone["data"][0]["embedding"], entry["embedding"], "{input}");
        }
    }
    assert!(daemon.log().is_empty());
}

#[tokio::test]
async fn base64_holds_the_same_numbers() {
    let daemon = Daemon::reciting("").await;
    let (_, plain) = daemon.ask(PATH, &json!({"input": "abc", "encoding_format": "float", "dimensions": 16})).await;
    let (_, encoded) = daemon.ask(PATH, &json!({"input": "abc", "encoding_format": "base64"})).await;
    let bytes = BASE64_STANDARD.decode(encoded["data"][0]["embedding"].as_str().unwrap()).unwrap();
    let decoded: Vec<f32> = bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    assert_eq!(decoded, numbers(&plain["data"][0]["embedding"]));
    assert_eq!(decoded.len(), 16);
}

#[tokio::test]
async fn what_has_no_vector_is_refused_by_name() {
    let engine = |name, embeddings| Engine::new(name, Script { embeddings, ..Script::default() });
    let daemon = Daemon::with(vec![engine("able", true), engine("unable", false)]).await;
    let check = async |body: Value, status: u16, param: Value, message: &str| {
        let (seen, answer) = daemon.ask(PATH, &body).await;
        assert_eq!((seen.as_u16(), &answer["error"]["param"]), (status, &param), "{body}: {answer}");
        let told = answer["error"]["message"].as_str().unwrap();
        assert!(told.contains(message), "`{message}` isn't in: {told}");
    };
    let input = || json!("input");
    check(json!({"input": "a", "model": "unable"}), 501, Value::Null, "engine `unable` doesn't support embeddings").await;
    check(json!({"input": "a", "model": "other"}), 404, json!("model"), "there is no model `other`").await;
    check(json!({}), 400, input(), "`input` is missing").await;
    check(json!({"input": 7}), 400, input(), "input must be a string, a list of strings").await;
    check(json!({"input": []}), 400, input(), "input has 0 texts; it must have 1 to 2048").await;
    check(json!({"input": ["a", ""]}), 400, input(), "an empty text").await;
    check(json!({"input": [[1], []]}), 400, input(), "an empty text").await;
    check(json!({"input": vec!["a"; 2049]}), 400, input(), "input has 2049 texts; it must have 1 to 2048").await;
    check(json!({"input": [100_000]}), 400, input(), "token 100000").await;
    check(json!({"input": "a".repeat(5001)}), 400, input(), "input has 5001 bytes; the limit is 5000").await;
    check(json!({"input": "a".repeat(4000)}), 400, input(), "input has 4000 tokens; it must have 1 to ").await;
    check(json!({"input": "a", "dimensions": 5}), 400, json!("dimensions"), "this model's vectors have 16").await;
    check(json!({"input": "a", "encoding_format": "hex"}), 400, json!("encoding_format"), "hex").await;
    daemon.app.drain();
    check(json!({"input": "a"}), 503, Value::Null, "shutting down").await;
}
