//! Model files from strangers: what the pre-checks allocate is bounded by the file, and what they accept, the loaders survive.

use std::path::Path;

use minivault_engines::candle_models::{CandleConfig, CandleLoader};
use minivault_engines::checkpoint::header::Header;
use minivault_engines::error::Result;
use minivault_engines::gguf::Gguf;
use minivault_engines::gguf::sample::Sample;
use minivault_engines::gpt2::{Gpt2Config, Gpt2Loader};
#[cfg(feature = "llama-cpp")]
use minivault_engines::llama::{LlamaConfig, LlamaLoader};
use minivault_engines::model::{Feed, Logits, Model, Rows, Slot};

use super::allocation::measured;
use super::input::Input;

const TINY: &[u8] = include_bytes!("../../engines/tests/data/gpt2-tiny/model.safetensors");
const TINY_CONFIG: &[u8] = include_bytes!("../../engines/tests/data/gpt2-tiny/config.json");
const TINY_TOKENIZER: &[u8] = include_bytes!("../../engines/tests/data/gpt2-tiny/tokenizer.json");
const WORDS: [&str; 22] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "0",
    "1",
    "18446744073709551615",
    "-1",
    "1e9",
    "dtype",
    "shape",
    "data_offsets",
    "__metadata__",
    "F32",
    "BF16",
    "I64",
    "wte.weight",
    "..",
    "/",
];

/// Messages, and what a reader needs however small the file is.
const SLACK: usize = 64 << 10;

/// A reader may hold the file's text, and what it says, a few times over.
fn check_allocation(bytes: &[u8], peak: usize) {
    assert!(peak <= 4 * bytes.len() + SLACK, "{peak} bytes were in use at once for a file of {}", bytes.len());
}

/// A GGUF file.
pub fn gguf(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let file = match input.below(4) {
        0 => input.rest().to_vec(),
        1 => input.changed(&Sample::model().bytes()),
        _ => changed_sample(&mut input),
    };
    let (read, peak) = measured(|| Gguf::read(&file[..], file.len() as u64));
    check_allocation(&file, peak);
    let Ok(read) = read else { return };
    assert!(read.tensors().iter().all(|tensor| tensor.offset + tensor.size <= file.len() as u64), "a tensor beyond the file");
    drop(read);
    let folder = folder();
    let path = folder.path().join("model.gguf");
    write(&path, &file);
    let _ = CandleLoader {
        name: "fuzzed".into(),
        path: path.clone(),
        origin: "anywhere".into(),
        config: CandleConfig { context: Some(8), ..CandleConfig::new("model.gguf") },
    }
    .lend(|_, _, model| one_step(model));
    #[cfg(feature = "llama-cpp")]
    llama(&path);
}

/// llama.cpp may end the process, and then only this file tells of what.
#[cfg(feature = "llama-cpp")]
fn llama(path: &Path) {
    use minivault_engines::Threads;

    let kept = std::env::temp_dir().join(format!("minivault-fuzz-{}.gguf", std::process::id()));
    std::fs::copy(path, &kept).expect("a copy");
    let config =
        LlamaConfig { context: Some(8), slots: 1, threads: Threads::exactly(1).expect("one thread"), ..LlamaConfig::new("model.gguf") };
    let loader = LlamaLoader { name: "fuzzed".into(), file: path.into(), origin: "anywhere".into(), chat_template: None, config };
    let _ = loader.lend(|_, _, model| one_step(model));
    let _ = std::fs::remove_file(kept);
}

/// What was loaded also computes.
fn one_step(model: &mut dyn Model) -> Result<()> {
    let mut logits = Logits::new(model.limits().logits_width);
    model.step(&[Feed { slot: Slot(0), tokens: &[0], rows: Rows::Last }], &mut logits)
}

/// A file that loads, with other values, shapes and types.
fn changed_sample(input: &mut Input<'_>) -> Vec<u8> {
    let mut sample = Sample::network();
    for _ in 0..=input.below(4) {
        match input.below(7) {
            0 => {
                let key = input.below(sample.keys.len());
                sample.keys.remove(key);
            }
            1 | 2 => {
                let key = input.below(sample.keys.len());
                sample.keys[key].1 = input.changed(&sample.keys[key].1);
            }
            3 => {
                let (one, other) = (input.below(sample.keys.len()), input.below(sample.keys.len()));
                sample.keys[one].1 = sample.keys[other].1.clone();
            }
            4 => {
                let tensor = input.below(sample.tensors.len());
                sample.tensors[tensor].kind = input.below(44) as u32;
            }
            5 => {
                let tensor = input.below(sample.tensors.len());
                let dimensions = (0..input.below(6)).map(|_| input.pick(&[0, 1, 2, 16, 32, 64, 1 << 31, 1 << 40, u64::MAX]));
                sample.tensors[tensor].dimensions = dimensions.collect();
            }
            _ => {
                let tensor = input.below(sample.tensors.len());
                sample.tensors[tensor].bytes = input.below(1 << 14);
            }
        }
        if sample.keys.is_empty() {
            break;
        }
    }
    let bytes = sample.bytes();
    if input.below(4) == 0 { input.changed(&bytes) } else { bytes }
}

/// A safetensors file, alone or with an index, in a folder that would be a model.
pub fn safetensors(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let folder = folder();
    write(&folder.path().join("config.json"), TINY_CONFIG);
    write(&folder.path().join("tokenizer.json"), TINY_TOKENIZER);
    let (length, body) = TINY.split_at(8);
    let (header, data) = body.split_at(u64::from_le_bytes(length.try_into().expect("eight bytes")) as usize);
    let file = match input.below(5) {
        0 => input.rest().to_vec(),
        1 => with_header(input.text(&WORDS).as_bytes(), &[]),
        2 => return index(&mut input, folder.path()),
        3 => with_header(&with_words(&mut input, header), data),
        _ => with_header(&input.changed(header), data),
    };
    let (read, peak) = measured(|| Header::read(&mut &file[..], file.len() as u64));
    check_allocation(&file, peak);
    if let Ok(read) = read {
        let within = |end: Option<u64>| end.is_some_and(|end| end <= file.len() as u64);
        assert!(read.tensors.values().all(|entry| within(read.start.checked_add(entry.offset + entry.size))), "a tensor beyond the file");
        write(&folder.path().join("model.safetensors"), &file);
        load(folder.path());
    }
}

/// An index that names what it likes.
fn index(input: &mut Input<'_>, folder: &Path) {
    let names: String = (0..input.below(4)).map(|_| format!("\"{}\": \"{}\",", input.text(&WORDS), input.text(&WORDS))).collect();
    let text = match input.below(3) {
        0 => input.rest().to_vec(),
        1 => format!("{{\"weight_map\": {{{}}}}}", names.trim_end_matches(',')).into_bytes(),
        _ => (0..input.below(6)).map(|_| input.text(&WORDS)).collect::<String>().into_bytes(),
    };
    write(&folder.join("model.safetensors.index.json"), &text);
    assert!(!load(folder), "there are no weights");
}

/// Whether the folder is a model.
fn load(folder: &Path) -> bool {
    let loader = Gpt2Loader { name: "fuzzed".into(), folder: folder.into(), origin: "anywhere".into(), config: Gpt2Config::new("fuzzed") };
    loader.load().is_ok()
}

fn with_words(input: &mut Input<'_>, header: &[u8]) -> Vec<u8> {
    let mut header = header.to_vec();
    for _ in 0..=input.below(3) {
        let place = input.below(header.len());
        let end = (place + input.below(9)).min(header.len());
        header.splice(place..end, input.text(&WORDS).into_bytes());
    }
    header
}

fn with_header(header: &[u8], data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header, data].concat()
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder")
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).expect("a file");
}

/// Whole files.
pub fn gguf_seeds() -> Vec<Vec<u8>> {
    [Sample::model(), Sample::network()].map(|sample| [&[0], &sample.bytes()[..]].concat()).to_vec()
}

/// A small file, and an index.
pub fn safetensors_seeds() -> Vec<Vec<u8>> {
    let header = br#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[],"data_offsets":[8,9]}}"#;
    let index = br#"{"weight_map":{"a":"model-00001-of-00002.safetensors","b":"../b.safetensors"}}"#;
    vec![[&[0], &with_header(header, &[0; 9])[..]].concat(), [&[2, 0, 0], &index[..]].concat()]
}
