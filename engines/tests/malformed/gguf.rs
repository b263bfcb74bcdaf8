//! GGUF files, for both backends that read them.

use minivault_engines::candle_models::{CandleConfig, CandleLoader};
use minivault_engines::gguf::Gguf;
use minivault_engines::gguf::sample::{Sample, text_value, u32_value};
#[cfg(feature = "llama-cpp")]
use minivault_engines::llama::{LlamaConfig, LlamaLoader};

use crate::{Malformation, alone, check_opening};

const BACKENDS: &[&str] = if cfg!(feature = "llama-cpp") { &["candle", "llama-cpp"] } else { &["candle"] };

fn changed(change: impl FnOnce(&mut Sample)) -> Vec<u8> {
    let mut sample = Sample::network();
    change(&mut sample);
    sample.bytes()
}

fn with(key: &str, value: Vec<u8>) -> Vec<u8> {
    Sample::network().with(key, value).bytes()
}

/// Another number at a place of the file.
fn patched(place: usize, value: u64) -> Vec<u8> {
    let mut bytes = Sample::network().bytes();
    bytes[place..place + 8].copy_from_slice(&value.to_le_bytes());
    bytes
}

fn array(element: u32, length: u64) -> Vec<u8> {
    [&9_u32.to_le_bytes()[..], &element.to_le_bytes(), &length.to_le_bytes()].concat()
}

fn malformations() -> Vec<Malformation> {
    let whole = Sample::network().bytes();
    let first_value = 24 + 8 + "general.architecture".len() + 4;
    let dimensions = |shape: &[u64]| changed(|sample| sample.tensors[0].dimensions = shape.to_vec());
    vec![
        Malformation::new("nothing", Vec::new(), "the file is empty"),
        Malformation::new("half a magic number", b"GG".to_vec(), "needs 4 bytes and 2 are left"),
        Malformation::new("another magic number", [b"GGML", &whole[4..]].concat(), "begins with `GGML`"),
        Malformation::new("a version to come", changed(|sample| sample.version = 4), "GGUF version 4; versions 2 and 3 are read"),
        Malformation::new("a version long gone", changed(|sample| sample.version = 1), "GGUF version 1;"),
        Malformation::new("numbers the other way round", changed(|sample| sample.version = 3_u32.swap_bytes()), "the file is big-endian"),
        Malformation::new("too many tensors", patched(8, u64::MAX), "counts 18446744073709551615 tensors; a file of"),
        Malformation::new("too many keys", patched(16, 1 << 40), "counts 1099511627776 keys"),
        Malformation::new("a key of a petabyte", patched(24, 1 << 50), "has 1125899906842624 bytes; at most 65535"),
        Malformation::new("a string of half a gigabyte", patched(first_value, 1 << 29), "`general.architecture` needs 536870912 bytes"),
        Malformation::new("too many strings", with("x", array(8, 1 << 30)), "key `x` has 1073741824 strings and"),
        Malformation::new("too many numbers", with("x", array(12, 1 << 30)), "key `x` needs 8589934592 bytes"),
        Malformation::new(
            "an array beyond all counting",
            with("x", array(4, u64::MAX)),
            "18446744073709551615 elements; at most 1073741824",
        ),
        Malformation::new("an array of arrays", with("x", array(9, 1)), "array of arrays"),
        Malformation::new("an unknown type", with("x", 13_u32.to_le_bytes().to_vec()), "the unknown type 13; types are 0 to 12"),
        Malformation::new("an unknown type in an array", with("x", array(99, 1)), "the unknown type 99"),
        Malformation::new("a key without a name", with("", u32_value(1)), "is empty or no plain text"),
        Malformation::new("a key with a zero byte", with("a\0b", u32_value(1)), "is empty or no plain text"),
        Malformation::new(
            "a key twice",
            changed(|sample| sample.keys.push(sample.keys[0].clone())),
            "`general.architecture` appears twice",
        ),
        Malformation::new("an alignment of 24", with("general.alignment", u32_value(24)), "is 24; it must be a power of two"),
        Malformation::new("an alignment of 0", with("general.alignment", u32_value(0)), "is 0; it must be a power of two"),
        Malformation::new("an alignment in words", with("general.alignment", text_value("32")), "is of type string; it must be u32"),
        Malformation::new("more than may be kept", with("x", text_value(&"x".repeat(9 << 20))), "bytes of memory; at most 8388608"),
        Malformation::new("no dimensions", dimensions(&[]), "has 0 dimensions; 1 to 4"),
        Malformation::new("five dimensions", dimensions(&[1; 5]), "has 5 dimensions; 1 to 4"),
        Malformation::new("an empty tensor", dimensions(&[32, 0]), "has the shape [32, 0], so it holds nothing"),
        Malformation::new("a product beyond 64 bits", dimensions(&[1 << 32, 1 << 32]), "more elements than 63 bits can count"),
        Malformation::new("a product beyond 63 bits", dimensions(&[1 << 62, 2]), "more elements than 63 bits can count"),
        Malformation::new(
            "a tensor larger than the file",
            dimensions(&[32, 1 << 30]),
            "the data of tensor `token_embd.weight` end at byte",
        ),
        Malformation::new("a tensor over the next one", dimensions(&[32, 300]), "was expected"),
        Malformation::new("an unknown layout", changed(|sample| sample.tensors[0].kind = 4), "has the type 4"),
        Malformation::new(
            "rows of half blocks",
            changed(|sample| (sample.tensors[0].kind, sample.tensors[0].dimensions[0]) = (2, 33)),
            "has rows of 33 elements; Q4_0 stores them in blocks of 32",
        ),
        Malformation::new(
            "a tensor twice",
            changed(|sample| sample.tensors[1].name = sample.tensors[0].name.clone()),
            "tensor `token_embd.weight` appears twice",
        ),
        Malformation::new("a long name", changed(|sample| sample.tensors[1].name = "n".repeat(64)), "has 64 bytes; at most 63"),
        Malformation::new("no name", changed(|sample| sample.tensors[1].name.clear()), "the name of tensor 1 is empty"),
        Malformation::new("data cut short", whole[..whole.len() - 1].to_vec(), "the file is cut short: the data of tensor"),
    ]
}

#[test]
fn malformed_files_are_refused_before_a_loader_sees_them() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let malformations = malformations();
    assert!(malformations.len() >= 20, "{}", malformations.len());
    for malformation in &malformations {
        malformation.check_reading(|bytes| Gguf::read(bytes, bytes.len() as u64));
        std::fs::write(&path, &malformation.bytes).unwrap();
        for backend in BACKENDS {
            check_opening(backend, &path, malformation.what, malformation.reason, malformation.bytes.len());
        }
    }
}

/// By the loaders themselves: an engine's thread would go on after its test, and be counted in another one.
#[test]
fn the_file_that_was_malformed_is_a_model() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    std::fs::write(&path, Sample::network().bytes()).unwrap();
    let (name, origin) = (String::from("sound"), String::from("a test"));
    #[cfg(feature = "llama-cpp")]
    LlamaLoader {
        name: name.clone(),
        file: path.clone(),
        origin: origin.clone(),
        chat_template: None,
        config: LlamaConfig::new("model.gguf"),
    }
    .lend(|_, _, _| Ok(()))
    .unwrap();
    CandleLoader { name, path, origin, config: CandleConfig::new("model.gguf") }.lend(|_, _, _| Ok(())).unwrap();
}
