//! The model's files: whether they are what they were when they were fetched.

use std::path::{Path, PathBuf};

use figment::value::{Dict, Value};
use minivault_engines::checksum::of_file;

use super::Finding;

/// Looks at each of an engine's files; `table` is the engine's in the configuration.
pub(super) fn findings(engine: &str, files: &[PathBuf], table: &Dict) -> Vec<Finding> {
    // It is said of the one file that there is.
    let configured = table.get("sha256").and_then(Value::as_str).filter(|_| files.len() == 1);
    files.iter().map(|file| finding(engine, file, configured)).collect()
}

fn finding(engine: &str, file: &Path, configured: Option<&str>) -> Finding {
    let name = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy();
    // In the hub's cache what is shown is a link.
    let stored_at = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let advice = format!("take {} away; `minivaultd pull {engine}` fetches it again, if it was fetched", stored_at.display());
    let stored = stored_as(file);
    let Some(expected) = configured.or(stored.as_deref()) else {
        return Finding::good("file", format!("{name}, {}; no checksum of it is known", size(file)));
    };
    match of_file(file) {
        Ok(found) if found.eq_ignore_ascii_case(expected) => Finding::good("file", format!("{name}, {}, its SHA-256 is right", size(file))),
        Ok(found) => Finding::bad("file", format!("{name}: its SHA-256 is {found}\nand must be {expected}"), advice),
        Err(error) => Finding::bad("file", format!("{name} can't be read: {error}"), advice),
    }
}

/// The checksum that a file of the hub's cache is named by, where it is a large one: what is shown there is a link to it.
fn stored_as(file: &Path) -> Option<String> {
    let blob = file.canonicalize().ok()?;
    let name = blob.file_name()?.to_str()?;
    (name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| name.to_owned())
}

fn size(file: &Path) -> String {
    file.metadata().map_or_else(|_| "of unknown size".to_owned(), |file| format!("{} MiB", file.len() >> 20))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Of the three letters `abc`.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_file_is_held_against_the_configuration_and_the_name_it_is_stored_by() {
        let folder = tempfile::tempdir().unwrap();
        let (plain, blob, link) = (folder.path().join("plain.gguf"), folder.path().join(ABC), folder.path().join("linked.gguf"));
        std::fs::write(&plain, "abc").unwrap();
        std::fs::write(&blob, "abd").unwrap();
        std::os::unix::fs::symlink(&blob, &link).unwrap();
        let told = |file: &PathBuf, table: &Dict| findings("mine", std::slice::from_ref(file), table)[0].to_string();
        let sums = |sum: &str| Dict::from([("sha256".to_owned(), sum.into())]);
        assert!(told(&plain, &Dict::new()).contains("no checksum of it is known"));
        assert!(told(&plain, &sums(&ABC.to_uppercase())).contains("its SHA-256 is right"));
        assert!(told(&plain, &sums(&"0".repeat(64))).starts_with("FAIL"));
        let changed = told(&link, &Dict::new());
        assert!(
            changed.starts_with("FAIL") && changed.contains(&format!("must be {ABC}")) && changed.contains("minivaultd pull mine"),
            "{changed}"
        );
        std::fs::write(&blob, "abc").unwrap();
        assert!(told(&link, &Dict::new()).contains("linked.gguf, 0 MiB, its SHA-256 is right"));
    }
}
