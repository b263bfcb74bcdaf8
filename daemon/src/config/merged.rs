//! All sources merged into one table, in which every value knows where it came from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use figment::value::{Dict, Map, Tag, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::error::Problem;
use super::file::File;
use super::place::Place;

/// Where a value came from.
#[derive(Debug)]
pub(super) enum Origin {
    /// The built-in defaults.
    Default,
    /// A configuration file.
    File(File),
    /// An environment variable, with its text as it is.
    Variable { name: String, text: String },
    /// A command-line flag.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("default"),
            Self::File(file) => formatter.write_str(file.name()),
            Self::Variable { name, .. } => write!(formatter, "environment variable {name}"),
            Self::Flag(flag) => formatter.write_str(flag),
        }
    }
}

impl Origin {
    /// Where this source has the value, for a person to find it.
    pub fn place_of_value(&self, path: &[String]) -> Place {
        let spot = if let Self::File(file) = self { file.place_of_value(path) } else { None };
        spot.unwrap_or_else(|| self.into())
    }
}

/// What one source says. Variables and flags are a source each.
#[derive(Debug)]
pub(super) struct Layer {
    pub origin: Origin,
    pub table: Dict,
}

impl Layer {
    pub fn new(origin: Origin, table: Dict) -> Self {
        Self { origin, table }
    }

    /// A single value.
    pub fn value(origin: Origin, path: &[&str], value: Value) -> Self {
        let mut table = Dict::new();
        if let Some((first, rest)) = path.split_first() {
            let nested = rest.iter().rev().fold(value, |value, key| Value::from(Map::from([((*key).to_owned(), value)])));
            table.insert((*first).to_owned(), nested);
        }
        Self { origin, table }
    }

    /// A single value from the command line.
    pub fn flag(flag: &'static str, path: &[&str], value: Value) -> Self {
        Self::value(Origin::Flag(flag), path, value)
    }

    /// The engines' tables.
    pub fn engines(&self) -> impl Iterator<Item = (&String, &Dict)> {
        let engines = self.table.get("engines").and_then(Value::as_dict);
        engines.into_iter().flatten().filter_map(|(name, table)| Some((name, table.as_dict()?)))
    }
}

/// A layer as figment takes it.
struct Provided {
    name: String,
    table: Dict,
}

impl Provider for Provided {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.table.clone()))
    }
}

/// All sources together, with the origins of their values.
pub(super) struct Merged {
    figment: Figment,
    origins: BTreeMap<String, Origin>,
    working_directory: PathBuf,
}

impl Merged {
    /// Merges the layers, each overriding the ones before it, and gives the table apart, so that it can be taken to pieces.
    pub fn new(layers: Vec<Layer>, working_directory: PathBuf) -> Result<(Self, Dict), Problem> {
        let mut figment = Figment::new();
        let mut origins = BTreeMap::new();
        for Layer { origin, table } in layers {
            figment = figment.merge(Provided { name: origin.to_string(), table });
            origins.insert(origin.to_string(), origin);
        }
        let mut profiles = figment.data().map_err(|error| Problem::new("configuration", error.to_string()))?;
        let table = profiles.remove(&Profile::Default).unwrap_or_default();
        Ok((Self { figment, origins, working_directory }, table))
    }

    /// Where the value came from.
    pub fn origin(&self, value: &Value) -> &Origin {
        let name = self.figment.get_metadata(value.tag()).map(|metadata| metadata.name.as_ref());
        name.and_then(|name| self.origins.get(name)).unwrap_or(&Origin::Default)
    }

    /// What a relative path in this value starts from.
    pub fn base(&self, value: &Value) -> &Path {
        match self.origin(value) {
            Origin::File(file) => file.folder(),
            _ => &self.working_directory,
        }
    }

    /// Where the value stands, for a person to find it.
    pub fn place_of_value(&self, path: &[String], value: &Value) -> Place {
        self.place(value, &|file| file.place_of_value(path))
    }

    /// Where the key stands, for a person to find it.
    pub fn place_of_key(&self, path: &[String], value: &Value) -> Place {
        self.place(value, &|file| file.place_of_key(path))
    }

    fn place(&self, value: &Value, spot: &dyn Fn(&File) -> Option<Place>) -> Place {
        // A table may have come together from several sources: the place in the file is the most telling one.
        if let Value::Dict(_, table) = value {
            let mut files = self.origins.values().filter_map(|origin| if let Origin::File(file) = origin { Some(file) } else { None });
            let in_file = files.find_map(spot);
            let from_elsewhere = || table.values().map(|value| self.place(value, &|_| None)).find(|place| !place.is_default());
            return in_file.or_else(from_elsewhere).unwrap_or_else(|| Origin::Default.into());
        }
        let origin = self.origin(value);
        if let Origin::File(file) = origin { spot(file) } else { None }.unwrap_or_else(|| origin.into())
    }

    /// Reads a table as a struct. Text from the environment was taken for the number, truth value or list that it looks like; where
    /// that doesn't fit it is taken as it is, in the table too.
    #[allow(clippy::result_large_err)] // figment's error is what it is; this runs once per table.
    pub fn read<T>(&self, table: &mut Dict, attempt: impl Fn(&Value) -> Result<T, figment::Error>) -> Result<T, figment::Error> {
        let mut retried: Vec<(Vec<String>, Value, figment::Error)> = Vec::new();
        loop {
            let error = match attempt(&Value::Dict(Tag::Default, table.clone())) {
                Ok(read) => return Ok(read),
                Err(error) => error,
            };
            let Some((path, text)) = self.text_at(table, &error.path) else { return Err(error) };
            let Some(value) = value_at(table, &path) else { return Err(error) };
            if let Some(index) = retried.iter().position(|(earlier, ..)| *earlier == path) {
                // Neither reading fits; the first complaint is about what the text looks like.
                let (_, original, error) = retried.swap_remove(index);
                *value = original;
                return Err(error);
            }
            if matches!(value, Value::String(..)) {
                return Err(error);
            }
            let original = std::mem::replace(value, Value::String(value.tag(), text));
            retried.push((path, original, error));
        }
    }

    /// The variable's value on the way to an error's place: its path and its text.
    fn text_at(&self, table: &Dict, path: &[String]) -> Option<(Vec<String>, String)> {
        let mut table = table;
        for (depth, key) in path.iter().enumerate() {
            match table.get(key)? {
                Value::Dict(_, inner) => table = inner,
                value => {
                    let Origin::Variable { text, .. } = self.origin(value) else { return None };
                    return Some((path[..=depth].to_vec(), text.clone()));
                }
            }
        }
        None
    }
}

fn value_at<'a>(table: &'a mut Dict, path: &[String]) -> Option<&'a mut Value> {
    let (first, rest) = path.split_first()?;
    let value = table.get_mut(first)?;
    match (rest, value) {
        ([], value) => Some(value),
        (rest, Value::Dict(_, table)) => value_at(table, rest),
        _ => None,
    }
}
