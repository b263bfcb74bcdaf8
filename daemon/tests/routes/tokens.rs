//! `/tokenize`, `/detokenize` and `/v1/models/{id}`.

use axum::http::StatusCode;
use serde_json::json;

use crate::support::Daemon;

#[tokio::test]
async fn text_becomes_tokens_and_text_again() {
    let daemon = Daemon::reciting("abc").await;
    let (status, answer) = daemon.ask("/tokenize", &json!({"content": "aé"})).await;
    assert_eq!((status, &answer), (StatusCode::OK, &json!({"tokens": [97, 195, 169]})));
    let (_, pieces) = daemon.ask("/tokenize", &json!({"content": "aé", "with_pieces": true, "add_special": true})).await;
    let expected = json!([{"id": 97, "piece": "a"}, {"id": 195, "piece": [195]}, {"id": 169, "piece": [169]}]);
    assert_eq!(pieces["tokens"], expected);
    let (_, text) = daemon.ask("/detokenize", &answer).await;
    assert_eq!(text, json!({"content": "aé"}));
    assert_eq!(daemon.ask("/tokenize", &json!({"content": ""})).await.1, json!({"tokens": []}));
    let (status, error) = daemon.ask("/detokenize", &json!({"tokens": [999]})).await;
    assert_eq!((status, &error["error"]["param"]), (StatusCode::BAD_REQUEST, &json!("tokens")));
    let (status, _) = daemon.ask("/tokenize", &json!({"content": "a", "parse_special": true})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_model_is_found_by_its_name() {
    let daemon = Daemon::reciting("abc").await;
    let (_, list) = daemon.get("/v1/models").await;
    let (status, model) = daemon.get("/v1/models/scripted").await;
    assert_eq!((status, &model), (StatusCode::OK, &list["data"][0]));
    let (status, error) = daemon.get("/v1/models/scriptet").await;
    assert_eq!((status, &error["error"]["code"]), (StatusCode::NOT_FOUND, &json!("model_not_found")));
}
