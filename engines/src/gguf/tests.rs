use proptest::prelude::*;

use super::sample::{Sample, text_value, texts_value, u32_value};
use super::*;

fn read(bytes: &[u8]) -> Result<Gguf, Fault> {
    Gguf::read(bytes, bytes.len() as u64)
}

/// The bytes are refused with a message that holds each of the expected parts.
#[track_caller]
fn check_refused(bytes: &[u8], expected: &[&str]) {
    let fault = read(bytes).expect_err("a file that must be refused").to_string();
    expected.iter().for_each(|part| assert!(fault.contains(part), "`{part}` isn't in: {fault}"));
}

#[test]
fn a_whole_header_is_read() {
    let gguf = read(&Sample::model().bytes()).unwrap();
    assert_eq!(gguf.get("llama.block_count"), Some(&Value::U32(2)));
    assert_eq!(gguf.get("general.name"), Some(&Value::Text(b"Tiny".to_vec())));
    assert_eq!(gguf.get("tokenizer.ggml.merges"), Some(&Value::Array(Kind::Text, 1)));
    assert_eq!(gguf.tokens().unwrap().iter().collect::<Vec<_>>(), [b"a", b"b"]);
    let tensors: Vec<_> =
        gguf.tensors().iter().map(|tensor| (tensor.name.as_str(), tensor.layout.name, tensor.offset, tensor.size)).collect();
    assert_eq!(tensors, [("token_embd.weight", "Q4_0", 0, 36), ("output_norm.weight", "F32", 64, 12)]);
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let whole = Sample::model().bytes();
    for length in 0..whole.len() {
        assert!(read(&whole[..length]).is_err(), "cut after {length} of {} bytes", whole.len());
    }
}

#[test]
fn what_is_no_gguf_is_told_apart() {
    check_refused(b"", &["the file is empty"]);
    check_refused(b"GGU", &["cut short", "needs 4 bytes and 3 are left"]);
    check_refused(b"PK\x03\x04 and more", &["the file is a zip archive", "only GGUF and safetensors files are loaded"]);
    check_refused(b"lmgg and more", &["the file begins with `lmgg`, a GGUF file with `GGUF`"]);
    check_refused(&Sample { version: 99, ..Sample::model() }.bytes(), &["GGUF version 99; versions 2 and 3 are read"]);
    check_refused(&Sample { version: 1, ..Sample::model() }.bytes(), &["version 1"]);
    check_refused(&Sample { version: 3_u32.swap_bytes(), ..Sample::model() }.bytes(), &["big-endian"]);
    assert!(read(&Sample { version: 2, ..Sample::model() }.bytes()).is_ok());
}

#[test]
fn counts_and_lengths_beyond_the_file_are_refused_before_anything_is_allocated() {
    let whole = Sample::model().bytes();
    let with_u64 = |place: usize, value: u64| {
        let mut bytes = whole.clone();
        bytes[place..place + 8].copy_from_slice(&value.to_le_bytes());
        bytes
    };
    check_refused(&with_u64(8, u64::MAX), &["counts 18446744073709551615 tensors; a file of", "holds at most"]);
    check_refused(&with_u64(16, 1 << 40), &["counts 1099511627776 keys"]);
    check_refused(&with_u64(24, 1 << 50), &["the name of key 0 has 1125899906842624 bytes; at most 65535"]);
    let architecture = 24 + 8 + "general.architecture".len() + 4;
    check_refused(&with_u64(architecture, 1 << 29), &["key `general.architecture` needs 536870912 bytes"]);
    let array =
        |element: u32, length: u64| [9_u32.to_le_bytes().to_vec(), element.to_le_bytes().to_vec(), length.to_le_bytes().to_vec()].concat();
    let with = |value| Sample::model().with("x", value).bytes();
    check_refused(&with(array(8, 1 << 30)), &["key `x` has 1073741824 strings"]);
    check_refused(&with(array(12, 1 << 30)), &["key `x` needs 8589934592 bytes"]);
    check_refused(&with(array(4, u64::MAX)), &["key `x` has 18446744073709551615 elements; at most 1073741824"]);
}

#[test]
fn keys_and_types_must_be_sound() {
    let with = |key: &str, value| Sample::model().with(key, value).bytes();
    check_refused(&with("x", 13_u32.to_le_bytes().to_vec()), &["key `x` has the unknown type 13; types are 0 to 12"]);
    check_refused(&with("x", [9_u32, 9, 0, 0].iter().flat_map(|part| part.to_le_bytes()).collect()), &["array of arrays"]);
    check_refused(&with("", u32_value(1)), &["the name of key 11 is empty or no plain text"]);
    check_refused(&with("a\0b", u32_value(1)), &["no plain text"]);
    check_refused(&with("general.alignment", u32_value(24)), &["`general.alignment` is 24; it must be a power of two"]);
    check_refused(&with("general.alignment", u32_value(0)), &["is 0; it must be a power of two"]);
    check_refused(&with("general.alignment", text_value("32")), &["is of type string; it must be u32"]);
    let mut twice = Sample::model();
    twice.keys.push(twice.keys[0].clone());
    check_refused(&twice.bytes(), &["key `general.architecture` appears twice"]);
    assert!(read(&with("tokenizer.ggml.tokens", texts_value(&[]))).unwrap().tokens().unwrap().is_empty());
}

#[test]
fn tensors_must_be_sound() {
    let check = |change: &dyn Fn(&mut Sample), expected: &str| {
        let mut sample = Sample::model();
        change(&mut sample);
        check_refused(&sample.bytes(), &[expected]);
    };
    check(&|sample| sample.tensors[0].kind = 4, "tensor `token_embd.weight` has the type 4");
    check(&|sample| sample.tensors[0].kind = 43, "has the type 43");
    check(&|sample| sample.tensors[0].dimensions = vec![33, 2], "has rows of 33 elements; Q4_0 stores them in blocks of 32");
    check(&|sample| sample.tensors[0].dimensions = vec![], "has 0 dimensions; 1 to 4");
    check(&|sample| sample.tensors[0].dimensions = vec![32, 1, 1, 1, 2], "has 5 dimensions; 1 to 4");
    check(&|sample| sample.tensors[0].dimensions = vec![32, 0], "has the shape [32, 0]");
    check(&|sample| sample.tensors[0].dimensions = vec![1 << 32, 1 << 32], "more elements than 63 bits can count");
    check(&|sample| sample.tensors[0].dimensions = vec![1 << 62, 2], "more elements than 63 bits can count");
    check(
        &|sample| sample.tensors[0].dimensions = vec![32, 4000],
        "the file is cut short: the data of tensor `token_embd.weight` end at byte",
    );
    check(&|sample| sample.tensors[0].dimensions = vec![32, 4], "`output_norm.weight` begin at offset 64; 96 was expected");
    check(&|sample| sample.tensors[1].name = sample.tensors[0].name.clone(), "tensor `token_embd.weight` appears twice");
    check(&|sample| sample.tensors[1].name = "n".repeat(64), "the name of tensor 1 has 64 bytes; at most 63");
    check(&|sample| sample.tensors[1].name.clear(), "the name of tensor 1 is empty");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_mutation_makes_the_reader_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut bytes = Sample::model().bytes();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Ok(gguf) = read(&bytes) {
            // Whatever is accepted lies within the file, and its description is read without a panic, too.
            prop_assert!(gguf.tensors().iter().all(|tensor| tensor.offset + tensor.size <= bytes.len() as u64));
            #[cfg(feature = "llama-cpp")]
            let _ = crate::llama::Description::of(&gguf);
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic(tail in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(&[b"GGUF\x03\0\0\0".as_slice(), &tail].concat());
    }
}
