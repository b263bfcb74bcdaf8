//! docs/configuration.md says what config.toml, the types and the defaults say; it is generated from them.

mod comments;
mod types;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use minivault_engines::Engines;

use crate::kit::Setup;
use comments::{Section, sentence};

const REMEDY: &str = "MINIVAULT_WRITE_DOCS=1 cargo test --workspace --test config reference";

/// The backends, what they are, and the table of config.toml that shows their keys.
const BACKENDS: [(&str, &str, &str); 4] = [
    ("gpt2", "GPT-2 in Hugging Face layout, with kernels of its own.", "engines.distilgpt2"),
    ("llama-cpp", "GGUF files on llama.cpp.", "engines.smollm2"),
    ("candle", "Llama and its relatives, and GGUF files of Llama's kind, without any C++.", "engines.smollm2"),
    ("openai", "Another server with OpenAI's API, or a fleet of them.", "engines.upstream"),
];

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// The values in effect without any file, variable or flag.
fn built_in() -> BTreeMap<String, String> {
    let setup = Setup::new();
    let report = setup.try_load_with(&Engines::builtin()).unwrap().report;
    // Relative paths start from its folder.
    let folder = setup.path("").display().to_string();
    report.entries.into_iter().map(|entry| (entry.key, entry.value.replace(&folder, ""))).collect()
}

/// The types' keys outside of the engines: whole paths, by the section in which they stand.
fn plain_keys() -> Vec<(&'static str, Vec<String>)> {
    let sections = ["", "server", "log", "diagnostics", "generation"];
    let of = |section: &'static str| {
        let keys = types::keys(section, "").into_iter();
        let keys = keys.flat_map(|key| match (section, key.as_str()) {
            ("server", "tls") => types::keys("server.tls", "").iter().map(|key| format!("tls.{key}")).collect(),
            _ => vec![key],
        });
        // Tables are sections of their own.
        let is_table = |key: &str| section.is_empty() && (sections.contains(&key) || matches!(key, "aliases" | "engines"));
        (section, keys.filter(|key| !is_table(key)).collect())
    };
    sections.map(of).into()
}

struct Page {
    text: String,
    comments: BTreeMap<String, Section>,
}

impl Page {
    fn say(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push_str("\n\n");
    }

    fn head(&mut self) {
        self.text.push_str("| key | default | meaning |\n|---|---|---|\n");
    }

    fn row(&mut self, key: &str, default: Option<&str>, meaning: &str) {
        let default = default.map_or_else(|| "–".to_owned(), |value| format!("`{value}`"));
        let meaning = meaning.replace('|', "\\|");
        writeln!(self.text, "| `{key}` | {default} | {meaning} |").unwrap();
    }

    /// What config.toml says of a key, in this table or in another engine's.
    #[track_caller]
    fn meaning(&self, table: &str, key: &str) -> String {
        let engines = ["engines.distilgpt2", "engines.smollm2", "engines.upstream"].into_iter().filter(|_| table.starts_with("engines."));
        let found = std::iter::once(table)
            .chain(engines)
            .find_map(|table| self.comments.get(table)?.entries.get(key).filter(|entry| !entry.meaning.is_empty()));
        sentence(&found.unwrap_or_else(|| panic!("config.toml has no comment on `{key}` in [{table}]")).meaning)
    }

    /// The value that config.toml shows.
    fn shown(&self, table: &str, key: &str) -> Option<String> {
        Some(self.comments.get(table)?.entries.get(key)?.value.clone())
    }
}

fn generated() -> String {
    let values = built_in();
    let comments = comments::read(&fs::read_to_string(repository("config.toml")).unwrap());
    let mut page = Page { text: "# Configuration\n\n".into(), comments };
    page.say(&format!("<!-- Generated from config.toml, the types and their defaults: {REMEDY} -->"));
    page.say(
        "Every key, with its default and what it means. `minivaultd init` writes a file with all of them, `minivaultd config` prints the values \
         in effect and where each comes from, and `minivaultd doctor` says whether they work on this machine. A mistake is told with its \
         place and what may have been meant. A dash means that a key has no value unless it is given one.",
    );
    page.say(
        "Sources override each other in this order: the defaults below, the configuration file (`--config FILE`, or `config.toml` in the \
         working directory), the environment (`MINIVAULTD_SERVER__LISTEN` is `listen` in `[server]`: two underscores between levels), \
         and the flags `--listen`, `--allow-keyless` and `--engine`. Relative paths in a file start from its folder.",
    );
    for (section, keys) in plain_keys() {
        page.say(&if section.is_empty() { "## At the top".to_owned() } else { format!("## `[{section}]`") });
        // The top's is the file's own introduction.
        let intro = if section.is_empty() { Vec::new() } else { page.comments[section].intro.clone() };
        intro.iter().for_each(|words| page.say(words));
        let known = |key: &String| keys.contains(key);
        assert!(page.comments[section].entries.keys().all(known), "config.toml shows a key in [{section}] that isn't known");
        page.head();
        for key in keys {
            let path = if section.is_empty() { key.clone() } else { format!("{section}.{key}") };
            let meaning = page.meaning(section, &key);
            page.row(&key, values.get(&path).map(String::as_str), &meaning);
        }
        page.text.push('\n');
    }
    let aliases = &page.comments["aliases"];
    let (intro, engines) = (aliases.intro.clone(), [aliases.intro.clone(), aliases.closing.clone()].concat().pop().unwrap());
    page.say("## `[aliases]`");
    page.say(&intro[0]);
    page.say("## `[engines.NAME]`");
    page.say(&engines);
    page.say("### Keys of every engine");
    every_engine(&mut page, &values);
    for (backend, what, table) in BACKENDS {
        page.say(&format!("### `backend = \"{backend}\"`"));
        page.say(what);
        backend_keys(&mut page, backend, table);
    }
    page.text.trim_end().to_owned() + "\n"
}

/// Keys that no backend has to itself.
fn shared_keys() -> Vec<String> {
    let own = types::defaults("gpt2");
    types::keys("engines.distilgpt2", "").into_iter().filter(|key| !own.contains_key(key)).collect()
}

fn every_engine(page: &mut Page, values: &BTreeMap<String, String>) {
    page.head();
    for key in shared_keys() {
        let meaning = page.meaning("engines.distilgpt2", &key);
        // A model's name, a backend and a fallback are the built-in engines' own.
        let default = values.get(&format!("engines.distilgpt2.{key}")).filter(|_| !matches!(key.as_str(), "backend" | "fallback"));
        page.row(&key, default.map(String::as_str), &meaning);
    }
    page.text.push('\n');
}

fn backend_keys(page: &mut Page, backend: &str, table: &str) {
    page.head();
    for (key, default) in types::defaults(backend) {
        let meaning = page.meaning(table, &key);
        let shown = page.shown(table, &key).filter(|_| backend != "candle");
        let required = key == "model";
        match default.filter(|_| !required) {
            Some(default) => {
                let default = match shown.filter(|shown| key != "base_urls" && !shown.is_empty()) {
                    Some(shown) => {
                        assert!(types::same(&default, &shown), "`{key}` of {backend} is {default}, and config.toml shows {shown}");
                        shown
                    }
                    None => default,
                };
                page.row(&key, Some(&default), &meaning);
            }
            None if required => page.row(&key, None, &format!("{meaning} It must be given.")),
            None => {
                let example = shown.map(|shown| format!(" For example `{shown}`.")).unwrap_or_default();
                page.row(&key, None, &format!("{meaning}{example}"));
            }
        }
    }
    page.text.push('\n');
    if backend == "candle" {
        let closing = page.comments["engines.smollm2"].closing.join(" ");
        // The keys stand in the table.
        let (_, rest) = closing.split_once("as above. ").expect("config.toml says what candle takes");
        page.say(rest);
    }
}

#[test]
fn the_page_is_what_config_toml_the_types_and_the_defaults_say() {
    let (path, new) = (repository("docs/configuration.md"), generated());
    if std::env::var_os("MINIVAULT_WRITE_DOCS").is_some() {
        fs::write(&path, &new).unwrap();
    }
    let old = fs::read_to_string(&path).unwrap_or_default();
    let other =
        old.lines().zip(new.lines()).position(|(old, new)| old != new).map_or(old.lines().count().min(new.lines().count()), |at| at);
    assert!(old == new, "line {} of docs/configuration.md isn't what it should be; to write it:\n{REMEDY}", other + 1);
}

#[test]
fn every_key_that_the_types_know_stands_in_it_with_its_default() {
    let text = fs::read_to_string(repository("docs/configuration.md")).unwrap();
    let values = built_in();
    let row = |heading: &str, key: &str| {
        let (_, section) = text.split_once(&format!("{heading}\n")).unwrap_or_else(|| panic!("there is no {heading}"));
        let mut lines = section.lines().take_while(|line| !line.starts_with('#'));
        let start = format!("| `{key}` | ");
        lines.find_map(|line| line.strip_prefix(&start)).unwrap_or_else(|| panic!("{heading} has no row for `{key}`")).to_owned()
    };
    let mut seen = 0;
    for (section, keys) in plain_keys() {
        for key in keys {
            let (heading, path) = match section {
                "" => ("## At the top".to_owned(), key.clone()),
                section => (format!("## `[{section}]`"), format!("{section}.{key}")),
            };
            let expected = values.get(&path).map_or_else(|| "–".to_owned(), |value| format!("`{value}`"));
            let found = row(&heading, &key);
            let (default, meaning) = found.split_once(" | ").unwrap();
            assert_eq!(default, expected, "{path}");
            assert!(meaning.len() > 10, "{path} is said to be {meaning}");
            seen += 1;
        }
    }
    for key in shared_keys() {
        row("### Keys of every engine", &key);
        seen += 1;
    }
    let known: Vec<&str> = Engines::builtin().names().collect();
    assert_eq!(known.len(), BACKENDS.len(), "{known:?}");
    for (backend, _, _) in BACKENDS {
        let heading = format!("### `backend = \"{backend}\"`");
        let needed = if backend == "openai" { "base_url = \"http://127.0.0.1:1/v1\"\n" } else { "" };
        let keys = types::keys("engines.reference", &format!("backend = \"{backend}\"\nmodel = \"m\"\n{needed}"));
        for key in keys.iter().filter(|key| !shared_keys().contains(key)) {
            row(&heading, key);
            seen += 1;
        }
        assert_eq!(keys.len() - shared_keys().len(), types::defaults(backend).len(), "{backend}");
    }
    assert!(seen > 90, "{seen}");
}
