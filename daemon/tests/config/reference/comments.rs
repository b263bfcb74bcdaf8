//! config.toml as its comments explain it.

use std::collections::BTreeMap;

/// A table of the file, or its top.
#[derive(Default)]
pub struct Section {
    /// The paragraphs above the table.
    pub intro: Vec<String>,
    pub entries: BTreeMap<String, Entry>,
    /// Paragraphs below its keys.
    pub closing: Vec<String>,
}

/// A key as the file shows it.
#[derive(Default, Clone)]
pub struct Entry {
    /// In TOML's notation.
    pub value: String,
    pub meaning: String,
}

/// The tables by name; "" is the top.
pub fn read(text: &str) -> BTreeMap<String, Section> {
    let mut sections = BTreeMap::from([(String::new(), Section::default())]);
    let (mut table, mut last) = (String::new(), String::new());
    let mut pending: Vec<String> = Vec::new();
    for line in text.lines().chain([""]) {
        let section = sections.entry(table.clone()).or_default();
        let words = line.strip_prefix('#').map(str::trim_start);
        let said = words.unwrap_or(line);
        let is_key = |key: &str| key.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.'));
        if let Some(name) = said.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            table = name.to_owned();
            sections.entry(table.clone()).or_default().intro = paragraphs(&mut pending);
        } else if let Some((key, value)) =
            said.split_once(" = ").filter(|(key, _)| is_key(key) && (words.is_none() || begins_anew(&pending)))
        {
            let (value, meaning) = match value.split_once("  # ").or_else(|| value.split_once(" # ")) {
                Some((value, beside)) => (value, beside.trim().to_owned()),
                None => (value, pending.join(" ")),
            };
            pending.clear();
            section.entries.insert(key.to_owned(), Entry { value: value.trim().to_owned(), meaning });
            key.clone_into(&mut last);
        } else if line.is_empty() {
            let told = paragraphs(&mut pending);
            if section.entries.is_empty() { &mut section.intro } else { &mut section.closing }.extend(told);
        } else if let (true, Some(more), Some(entry)) =
            (line.starts_with("#      "), said.strip_prefix("# "), section.entries.get_mut(&last))
        {
            // What stands beside a key goes on below it.
            entry.meaning = format!("{} {more}", entry.meaning);
        } else if words.is_some() {
            pending.push(said.to_owned());
        }
    }
    sections
}

/// Whether the next line of a comment isn't the middle of a sentence, which may show a key, too.
fn begins_anew(before: &[String]) -> bool {
    before.last().is_none_or(|line| line.is_empty() || line.ends_with(['.', ':']))
}

/// What was collected, cut at empty lines.
fn paragraphs(lines: &mut Vec<String>) -> Vec<String> {
    let told = lines.split(String::is_empty).map(|part| part.join(" ")).filter(|part| !part.is_empty()).collect();
    lines.clear();
    told
}

/// A sentence: what stands beside a key begins small and ends without a stop.
pub fn sentence(words: &str) -> String {
    let mut letters = words.chars();
    let Some(first) = letters.next() else { return String::new() };
    // A name stays as it is.
    let first = if words.starts_with("llama.cpp") { first.to_string() } else { first.to_uppercase().to_string() };
    let stop = if words.ends_with(['.', ':']) { "" } else { "." };
    format!("{first}{}{stop}", letters.as_str())
}
