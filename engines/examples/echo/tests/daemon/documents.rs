//! README.md and docs/ are true: their blocks of code are run, loaded and read.
//!
//! - `sh`: run by bash, with `curl` failing where the answer isn't good, against a daemon whose `smollm2` is the parrot; `sh status=400` is a
//!   block whose answer is a refusal, `sh no-run` one that takes a network, a system or a person
//! - `toml`: loaded as a configuration, of which no model is opened; `toml profiles` by the client
//! - `json`: read, one value after the other
//! - `python`: compiled
//! - `rust`: stands in this example, which is built and tested
//!
//! Blocks of other languages, and of none (what is printed), are for people.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Deserializer, Value, json};

use crate::kit::{Daemon, command};

/// The names of interactions in what the documents show.
const SHOWN_IDS: [&str; 2] = ["01a20bb7-9f55-7367-84a7-bacb0e7e50ad", "ID"];

struct Block {
    /// `README.md:12`.
    place: String,
    language: String,
    /// What else the fence says.
    words: String,
    text: String,
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..")
}

fn documents() -> Vec<PathBuf> {
    let docs = std::fs::read_dir(repository().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut all: Vec<PathBuf> = docs.filter(|path| path.extension().is_some_and(|kind| kind == "md")).collect();
    all.push(repository().join("README.md"));
    all.sort();
    assert!(all.len() >= 8, "{all:?}");
    all
}

fn blocks() -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    for path in documents() {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let mut open = false;
        for (index, line) in text.lines().enumerate() {
            match line.strip_prefix("```") {
                Some(fence) if !open => {
                    let (language, words) = fence.split_once(' ').unwrap_or((fence, ""));
                    let place = format!("{name}:{}", index + 1);
                    found.push(Block { place, language: language.into(), words: words.into(), text: String::new() });
                    open = true;
                }
                Some(_) => open = false,
                None if open => {
                    let block = found.last_mut().unwrap();
                    block.text.push_str(line);
                    block.text.push('\n');
                }
                None => {}
            }
        }
        assert!(!open, "{name} has a block without an end");
    }
    found
}

fn of(language: &str) -> Vec<Block> {
    let found: Vec<Block> = blocks().into_iter().filter(|block| block.language == language).collect();
    assert!(!found.is_empty(), "no document has a block of {language}");
    found
}

/// Asserts that all went well, telling all that didn't.
fn conclude(what: &str, ran: usize, left_out: usize, wrong: &[String]) {
    println!("{what}: {ran} ran, {left_out} were left out");
    assert!(wrong.is_empty(), "{} of {ran} blocks are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

fn told(output: &Output) -> String {
    format!("{}\n{}{}", output.status, String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The programs as a person has them on the `PATH`; `curl` says it where an answer isn't what it should be.
fn script(daemon: &Daemon, block: &Block, id: &str) -> String {
    let curl = match block.words.strip_prefix("status=") {
        Some(status) => format!(
            "curl() {{ code=$(command curl -sS --max-time 60 -o refusal -w '%{{http_code}}' \"$@\"); cat refusal; \
             [ \"$code\" = {status} ] || {{ echo \"the status is $code and not {status}\"; exit 1; }}; }}"
        ),
        None => "curl() { command curl -sS --max-time 60 --fail-with-body \"$@\"; }".to_owned(),
    };
    let mut text = block.text.clone();
    for host in ["localhost:8000", "127.0.0.1:8000"] {
        text = text.replace(host, &daemon.address);
    }
    // As a word: letters around it make it another one.
    let is_letter = |letter: Option<char>| letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
    for shown in SHOWN_IDS {
        let mut parts = text.split(shown).peekable();
        let mut new = String::new();
        while let Some(part) = parts.next() {
            new.push_str(part);
            if let Some(next) = parts.peek() {
                let alone = !is_letter(part.chars().next_back()) && !is_letter(next.chars().next());
                new.push_str(if alone { id } else { shown });
            }
        }
        text = new;
    }
    format!("set -e -o pipefail\n{curl}\n{text}")
}

fn run(daemon: &Daemon, block: &Block, id: &str) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let programs = Path::new(env!("CARGO_BIN_EXE_minivault-echo")).parent().unwrap();
    for program in ["minivault", "minivaultd"] {
        assert!(programs.join(program).exists(), "{program} isn't built; tests run with `cargo test --workspace`");
    }
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    let mut bash = Command::new("timeout");
    bash.args(["60", "bash", "-c", &script(daemon, block, id)]).current_dir(folder.path());
    bash.env("PATH", path).env("HOME", folder.path()).env("MINIVAULT_URL", format!("http://{}", daemon.address));
    bash.env_remove("MINIVAULT_API_KEY").stdin(Stdio::null());
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("MINIVAULTD_")) {
        bash.env_remove(name);
    }
    let output = bash.output().unwrap();
    if output.status.success() { Ok(()) } else { Err(format!("{}: {}\n{}", block.place, told(&output), block.text)) }
}

#[test]
fn what_is_typed_in_a_shell_works() {
    for tool in ["bash", "curl", "timeout"] {
        if Command::new(tool).arg("--version").stdout(Stdio::null()).status().is_err() {
            println!("skipped: there is no {tool} on the PATH");
            return;
        }
    }
    let daemon = Daemon::start("engine = \"smollm2\"\nbuilt_in_engines = false\n[engines.smollm2]\nbackend = \"echo\"\nslots = 4\n");
    let (status, answer) = daemon.ask("/generate", &json!({"prompt": "The capital of France is", "max_tokens": 4, "seed": 7}));
    assert_eq!(status, 200, "{answer}");
    let id = answer["id"].as_str().unwrap();
    let (left_out, typed): (Vec<Block>, Vec<Block>) = of("sh").into_iter().partition(|block| block.words == "no-run");
    assert!(typed.iter().all(|block| block.words.is_empty() || block.words.starts_with("status=")), "a fence has a word that isn't known");
    let wrong: Vec<String> = typed.iter().filter_map(|block| run(&daemon, block, id).err()).collect();
    assert!(typed.len() > 15, "{}", typed.len());
    conclude("blocks of shell", typed.len(), left_out.len(), &wrong);
}

#[test]
fn configurations_are_accepted() {
    let found = of("toml");
    let mut wrong = Vec::new();
    for block in &found {
        let folder = tempfile::tempdir().unwrap();
        // The client's, where the block says so; otherwise the daemon's.
        let output = if block.words == "profiles" {
            std::fs::create_dir(folder.path().join("minivault")).unwrap();
            std::fs::write(folder.path().join("minivault/profiles.toml"), &block.text).unwrap();
            let client = Path::new(env!("CARGO_BIN_EXE_minivault-echo")).with_file_name("minivault");
            Command::new(client).arg("profiles").env("XDG_CONFIG_HOME", folder.path()).output().unwrap()
        } else {
            std::fs::write(folder.path().join("config.toml"), &block.text).unwrap();
            command(folder.path(), &["config"]).stderr(Stdio::piped()).output().unwrap()
        };
        if !output.status.success() {
            wrong.push(format!("{}: {}", block.place, told(&output)));
        }
    }
    conclude("configurations", found.len(), 0, &wrong);
}

#[test]
fn json_is_json() {
    let found = of("json");
    let wrong: Vec<String> = found
        .iter()
        .filter_map(|block| {
            let values: Result<Vec<Value>, _> = Deserializer::from_str(&block.text).into_iter().collect();
            let complaint = match values {
                Ok(values) if !values.is_empty() => return None,
                Ok(_) => "it is empty".to_owned(),
                Err(error) => error.to_string(),
            };
            Some(format!("{}: {complaint}", block.place))
        })
        .collect();
    conclude("blocks of JSON", found.len(), 0, &wrong);
}

#[test]
fn python_is_python() {
    if Command::new("python3").arg("--version").stdout(Stdio::null()).status().is_err() {
        println!("skipped: there is no python3 on the PATH");
        return;
    }
    let found = of("python");
    let mut wrong = Vec::new();
    for block in &found {
        let output =
            Command::new("python3").args(["-c", "import sys; compile(sys.argv[1], 'block', 'exec')", &block.text]).output().unwrap();
        if !output.status.success() {
            wrong.push(format!("{}: {}", block.place, told(&output)));
        }
    }
    conclude("blocks of Python", found.len(), 0, &wrong);
}

#[test]
fn rust_is_this_example() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources: BTreeMap<&str, String> = ["src/lib.rs", "src/main.rs", "tests/conformance.rs"]
        .into_iter()
        .map(|name| (name, words(&std::fs::read_to_string(example.join(name)).unwrap())))
        .collect();
    let found = of("rust");
    let wrong: Vec<String> = found
        .iter()
        .filter(|block| !sources.values().any(|source| source.contains(&words(&block.text))))
        .map(|block| format!("{}: it doesn't stand in {:?}", block.place, sources.keys().collect::<Vec<_>>()))
        .collect();
    conclude("blocks of Rust", found.len(), 0, &wrong);
}

/// Its words, however they are laid out.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn what_the_documents_link_to_is_there() {
    let mut wrong = Vec::new();
    let mut links = 0;
    for path in documents() {
        let text = std::fs::read_to_string(&path).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).filter(|target| !target.contains("://")) {
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let linked = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            links += 1;
            // A heading is named by its words, in small letters, with hyphens.
            let named =
                |line: &str| line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-").replace([',', '`', '.', '\''], "");
            let there = linked.exists()
                && (heading.is_empty()
                    || std::fs::read_to_string(&linked).unwrap().lines().any(|line| line.starts_with('#') && named(line) == heading));
            if !there {
                wrong.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert!(links > 20, "{links}");
    conclude("links", links, 0, &wrong);
}
