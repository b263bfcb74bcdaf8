//! Folders and files on disk, in the cache and on the hub.

use std::fs;
use std::path::Path;

use minivault_engines::hub::ModelSource;

use super::server::{COMMIT, Repository, Server, sha256, small_etag};
use super::{assert_says, content, hub, settings, source, unavailable};

const NAME: &str = "owner/tiny-model";

async fn serve(repository: Repository) -> Server {
    Server::start(move |request| repository.answer(request)).await
}

/// Fills a cache as another tool of the hub would.
fn fill_cache(root: &Path, files: &[(&str, &[u8])]) {
    let folder = root.join("models--owner--tiny-model");
    for folder in [folder.join("refs"), folder.join("blobs"), folder.join("snapshots").join(COMMIT)] {
        fs::create_dir_all(folder).unwrap();
    }
    fs::write(folder.join("refs/main"), COMMIT).unwrap();
    for (name, body) in files {
        let etag = sha256(body);
        fs::write(folder.join("blobs").join(&etag), body).unwrap();
        std::os::unix::fs::symlink(format!("../../blobs/{etag}"), folder.join("snapshots").join(COMMIT).join(name)).unwrap();
    }
}

const WHOLE: [(&str, &[u8]); 3] = [("config.json", b"{}"), ("tokenizer.json", b"{}"), ("model.safetensors", b"weights")];

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_arrives_in_the_layout_that_other_tools_read() {
    let home = tempfile::tempdir().unwrap();
    let repository = Repository::model(NAME);
    let server = serve(repository.clone()).await;
    let found = hub(settings(&server.url, home.path())).folder(&source(NAME, home.path())).await.unwrap();

    let cache = home.path().join(".cache/huggingface/hub/models--owner--tiny-model");
    assert_eq!(found.path, cache.join("snapshots").join(COMMIT));
    assert_eq!(fs::read_to_string(cache.join("refs/main")).unwrap(), COMMIT);
    for (name, body) in &repository.files {
        assert_eq!(&fs::read(found.path.join(name)).unwrap(), body, "{name}");
        let etag = if name == "model.safetensors" { sha256(body) } else { small_etag(body) };
        assert_eq!(fs::read_link(found.path.join(name)).unwrap(), Path::new("../../blobs").join(etag), "{name}");
    }
    assert!(cache.join(".no_exist").join(COMMIT).join("tokenizer_config.json").is_file());
    let left_over: Vec<_> = fs::read_dir(cache.join("blobs")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left_over.len(), 3, "{left_over:?}");
    assert!(found.origin.contains(NAME) && found.origin.contains(&server.url), "{}", found.origin);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_the_cache_is_never_asked_for_again() {
    let home = tempfile::tempdir().unwrap();
    let server = serve(Repository::model(NAME)).await;
    let first = hub(settings(&server.url, home.path())).folder(&source(NAME, home.path())).await.unwrap();
    let asked = server.requests().len();
    let again = hub(settings(&server.url, home.path())).folder(&source(NAME, home.path())).await.unwrap();
    assert_eq!(again.path, first.path);
    assert!(again.origin.contains("cache"), "{}", again.origin);
    assert_eq!(server.requests().len(), asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_another_tool_filled_needs_no_network() {
    let home = tempfile::tempdir().unwrap();
    let server = serve(Repository::default()).await;
    for offline in [true, false] {
        let mut settings = settings(&server.url, home.path());
        settings.offline = offline;
        fill_cache(settings.hub_cache.as_deref().unwrap(), if offline { &WHOLE } else { &[] });
        let found = hub(settings).folder(&source(NAME, home.path())).await.unwrap();
        assert_eq!(fs::read(found.path.join("model.safetensors")).unwrap(), b"weights");
    }
    let pinned = ModelSource { revision: Some(COMMIT.into()), ..source(NAME, home.path()) };
    hub(settings(&server.url, home.path())).folder(&pinned).await.unwrap();
    assert!(server.requests().is_empty(), "{:?}", server.requests());
}

#[tokio::test(flavor = "multi_thread")]
async fn offline_with_an_empty_cache_says_so_and_asks_nobody() {
    let home = tempfile::tempdir().unwrap();
    let server = serve(Repository::model(NAME)).await;
    let mut settings = settings(&server.url, home.path());
    settings.offline = true;
    let hub = hub(settings);
    let message = unavailable(hub.folder(&source(NAME, home.path())).await);
    let on_disk = format!("on disk: {} isn't there", home.path().join(NAME).display());
    assert_says(&message, &[&on_disk, "in the cache: ", "has no snapshot of `main`", "HF_HUB_OFFLINE is set"]);
    assert_says(&message, &["unset HF_HUB_OFFLINE", "minivaultd pull", "set `model` to a folder"]);
    let message = unavailable(hub.file(&source("owner/tiny-model/a.gguf", home.path())).await);
    assert_says(&message, &["in the cache: ", "HF_HUB_OFFLINE is set", "path of the file"]);
    assert!(server.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incomplete_snapshot_is_completed_at_the_hub() {
    let home = tempfile::tempdir().unwrap();
    let server = serve(Repository::model(NAME)).await;
    let settings = settings(&server.url, home.path());
    fill_cache(settings.hub_cache.as_deref().unwrap(), &WHOLE[..1]);
    let found = hub(settings).folder(&source(NAME, home.path())).await.unwrap();
    assert_eq!(fs::read(found.path.join("model.safetensors")).unwrap(), content(300_000, 1));
    assert_eq!(server.gets_of("tokenizer.json").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_are_fetched_as_the_index_names_them() {
    let home = tempfile::tempdir().unwrap();
    let index = br#"{"metadata":{},"weight_map":{"a":"model-1.safetensors","b":"model-2.safetensors","c":"model-1.safetensors"}}"#;
    let mut repository = Repository::new(NAME, &[("config.json", b"{}"), ("tokenizer.json", b"{}"), ("model-1.safetensors", b"one")]);
    repository.files.insert("model.safetensors.index.json".into(), index.to_vec());
    repository.files.insert("model-2.safetensors".into(), b"two".to_vec());
    repository.files.insert("model-3.safetensors".into(), b"of another model".to_vec());
    let server = serve(repository).await;
    let found = hub(settings(&server.url, home.path())).folder(&source(NAME, home.path())).await.unwrap();
    assert_eq!(fs::read(found.path.join("model-1.safetensors")).unwrap(), b"one");
    assert_eq!(fs::read(found.path.join("model-2.safetensors")).unwrap(), b"two");
    assert_eq!(server.gets_of("model-1.safetensors").len(), 1);
    assert!(server.gets_of("model-3.safetensors").is_empty());

    // A shard that is gone makes the snapshot incomplete, so it is fetched again.
    fs::remove_file(found.path.join("model-2.safetensors")).unwrap();
    let again = hub(settings(&server.url, home.path())).folder(&source(NAME, home.path())).await.unwrap();
    assert_eq!(fs::read(again.path.join("model-2.safetensors")).unwrap(), b"two");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_leads_out_of_the_folder_is_refused_by_name() {
    let home = tempfile::tempdir().unwrap();
    let index = br#"{"weight_map":{"a":"../../../../evil.safetensors"}}"#;
    let files: [(&str, &[u8]); 3] = [("config.json", b"{}"), ("tokenizer.json", b"{}"), ("model.safetensors.index.json", index)];
    let server = serve(Repository::new(NAME, &files)).await;
    let message = unavailable(hub(settings(&server.url, home.path())).folder(&source(NAME, home.path())).await);
    assert_says(&message, &["`../../../../evil.safetensors`", "refused"]);
    assert!(server.requests().iter().all(|request| !request.path.contains("evil")));

    let local = home.path().join("local");
    fs::create_dir(&local).unwrap();
    files.iter().for_each(|(name, body)| fs::write(local.join(name), body).unwrap());
    let message = unavailable(hub(settings(&server.url, home.path())).folder(&source("local", home.path())).await);
    assert_says(&message, &["`../../../../evil.safetensors`", "refused"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_in_a_repository_is_linked_from_its_own_depth() {
    let home = tempfile::tempdir().unwrap();
    let body = content(1000, 2);
    let server = serve(Repository::new(NAME, &[("sub/deep/model.gguf", &body)])).await;
    let wanted = ModelSource { sha256: Some(sha256(&body).to_uppercase()), ..source("owner/tiny-model/sub/deep/model.gguf", home.path()) };
    let found = hub(settings(&server.url, home.path())).file(&wanted).await.unwrap();
    assert_eq!(fs::read(&found.path).unwrap(), body);
    assert_eq!(fs::read_link(&found.path).unwrap(), Path::new("../../../../blobs").join(sha256(&body)));
    let asked = server.requests().len();
    assert_eq!(hub(settings(&server.url, home.path())).file(&wanted).await.unwrap().path, found.path);
    assert_eq!(server.requests().len(), asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cached_file_with_another_sum_is_not_used() {
    let home = tempfile::tempdir().unwrap();
    let body = content(1000, 3);
    let server = serve(Repository::new(NAME, &[("model.gguf", &body)])).await;
    let wanted = ModelSource { sha256: Some(sha256(&body)), ..source("owner/tiny-model/model.gguf", home.path()) };
    let found = hub(settings(&server.url, home.path())).file(&wanted).await.unwrap();
    fs::write(&found.path, content(1000, 4)).unwrap(); // through the link, into the content
    let again = hub(settings(&server.url, home.path())).file(&wanted).await.unwrap();
    assert_eq!(fs::read(&again.path).unwrap(), body);
    assert_eq!(server.gets_of("model.gguf").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sum_that_the_hub_contradicts_costs_no_transfer() {
    let home = tempfile::tempdir().unwrap();
    let server = serve(Repository::new(NAME, &[("model.gguf", b"content")])).await;
    let wanted = ModelSource { sha256: Some("0".repeat(64)), ..source("owner/tiny-model/model.gguf", home.path()) };
    let message = unavailable(hub(settings(&server.url, home.path())).file(&wanted).await);
    assert_says(&message, &[&sha256(b"content"), &"0".repeat(64), "correct `sha256`"]);
    assert!(server.gets_of("model.gguf").is_empty());
    let wanted = ModelSource { sha256: Some("abc".into()), ..wanted };
    assert_says(&unavailable(hub(settings(&server.url, home.path())).file(&wanted).await), &["sha256 is `abc`", "64 hexadecimal digits"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_on_disk_wins_and_what_looks_like_one_never_goes_to_the_hub() {
    let home = tempfile::tempdir().unwrap();
    let server = serve(Repository::model(NAME)).await;
    let hub = hub(settings(&server.url, home.path()));
    let local = home.path().join(NAME);
    fs::create_dir_all(&local).unwrap();
    fs::write(local.join("config.json"), b"{}").unwrap();
    let message = unavailable(hub.folder(&source(NAME, home.path())).await);
    assert_says(&message, &["lacks `tokenizer.json`, `model.safetensors` (or"]);
    WHOLE.iter().for_each(|(name, body)| fs::write(local.join(name), body).unwrap());
    assert_eq!(hub.folder(&source(NAME, home.path())).await.unwrap().path, local);
    assert_eq!(hub.folder(&source("~/owner/tiny-model", Path::new("/nowhere"))).await.unwrap().path, local);
    for absent in ["./absent", "../absent/model", "/absent/model", "~/absent"] {
        assert_says(&unavailable(hub.folder(&source(absent, home.path())).await), &[&format!("`{absent}`"), "isn't there"]);
        assert_says(&unavailable(hub.file(&source(absent, home.path())).await), &["isn't there"]);
    }
    let file = local.join("model.safetensors");
    let wanted = ModelSource { sha256: Some(sha256(b"weights")), ..source("owner/tiny-model/model.safetensors", home.path()) };
    assert_eq!(hub.file(&wanted).await.unwrap().path, file);
    let wrong = ModelSource { sha256: Some("1".repeat(64)), ..wanted };
    assert_says(&unavailable(hub.file(&wrong).await), &[&sha256(b"weights"), &"1".repeat(64)]);
    assert_says(&unavailable(hub.file(&source(NAME, home.path())).await), &["is a folder", "wants a file"]);
    assert!(server.requests().is_empty());
}
