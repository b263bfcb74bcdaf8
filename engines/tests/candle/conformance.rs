//! candle's models keep what every engine promises.

use minivault_engines::testkit::conformance::{Open, Subject, check};
use minivault_engines::{Circumstance, Engines, Opening};

use crate::files::Sample;
use crate::support::{KINDS, noise_model};

fn opening(table: serde_json::Value) -> Open {
    Box::new(move || {
        let table = table.clone();
        Box::pin(async move {
            let table = figment::Figment::from(figment::providers::Serialized::defaults(table)).extract().unwrap();
            let prepared = Engines::builtin().prepare("candle", &table).unwrap().unwrap();
            prepared.open(&Opening { name: "subject".into(), ..Opening::default() }).await
        })
    })
}

fn subject(table: &serde_json::Value, prompt: &str, others: &[&str]) -> Subject {
    let mut chunked = table.clone();
    chunked["step_tokens"] = 3.into();
    Subject {
        open: opening(table.clone()),
        prompt: prompt.into(),
        others: others.iter().map(|&other| other.to_owned()).collect(),
        capacity: Some(7),
        variants: vec![(Circumstance::ChunkSize, opening(chunked))],
        reuses_prefixes: false,
        knows_tokens_alone: true,
    }
}

#[tokio::test]
async fn networks_of_noise_pass() {
    for kind in KINDS {
        let folder = noise_model(kind);
        check(&subject(&serde_json::json!({"model": folder.path(), "slots": 3, "queue": 4}), "Hello", &["naïve", "🥊", "abc"])).await;
    }
}

#[tokio::test]
async fn a_file_of_noise_passes() {
    let (_folder, path) = Sample::new().file();
    check(&subject(&serde_json::json!({"model": path, "slots": 3, "queue": 4}), "Hello", &["naïve", "🥊", "abc"])).await;
}
