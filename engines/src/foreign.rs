//! Formats of models that are never loaded, told apart by their first bytes, so that a refusal can name them.
//!
//! A pickle is a program, and an archive can hold one, or be a thousand times larger than it looks.

/// What is loaded instead, as the end of a message.
pub(crate) const ONLY: &str = "only GGUF and safetensors files are loaded";

/// What files of such formats begin with.
const FORMATS: [(&[u8], &str); 11] = [
    (b"PK\x03\x04", "a zip archive, as PyTorch's checkpoints and .npz files are"),
    (b"\x80\x02", "a pickle"),
    (b"\x80\x03", "a pickle"),
    (b"\x80\x04", "a pickle"),
    (b"\x80\x05", "a pickle"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zX", "an xz archive"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (b"\x93NUM", "a NumPy array"),
    (b"\x89HDF", "an HDF5 file"),
];
/// How their names end where the first bytes tell nothing, or nobody has looked.
const ENDINGS: [&str; 14] =
    [".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".npz", ".npy", ".h5", ".msgpack", ".zip", ".tar", ".gz", ".tgz"];

/// The format of what begins with these bytes; `None`: none of those that are known here.
pub(crate) fn format_of(beginning: &[u8]) -> Option<&'static str> {
    FORMATS.iter().find(|(bytes, _)| beginning.starts_with(bytes)).map(|(_, name)| *name)
}

/// Whether a file of this name holds weights in a format that is never loaded.
pub(crate) fn is_name_of_weights(name: &str) -> bool {
    ENDINGS.iter().any(|ending| name.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_by_their_first_bytes() {
        assert_eq!(format_of(b"\x80\x02}q\0"), Some("a pickle"));
        assert!(format_of(b"PK\x03\x04\x14").is_some_and(|format| format.contains("zip")));
        assert_eq!((format_of(b"GGUF"), format_of(b""), format_of(b"PK")), (None, None, None));
        assert!(is_name_of_weights("pytorch_model.bin") && !is_name_of_weights("model.safetensors"));
    }
}
