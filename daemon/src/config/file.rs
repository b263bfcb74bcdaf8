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
use super::notation::{DateFound, from_toml};

/// The file that is read when no other one is named.
const USUAL_NAME: &str = "config.toml";

/// A configuration file: its name, its folder, and the places in it.
#[derive(Debug)]
pub(super) struct File {
    name: String,
    folder: PathBuf,
    spots: BTreeMap<Vec<String>, Spot>,
}

/// Where a key and its value begin: line and column, both from 1.
#[derive(Debug, Clone, Copy)]
struct Spot {
    key: (usize, usize),
    value: (usize, usize),
}

impl File {
    /// What relative paths in the file start from.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// `config.toml:3:1`, where the key stands.
    pub fn place_of_key(&self, path: &[String]) -> Option<String> {
        self.spots.get(path).map(|spot| self.place(spot.key))
    }

    /// `config.toml:3:10`, where the value stands.
    pub fn place_of_value(&self, path: &[String]) -> Option<String> {
        self.spots.get(path).map(|spot| self.place(spot.value))
    }

    /// The file's name as it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn place(&self, (line, column): (usize, usize)) -> String {
        format!("{}:{line}:{column}", self.name)
    }
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
    let file =
        File { name: name.display().to_string(), folder: path.parent().unwrap_or(working_directory).to_owned(), spots: BTreeMap::new() };
    let text = String::from_utf8(bytes).map_err(|error| {
        let (line, column) = line_and_column(&error.as_bytes()[..error.utf8_error().valid_up_to()]);
        Problem::new(file.place((line, column)), "this isn't UTF-8 text")
    })?;
    parse(file, &text).map(Some)
}

fn parse(mut file: File, text: &str) -> Result<Layer, Problem> {
    let document = Document::parse(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        Problem::new(file.place(spot(text, start)), format!("this isn't TOML: {}", error.message()))
    })?;
    let mut reader = Reader { text, spots: BTreeMap::new() };
    let table = reader.table(document.as_table(), &mut Vec::new()).map_err(|DateFound(span)| {
        let start = span.map_or(0, |span| span.start);
        Problem::new(file.place(spot(text, start)), "this is a date, which no key takes; text stands in quotes")
    })?;
    file.spots = reader.spots;
    Ok(Layer::new(Origin::File(file), table))
}

struct Reader<'a> {
    text: &'a str,
    spots: BTreeMap<Vec<String>, Spot>,
}

impl Reader<'_> {
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
        let (key, value) = (key.map(|span| span.start), value.map(|span| span.start));
        let (Some(key), Some(value)) = (key.or(value), value.or(key)) else { return };
        self.spots.insert(path.to_vec(), Spot { key: spot(self.text, key), value: spot(self.text, value) });
    }
}

fn spot(text: &str, offset: usize) -> (usize, usize) {
    line_and_column(&text.as_bytes()[..offset.min(text.len())])
}

/// The place right behind these bytes; columns count characters.
fn line_and_column(before: &[u8]) -> (usize, usize) {
    let line_start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
    let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
    (line, String::from_utf8_lossy(&before[line_start..]).chars().count() + 1)
}
