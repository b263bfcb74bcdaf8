//! What the hub may answer instead of a file, and whom the token is shown to.

use std::sync::Arc;

use minivault_engines::hub::{ModelSource, Token};

use super::server::{Answer, COMMIT, Repository, Server, sha256};
use super::{assert_says, content, hub, settings, source, unavailable};

const NAME: &str = "owner/tiny-model";

async fn message_for(answer: Answer, token: Option<&str>) -> String {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(move |_| answer.clone()).await;
    let mut settings = settings(&server.url, home.path());
    settings.token = token.and_then(|token| Token::parse("test", token).unwrap());
    unavailable(hub(settings).folder(&source(NAME, home.path())).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_or_absent_repository_asks_for_a_token() {
    let message = message_for(Answer::status(401).with("X-Error-Message", "Invalid username or password."), None).await;
    assert_says(
        &message,
        &["401", "there is no repository owner/tiny-model, or it is private", "Invalid username", "set HF_TOKEN to a token"],
    );
    let message = message_for(Answer::status(401), Some("hf_secret")).await;
    assert_says(&message, &["set HF_TOKEN to another token"]);
    assert!(!message.contains("hf_secret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gated_repository_names_the_page_with_its_terms() {
    let message = message_for(Answer::status(403).with("X-Error-Code", "GatedRepo"), Some("hf_secret")).await;
    assert_says(&message, &["403", "is gated", "accept its terms at http://127.0.0.1", "/owner/tiny-model", "HF_TOKEN"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_sort_of_404_is_told_apart() {
    let repository = |code: &str| Answer::status(404).with("X-Error-Code", code);
    assert_says(
        &message_for(repository("RepoNotFound"), None).await,
        &["404", "there is no repository owner/tiny-model", "check the name"],
    );
    assert_says(&message_for(repository("RevisionNotFound"), None).await, &["404", "no such revision", "check `revision`"]);
    assert_says(&message_for(repository("EntryNotFound"), None).await, &["404", "there is no /owner/tiny-model/resolve/main/config.json"]);
    assert_says(&message_for(Answer::status(404), None).await, &["404", "check the name `owner/tiny-model`"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_no_hub_is_told_by_what_it_lacks() {
    assert_says(&message_for(Answer::status(200), None).await, &["X-Repo-Commit", "check HF_ENDPOINT"]);
    let traversal = Answer::status(200).with("X-Repo-Commit", COMMIT).with("ETag", "\"../../evil\"");
    assert_says(&message_for(traversal, None).await, &["ETag", "../../evil"]);
    let traversal = Answer::status(200).with("X-Repo-Commit", "../../../evil").with("ETag", "\"a\"");
    assert_says(&message_for(traversal, None).await, &["X-Repo-Commit"]);
    assert_says(&message_for(Answer::status(302), None).await, &["302", "led nowhere"]);
    assert_says(&message_for(Answer::status(302).with("Location", "/again"), None).await, &["redirected more than 10 times"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_without_safetensors_says_so() {
    let home = tempfile::tempdir().unwrap();
    let files: [(&str, &[u8]); 3] = [("config.json", b"{}"), ("tokenizer.json", b"{}"), ("pytorch_model.bin", b"old")];
    let repository = Repository::new(NAME, &files);
    let server = Server::start(move |request| repository.answer(request)).await;
    let message = unavailable(hub(settings(&server.url, home.path())).folder(&source(NAME, home.path())).await);
    assert_says(&message, &["neither model.safetensors nor model.safetensors.index.json", "safetensors"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_is_shown_to_the_hub_and_to_no_foreign_host() {
    let home = tempfile::tempdir().unwrap();
    let body = content(5000, 7);
    let stored = body.clone();
    let foreign = Server::start(move |_| Answer { body: stored.clone(), ..Answer::status(200).with("ETag", "\"foreign\"") }).await;
    let (elsewhere, sum, size) = (format!("{}/content", foreign.url), Arc::new(sha256(&body)), body.len());
    let etag = sum.clone();
    let server = Server::start(move |request| {
        if request.path.contains("/old-name/") {
            // A renamed repository: a redirect within the hub.
            return Answer::status(307).with("Location", request.path.replace("old-name", "new-name"));
        }
        Answer::status(302)
            .with("Location", elsewhere.clone())
            .with("X-Repo-Commit", COMMIT)
            .with("X-Linked-Etag", format!("\"{etag}\""))
            .with("X-Linked-Size", size.to_string())
    })
    .await;
    let mut settings = settings(&server.url, home.path());
    settings.token = Token::parse("test", " hf_secret\n").unwrap();
    let wanted = ModelSource { sha256: Some(sum.to_string()), ..source("owner/old-name/model.gguf", home.path()) };
    let found = hub(settings).file(&wanted).await.unwrap();
    assert_eq!(std::fs::read(found.path).unwrap(), body);

    let own = server.requests();
    assert!(own.iter().any(|request| request.path.contains("/new-name/")));
    for request in own {
        assert_eq!(request.headers.get("authorization").map(String::as_str), Some("Bearer hf_secret"), "{}", request.path);
    }
    let foreign = foreign.requests();
    assert_eq!(foreign.len(), 1, "the hub itself says what the file is like: {foreign:?}");
    assert_eq!(foreign[0].headers.get("authorization"), None);
}
