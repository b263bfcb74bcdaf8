//! `config.toml` as plain values, and where in it each of them stands.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};

use figment::value::{Dict, Tag, Value};
use toml_edit::{Document, Item, TableLike};

use super::error::Problem;
use super::merged::{Layer, Origin};
use super::notation::{DateFound, from_toml, may_hold_a_secret};
use super::place::{Excerpt, Place};

/// The file that is read when no other one is named.
const USUAL_NAME: &str = "config.toml";

/// A configuration file: its name, its folder, and the places in it.
#[derive(Debug)]
pub(super) struct File {
    name: String,
    folder: PathBuf,
    text: String,
    spots: BTreeMap<Vec<String>, Spot>,
}

/// Where a key and its value stand, in bytes of the text.
#[derive(Debug, Clone)]
struct Spot {
    key: Range<usize>,
    value: Range<usize>,
}

impl File {
    /// What relative paths in the file start from.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// `config.toml:3:1`, where the key stands; its value isn't shown, because it isn't what is wrong.
    pub fn place_of_key(&self, path: &[String]) -> Option<Place> {
        let key = self.spots.get(path)?.key.clone();
        let excerpt = self.excerpt(key.clone()).map(|excerpt| {
            let text =
                format!("{}{}", &excerpt.text[..excerpt.marked.end], if excerpt.marked.end < excerpt.text.len() { " …" } else { "" });
            Excerpt { text, ..excerpt }
        });
        Some(self.place(key.start, excerpt.filter(|excerpt| !may_hold_a_secret(&first_key(&excerpt.text)))))
    }

    /// `config.toml:3:10`, where the value stands.
    pub fn place_of_value(&self, path: &[String]) -> Option<Place> {
        let value = self.spots.get(path)?.value.clone();
        let excerpt = if may_hold_a_secret(path) { None } else { self.excerpt(value.clone()) };
        Some(self.place(value.start, excerpt))
    }

    /// The file's name as it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn place(&self, offset: usize, excerpt: Option<Excerpt>) -> Place {
        let (line, column) = line_and_column(&self.text.as_bytes()[..offset.min(self.text.len())]);
        Place::in_file(format!("{}:{line}:{column}", self.name), excerpt)
    }

    /// The line where this begins, and as much of it as stands there.
    fn excerpt(&self, span: Range<usize>) -> Option<Excerpt> {
        let before = self.text.get(..span.start)?;
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let text = self.text[start..].lines().next()?.to_owned();
        let marked = span.start - start..(span.end - start).min(text.len());
        Some(Excerpt { file: self.name.clone(), line: before.matches('\n').count() + 1, text, marked })
    }

    /// What is wrong with the text itself at this place.
    fn problem(&self, span: Option<Range<usize>>, message: String) -> Problem {
        let span = span.unwrap_or(0..0);
        let excerpt = self.excerpt(span.clone()).filter(|excerpt| !may_hold_a_secret(&first_key(&excerpt.text)));
        Problem::new(self.place(span.start, excerpt), message)
    }
}

/// The key that a line begins with, as far as that can be told without reading TOML: its parts.
fn first_key(line: &str) -> Vec<String> {
    let key = line.split('=').next().unwrap_or_default();
    key.split(['.', '[', ']']).map(|part| part.trim_matches([' ', '\t', '"', '\'']).to_owned()).collect()
}

/// Reads the file that was named, which must exist, or else the usual one, which need not.
pub(super) fn read(named: Option<&Path>, working_directory: &Path) -> Result<Option<Layer>, Problem> {
    let name = named.unwrap_or(Path::new(USUAL_NAME));
    let path = working_directory.join(name);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if named.is_none() && error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) if named.is_some() => {
            return Err(Problem::new("--config", format!("{} can't be read: {error}", name.display())));
        }
        Err(error) => return Err(Problem::new(USUAL_NAME, format!("it can't be read: {error}"))),
    };
    let text = String::from_utf8(bytes).map_err(|error| {
        let (line, column) = line_and_column(&error.as_bytes()[..error.utf8_error().valid_up_to()]);
        Problem::new(format!("{}:{line}:{column}", name.display()), "this isn't UTF-8 text")
    })?;
    let folder = path.parent().unwrap_or(working_directory).to_owned();
    parse(File { name: name.display().to_string(), folder, text, spots: BTreeMap::new() }).map(Some)
}

fn parse(mut file: File) -> Result<Layer, Problem> {
    let document =
        Document::parse(file.text.as_str()).map_err(|error| file.problem(error.span(), format!("this isn't TOML: {}", error.message())))?;
    let mut reader = Reader { spots: BTreeMap::new() };
    let table = reader
        .table(document.as_table(), &mut Vec::new())
        .map_err(|DateFound(span)| file.problem(span, "this is a date, which no key takes; text stands in quotes".to_owned()))?;
    file.spots = reader.spots;
    Ok(Layer::new(Origin::File(file), table))
}

struct Reader {
    spots: BTreeMap<Vec<String>, Spot>,
}

impl Reader {
    fn table(&mut self, table: &dyn TableLike, path: &mut Vec<String>) -> Result<Dict, DateFound> {
        let mut values = Dict::new();
        for (name, item) in table.iter() {
            path.push(name.to_owned());
            let key = table.get_key_value(name).and_then(|(key, _)| key.span());
            self.note(path, key, item.span());
            values.insert(name.to_owned(), self.item(item, path)?);
            path.pop();
        }
        Ok(values)
    }

    fn item(&mut self, item: &Item, path: &mut Vec<String>) -> Result<Value, DateFound> {
        match item {
            Item::None => Ok(Value::from("")),
            Item::Value(toml_edit::Value::InlineTable(table)) => self.table(table, path).map(|table| Value::Dict(Tag::Default, table)),
            Item::Value(value) => from_toml(value),
            Item::Table(table) => self.table(table, path).map(|table| Value::Dict(Tag::Default, table)),
            Item::ArrayOfTables(tables) => {
                let mut values = Vec::new();
                for (index, table) in tables.iter().enumerate() {
                    path.push(index.to_string());
                    self.note(path, None, table.span());
                    values.push(Value::Dict(Tag::Default, self.table(table, path)?));
                    path.pop();
                }
                Ok(Value::Array(Tag::Default, values))
            }
        }
    }

    fn note(&mut self, path: &[String], key: Option<Range<usize>>, value: Option<Range<usize>>) {
        // Tables that only dotted keys or the headers below them imply have no span of their own.
        let (Some(key), Some(value)) = (key.clone().or(value.clone()), value.or(key)) else { return };
        self.spots.insert(path.to_vec(), Spot { key, value });
    }
}

/// The place right behind these bytes; columns count characters.
fn line_and_column(before: &[u8]) -> (usize, usize) {
    let line_start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
    let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
    (line, String::from_utf8_lossy(&before[line_start..]).chars().count() + 1)
}
