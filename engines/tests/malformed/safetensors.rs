//! Safetensors files and their indexes, for both backends that read them.

use std::path::Path;

use minivault_engines::checkpoint::header::{Header, MAX_HEADER_BYTES};
use minivault_engines::gpt2::{Gpt2Config, Gpt2Loader};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Malformation, alone, check_opening};

const BACKENDS: [&str; 2] = ["gpt2", "candle"];
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

fn tiny() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/gpt2-tiny")
}

/// All of a model but its weights, of the kind that the backend runs.
fn folder(backend: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(tiny().join("tokenizer.json"), folder.path().join("tokenizer.json")).unwrap();
    let mut config: Value = serde_json::from_slice(&std::fs::read(tiny().join("config.json")).unwrap()).unwrap();
    if backend == "candle" {
        config = json!({
            "model_type": "llama", "vocab_size": 264, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "hidden_act": "silu",
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 96, "rms_norm_eps": 1e-5, "eos_token_id": 0,
        });
    }
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    folder
}

fn file(header: impl AsRef<[u8]>, data: usize) -> Vec<u8> {
    let header = header.as_ref();
    [&(header.len() as u64).to_le_bytes(), header, &vec![0; data]].concat()
}

/// A file of one tensor as it is described, with so many bytes of data.
fn one(described: &str, data: usize) -> Vec<u8> {
    file(format!("{{\"a\":{described}}}"), data)
}

/// A file of one tensor of floats with this shape, which is said to take so many bytes.
fn shaped(shape: &str, end: u64) -> Vec<u8> {
    one(&format!(r#"{{"dtype":"F32","shape":{shape},"data_offsets":[0,{end}]}}"#), 16)
}

/// A file of two tensors of 8 bytes each, at these offsets.
fn two(first: [u64; 2], second: [u64; 2], data: usize) -> Vec<u8> {
    let tensor = |offsets| json!({"dtype": "F32", "shape": [2], "data_offsets": offsets});
    file(json!({"a": tensor(first), "b": tensor(second)}).to_string(), data)
}

fn malformations() -> Vec<Malformation> {
    let tensor = r#""a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#;
    let length = |length: u64, more: usize| [&length.to_le_bytes()[..], &vec![b' '; more]].concat();
    vec![
        Malformation::new("nothing", Vec::new(), "it has 0 bytes; the length of its header alone takes 8"),
        Malformation::new("half a length", vec![1; 7], "it has 7 bytes"),
        Malformation::new("a header beyond all counting", length(u64::MAX, 100), "18446744073709551615 bytes; the limit is 8388608"),
        Malformation::new("a header over the limit", length(MAX_HEADER_BYTES + 1, 9 << 20), "8388609 bytes; the limit is 8388608"),
        Malformation::new("a header longer than the file", length(101, 100), "has 101 bytes; the limit is 8388608, and 100 are left"),
        Malformation::new("no header", length(0, 100), "doesn't begin with `{`"),
        Malformation::new("a header that begins with blanks", file(format!(" {{{tensor}}}"), 8), "doesn't begin with `{`"),
        Malformation::new("a list for a header", file("[1,2]", 8), "doesn't begin with `{`"),
        Malformation::new("half a header", file(format!("{{{tensor}"), 8), "EOF while parsing"),
        Malformation::new("a header and more", file(format!("{{{tensor}}}x"), 8), "trailing characters"),
        Malformation::new("a header that is no text", file(b"{\"\xFF\":1}", 8), "invalid unicode"),
        Malformation::new("a tensor twice", file(format!("{{{tensor},{tensor}}}"), 8), "tensor `a` appears twice"),
        Malformation::new("metadata twice", file(r#"{"__metadata__":{},"__metadata__":{}}"#, 0), "key `__metadata__` appears twice"),
        Malformation::new(
            "a key of the metadata twice",
            file(r#"{"__metadata__":{"x":"","x":""}}"#, 0),
            "key `x` of `__metadata__` appears",
        ),
        Malformation::new("metadata that are no texts", file(r#"{"__metadata__":{"x":[[[]]]}}"#, 0), "expected a string"),
        Malformation::new(
            "an unknown type",
            one(r#"{"dtype":"F33","shape":[1],"data_offsets":[0,4]}"#, 4),
            "tensor `a` isn't described: unknown",
        ),
        Malformation::new("no type", one(r#"{"shape":[1],"data_offsets":[0,4]}"#, 4), "missing field `dtype`"),
        Malformation::new(
            "a type twice",
            one(r#"{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}"#, 4),
            "duplicate field `dtype`",
        ),
        Malformation::new("an unknown field", one(r#"{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":0}"#, 4), "unknown field `x`"),
        Malformation::new("a tensor that is a number", one("7", 4), "tensor `a` isn't described: invalid type"),
        Malformation::new("five dimensions", shaped("[1,1,1,1,4]", 16), "more than 4 dimensions"),
        Malformation::new("an empty tensor", shaped("[4,0]", 0), "has the shape [4, 0], so it holds nothing"),
        Malformation::new("a negative dimension", shaped("[-4]", 16), "tensor `a` isn't described: invalid value: integer `-4`"),
        Malformation::new("half a dimension", shaped("[4.5]", 16), "tensor `a` isn't described: invalid type: floating point"),
        Malformation::new("a product beyond 64 bits", shaped("[1099511627776,1099511627776]", 16), "more bits than 64 bits can count"),
        Malformation::new("bits beyond 64 bits", shaped("[1152921504606846976]", 16), "more bits than 64 bits can count"),
        Malformation::new(
            "no whole bytes",
            one(r#"{"dtype":"F4","shape":[3],"data_offsets":[0,1]}"#, 1),
            "has 12 bits, which are no whole bytes",
        ),
        Malformation::new("a terabyte", shaped("[274877906944]", 1 << 40), "the file is cut short: the data of tensor `a` end at offset"),
        Malformation::new(
            "fewer bytes than the shape",
            shaped("[4]", 12),
            "is said to lie from 0 to 12; the shape [4] of F32 takes 16 bytes",
        ),
        Malformation::new("an end before the beginning", two([8, 0], [8, 16], 16), "is said to lie from 8 to 0"),
        Malformation::new("three offsets", one(r#"{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}"#, 4), "isn't described"),
        Malformation::new("a shared byte", two([0, 8], [4, 12], 12), "`b` begin at offset 4; 8 was expected"),
        Malformation::new("the same bytes twice", two([0, 8], [0, 8], 8), "`b` begin at offset 0; 8 was expected"),
        Malformation::new("a gap", two([0, 8], [12, 20], 20), "`b` begin at offset 12; 8 was expected"),
        Malformation::new("bytes before the first tensor", two([4, 12], [12, 20], 20), "`a` begin at offset 4; 0 was expected"),
        Malformation::new("bytes behind the last tensor", two([0, 8], [8, 16], 17), "its tensors take 16 bytes; there are 17"),
        Malformation::new("data cut short", two([0, 8], [8, 16], 15), "the data of tensor `b` end at offset 16; there are 15 bytes"),
    ]
}

#[test]
fn malformed_files_are_refused_before_a_loader_sees_them() {
    let _alone = alone();
    let folders = BACKENDS.map(|backend| (backend, folder(backend)));
    let malformations = malformations();
    assert!(malformations.len() >= 20, "{}", malformations.len());
    for malformation in &malformations {
        malformation.check_reading(|bytes| Header::read(&mut &bytes[..], bytes.len() as u64));
        for (backend, folder) in &folders {
            std::fs::write(folder.path().join(WEIGHTS), &malformation.bytes).unwrap();
            check_opening(backend, folder.path(), malformation.what, malformation.reason, malformation.bytes.len());
        }
    }
}

#[test]
fn an_index_names_shards_of_its_folder_that_are_there() {
    let _alone = alone();
    let refused = |index: &str, reason: &str| {
        for backend in BACKENDS {
            let folder = folder(backend);
            std::fs::write(folder.path().join(INDEX), index).unwrap();
            std::fs::write(folder.path().join("pytorch_model.bin"), b"PK\x03\x04").unwrap();
            check_opening(backend, folder.path(), index, reason, index.len());
        }
    };
    refused(r#"{"weight_map": {"a": "../model.safetensors"}}"#, "may lead out of the model's folder");
    refused(r#"{"weight_map": {"a": "/etc/model.safetensors"}}"#, "may lead out of the model's folder");
    refused(r#"{"weight_map": {"a": "sub/../../model.safetensors"}}"#, "may lead out of the model's folder");
    refused(r#"{"weight_map": {"a": "model-00001-of-00002.safetensors"}}"#, "lacks `model-00001-of-00002.safetensors`");
    refused(r#"{"weight_map": {"a": "pytorch_model.bin"}}"#, "only GGUF and safetensors files are loaded");
    refused(r#"{"weight_map": {}}"#, "names no file");
    refused(r#"{"weight_map": ["#, "is no index of weights");
    refused(r#"{"weight_map": {"a": 7}}"#, "is no index of weights");
}

#[test]
fn the_file_beside_which_others_are_malformed_is_a_model() {
    let _alone = alone();
    let folder = folder("gpt2");
    std::fs::copy(tiny().join(WEIGHTS), folder.path().join(WEIGHTS)).unwrap();
    let config = Gpt2Config::new("sound");
    Gpt2Loader { name: "sound".into(), folder: folder.path().into(), origin: "a test".into(), config }.load().unwrap();
}
