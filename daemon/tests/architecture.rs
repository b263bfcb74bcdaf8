//! What the repository promises of itself: which crate may depend on which, and how long a file may be.

#![allow(clippy::unwrap_used)] // A test that fails here fails as it should.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The crates of the workspace and those of them that each may depend on.
const DIRECTIONS: &[(&str, &[&str])] = &[
    ("minivault-wire", &[]),
    ("minivault-journal", &[]),
    ("minivault-engines", &[]),
    ("minivault-daemon", &["minivault-engines", "minivault-wire", "minivault-journal"]),
    ("minivault-cli", &["minivault-wire", "minivault-journal"]),
    // It measures engines, and daemons from outside.
    ("minivault-bench", &["minivault-engines"]),
];
const HTTP_SERVERS: &[&str] = &["axum", "hyper", "hyper-util", "tower", "tower-http"];
const MODEL_LIBRARIES: &[&str] = &["candle-", "llama-cpp", "tokenizers", "safetensors", "minijinja"];
/// A file does one job; one that is longer than this does two.
const LONGEST_FILE: usize = 450;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// The workspace's crates as cargo sees them.
fn packages() -> Vec<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = ["metadata", "--no-deps", "--offline", "--format-version", "1"];
    let output = Command::new(cargo).args(arguments).current_dir(repository()).output().unwrap();
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

fn package(name: &str) -> Value {
    packages().into_iter().find(|package| package["name"] == name).unwrap_or_else(|| panic!("the workspace has no crate {name}"))
}

/// The names of what a crate depends on. `with_tests`: also for its tests and its build script.
fn dependencies(package: &Value, with_tests: bool) -> Vec<String> {
    let all = package["dependencies"].as_array().unwrap().iter();
    all.filter(|dependency| with_tests || dependency["kind"].is_null()).map(|d| d["name"].as_str().unwrap().to_owned()).collect()
}

/// All files of the repository, without what is built, fetched or logged there.
fn files() -> Vec<PathBuf> {
    let mut folders = vec![repository()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let (path, kind) = entry.map(|entry| (entry.path(), entry.file_type().unwrap())).unwrap();
            if kind.is_file() {
                files.push(path);
            } else if kind.is_dir() && !["target", ".git", "logs", ".venv"].iter().any(|name| path.ends_with(name)) {
                folders.push(path);
            }
        }
    }
    files
}

#[test]
fn dependencies_point_one_way() {
    for package in packages() {
        let name = package["name"].as_str().unwrap();
        if Path::new(package["manifest_path"].as_str().unwrap()).starts_with(repository().join("engines/examples")) {
            continue; // An engine of one's own brings the daemon along; nothing depends on it.
        }
        let allowed = DIRECTIONS.iter().find(|(crate_name, _)| *crate_name == name);
        let (_, allowed) = allowed.unwrap_or_else(|| panic!("DIRECTIONS doesn't say what {name} may depend on"));
        for dependency in dependencies(&package, true) {
            let ours = dependency.starts_with("minivault-") && dependency != name;
            assert!(!ours || allowed.contains(&dependency.as_str()), "{name} depends on {dependency}; it may on {allowed:?}");
        }
    }
}

#[test]
fn the_engines_bring_no_http_server_along() {
    for name in ["minivault-engines", "minivault-journal", "minivault-wire"] {
        let servers: Vec<_> = dependencies(&package(name), false).into_iter().filter(|d| HTTP_SERVERS.contains(&d.as_str())).collect();
        assert!(servers.is_empty(), "{name} depends on {servers:?}");
    }
}

#[test]
fn the_daemon_names_no_model_library() {
    let libraries: Vec<_> = dependencies(&package("minivault-daemon"), true)
        .into_iter()
        .filter(|dependency| MODEL_LIBRARIES.iter().any(|library| dependency.starts_with(library)))
        .collect();
    assert!(libraries.is_empty(), "minivault-daemon depends on {libraries:?}");
    // Nor one engine rather than another: it has them all from the registry.
    for file in files().iter().filter(|file| file.starts_with(repository().join("daemon/src"))) {
        let text = std::fs::read_to_string(file).unwrap();
        let named = ["gpt2", "llama", "hub"].iter().find(|module| text.contains(&format!("minivault_engines::{module}")));
        assert!(named.is_none(), "{} names minivault_engines::{}", file.display(), named.unwrap());
    }
}

#[test]
fn the_wire_is_serde_only() {
    let wire = package("minivault-wire");
    let optional = |name: &String| {
        let mut all = wire["dependencies"].as_array().unwrap().iter();
        all.any(|dependency| dependency["name"] == **name && dependency["optional"] == true)
    };
    let always: Vec<String> = dependencies(&wire, false).into_iter().filter(|name| !optional(name)).collect();
    assert_eq!(always, ["serde", "serde_json"]);
}

#[test]
fn a_source_file_does_one_job() {
    let is_test = |path: &Path| path.ends_with("tests.rs") || path.components().any(|part| part.as_os_str() == "tests");
    let is_source = |path: &Path| path.extension().is_some_and(|e| e == "rs") && path.components().any(|part| part.as_os_str() == "src");
    let sources: Vec<_> = files().into_iter().filter(|path| is_source(path) && !is_test(path)).collect();
    assert!(sources.len() > 50, "only {} source files were found", sources.len());
    for path in sources {
        let lines = std::fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= LONGEST_FILE, "{} has {lines} lines; {LONGEST_FILE} is the limit", path.display());
    }
}

#[test]
fn what_lies_beside_the_repository_is_known_to_continuous_integration_only() {
    let beside = ["shared", "/"].concat();
    let names: Vec<_> = files()
        .into_iter()
        .filter(|path| std::fs::read(path).unwrap().windows(beside.len()).any(|window| window == beside.as_bytes()))
        .map(|path| path.strip_prefix(repository()).unwrap().to_owned())
        .collect();
    assert_eq!(names, [Path::new(".ci/run")]);
}
