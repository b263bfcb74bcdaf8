//! Formats that are never loaded: programs in disguise, and archives of them.

use minivault_engines::checkpoint::header::Header;

use crate::{alone, check_opening};

const ONLY: &str = "only GGUF and safetensors files are loaded";

/// What each begins with, and what the refusal calls it.
const FORMATS: [(&str, &[u8], &str); 6] = [
    ("pytorch_model.bin", b"\x80\x02}q\x00X\x06\x00\x00\x00weightq\x01", "a pickle"),
    ("model.pkl", b"\x80\x05\x95\x10\x00\x00\x00\x00\x00\x00\x00", "a pickle"),
    ("model.pt", b"PK\x03\x04\x00\x00\x08\x08\x00\x00archive/data.pkl", "a zip archive"),
    ("weights.npz", b"PK\x03\x04\x2d\x00\x00\x00\x00\x00weights.npy", "a zip archive"),
    ("model.tar.gz", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", "a gzip archive"),
    ("model.h5", b"\x89HDF\r\n\x1a\n\x00\x00\x00\x00", "an HDF5 file"),
];

#[test]
fn a_file_in_a_foreign_format_is_refused_by_its_name() {
    let _alone = alone();
    for (name, bytes, format) in FORMATS {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let mut backends = vec!["gpt2", "candle"];
        if cfg!(feature = "llama-cpp") {
            backends.push("llama-cpp");
        }
        for backend in backends {
            check_opening(backend, &path, name, format, bytes.len());
            check_opening(backend, &path, name, ONLY, bytes.len());
        }
        // Under a name that is right.
        let path = folder.path().join("model.gguf");
        std::fs::write(&path, bytes).unwrap();
        check_opening("candle", &path, name, format, bytes.len());
        let reason = Header::read(&mut &bytes[..], bytes.len() as u64).expect_err(name);
        assert!(reason.contains(format) && reason.contains(ONLY), "{name}: {reason}");
    }
}

#[test]
fn a_folder_whose_weights_are_foreign_is_refused_by_their_name() {
    let _alone = alone();
    for (name, bytes, _) in FORMATS {
        let folder = tempfile::tempdir().unwrap();
        for file in ["config.json", "tokenizer.json"] {
            std::fs::write(folder.path().join(file), "{}").unwrap();
        }
        std::fs::write(folder.path().join(name), bytes).unwrap();
        check_opening("gpt2", folder.path(), name, &format!("`{name}` is there, and {ONLY}"), bytes.len());
    }
}
