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

    /// `config.toml:3:1`, where the key stands.
    pub fn place_of_key(&self, path: &[String]) -> Option<Place> {
        self.spots.get(path).map(|spot| self.place(spot.key.clone()))
    }

    /// `config.toml:3:10`, where the value stands.
    pub fn place_of_value(&self, path: &[String]) -> Option<Place> {
        self.spots.get(path).map(|spot| self.place(spot.value.clone()))
    }

    /// The file's name as it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn place(&self, span: Range<usize>) -> Place {
        let (line, column) = line_and_column(&self.text.as_bytes()[..span.start.min(self.text.len())]);
        Place::in_file(format!("{}:{line}:{column}", self.name), self.excerpt(span))
    }

    /// The line where this begins, and as much of it as stands there; `None` where that could show a secret.
    fn excerpt(&self, span: Range<usize>) -> Option<Excerpt> {
        let before = self.text.get(..span.start)?;
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let text = self.text[start..].lines().next()?.to_owned();
        let line = start..start + text.len();
        let is_on_it = |spot: &Spot| spot.key.start <= line.end && spot.value.end >= line.start;
        if self.spots.iter().any(|(path, spot)| may_hold_a_secret(path) && is_on_it(spot)) {
            return None;
        }
        let marked = |offset: usize| (offset - start).min(text.len());
        let marked = marked(span.start)..marked(span.end.max(span.start));
        Some(Excerpt { file: self.name.clone(), line: before.matches('\n').count() + 1, text, marked })
    }

    /// What is wrong with the text itself at this place. Where it can't be read it can't be told what a line holds, so none is shown if there
    /// is a secret anywhere.
    fn problem(&self, span: Option<Range<usize>>, message: String) -> Problem {
        let place = self.place(span.unwrap_or(0..0));
        let is_empty = |line: &&str| line.split_once('=').is_some_and(|(_, value)| ["[]", "{}", "\"\""].contains(&value.trim()));
        let lines = self.text.lines().filter(|line| !line.trim_start().starts_with('#')).filter(|line| !is_empty(line));
        let mut words =
            lines.flat_map(|line| line.split(|character: char| !(character.is_ascii_alphanumeric() || "_-".contains(character))));
        let tells = words.any(|word| may_hold_a_secret(&[word.to_owned()]));
        Problem::new(if tells { place.without_excerpt() } else { place }, message)
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<File, Problem> {
        let file = File { name: "config.toml".into(), folder: PathBuf::new(), text: text.into(), spots: BTreeMap::new() };
        parse(file).map(|layer| match layer.origin {
            Origin::File(file) => file,
            other => panic!("{other}"),
        })
    }

    /// The line that is shown for a value, if any.
    fn shown(text: &str, path: &[&str]) -> Option<(usize, String)> {
        let path: Vec<String> = path.iter().map(|part| (*part).to_owned()).collect();
        let (_, excerpt) = read(text).unwrap().place_of_value(&path).unwrap().into_parts();
        excerpt.map(|excerpt| (excerpt.line, excerpt.text[excerpt.marked].to_owned()))
    }

    #[test]
    fn a_line_is_shown_with_what_is_meant() {
        assert_eq!(shown("[server]\nlisten = 7 # why\n", &["server", "listen"]), Some((2, "7".into())));
        assert_eq!(shown("a = [\n  1,\n  2]\nb = 3", &["a"]), Some((1, "[".into())));
    }

    #[test]
    fn no_line_is_shown_that_holds_a_secret() {
        for (text, path) in [
            ("[server]\nkeys = 7\n", &["server", "keys"][..]),
            ("[server.keys]\nada = { key = \"sk\", concurrent = 7 }\n", &["server", "keys", "ada", "concurrent"]),
            ("server = { listen = 7, keys = [\"sk\"] }\n", &["server", "listen"]),
            ("server = { keys = [\n\"sk-a\",\n\"sk-b\"], listen = 7 }\n", &["server", "listen"]),
            ("[engines.a]\nmodel = 7\n[engines]\nb = { api_key = \"\"\"\nsk\"\"\", model = 7 }", &["engines", "b", "model"]),
        ] {
            assert_eq!(shown(text, path), None, "{text}");
        }
    }

    #[test]
    fn where_toml_is_broken_no_line_is_shown_if_there_may_be_a_secret_anywhere() {
        let excerpt = |text: &str| read(text).map(|_| ()).unwrap_err().excerpt().cloned();
        assert_eq!(
            excerpt("a = 1 # the keys\n# keys\nb = \n").map(|excerpt| excerpt.line),
            None,
            "behind a value a comment is not told from a text"
        );
        assert_eq!(excerpt("# keys\nkeys = []\nmax_tokens = \n").map(|excerpt| excerpt.line), Some(3));
        assert_eq!(excerpt("# keys\nmax_tokens = \n").map(|excerpt| excerpt.line), Some(2));
        assert_eq!(excerpt("[server.keys]\nada = \"sk-\n"), None);
        assert_eq!(excerpt("keys = [\n\"sk-a\" \"sk-b\"]\n"), None);
        // With a carriage return the mistake begins behind the line's end.
        let excerpt = excerpt("a = \"b\r\nc = 1\r\n").unwrap();
        assert!(excerpt.marked.end <= excerpt.text.len() && excerpt.marked.start <= excerpt.marked.end, "{excerpt:?}");
    }
}
