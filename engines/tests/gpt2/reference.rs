//! What Transformers computes with the same weights.

use std::path::Path;

use candle_core::Device;
use minivault_engines::model::{Model, Rows, Specials};
use serde_json::Value;

use crate::support::{Shape, greedy, load, load_plain, load_with, noise_model, path_from_environment, read_json, step, tiny};

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

fn check_greedy(folder: &Path) {
    let mut model = load(folder).unwrap().model;
    let cases = read_json(folder, "reference.json")["cases"].as_array().unwrap().clone();
    assert!(!cases.is_empty());
    for case in cases {
        let wanted = ids(&case["greedy"]);
        assert_eq!(greedy(&mut model, &ids(&case["prompt"]), wanted.len()), wanted);
    }
}

#[test]
fn logits_are_those_of_transformers() {
    let mut model = load(&tiny()).unwrap().model;
    let prompt = ids(&read_json(&tiny(), "reference.json")["cases"][0]["prompt"]);
    let wanted = candle_core::safetensors::load(tiny().join("reference.safetensors"), &Device::Cpu).unwrap();
    let wanted: Vec<Vec<f32>> = wanted["logits"].to_vec2().unwrap();
    let seen = step(&mut model, 0, &prompt, Rows::All);
    assert_eq!((seen.len(), seen[0].len()), (wanted.len(), wanted[0].len()));
    let difference = seen.iter().flatten().zip(wanted.iter().flatten()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(difference < 1e-4, "largest difference {difference}");
}

#[test]
fn greedy_ids_are_those_of_transformers() {
    check_greedy(&tiny());
}

#[test]
fn the_kernels_compute_what_candle_does() {
    let noise = |width, inner, heads| noise_model(Shape { vocabulary: 333, context: 90, width, inner, layers: 2, heads });
    let made = [noise(20, 1030, 4), noise(192, 768, 3)];
    let given = ["MINIVAULT_TEST_TAROTBLE", "MINIVAULT_TEST_DISTILGPT2_SHAPED"].into_iter().filter_map(path_from_environment);
    for folder in made.iter().map(|made| made.path().to_owned()).chain([tiny()]).chain(given) {
        let (mut plain, mut model) = (load_plain(&folder), load(&folder).unwrap().model);
        let limits = model.limits();
        let prompt: Vec<u32> = (0..limits.context.min(70)).map(|i| ((i * 31 + 5) % limits.logits_width) as u32).collect();
        for (start, end) in [(0, 40), (40, 41), (41, prompt.len())] {
            let wanted = step(&mut plain, 0, &prompt[start..end], Rows::All);
            let seen = step(&mut model, 0, &prompt[start..end], Rows::All);
            for (seen, wanted) in seen.iter().flatten().zip(wanted.iter().flatten()) {
                assert!((seen - wanted).abs() < 1e-4 * wanted.abs().max(1.0), "{}: {seen}, wanted {wanted}", folder.display());
            }
        }
    }
}

#[test]
fn a_model_of_distilgpt2s_shape_writes_what_it_writes_in_transformers() {
    if let Some(folder) = path_from_environment("MINIVAULT_TEST_DISTILGPT2_SHAPED") {
        check_greedy(&folder);
    }
}

#[test]
fn tarotble_continues_the_best_thing() {
    let Some(folder) = path_from_environment("MINIVAULT_TEST_TAROTBLE") else { return };
    let mut loaded = load(&folder).unwrap();
    assert_eq!(loaded.info.context_length, 64);
    let prompt = loaded.vocabulary.encode("The best thing", Specials::Literal).unwrap();
    assert_eq!(prompt, [438, 591, 647]);
    let answer = greedy(&mut loaded.model, &prompt, 24);
    let wanted = [265, 521, 366, 261, 492, 356, 271, 966, 321, 297, 464, 280, 414, 318, 942, 83, 392, 891, 304, 261, 14, 199, 505, 298];
    assert_eq!(answer, wanted);
    let mut bytes = Vec::new();
    prompt.iter().chain(&answer).for_each(|&id| loaded.vocabulary.push_bytes(id, &mut bytes));
    let text = "The best thing to someone today you could make the mistake of saying something that turns them against you.\nThere is";
    assert_eq!(String::from_utf8(bytes).unwrap(), text);
}

#[test]
fn an_embedding_is_as_wide_as_the_network_and_only_there_when_asked_for() {
    let error = load(&tiny()).unwrap().model.embed(&[1, 2]).unwrap_err();
    assert!(error.to_string().contains("embeddings"), "{error}");

    let loaded = load_with(&tiny(), |config| config.embeddings = true).unwrap();
    assert!(loaded.info.capabilities.embeddings);
    let mut model = loaded.model;
    let one = model.embed(&[1, 2, 3]).unwrap();
    assert_eq!(one.len(), 32);
    step(&mut model, 0, &[5, 6], Rows::All);
    assert_eq!(model.embed(&[1, 2, 3]).unwrap(), one, "slots have no part in it");
    assert_ne!(model.embed(&[1, 3, 2]).unwrap(), one);
    assert!(model.embed(&[]).is_err() && model.embed(&[1; 49]).is_err() && model.embed(&[264]).is_err());
    // The mean over one token is its last hidden state, which the tied head turns into its logits.
    let hidden = model.embed(&[7]).unwrap();
    let head = candle_core::safetensors::load(tiny().join("model.safetensors"), &Device::Cpu).unwrap();
    let head: Vec<Vec<f32>> = head["transformer.wte.weight"].to_vec2().unwrap();
    let logits = step(&mut model, 1, &[7], Rows::Last).remove(0);
    for (row, logit) in head.iter().zip(logits) {
        let product: f32 = row.iter().zip(&hidden).map(|(a, b)| a * b).sum();
        assert!((product - logit).abs() < 1e-4, "{product} is not {logit}");
    }
}

/// The head is linear, so what it makes of the mean is the mean of what it makes of each: the plain network's logits tell.
#[test]
fn an_embedding_is_the_mean_of_the_plain_networks_hidden_states() {
    let tokens: Vec<u32> = (0..40).map(|place| place * 7 % 264).collect();
    let mut plain = load_plain(&tiny());
    let rows = step(&mut plain, 0, &tokens, Rows::All);
    let head = candle_core::safetensors::load(tiny().join("model.safetensors"), &Device::Cpu).unwrap();
    let head: Vec<Vec<f32>> = head["transformer.wte.weight"].to_vec2().unwrap();
    for step_tokens in [8, 256] {
        let mut model = load_with(&tiny(), |config| (config.embeddings, config.step_tokens) = (true, step_tokens)).unwrap().model;
        let mean = model.embed(&tokens).unwrap();
        for (id, weights) in head.iter().enumerate() {
            let product: f32 = weights.iter().zip(&mean).map(|(a, b)| a * b).sum();
            let expected = rows.iter().map(|row| row[id]).sum::<f32>() / rows.len() as f32;
            assert!((product - expected).abs() < 1e-4, "token {id}, steps of {step_tokens}: {product} is not {expected}");
        }
    }
}
